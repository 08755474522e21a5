"""What takes its time about attempts: starting, settling, ending and forgetting them, by a few threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as Pool
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.scheduling.executor import (
    Executor,
    NotStarted,
    Observation,
    Order,
    Phase,
    called_off,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What came of a start (`error`: nothing runs; `unsure`: nobody knows) or of a settling (`seen`)."""

    order: Order
    error: NotStarted | None = None
    unsure: bool = False
    seen: Observation | None = None


class Workers:
    """Calls the executor. Nothing that it raises gets past here."""

    def __init__(
        self,
        executor: Executor,
        pool: Pool,
        *,
        may_start: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._executor, self._pool = executor, pool
        self._may_start, self._wake = may_start, wake
        self._answers: SimpleQueue[Answer] = SimpleQueue()

    def start(self, order: Order) -> None:
        """Have an attempt started; an answer follows."""
        self._pool.submit(self._start, order)

    def settle(self, order: Order) -> None:
        """Have a name settled; an answer follows."""
        self._pool.submit(self._settle, order)

    def end(self, order: Order) -> None:
        """Have a process ended; whether it has is seen by looking."""
        self._pool.submit(self._quietly, "ended", self._executor.cancel, order)

    def forget(self, order: Order) -> None:
        """Have the machine forget an attempt; where that fails, it does so by itself some day."""
        self._pool.submit(self._quietly, "forgotten", self._executor.forget, order)

    def answers(self) -> Iterator[Answer]:
        """Yield the answers that have come, without waiting."""
        while True:
            try:
                yield self._answers.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """Begin nothing more, and wait for what has begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, order: Order) -> None:
        if not order.wanted():  # it has waited for a thread meanwhile
            self._put(Answer(order, error=called_off(order)))
            return
        if not self._may_start():  # it has waited for too long: another server may be at it
            self._put(Answer(order, unsure=True))
            return
        try:
            crash.point("starting")
            self._executor.start(order)
            crash.point("started")
        except NotStarted as exc:
            self._put(Answer(order, error=exc))
        except Exception as exc:  # noqa: BLE001  # the edge of the thread; whatever it was, the name has to be settled
            _log("started", order, exc)
            self._put(Answer(order, unsure=True))
        else:
            self._put(Answer(order))

    def _settle(self, order: Order) -> None:
        try:
            seen = self._executor.settle(order)
        except Exception as exc:  # noqa: BLE001  # as above; it is tried again
            _log("settled", order, exc)
            seen = Observation(Phase.UNREACHABLE)
        self._put(Answer(order, seen=seen))

    def _put(self, answer: Answer) -> None:
        self._answers.put(answer)
        self._wake()

    @staticmethod
    def _quietly(what: str, act: Callable[[Order], None], order: Order) -> None:
        try:
            act(order)
        except Exception as exc:  # noqa: BLE001  # as above; it is asked again, or does not matter
            _log(what, order, exc)


def _log(what: str, order: Order, exc: Exception) -> None:
    if isinstance(exc, CloudMLError):
        log.warning("the attempt %s could not be %s: %s", order.name, what, exc)
    else:
        log.error("the attempt %s could not be %s", order.name, what, exc_info=exc)
