"""The scheduler: makes runs of due times, claims runs, has them started and watched, and goes on with those of servers that died.

One thread looks, decides and writes; what may take its time (starting, settling, ending a process) is done by a few others. Any number of
servers may work on one database. Docs: docs/jobs.md.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import ThreadPoolExecutor

from jupyter_cloudml.clock import Clock, SystemClock
from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.scheduling.due import DueTimes
from jupyter_cloudml.jobs.scheduling.executor import Executor, Observation, Phase
from jupyter_cloudml.jobs.scheduling.heartbeat import Heartbeat
from jupyter_cloudml.jobs.scheduling.held import Held, Stage
from jupyter_cloudml.jobs.scheduling.presence import Presence, own_boot_id
from jupyter_cloudml.jobs.scheduling.settings import Settings
from jupyter_cloudml.jobs.scheduling.verdict import TIMEOUT
from jupyter_cloudml.jobs.scheduling.verdicts import BATCH, Verdicts
from jupyter_cloudml.jobs.scheduling.workers import Workers
from jupyter_cloudml.store import Store, StoreError
from jupyter_cloudml.store.jobs.claims import Claiming
from jupyter_cloudml.store.jobs.records import RunRecord
from jupyter_cloudml.store.jobs.servers import ServerRecord

log = logging.getLogger(__name__)

_CLAIM_AGAIN_S = 0.02


class Engine:
    """One scheduler on one store. `start` and `stop` it, or call `tick` from one thread."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        clock: Clock | None = None,
        settings: Settings | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        pool: Pool | None = None,
        version: str = "",
    ) -> None:
        self.id = secrets.token_hex(8)
        self._store, self._executor, self._on_event = store, executor, on_event
        self._clock = clock or SystemClock()
        self._settings = settings or Settings()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._due = DueTimes(store, self._clock, self._tell, self._stopping.is_set)
        self._presence = Presence(self.id, self._settings.lease_s)
        host, computer = socket.gethostname(), store.computer or None
        row = ServerRecord(self.id, host, os.getpid(), own_boot_id(), 0, version, computer)
        self._heartbeat = Heartbeat(
            store.servers,
            row,
            self._clock,
            lease_s=self._settings.lease_s,
            every_s=self._settings.heartbeat_s,
            looked_at=lambda: self._due.looked_at,
        )
        self._workers = Workers(
            executor,
            pool or ThreadPoolExecutor(self._settings.workers, "jobs-worker"),
            may_start=self._heartbeat.has_lease,
            wake=self.wake,
        )
        self._verdicts = Verdicts(
            store.claims, executor, self._workers, self._clock, tell=self._tell, wake=self.wake
        )
        self._held: dict[str, Held] = {}
        self._minded_at: float | None = None
        self._soon = self._settings.poll_s
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self.trouble: StoreError | None = None  # why it cannot work now

    # --- life ---

    def start(self) -> None:
        """Begin to work, in threads. Raises StoreError."""
        self._heartbeat.start()
        self._unsubscribe = self._executor.subscribe(self.wake)
        self._thread = threading.Thread(target=self._run, name="jobs-engine", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Stop working; what runs goes on, and other servers look after it at once."""
        self._unsubscribe()
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        self._workers.close()
        self._heartbeat.stop()
        try:
            self._store.servers.goodbye(self.id)
        except StoreError as exc:
            log.warning(
                "others take this server's runs over only when its lease has passed: %s", exc
            )

    def wake(self) -> None:
        """Have the scheduler look at once: something was submitted, or has ended."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            wait = self._settings.poll_s
            try:
                wait = self.tick()
                if self.trouble is not None:
                    log.info("the scheduler goes on")
                self.trouble = None
            except (
                StoreError
            ) as exc:  # runs go on; what has happened is written when it can be again
                if self.trouble is None:
                    log.warning("the scheduler goes on when its database does: %s", exc)
                self.trouble = exc
            except Exception:  # the edge of the thread: without it nothing would run any more
                log.exception("the scheduler met an error of its own and goes on")
            self._wake.wait(wait)

    # --- one look ---

    def tick(self) -> float:
        """Do all that there is to do now; return after how many seconds to look again, unless woken. Raises StoreError."""
        self._soon = self._settings.poll_s
        self._due.mind_the_clock()
        self._mind_the_servers()
        now = self._clock.now_ms()
        look = self._store.claims.look(self.id, now)
        if look.due:
            self._due.fire(now)
        if look.ripe:
            self._tell(self._store.claims.ripen(now))
        for run_id, reason in look.to_cancel.items():
            if run_id in self._held:
                self._held[run_id].asked_for_end(reason)
        self._take_answers()
        if look.queued or look.due or look.ripe:
            self._claim()
        self._work()
        self._watch()
        self._verdicts.write(self._held)
        return self._until_next(look.next_due_ms, look.next_ripe_ms, again=look.due or look.ripe)

    def _until_next(self, due_ms: int | None, ripe_ms: int | None, *, again: bool) -> float:
        if again:  # what was due next is not due next any more
            return 0.0
        waits = [self._soon]
        now = self._clock.now_ms()
        waits += [(time - now) / 1000 for time in (due_ms, ripe_ms) if time is not None]
        return max(0.0, min(waits))

    def _mind_the_servers(self) -> None:
        """Learn what this server still owns, and take over from those that do not live."""
        at = self._clock.monotonic()
        if self._minded_at is not None and at - self._minded_at < self._settings.heartbeat_s:
            return
        self._heartbeat.beat_unless_kept()
        owned = self._store.servers.renew(self.id, self._lease_until())
        self._minded_at = at
        for run_id, held in list(self._held.items()):
            if owned.get(run_id) != held.run.fence:
                del self._held[run_id]  # another server has it: it goes on with the same process
                self._executor.drop(held.order)
        self._take_back([run_id for run_id in owned if run_id not in self._held])
        servers, owners = self._store.servers.list(), self._store.servers.owners()
        dead = self._presence.dead(servers, owners, at)
        if dead & owners:
            self._take_over(dead & owners)
            self._tell(self._store.claims.lose(dead & owners, self._clock.now_ms()))
        self._store.watches.free(dead, self._clock.now_ms())
        for server_id in dead - owners:
            self._store.servers.forget(server_id)

    def _take_back(self, unknown: Sequence[str]) -> None:
        """Go on with runs of this server that it does not know: they were claimed, and the answer was lost."""
        for start in range(0, len(unknown), BATCH):
            claims, told = self._store.claims.take_back(
                self.id,
                unknown[start : start + BATCH],
                self._clock.now_ms(),
                self._lease_until(),
            )
            for claim in claims:
                self._held[claim.run.id] = Held(claim, claim.run, Stage.UNSURE)
            self._tell(told)

    def _take_over(self, dead: set[str]) -> None:
        while room := min(self._room(), BATCH):
            claims, told = self._store.claims.take_over(
                self.id, dead, self._clock.now_ms(), self._lease_until(), room
            )
            crash.point("taken_over")
            for claim in claims:
                self._held[claim.run.id] = Held(claim, claim.run, Stage.UNSURE)
            self._tell(told)
            if len(claims) < room:
                return

    def _lease_until(self) -> int:
        return self._clock.now_ms() + int(self._settings.lease_s * 1000)

    def _room(self) -> int:
        return max(0, self._settings.capacity - len(self._held))

    # --- claiming runs ---

    def _claim(self) -> None:
        while (
            (room := min(self._room(), BATCH))
            and self._heartbeat.has_lease()
            and not self._stopping.is_set()
        ):
            try:
                claims, told = self._store.claims.claim(
                    self.id, self._clock.now_ms(), self._lease_until(), room, _name
                )
            except Claiming:
                self._soon = _CLAIM_AGAIN_S
                return
            if claims:
                crash.point("claimed")
            for claim in claims:
                self._held[claim.run.id] = Held(claim, claim.run, Stage.NEW)
            self._tell(told)
            self._work()
            if len(claims) < room:
                return

    # --- what takes its time ---

    def _work(self) -> None:
        """Give the workers what is to be started, settled and ended."""
        at = self._clock.monotonic()
        for held in self._held.values():
            if held.stage is Stage.NEW:
                held.stage = Stage.STARTING
                self._workers.start(held.order)
            elif held.stage is Stage.UNSURE and at >= held.not_before:
                held.stage = Stage.SETTLING
                self._workers.settle(held.order)
            elif held.stage is Stage.WATCHED and held.is_to_be_asked(
                at, self._settings.end_again_s
            ):
                held.asked_to_end = at
                self._workers.end(held.order)

    def _take_answers(self) -> None:
        for answer in self._workers.answers():
            held = self._held.get(answer.order.run_id)
            if held is None or held.run.fence != answer.order.fence:
                self._executor.drop(answer.order)
                continue
            held.stage = Stage.UNSURE if answer.unsure else Stage.WATCHED
            if answer.error is not None:
                held.failed_to_start(answer.error)
            elif answer.seen is not None:
                self._take_look(held, answer.seen)
                if answer.seen.phase is Phase.UNREACHABLE:
                    held.stage = Stage.UNSURE
                    held.not_before = self._clock.monotonic() + self._settings.settle_again_s

    # --- watching ---

    def _watch(self) -> None:
        watched = [
            held
            for held in self._held.values()
            if held.stage is Stage.WATCHED and held.verdict is None
        ]
        if not watched:
            return
        seen = self._executor.observe([held.order for held in watched])
        for held in watched:
            look = seen.get(held.name, Observation(Phase.UNREACHABLE))
            if look.phase is Phase.NEVER:  # said by a look, which is no proof
                held.stage = Stage.UNSURE
                continue
            self._take_look(held, look)
            if held.verdict is None and held.is_late(look):
                changed = self._store.claims.mark(held.run, TIMEOUT)
                held.run = changed or held.run

    def _take_look(self, held: Held, seen: Observation) -> None:
        held.look(
            seen,
            self._clock.monotonic(),
            lost_s=self._settings.lost_s,
            fence_s=self._executor.fence_s,
        )

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            try:
                self._on_event(event)
            except (
                Exception
            ):  # whoever listens must not stop the scheduler; the event is in the store
                log.exception("an event could not be told")


def _name(run: RunRecord, n: int) -> dict[str, JSON]:
    return {"name": f"run-{run.id}-{n}"}
