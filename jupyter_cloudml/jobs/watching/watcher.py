"""Looks where triggers have to look: at Git refs and S3 prefixes. In threads of its own, never in the scheduler's, each look within a bound."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from ...clock import Clock, SystemClock
from ...errors import JSON, CloudMLError, UsageError
from ...events import Event
from ...store import Store, StoreError
from ...store.jobs.records import JobRecord, RunRecord
from ...store.jobs.watches import Sight, Taken
from ..definition.definitions import trigger_of
from ..definition.triggers import Trigger
from ..scheduling import crash
from .git_look import GitLook
from .s3_look import S3Look

log = logging.getLogger(__name__)

POLL_S = 1.0  # between two questions whether a look is due
TAKEN_MS = 330_000  # longer than the longest look
AT_ONCE = 6
HOUR_MS = 3_600_000


class Look(Protocol):
    """Looks at what one kind of trigger watches; `mark` is what was there the last time. Raises CloudMLError."""

    def __call__(
        self, trigger_id: str, trigger: Trigger, mark: str | None, cancelled: threading.Event
    ) -> Sight: ...


class Watcher:
    """Keeps looking once started; `look_now` looks when somebody asks. Any number of servers may have one."""

    def __init__(
        self,
        store: Store,
        home: Path,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        wake: Callable[[], None] = lambda: None,
        looks: Mapping[str, Look] | None = None,
        pool: Pool | None = None,
        server: str | None = None,
    ) -> None:
        """`wake` is called when runs were made. `server` is the scheduler's id: what it looks at is another's as soon as it is known to be dead."""
        self._store, self._clock = store, clock or SystemClock()
        self._on_event, self._wake, self._server = on_event, wake, server
        self._s3 = S3Look(home)
        self._looks: Mapping[str, Look] = looks or {"git": GitLook(home), "s3": self._s3}
        self._pool = pool or ThreadPoolExecutor(AT_ONCE, "jobs-look")
        self._room = threading.Semaphore(AT_ONCE)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep looking, in threads."""
        self._thread = threading.Thread(target=self._run, name="jobs-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; looks that go on are called off, and are another server's at once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._pool.shutdown(wait=True)

    def tick(self) -> None:
        """Begin the looks that are due, as many as there is room for. Raises StoreError."""
        free = 0
        while free < AT_ONCE and self._room.acquire(blocking=False):
            free += 1
        try:
            now = self._clock.now_ms()
            taken = (
                self._store.watches.take(now, now + TAKEN_MS, free, self._server) if free else []
            )
        except Exception:
            self._room.release(free)
            raise
        if free > len(taken):
            self._room.release(free - len(taken))
        if taken:
            crash.point("looking")
        for each in taken:
            self._pool.submit(self._attend, each)

    def look_now(self, job: JobRecord) -> list[RunRecord]:
        """Look for a job at once, in this thread, and return the runs that it makes; where there is nothing new, one that is skipped and says so.

        Raises UsageError (`nothing_to_watch`) for a job without such a trigger, and what the look raises.
        """
        now = self._clock.now_ms()
        all_taken = self._store.watches.take_of(job.id, now, now + TAKEN_MS)
        if not all_taken:
            raise UsageError(
                f"the job {job.name!r} has no trigger that looks at a Git ref or at S3",
                code="nothing_to_watch",
                hint="give it one, or run it without asking for news",
            )
        found: list[RunRecord] = []
        failure: CloudMLError | None = None
        for taken in all_taken:
            made = self._look(taken)
            if isinstance(made, CloudMLError):
                failure = made
            elif made is not None:
                found.append(made)
        if failure is not None:
            raise failure
        if found:
            return found
        run, told = self._store.watches.skip(job, secrets.token_hex(8), "no new data", now)
        self._tell(told)
        return [run]

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.tick()
            except StoreError as exc:
                log.warning("triggers look again when the database can be used: %s", exc)
            except Exception:  # the edge of the thread: without it no trigger would look any more
                log.exception("the watcher met an error of its own and goes on")

    def _attend(self, taken: Taken) -> None:
        try:
            self._look(taken)
        except StoreError as exc:  # the watch is taken until its time is over: somebody looks again
            log.warning("what %s has seen could not be kept: %s", taken.trigger.id, exc)
        except Exception:  # the edge of the thread
            log.exception("a look of %s met an error of its own", taken.trigger.id)
        finally:
            self._room.release()

    def _look(self, taken: Taken) -> RunRecord | CloudMLError | None:
        """Look, and keep what comes of it; returns the run that it has made, or why it failed. Raises StoreError."""
        watch, kind = taken.watch, taken.trigger.kind
        every = HOUR_MS
        try:
            trigger = trigger_of(taken.trigger)
            every = trigger.wait_ms
            sight = self._looks[kind](taken.trigger.id, trigger, watch.mark, self._stopping)
        except StoreError:
            raise
        except CloudMLError as exc:
            now = self._clock.now_ms()
            if self._stopping.is_set():
                self._store.watches.give_back(taken, now)
                return exc
            log.warning("the trigger %s of the job %s: %s", kind, taken.job.name, exc)
            wait = wait_ms(every, watch.failures + 1)
            self._tell(self._store.watches.failed(taken, error_of(exc), now, wait))
            return exc
        crash.point("looked")
        kept = self._store.watches.saw(taken, sight, self._clock.now_ms(), every)
        if kept is None:
            return None
        if kind == "s3":
            self._s3.settled(taken.trigger.id, sight.mark)
        self._tell(kept.events)
        if kept.run is not None:
            self._wake()
        return kept.run

    def _tell(self, told: Iterable[Event]) -> None:
        for event in told:
            self._on_event(event)


def wait_ms(every_ms: int, failures: int) -> int:
    """Return how long after a look the next one is due: longer each time that it fails, up to an hour. Pure."""
    longest = max(every_ms, HOUR_MS)
    return int(min(every_ms * 2 ** min(failures, 30), longest))


def error_of(exc: CloudMLError) -> dict[str, JSON]:
    """Return an error as it is kept of a trigger."""
    return {"code": exc.code, "message": exc.message[:2000], "hint": exc.hint[:500]}
