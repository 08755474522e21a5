"""Slow work that somebody waits for: it has an id, steps, a log, an end, and can be called off."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeAlias

from jupyter_cloudml.clock import Clock, SystemClock
from jupyter_cloudml.errors import JSON, Busy, Cancelled, CloudMLError, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.machines.model import Step

_log = logging.getLogger(__name__)

KEPT = 100
LOG_LINES = 200
THREADS = 8
WAITING = 100


class OperationState(str, Enum):
    """Where an operation stands; all but running are final."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Operation:
    """One piece of slow work. What it does reports here, from its own thread, and looks at `cancelled`."""

    def __init__(
        self,
        kind: str,
        target: str,
        changed: Callable[[Operation], None],
        about: Mapping[str, JSON] | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.kind = kind
        self.target = target
        self.about = (
            dict(about) if about else None
        )  # what was asked for, where the target does not say it
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self.state = OperationState.RUNNING
        self.step: Step | None = None
        self.result: JSON = None
        self.error: CloudMLError | None = None
        self.version = 1
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._lock = threading.Lock()
        self._changed = changed

    def progress(self, step: Step) -> None:
        """Enter a step. Raises Cancelled when the operation was called off."""
        self.stop_if_cancelled()
        with self._lock:
            self.step = step
            self._log.append(str(step))
            self.version += 1
        self._changed(self)

    def log(self, line: str) -> None:
        """Add a line to the log; the last 200 are kept."""
        with self._lock:
            self._log.append(line[:1000])

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled when the operation was called off."""
        if self.cancelled.is_set():
            raise Cancelled(f"{self.kind} {self.target} was cancelled")

    def to_dict(self) -> dict[str, JSON]:
        """Return the operation as it goes over REST."""
        with self._lock:
            return {
                "id": self.id,
                "kind": self.kind,
                "target": self.target,
                "about": self.about,
                "state": self.state.value,
                "step": self.step.to_dict() if self.step else None,
                "log": list(self._log),
                "result": self.result,
                "error": self.error.to_dict() if self.error else None,
            }

    def end(self, state: OperationState, result: JSON, error: CloudMLError | None) -> None:
        """Enter a final state; said once, by the registry."""
        with self._lock:
            self.state, self.result, self.error = state, result, error
            self.version += 1
        self._changed(self)
        self.ended.set()


Work: TypeAlias = Callable[[Operation], JSON]


class Operations:
    """Runs operations on a few threads and remembers the last hundred. In memory: what must survive is in the store."""

    def __init__(
        self, on_event: Callable[[Event], None] = lambda event: None, clock: Clock | None = None
    ) -> None:
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="cloudml-operation")
        self._lock = threading.Lock()
        self._operations: OrderedDict[str, Operation] = OrderedDict()
        self._closed = False

    def start(
        self, kind: str, target: str, work: Work, about: Mapping[str, JSON] | None = None
    ) -> Operation:
        """Begin `work` on a thread of its own and return at once. Raises Busy when too much waits already."""
        operation = Operation(kind, target, self._announce, about)
        with self._lock:
            running = sum(not known.ended.is_set() for known in self._operations.values())
            if self._closed or running >= WAITING:
                raise Busy(f"{running} operations are under way", hint="wait for one to end")
            self._operations[operation.id] = operation
            self._forget_old()
        self._announce(operation)
        self._executor.submit(self._run, operation, work)
        return operation

    def get(self, identity: str) -> Operation:
        """Return an operation. Raises NotFound once it was forgotten."""
        with self._lock:
            try:
                return self._operations[identity]
            except KeyError:
                raise NotFound(
                    f"there is no operation {identity[:40]!r}", hint="the last 100 are kept"
                ) from None

    def list(self) -> list[Operation]:
        """Return the operations that are remembered, oldest first."""
        with self._lock:
            return list(self._operations.values())

    def cancel(self, identity: str) -> Operation:
        """Call an operation off; it ends at its next step. Idempotent."""
        operation = self.get(identity)
        operation.cancelled.set()
        return operation

    def close(self) -> None:
        """Call everything off and take nothing more; what runs ends by its own bounds."""
        with self._lock:
            self._closed = True
            for operation in self._operations.values():
                operation.cancelled.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, operation: Operation, work: Work) -> None:
        try:
            operation.stop_if_cancelled()
            result = work(operation)
        except Cancelled as exc:
            operation.end(OperationState.CANCELLED, None, exc)
        except CloudMLError as exc:
            operation.end(OperationState.FAILED, None, exc)
        except Exception as exc:  # noqa: BLE001  the edge of this thread
            _log.exception("%s %s failed", operation.kind, operation.target)
            operation.end(OperationState.FAILED, None, _defect(operation, exc))
        else:
            operation.end(OperationState.DONE, result, None)

    def _announce(self, operation: Operation) -> None:
        state, step = operation.state.value, operation.step
        data: dict[str, JSON] = {
            "id": operation.id,
            "kind": operation.kind,
            "target": operation.target,
            "state": state,
            "step": step.to_dict() if step else None,
        }
        at_ms = self._clock.now_ms()
        event = Event("operation", operation.id, state, operation.version, at_ms, data)
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001  others' code: the work goes on, and ends, all the same
            _log.exception("%s %s cannot be told of", operation.kind, operation.target)

    def _forget_old(self) -> None:
        for identity, operation in list(self._operations.items()):
            if len(self._operations) <= KEPT:
                return
            if operation.ended.is_set():
                del self._operations[identity]


def _defect(operation: Operation, exc: Exception) -> CloudMLError:
    return CloudMLError(
        f"{operation.kind} {operation.target} failed: {type(exc).__name__}",
        code="internal",
        hint="this is a defect of jupyter-cloudml; the server's log has the details",
    )
