"""Due times become runs: what is due now is fired, and a clock that was set back makes no trigger wait for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.definition import definitions
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs_firing import Firing
from jupyter_cloudml.store.jobs_records import JobRecord, TriggerRecord

log = logging.getLogger(__name__)

_BATCH = 50  # so many triggers in one transaction: nobody waits long for its locks
_JUMP_MS = 5_000  # the clock was set: it went on so much more, or less, than time did


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

    @property
    def looked_at(self) -> float:
        """When the clock was last looked at, which every look of the scheduler begins with (monotonic)."""
        return self._clocks[1]

    def mind_the_clock(self) -> None:
        """Where the clock was set back, have triggers wait for it no longer than they have to."""
        now, at = self._clock.now_ms(), self._clock.monotonic()
        jumped = (now - self._clocks[0]) - (at - self._clocks[1]) * 1000
        if jumped < -_JUMP_MS:
            changed = self._store.firing.recompute(
                now, lambda trigger: definitions.next_due(trigger, now)
            )
            log.warning(
                "the clock was set back by %.0f s; %d triggers are due sooner",
                -jumped / 1000,
                changed,
            )
        self._clocks = (now, at)

    def fire(self, now: int) -> None:
        """Make the runs of all that is due. Raises StoreError."""
        while not self._stopping():
            count, told = self._store.firing.fire(now, _decide, _BATCH)
            crash.point("fired")
            self._tell(told)
            if count < _BATCH:
                return


def _decide(trigger: TriggerRecord, job: JobRecord, now_ms: int) -> Firing:
    """Decide about a due trigger, within the transaction; one that cannot be read any more is recorded and rests."""
    crash.point("firing")
    try:
        return definitions.decide(trigger, job, now_ms)
    except (
        CloudMLError,
        ArithmeticError,
        ValueError,
        OSError,
    ) as exc:  # such as a time zone that is not known here
        log.error("the trigger %s of the job %s cannot be used: %s", trigger.id, job.name, exc)
        return definitions.unusable(trigger, now_ms, exc)
