"""How often an attempt that failed is followed by another, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.jobs.definition.fields import Number, Text
from jupyter_cloudml.jobs.definition.problems import Problems, refuse
from jupyter_cloudml.jobs.definition.shapes import ListOf, Member, Record, plain

CAUSES = ("error", "timeout", "lost", "oom")  # why an attempt failed, besides names of exceptions


@dataclass(frozen=True)
class RetryPolicy:
    """How often an attempt that failed is followed by another, and when: delay × factor^(n-1), at most max_delay seconds.

    `on`: which failures (CAUSES, or names of exceptions); empty means all.
    """

    count: int = 0
    delay_s: int = 30
    factor: float = 2.0
    max_delay_s: int = 3600
    on: tuple[str, ...] = ()

    def covers(self, attempts: int, cause: str, exception: str | None = None) -> bool:
        """Tell whether another attempt follows after so many."""
        wanted = not self.on or cause in self.on or (exception is not None and exception in self.on)
        return attempts <= self.count and wanted

    def delay_ms(self, attempts: int) -> int:
        """Return how long to wait after so many attempts."""
        try:
            delay = self.delay_s * self.factor ** (max(attempts, 1) - 1)
        except OverflowError:
            delay = float(self.max_delay_s)
        return int(min(delay, self.max_delay_s) * 1000)

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return plain(self)

    @classmethod
    def from_dict(cls, value: object) -> RetryPolicy:
        """Read JSON. Raises UsageError (code "bad_retry") that names each wrong field."""
        problems: Problems = []
        found = RETRY.read(value, "", problems)
        refuse(problems, "the retry policy cannot be used", "bad_retry")
        return cast(RetryPolicy, found)


RETRY = Record(
    RetryPolicy,
    {
        "count": Member(Number(0, 100), "how many more attempts", 0),
        "delay_s": Member(Number(0, 7 * 86400), "seconds before the second attempt", 30),
        "factor": Member(Number(1, 100, whole=False), "by which the delay grows each time", 2.0),
        "max_delay_s": Member(Number(0, 7 * 86400), "the longest delay in seconds", 3600),
        "on": Member(
            ListOf(Text(r"[A-Za-z_][A-Za-z0-9_.]*", 200, example="ConnectionError")),
            f"after which failures: {', '.join(CAUSES)}, or names of exceptions; all when empty",
            [],
        ),
    },
    title="Retry policy",
)
