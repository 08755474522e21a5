"""When triggers are due: pure functions of a trigger and a time. Times are UTC epoch ms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice, takewhile

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition import cron
from jupyter_cloudml.jobs.definition.triggers import WATCHED, Trigger
from jupyter_cloudml.store.jobs.firing import Fire, Firing

LATE_MS = 60_000  # a due time is on time until then
COUNTED = 1000  # so many missed times are counted one by one
BACKFILL = 10_000  # the most runs of one backfill


def times(trigger: Trigger, after_ms: int) -> Iterator[int]:
    """Yield the due times later than `after_ms`, soonest first; none where no time makes the trigger fire."""
    if trigger.kind in WATCHED:
        return
    if trigger.cron is not None:
        yield from cron.forward(trigger.cron, trigger.tz, after_ms)
    elif (at_ms := trigger.at_ms) is not None:
        if at_ms > after_ms:
            yield at_ms
    elif (every := trigger.every_ms) is not None:
        start = trigger.start_ms
        due = start + max(0, (after_ms - start) // every + 1) * every
        while True:
            yield due
            due += every


def _times_back(trigger: Trigger, until_ms: int) -> Iterator[int]:
    """Yield the due times up to and including `until_ms`, latest first."""
    if trigger.cron is not None:
        yield from cron.backward(trigger.cron, trigger.tz, until_ms)
    elif (at_ms := trigger.at_ms) is not None:
        if at_ms <= until_ms:
            yield at_ms
    elif (every := trigger.every_ms) is not None:
        start = trigger.start_ms
        yield from range(start + (until_ms - start) // every * every, start - 1, -every)


def next_after(trigger: Trigger, after_ms: int) -> int | None:
    """Return the first due time later than `after_ms`; None: never."""
    return next(times(trigger, after_ms), None)


def upcoming(trigger: Trigger, after_ms: int, count: int = 5) -> list[int]:
    """Return the next due times."""
    return list(islice(times(trigger, after_ms), count))


def between(trigger: Trigger, from_ms: int, until_ms: int) -> list[int]:
    """Return all due times of a range, both ends included. Raises UsageError when there are more than 10,000 or none."""
    inside = takewhile(lambda due: due <= until_ms, times(trigger, from_ms - 1))
    found = list(islice(inside, BACKFILL + 1))
    if not found:
        raise UsageError(
            f"the trigger was not due between {_text(from_ms)} and {_text(until_ms)}",
            code="no_due_time",
            hint="choose another range",
        )
    if len(found) > BACKFILL:
        raise UsageError(
            f"that range has more than {BACKFILL:,} due times",
            code="too_many",
            hint="fill it in several parts",
        )
    return found


def firing(
    trigger: Trigger, due_ms: int, now_ms: int, *, missed: str, cap: int, paused: bool = False
) -> Firing:
    """Return what a trigger that is due since `due_ms` makes now, and when it is due next.

    Of several due times that have passed, `missed` says which run: the last (one), the last if it is not over a minute old (skip), or the
    newest `cap` (all). The others are recorded as skipped: one by itself, several as one row.
    """
    passed, more = _passed(trigger, due_ms, now_ms)
    newest = passed
    if more:
        newest = list(islice(_times_back(trigger, now_ms), cap + 1))[::-1] or passed
    run = [] if paused else _chosen(newest, now_ms, missed, cap)
    fires = [Fire(due) for due in run]
    if not run or run[0] != passed[0]:  # what runs is the end of all that has passed
        before = [due for due in (*passed, *(newest if more else ())) if not run or due < run[0]]
        why = "the job is paused" if paused else "missed: no server was there"
        if len(before) > 1:
            often = "" if more else f"{len(before):,} "
            why += f" ({often}due times from {_text(before[0])} to {_text(max(before))})"
        fires.insert(0, Fire(before[0], why))
    return Firing(fires, next_after(trigger, max(now_ms, newest[-1])))


def _passed(trigger: Trigger, due_ms: int, now_ms: int) -> tuple[list[int], bool]:
    """Return the due times from `due_ms` until now, soonest first, and whether there are more than were counted."""
    later = takewhile(lambda due: due <= now_ms, times(trigger, due_ms))
    found = [due_ms, *islice(later, COUNTED)]
    return (found[:COUNTED], True) if len(found) > COUNTED else (found, False)


def _chosen(passed: list[int], now_ms: int, missed: str, cap: int) -> list[int]:
    if missed == "all":
        return passed[-cap:]
    if missed == "skip" and passed[-1] < now_ms - LATE_MS:
        return []
    return passed[-1:]


def describe(trigger: Trigger) -> str:
    """Say in words when a trigger fires."""
    if trigger.kind in WATCHED:
        return f"{_watched(trigger)}; looks {_interval(trigger.wait_ms)}"
    if trigger.cron is not None:
        return f"{cron.describe(trigger.cron)} ({trigger.tz})"
    if trigger.at is not None:
        return f"Once, at {trigger.at.replace('T', ' ')} ({trigger.tz})"
    if trigger.every is not None:
        return _interval(trigger.every_ms or 0).capitalize()
    if trigger.webhook:
        return "When its webhook is called"
    ends = {"success": "successful ", "failure": "failed ", "always": ""}[trigger.on]
    return f"After each {ends}run of {trigger.after}"


def _watched(trigger: Trigger) -> str:
    if trigger.git is not None:
        ref = "" if trigger.ref == "HEAD" else f" on {trigger.ref}"
        return f"At each new commit{ref} of {trigger.git}"
    return f"When objects under {trigger.s3} are new or have changed"


def _interval(ms: int) -> str:
    """Return an interval in words, in its largest whole unit."""
    units = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))
    size, word = next((size, word) for size, word in units if ms % size == 0)
    number = ms // size
    return f"every {word}" if number == 1 else f"every {number:,} {word}s"


def _text(ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(ms / 1000, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
