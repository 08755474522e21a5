"""Runs attempts on machines over their links: the executor of the scheduler. Each attempt is followed by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import AgentError, CloudMLError, LinkDown, NotFound
from ...link.link import Link
from ..notebooks.records import START, Cursor, Record
from ..scheduling.executor import Exit, NotStarted, Observation, Order, Phase
from .attempt import START_S, Attempt, Attempts, Kept, Outcome, Work
from .readiness import Readiness
from .run_log import RunLog

log = logging.getLogger(__name__)
AGAIN_S = 5.0  # seconds between two tries to follow, after a full disk or a lost link
CAUSES = {
    "out_of_memory": "oom",
    "cell_timeout": "timeout",
    "run_timeout": "timeout",
    "runner_died": "lost",
}
_NOTHING_RUNS = ("cannot_start", "no_space", "refused", "usage", "os_error")

Compose = Callable[[Order, Link], Work]
"""Makes what is run of an order: notebook, parameters, kernel, folder, secrets. Raises CloudMLError for what cannot be run."""


class MachineExecutor:
    """`link_of` gives the link of a machine, or raises why there is none. Records are kept below `folder`, by run and attempt."""

    fence_s: float | None = None  # a run goes on however long nobody hears of it

    def __init__(
        self,
        link_of: Callable[[str], Link],
        compose: Compose,
        folder: Path,
        attempts: Attempts | None = None,
        ended: Callable[[Order], None] = lambda order: None,
        keep_ready: bool = False,
    ) -> None:
        """`ended` is called once all records of an attempt are kept, before anybody hears of its end. `keep_ready`: machines have a runner wait
        for the next run, until this is closed.
        """
        self._link_of, self._compose, self._folder = link_of, compose, folder
        self.ended = ended
        self._attempts = attempts or Attempts()
        self._ready = Readiness(self._attempts.keep_ready) if keep_ready else None
        self._followed: dict[str, _Followed] = {}
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._closed = threading.Event()

    def log_of(self, run_id: str, attempt: int) -> RunLog:
        """Return the records of an attempt, for reading."""
        return RunLog(self._folder / run_id, attempt)

    # -- the seam ---------------------------------------------------------------------------------
    def start(self, order: Order) -> None:
        """Start an attempt's process. Raises NotStarted; LinkDown when nobody knows."""
        if order.name in self._followed:
            return
        try:
            link = self._link_of(order.machine)
            self._attempts.prepare(link)
            work = replace(self._compose(order, link), token=order.name)
        except CloudMLError as exc:
            again = isinstance(exc, LinkDown) or exc.status in (502, 503, 504)
            raise NotStarted(exc.message, hint=exc.hint, code=exc.code, again=again) from exc
        try:
            attempt = self._attempts.start(link, work)
        except AgentError as exc:
            if exc.code not in _NOTHING_RUNS:
                raise
            again = exc.code == "no_space"
            raise NotStarted(exc.message, hint=exc.hint, code=exc.code, again=again) from exc
        if self._ready is not None:
            self._ready.used(link, work.kernel)
        self._follow(order, attempt)

    def observe(self, orders: Sequence[Order]) -> Mapping[str, Observation]:
        """Say what is known now, by name."""
        unknown = Observation(Phase.UNREACHABLE)
        found = {order.name: self._followed.get(order.name) for order in orders}
        return {name: each.seen() if each else unknown for name, each in found.items()}

    def settle(self, order: Order) -> Observation:
        """Find out what became of a name, and follow it where it is there."""
        known = self._followed.get(order.name)
        if known is not None:
            return known.seen()
        try:
            link = self._link_of(order.machine)
            attempt = self._attempts.find(link, order.name, self._cursor(order))
            if attempt is None:
                if link.call("refuse", timeout=START_S, token=order.name) is None:
                    kept = self.log_of(order.run_id, order.attempt).path.exists()
                    return Observation(Phase.GONE if kept else Phase.NEVER)
                attempt = self._attempts.find(link, order.name, self._cursor(order))
        except CloudMLError as exc:
            log.warning("the attempt %s cannot be looked for: %s", order.name, exc)
            return Observation(Phase.UNREACHABLE)
        if attempt is None:
            return Observation(Phase.UNREACHABLE)
        if attempt.waits:
            attempt.give(self._compose(order, link))
        return self._follow(order, attempt).seen()

    def cancel(self, order: Order) -> None:
        """Ask the process to end, then make it."""
        followed = self._followed.get(order.name)
        if followed is None:
            self.settle(order)
            followed = self._followed.get(order.name)
        if followed is not None:
            followed.cancel()

    def forget(self, order: Order) -> None:
        """Drop what the machine keeps of an attempt whose end is in the store."""
        with self._lock:
            followed = self._followed.pop(order.name, None)
        if followed is not None:
            if not followed.has_left_its_kernel:
                followed.attempt.forget()
            return
        link = self._link_of(order.machine)
        attempt = self._attempts.find(link, order.name)
        if attempt is not None and not attempt.row["warm"]:
            attempt.forget()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called when something new is known."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def close(self) -> None:
        """Follow nothing any more; the runs go on, and are found again."""
        self._closed.set()
        if self._ready is not None:
            self._ready.close()
        for followed in list(self._followed.values()):
            followed.thread.join(2)
            followed.attempt.leave()
            followed.log.close()

    # -- following --------------------------------------------------------------------------------
    def _cursor(self, order: Order) -> Cursor:
        kept = self.log_of(order.run_id, order.attempt)
        if not kept.path.exists():
            return START
        try:
            return kept.open().cursor
        finally:
            kept.close()

    def _follow(self, order: Order, attempt: Attempt) -> _Followed:
        with self._lock:
            known = self._followed.get(order.name)
            if known is None:
                known = _Followed(self, order, attempt)
                self._followed[order.name] = known
                known.thread.start()
        return known

    def changed(self) -> None:
        """Tell who wants to know."""
        for tell in list(self._listeners):
            tell()

    def again(self, order: Order) -> Attempt | None:
        """Look for an attempt once more. Raises CloudMLError."""
        link = self._link_of(order.machine)
        return self._attempts.find(link, order.name, self._cursor(order))

    def offer(self, attempt: Attempt, order: Order, kept: Kept) -> None:
        """Let another run have the kernel that an attempt has left. Raises LinkDown."""
        self._attempts.offer(attempt, order.name, kept.until_ms)

    @property
    def closed(self) -> threading.Event:
        """Set once nothing is followed any more."""
        return self._closed


class _Followed:
    """One attempt that is followed (a Sink)."""

    def __init__(self, executor: MachineExecutor, order: Order, attempt: Attempt) -> None:
        self.executor, self.order, self.attempt = executor, order, attempt
        self.log = executor.log_of(order.run_id, order.attempt)
        self.thread = threading.Thread(target=self._run, name=f"run-{order.name}", daemon=True)
        self._since = time.monotonic()
        self._began, self._wanted = attempt.has_begun, False
        self._up = True
        self._outcome: Outcome | None = None
        self._gone = False

    def seen(self) -> Observation:
        """Return what is known now."""
        age = time.monotonic() - self._since
        if self._outcome is not None:
            return Observation(Phase.ENDED, age, exit_of(self._outcome))
        if self._gone:
            return Observation(Phase.GONE, age)
        if not self._up:
            return Observation(Phase.UNREACHABLE, age)
        return Observation(Phase.RUNNING if self._began else Phase.STARTING, age)

    def cancel(self) -> None:
        """Have it end, also after it was looked for again."""
        self._wanted = True
        self.attempt.cancel()

    def take(self, batch: Sequence[Record], cursor: Cursor) -> None:
        """Keep what it says."""
        self.log.append(batch, cursor)
        if not self._began and any(record["record"] == "begun" for record in batch):
            self._began = True
            self.executor.changed()

    def link(self, up: bool) -> None:
        """Note whether the machine answers."""
        self._up = up
        self.executor.changed()

    def _run(self) -> None:
        while not self.executor.closed.is_set():
            try:
                self.log.open()
                before = self.log.read()
                outcome = self.attempt.follow(self, self.executor.closed, before)
                if outcome is not None:
                    self._keep()
                    self._offer(outcome)
                self._outcome = outcome
                break
            except NotFound:
                self._gone = True
                break
            except (CloudMLError, OSError) as exc:
                log.warning("the attempt %s is followed again: %s", self.order.name, exc)
                self._up = False
            finally:
                self.log.close()
                self.executor.changed()
            if not self._find_again():
                self.executor.changed()
                return

    @property
    def has_left_its_kernel(self) -> bool:
        """Whether its process goes on for the kernel's sake."""
        return self._outcome is not None and self._outcome.kept is not None

    def _offer(self, outcome: Outcome) -> None:
        """Let another run have the kernel that was left. Raises LinkDown."""
        if outcome.kept is not None:
            self.executor.offer(self.attempt, self.order, outcome.kept)
            self.attempt.leave()

    def _keep(self) -> None:
        """Have made what is made of the records; they are all there, so it can be made later as well."""
        try:
            self.executor.ended(self.order)
        except (CloudMLError, OSError) as exc:
            log.warning(
                "the results of %s are made when they are asked for: %s", self.order.name, exc
            )

    def _find_again(self) -> bool:
        """Wait until the attempt can be followed from what is kept of it; False when there is none any more."""
        self.attempt.leave()
        while not self.executor.closed.wait(AGAIN_S):
            try:
                found = self.executor.again(self.order)
            except (CloudMLError, OSError):
                continue
            self._up = True
            if found is None:
                self._gone = True
                return False
            self.attempt = found
            if self._wanted:
                found.cancel()
            return True
        return False


def exit_of(outcome: Outcome) -> Exit:
    """Return an outcome in the scheduler's words."""
    name = None if outcome.error is None else outcome.error.get("ename")
    cause = CAUSES.get(outcome.reason, "error")
    return Exit(outcome.state, cause, name, outcome.message)
