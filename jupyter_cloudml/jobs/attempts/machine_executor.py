"""Runs attempts on machines over their links: the executor of the scheduler. Each attempt is followed by a thread of its own (followed.py)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import AgentError, CloudMLError, LinkDown, NotFound
from ...link.link import Link
from ...store.jobs.files import FileRepository
from ..notebooks.records import START, Cursor
from ..scheduling.executor import Exit, NotStarted, Observation, Order, Phase, called_off
from .attempt import START_S, Attempt, Attempts
from .followed import Followed
from .outcome import Kept
from .readiness import Readiness
from .run_files import RunFiles
from .run_log import RunLog
from .work import Work

log = logging.getLogger(__name__)
LEAVE_S = 10.0  # a thread that follows nothing any more has ended by then
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
        shared: FileRepository | None = None,
        clean_up: Callable[[Order, Link], None] = lambda order, link: None,
        attend: Callable[[str], None] = lambda machine: None,
    ) -> None:
        """`ended` is called once all records of an attempt are kept, before anybody hears of its end. `keep_ready`: machines have a runner wait
        for the next run, until this is closed. `shared` is where other computers of the database find the records. `clean_up` deletes what a
        runner that was killed has left. `attend` is told of each machine that a run is on.
        """
        self._link_of, self._compose = link_of, compose
        self._files = RunFiles(folder, shared)
        self.ended, self._clean_up, self._attend = ended, clean_up, attend
        self._attempts = attempts or Attempts()
        self._ready = Readiness(self._attempts.keep_ready) if keep_ready else None
        self._followed: dict[str, Followed] = {}
        self._leaving: dict[str, Followed] = {}  # let go of; their threads may not have ended
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._closed = threading.Event()

    def log_of(self, run_id: str, attempt: int) -> RunLog:
        """Return the records of an attempt, for reading."""
        return self._files.log(run_id, attempt)

    # -- the seam ---------------------------------------------------------------------------------
    def start(self, order: Order) -> None:
        """Start an attempt's process. Raises NotStarted; LinkDown when nobody knows."""
        if order.name in self._followed:
            return
        try:
            link = self._link_of(order.machine)
            self._attempts.prepare(link)
            work = replace(self._compose(order, link), token=order.name)
        except Exception as exc:  # whatever it was, nothing has been started
            raise unable(order, exc) from exc
        if not order.wanted():  # making all that ready may have taken minutes
            raise called_off(order)
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
        known = self._known(order)
        if known is not None:
            return known.seen()
        if not self._has_left(order.name):
            return Observation(Phase.UNREACHABLE)
        try:
            link = self._link_of(order.machine)
        except NotFound as exc:  # somebody took the machine out: nobody can ever ask it again
            if order.wanted():
                log.warning("the attempt %s cannot be looked for: %s", order.name, exc)
                return Observation(Phase.UNREACHABLE)
            return Observation(Phase.ENDED, exit=Exit("cancelled", message=exc.message))
        except CloudMLError as exc:
            log.warning("the attempt %s cannot be looked for: %s", order.name, exc)
            return Observation(Phase.UNREACHABLE)
        try:
            attempt = self._attempts.find(link, order.name, self._cursor(order))
            if attempt is None:
                if link.call("refuse", timeout=START_S, token=order.name) is None:
                    kept = self.log_of(order.run_id, order.attempt).exists()
                    return Observation(Phase.GONE if kept else Phase.NEVER)
                attempt = self._attempts.find(link, order.name, self._cursor(order))
        except CloudMLError as exc:
            log.warning("the attempt %s cannot be looked for: %s", order.name, exc)
            return Observation(Phase.UNREACHABLE)
        if attempt is None:
            return Observation(Phase.UNREACHABLE)
        return self._go_on(order, link, attempt)

    def _go_on(self, order: Order, link: Link, attempt: Attempt) -> Observation:
        """Follow what was found; what still waits is given its work, and ended where there can be none or nobody wants it."""
        error = None
        wanted = order.wanted()
        if attempt.waits and wanted:
            try:
                attempt.give(self._compose(order, link))
            except Exception as exc:  # noqa: BLE001  # told in the log, and as the reason
                error = unable(order, exc)
        if error is not None and error.again:
            log.warning("the attempt %s cannot be given its work: %s", order.name, error)
            attempt.leave()
            return Observation(Phase.UNREACHABLE)
        followed = self._follow(order, attempt)
        if error is not None:
            followed.end_as_failed(error.message)
        if not wanted:
            followed.cancel()
        return followed.seen()

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
            if not followed.has_cleaned_up:
                self._clean_up(order, followed.attempt.link)
            return
        link = self._link_of(order.machine)
        attempt = self._attempts.find(link, order.name)
        if attempt is not None and not attempt.row["warm"]:
            attempt.forget()
        self._clean_up(order, link)

    def drop(self, order: Order) -> None:
        """Follow an attempt no more, at once: another server has it."""
        with self._lock:
            followed = self._followed.get(order.name)
            if followed is None or followed.order.fence > order.fence:
                return
            del self._followed[order.name]
            left = {name: each for name, each in self._leaving.items() if each.thread.is_alive()}
            self._leaving = left | {order.name: followed}
        followed.let_go()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called when something new is known."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def close(self) -> None:
        """Follow nothing any more; the runs go on, and are found again."""
        self._closed.set()
        if self._ready is not None:
            self._ready.close()
        with self._lock:
            all_of_them = [*self._followed.values(), *self._leaving.values()]
        for followed in all_of_them:
            followed.let_go()
        for followed in all_of_them:
            followed.thread.join(2)
            followed.attempt.leave()
            followed.log.close()

    # -- following --------------------------------------------------------------------------------
    def _cursor(self, order: Order) -> Cursor:
        kept = self.log_of(order.run_id, order.attempt)
        if not kept.exists():
            return START
        try:
            return kept.open().cursor
        finally:
            kept.close()

    def _known(self, order: Order) -> Followed | None:
        """Return who follows an attempt for its owner of now; one that does not any more is dropped."""
        with self._lock:
            known = self._followed.get(order.name)
        if known is not None and (known.order.fence < order.fence or known.is_dead):
            self.drop(order)
            return None
        return known

    def _has_left(self, name: str) -> bool:
        """Wait for who followed an attempt before: its records have one writer."""
        with self._lock:
            left = self._leaving.get(name)
        if left is None:
            return True
        left.thread.join(LEAVE_S)
        return not left.thread.is_alive()

    def _follow(self, order: Order, attempt: Attempt) -> Followed:
        with self._lock:
            known = self._followed.get(order.name)
            if known is None:
                known = Followed(self, order, attempt)
                self._followed[order.name] = known
                if self._closed.is_set():
                    known.let_go()
                known.thread.start()
        self._attend(order.machine)
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


def unable(order: Order, error: Exception) -> NotStarted:
    """Say why an attempt cannot be started, and whether that may pass by itself."""
    if isinstance(error, CloudMLError):
        again = isinstance(error, LinkDown) or error.status in (502, 503, 504)
        return NotStarted(error.message, hint=error.hint, code=error.code, again=again)
    log.error("the attempt %s met an error of the scheduler", order.name, exc_info=error)
    return NotStarted(
        f"it cannot be started: {type(error).__name__}", hint="the scheduler's log says more"
    )
