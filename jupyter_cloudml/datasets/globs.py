"""Which files of a dataset are meant: `--include` and `--exclude`. Pure.

A file is meant when an `--include` fits (or there is none) and no `--exclude` does; what fits: onhost/matching.py, for the machine looks too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import UsageError
from .onhost.matching import Patterns


@dataclass(frozen=True)
class Choice:
    """What was chosen of a dataset."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def check(self) -> None:
        """Raise UsageError (`bad_pattern`) for what is no pattern."""
        _ = self._read

    @cached_property
    def _read(self) -> tuple[Patterns | None, Patterns | None]:
        return _any(self.include), _any(self.exclude)

    @property
    def told(self) -> tuple[list[str], list[str]]:
        """The patterns, for the machine."""
        return list(self.include), list(self.exclude)

    def has(self, path: str) -> bool:
        """Whether a file is meant."""
        include, exclude = self._read
        if include is not None and not include.match(path):
            return False
        return exclude is None or not exclude.match(path)


def _any(patterns: Sequence[str]) -> Patterns | None:
    if any(not each or "\0" in each for each in patterns):
        raise UsageError("an empty pattern fits nothing", code="bad_pattern")
    try:
        return Patterns(patterns) if patterns else None
    except ValueError as exc:
        raise UsageError(f"{list(patterns)!r:.200}: {exc}", code="bad_pattern") from exc
