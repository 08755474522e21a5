"""What makes a job run: a moment, a cron expression, an interval, another job. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import cast

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs import cron
from jupyter_cloudml.jobs.fields import Choice, Text
from jupyter_cloudml.jobs.problems import Problem, Problems, refuse
from jupyter_cloudml.jobs.shapes import Member, Record, plain

KINDS = ("at", "cron", "every", "after")
ON = ("success", "failure", "always")
YEAR_S = 366 * 86400
NAME = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", 100, example="nightly-report")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = re.compile(r"([1-9][0-9]{0,7})([smhd])")


@dataclass(frozen=True)
class Trigger:
    """What makes a job run: a moment (`at`), a cron expression, an interval (`every`), or the end of another job's run (`after`).

    `at` is local to `tz` unless it names an offset; `every` is counted from the epoch, or from `start`.
    """

    at: str | None = None
    cron: str | None = None
    every: str | None = None
    after: str | None = None
    tz: str = "UTC"
    start: str | None = None
    on: str = "success"

    @property
    def kind(self) -> str:
        """Return at, cron, every or after."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def key(self) -> str:
        """Return what tells this trigger from the job's others; the same trigger has the same key for ever."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def at_ms(self) -> int | None:
        """Return the moment as UTC ms. Raises UsageError."""
        return None if self.at is None else moment(self.at, self.tz)

    @property
    def start_ms(self) -> int:
        """Return from when an interval is counted, as UTC ms. Raises UsageError."""
        return 0 if self.start is None else moment(self.start, self.tz)

    @property
    def every_ms(self) -> int | None:
        """Return the interval."""
        return None if self.every is None else interval_s(self.every) * 1000

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return plain(self)

    @classmethod
    def from_dict(cls, value: object) -> Trigger:
        """Read JSON. Raises UsageError (code "bad_trigger") that names each wrong field."""
        problems: Problems = []
        found = TRIGGER.read(value, "", problems)
        refuse(problems, "the trigger cannot be used", "bad_trigger")
        return cast(Trigger, found)


def interval_s(text: str) -> int:
    """Return the seconds of 90s, 15m, 2h or 1d. Raises UsageError."""
    found = _EVERY.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= YEAR_S:
        raise UsageError(
            f"{text[:100]!r} is no interval", hint="write a number and s, m, h or d, as in 15m"
        )
    return seconds


def moment(text: str, tz: str) -> int:
    """Return a date and time as UTC ms; local to the zone unless it names an offset. Raises UsageError.

    One that the zone's clock leaves out is refused; of one that comes twice the first is taken.
    """
    try:
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if found.tzinfo is None:
            found = found.replace(tzinfo=cron.zone(tz))
            if found.astimezone(timezone.utc).astimezone(found.tzinfo).replace(
                tzinfo=None
            ) != found.replace(tzinfo=None):
                raise UsageError(
                    f"there is no {text} in {tz}: the clock is set forward then",
                    hint="choose a time an hour earlier or later",
                )
        ms = int(found.timestamp() * 1000)
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"{text[:100]!r} is no date and time", hint="write it as in 2026-12-01T09:00"
        ) from exc
    return ms


def _check_trigger(values: Mapping[str, object], path: str, problems: Problems) -> None:
    given = [kind for kind in KINDS if values.get(kind) is not None]
    where = path or "the trigger"
    if len(given) != 1:
        cause = f"has {' and '.join(given)}" if given else "has none of at, cron, every, after"
        problems.append(Problem(where, cause, "give it exactly one of at, cron, every, after"))
        return
    for name, of in (("on", ("after",)), ("start", ("every",)), ("tz", ("at", "cron", "every"))):
        if name in values and given[0] not in of:
            remedy = f"take it out, or use {' or '.join(of)}"
            problems.append(
                Problem(f"{path}.{name}".lstrip("."), f"means nothing beside {given[0]}", remedy)
            )
    for name in ("at", "start"):
        text = values.get(name)
        if isinstance(text, str):
            try:
                moment(text, str(values.get("tz", "UTC")))
            except UsageError as exc:
                problems.append(
                    Problem(f"{path}.{name}".lstrip("."), f"is refused: {exc.message}", exc.hint)
                )


TRIGGER = Record(
    Trigger,
    {
        "at": Member(
            Text(longest=64, example="2026-12-01T09:00"), "once, at this date and time", None, True
        ),
        "cron": Member(
            Text(longest=200, example="30 2 * * 1-5", check=cron.check),
            "at the times of a cron expression",
            None,
            True,
        ),
        "every": Member(
            Text(longest=16, example="15m", check=interval_s),
            "again and again after so long",
            None,
            True,
        ),
        "after": Member(NAME, "after each run of the job of this name", None, True),
        "tz": Member(
            Text(longest=100, example="Europe/Prague", check=cron.zone), "the time zone", "UTC"
        ),
        "start": Member(
            Text(longest=64, example="2026-12-01T09:00"),
            "from when an interval is counted",
            None,
            True,
        ),
        "on": Member(Choice(ON), "after which ends of the other job's runs", "success"),
    },
    title="Trigger",
    check=_check_trigger,
    more={"oneOf": [{"required": [kind]} for kind in KINDS]},
)
