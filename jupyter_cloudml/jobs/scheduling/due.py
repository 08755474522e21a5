"""Due times become runs: what is due now is fired, and a clock that was set back makes no trigger wait for it, also where nobody saw it go back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.definition import definitions
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.firing import Firing
from jupyter_cloudml.store.jobs.records import JobRecord, TriggerRecord

log = logging.getLogger(__name__)

_BATCH = 50  # so many triggers in one transaction: nobody waits long for its locks
_JUMP_MS = 5_000  # the clock was set: it went on so much more, or less, than time did
_HOUR_MS = 3_600_000
_UNUSABLE = (CloudMLError, ArithmeticError, ValueError, OSError)  # such as an unknown time zone


class DueTimes:
    """Fires the triggers of one store. Used by one thread."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tell: Callable[[Iterable[Event]], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._store, self._clock, self._tell, self._stopping = store, clock, tell, stopping
        self._clocks = (clock.now_ms(), clock.monotonic())
        self._doubted = True  # nobody knows what the clock was when the due times were written

    @property
    def looked_at(self) -> float:
        """When the clock was last looked at, which every look of the scheduler begins with (monotonic)."""
        return self._clocks[1]

    def mind_the_clock(self) -> None:
        """Where the clock was set back, or may have been before this began, have triggers wait no longer than they have to. Raises StoreError."""
        now, at = self._clock.now_ms(), self._clock.monotonic()
        jumped = (now - self._clocks[0]) - (at - self._clocks[1]) * 1000
        self._clocks = (now, at)
        if jumped < -_JUMP_MS:
            log.warning("the clock was set back by %.0f s", -jumped / 1000)
            self._doubted = True
        if self._doubted:
            changed = self._store.firing.recompute(now, lambda trigger: _next_due(trigger, now))
            self._doubted = (
                False  # not before: what could not be written is written at the next look
            )
            if changed:
                log.warning("%d triggers waited for a time that is far off", changed)

    def fire(self, now: int) -> None:
        """Make the runs of all that is due. Raises StoreError."""
        while not self._stopping():
            count, told = self._store.firing.fire(now, _decide, _BATCH)
            crash.point("fired")
            self._tell(told)
            if count < _BATCH:
                return


def _next_due(trigger: TriggerRecord, now_ms: int) -> int | None:
    """Return when a trigger is due next; one that cannot be read any more says so within an hour."""
    try:
        return definitions.next_due(trigger, now_ms)
    except _UNUSABLE:
        return now_ms + _HOUR_MS


def _decide(trigger: TriggerRecord, job: JobRecord, now_ms: int) -> Firing:
    """Decide about a due trigger, within the transaction; one that cannot be read any more is recorded and rests."""
    crash.point("firing")
    try:
        return definitions.decide(trigger, job, now_ms)
    except _UNUSABLE as exc:
        log.error("the trigger %s of the job %s cannot be used: %s", trigger.id, job.name, exc)
        return definitions.unusable(trigger, now_ms, exc)
