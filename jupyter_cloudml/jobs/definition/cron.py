"""Cron expressions with a time zone, by the rules of Debian's cron. Pure; times are UTC epoch ms.

A daily time that a change of the clock leaves out comes as soon as the clock goes on; one that comes twice is taken once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from jupyter_cloudml.errors import UsageError

_LONGEST = 200
_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_ANY_DATE = ("*", "*", "*")
# Files beside the zones: another one on each computer, or one that counts leap seconds.
_NO_ZONES = ("/", ".", "localtime", "posix", "right/", "Factory")
_FIRST_SPAN_MS, _LAST_SPAN_MS, _GROWTH = 600_000, 100 * 365 * 86_400_000, 8
_START = datetime(2024, 1, 1, tzinfo=timezone.utc)  # a leap year


def zone(name: str) -> ZoneInfo:
    """Return a time zone. Raises UsageError (code "unknown_zone")."""
    try:
        if not name or name.startswith(_NO_ZONES) or len(name) > _LONGEST:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise UsageError(
            f"there is no time zone {name!r}",
            code="unknown_zone",
            hint="use a name such as Europe/Prague, America/New_York or UTC",
        ) from exc


def check(expression: str) -> None:
    """Raise UsageError for an expression that is none (code "bad_cron"), or whose time never comes (code "never")."""
    try:
        found = next(_times(expression, _START), None)
    except UsageError as exc:
        if exc.code == "bad_cron" and _is_well_formed(expression):
            found = None  # each field is right by itself: 31 February
        else:
            raise
    if found is None:
        raise UsageError(
            f"the cron expression {expression!r} has no next time: that date never comes",
            code="never",
            hint="change its day or its month",
        )


def forward(expression: str, tz: str, after_ms: int) -> Iterator[int]:
    """Yield the times after `after_ms`, soonest first. Raises UsageError."""
    last = after_ms
    for moment in _times(expression, _at(after_ms, zone(tz))):
        found = _ms(moment)
        if found > last:  # where the clock was set back, a local time is met again
            last = found
            yield found


def backward(expression: str, tz: str, until_ms: int) -> Iterator[int]:
    """Yield the times up to and including `until_ms`, latest first. Raises UsageError.

    By looking forward from ever earlier: cronsim's own way back misses times where a clock is set by half an hour, and does not end where a
    zone left out a day.
    """
    end, span = until_ms, _FIRST_SPAN_MS
    while span <= _LAST_SPAN_MS:
        found = list(takewhile(end.__ge__, forward(expression, tz, end - span)))
        yield from reversed(found)
        end -= span
        span *= 1 if found else _GROWTH


def describe(expression: str) -> str:
    """Say an expression in words. Raises UsageError."""
    words = _parsed(expression, _START).explain()
    return re.sub(r"(?<!1)([123])th\b", lambda m: m[1] + ("st", "nd", "rd")[int(m[1]) - 1], words)


def _times(expression: str, start: datetime) -> Iterator[datetime]:
    parsed = _parsed(expression, start)
    while True:
        try:
            yield next(parsed)
        except (
            StopIteration,
            OverflowError,
            ValueError,
        ):  # 50 years without one, or the end of all years
            return


def _parsed(expression: str, start: datetime) -> CronSim:
    try:
        if len(expression) > _LONGEST:
            raise CronSimError(f"it is longer than {_LONGEST} characters")
        return CronSim(expression, start)
    except (CronSimError, ValueError, AssertionError) as exc:
        raise UsageError(
            f"the cron expression {expression[:_LONGEST]!r} cannot be read: {_cause(exc)}",
            code="bad_cron",
            hint=f"it has five fields ({', '.join(_FIELDS)}), as in '30 2 * * 1-5'",
        ) from exc


def _cause(exc: Exception) -> str:
    text = str(exc)
    return f"its {text[4:].replace('-', ' ')} is wrong" if text.startswith("Bad ") else text.lower()


def _is_well_formed(expression: str) -> bool:
    """Tell whether each field can be read where nothing is asked of the others."""
    parts = expression.upper().split()
    if len(parts) not in (5, 6):
        return False
    clock, date = parts[:-3], parts[-3:]
    for place in range(3):
        alone = [*_ANY_DATE[:place], date[place], *_ANY_DATE[place + 1 :]]
        try:
            _parsed(" ".join([*clock, *alone]), _START)
        except UsageError:
            return False
    return True


def _at(ms: int, tz: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(ms // 1000, timezone.utc).astimezone(tz)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
