"""What was decided about runs is written: many at once, and where the database refuses one of them, the others all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.scheduling.executor import Executor
from jupyter_cloudml.jobs.scheduling.held import Held
from jupyter_cloudml.jobs.scheduling.workers import Workers
from jupyter_cloudml.store import StoreError
from jupyter_cloudml.store.jobs.claims import ClaimRepository
from jupyter_cloudml.store.jobs.records import FINAL

log = logging.getLogger(__name__)

BATCH = 50  # so many rows are changed in one transaction: nobody waits long for its locks


class Verdicts:
    """Writes the verdicts about the runs that a server holds. Used by one thread."""

    def __init__(
        self,
        claims: ClaimRepository,
        executor: Executor,
        workers: Workers,
        clock: Clock,
        *,
        tell: Callable[[Iterable[Event]], None],
        wake: Callable[[], None],
    ) -> None:
        self._claims, self._executor, self._workers = claims, executor, workers
        self._clock, self._tell, self._wake = clock, tell, wake

    def write(self, held: dict[str, Held]) -> None:
        """Write what was decided, all at once; what is over, or another server's by now, is held no more. Raises StoreError."""
        decided = [each for each in held.values() if each.verdict is not None]
        for start in range(0, len(decided), BATCH):
            batch = decided[start : start + BATCH]
            try:
                self._write(held, batch)
            except (StoreError, ValueError) as exc:
                if _is_down(exc):
                    raise
                self._write_each(held, batch)

    def _write_each(self, held: dict[str, Held], decided: list[Held]) -> None:
        """Write one after another, where the database refuses one of them: it holds up no other."""
        for each in decided:
            try:
                self._write(held, [each])
            except (StoreError, ValueError) as exc:
                if _is_down(exc):
                    raise
                log.error("what became of the run %s cannot be written: %s", each.run.id, exc)

    def _write(self, held: dict[str, Held], decided: list[Held]) -> None:
        now = self._clock.now_ms()
        if any(each.verdict and each.verdict.state.final for each in decided):
            crash.point("ended")
        all_moved = self._claims.move([each.move(now) for each in decided], now)
        for each, moved in zip(decided, all_moved, strict=True):
            each.verdict = None
            if moved.run is None:
                del held[each.run.id]
                self._executor.drop(each.order)
                continue
            each.run = moved.run
            self._tell(moved.events)
            if moved.run.owner is None:
                del held[moved.run.id]
                if moved.run.state in FINAL:
                    crash.point("finished")
                self._workers.forget(each.order)
                self._wake()  # there is room for another one
            elif moved.run.state == "running":
                crash.point("running")


def _is_down(exc: Exception) -> bool:
    """Tell whether nothing can be written now, rather than this one thing never."""
    return isinstance(exc, StoreError) and exc.code != "store_refused"
