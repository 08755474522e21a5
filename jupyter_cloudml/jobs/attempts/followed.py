"""An attempt as its server follows it: a thread that keeps what it says, and finds out how it ended, whatever goes wrong meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from ...errors import CloudMLError, NoSpace, NotFound, ProtocolError
from ...store import StoreError
from ..notebooks.records import Cursor, Record
from ..scheduling.executor import Exit, Observation, Order, Phase
from .attempt import Attempt
from .outcome import Kept, Outcome
from .run_log import RunLog
from .written import Written

log = logging.getLogger(__name__)
AGAIN_S = 5.0  # seconds between two tries to follow or to keep, after a full disk or a lost link
KEEP_TRIES = 60  # then the end of a run waits no longer for what is made of its records
UNREAD_TRIES = 3  # then what a dead process has said counts as unreadable
CAUSES = {
    "out_of_memory": "oom",
    "cell_timeout": "timeout",
    "run_timeout": "timeout",
    "runner_died": "lost",
}


class Follower(Protocol):
    """Whom an attempt is followed for."""

    ended: Callable[[Order], None]

    def log_of(self, run_id: str, attempt: int) -> RunLog:
        """Return where its records go."""

    def changed(self) -> None:
        """Hear that something new is known."""

    def again(self, order: Order) -> Attempt | None:
        """Look for it once more. Raises CloudMLError."""

    def offer(self, attempt: Attempt, order: Order, kept: Kept) -> None:
        """Let another run have its kernel. Raises LinkDown."""


class Followed:
    """One attempt that is followed (a Sink), by `thread`, which its maker starts."""

    def __init__(self, executor: Follower, order: Order, attempt: Attempt) -> None:
        self.executor, self.order, self.attempt = executor, order, attempt
        self.log = executor.log_of(order.run_id, order.attempt)
        self._written = Written(self.log.path.parent, order.attempt)
        self.thread = threading.Thread(target=self._run, name=f"run-{order.name}", daemon=True)
        self._stop = threading.Event()
        self._since, self._over_at = time.monotonic(), 0.0
        self._began, self._wanted = attempt.has_begun, False
        self._up = True
        self._unread = 0
        self._unable: str | None = None
        self._outcome: Outcome | None = None
        self._gone = False

    def seen(self) -> Observation:
        """Return what is known now."""
        age = (self._over_at or time.monotonic()) - self._since
        if self._outcome is not None:
            return Observation(Phase.ENDED, age, exit_of(self._outcome))
        if self._gone:
            return Observation(Phase.GONE, age)
        if not self._up:
            return Observation(Phase.UNREACHABLE, age)
        return Observation(Phase.RUNNING if self._began else Phase.STARTING, age)

    @property
    def is_dead(self) -> bool:
        """Whether nobody follows it, though its end is not known."""
        return not self.thread.is_alive() and self._outcome is None and not self._gone

    @property
    def has_cleaned_up(self) -> bool:
        """Whether its process has come to its end by itself, or goes on: nothing of it has to be deleted by others."""
        if self._outcome is None:
            return False
        return self.has_left_its_kernel or (self._outcome.exit or {}).get("code") == 0

    @property
    def has_left_its_kernel(self) -> bool:
        """Whether its process goes on for the kernel's sake."""
        return self._outcome is not None and self._outcome.kept is not None

    def cancel(self) -> None:
        """Have it end, also after it was looked for again."""
        self._wanted = True
        self.attempt.cancel()

    def end_as_failed(self, why: str) -> None:
        """Have it end, as one that could not be given what to run."""
        self._unable = why
        self.cancel()

    def let_go(self) -> None:
        """Follow it no more, and do not wait for that; it goes on."""
        self._stop.set()
        if not self.thread.is_alive():
            self.attempt.leave()

    def take(self, batch: Sequence[Record], cursor: Cursor) -> None:
        """Keep what it says."""
        self.log.append(self._written.without(batch), cursor)
        self._unread = 0
        if not self._began and any(record["record"] == "begun" for record in batch):
            self._began = True
            self.executor.changed()

    def link(self, up: bool) -> None:
        """Note whether the machine answers."""
        self._up = up
        self.executor.changed()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._follow_on() or not self._find_again():
                break
        if self._outcome is None or self._stop.is_set():
            self.attempt.leave()
        self.executor.changed()

    def _follow_on(self) -> bool:
        """Follow it to its end, or until it is let go of; False where it has to be found again."""
        try:
            self.log.open()
            outcome = self.attempt.follow(self, self._stop, self.log.read())
            if outcome is not None:
                self._over_at = time.monotonic()
                if self._keep():
                    self._offer(outcome)
                    self._outcome = self._as_meant(outcome)
            return True
        except NotFound:
            self._gone = True
            return True
        except (CloudMLError, OSError) as exc:
            log.warning("the attempt %s is followed again: %s", self.order.name, exc)
            self._unread += isinstance(exc, ProtocolError)
            self._up = False
        except Exception:  # the edge of the thread: without it nobody would hear of the run's end
            log.exception("the attempt %s met an error of the scheduler", self.order.name)
            self._unread += 1
            self._up = False
        finally:
            self.log.close()
            self.executor.changed()
        return False

    def _as_meant(self, outcome: Outcome) -> Outcome:
        if self._unable is None or outcome.state == "succeeded":
            return outcome
        return replace(outcome, state="failed", reason="not_given", message=self._unable)

    def _offer(self, outcome: Outcome) -> None:
        """Let another run have the kernel that was left. Raises LinkDown."""
        if outcome.kept is not None:
            self.executor.offer(self.attempt, self.order, outcome.kept)
            self.attempt.leave()

    def _keep(self) -> bool:
        """Have made what is made of the records, again where the cause may pass; False when it was let go of before.

        What cannot be made holds up no end of a run: the records are all there.
        """
        for _ in range(KEEP_TRIES):
            try:
                self.executor.ended(self.order)
                return True
            except (StoreError, NoSpace) as exc:
                log.warning("the results of %s are made later: %s", self.order.name, exc)
            except (CloudMLError, OSError) as exc:
                log.warning("the results of %s are not made: %s", self.order.name, exc)
                return True
            except Exception:  # of the records, most likely: it would be met again
                log.exception("the results of %s cannot be made", self.order.name)
                return True
            if self._stop.wait(AGAIN_S):
                return False
        return True

    def _find_again(self) -> bool:
        """Wait until the attempt can be followed from what is kept of it; False when there is none any more."""
        self.attempt.leave()
        while not self._stop.wait(AGAIN_S):
            try:
                found = self.executor.again(self.order)
            except NotFound as exc:  # somebody took the machine out: nobody can ever ask it again
                if not self._wanted:
                    continue
                self._outcome = Outcome("cancelled", "cancelled", exc.message, began=self._began)
                return False
            except (CloudMLError, OSError):
                continue
            except Exception:  # as above
                log.exception("the attempt %s cannot be looked for", self.order.name)
                continue
            self._up = True
            if found is None or self._is_unreadable(found):
                self._gone = True
                return False
            self.attempt = found
            if self._wanted:
                found.cancel()
                if self._unread:
                    found.end()
            return True
        return False

    def _is_unreadable(self, found: Attempt) -> bool:
        return self._unread >= UNREAD_TRIES and found.row["state"] != "running"


def exit_of(outcome: Outcome) -> Exit:
    """Return an outcome in the scheduler's words."""
    name = None if outcome.error is None else outcome.error.get("ename")
    cause = CAUSES.get(outcome.reason, "error")
    return Exit(outcome.state, cause, name, outcome.message)
