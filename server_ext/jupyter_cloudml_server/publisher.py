"""Events of the core, on their way to every open page through the server's event bus."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files

from jupyter_events import EventLogger

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import SCHEMA_BASE, Event

NOUNS = (
    *("machine", "operation", "kernel", "executions", "workspace", "drift", "dataset"),
    *("job", "run", "run-records"),
)


class Publisher:
    """Emits events from any thread, in the order in which they were given; drops them once closed.

    The bus has no replay: a page takes a snapshot when it connects, and an event says only that something changed.
    """

    def __init__(self, bus: EventLogger, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._closed = False
        for noun in NOUNS:
            with as_file(files("jupyter_cloudml_server") / "events" / f"{noun}.yaml") as schema:
                bus.register_event_schema(schema)

    def publish(self, event: Event) -> None:
        """Push a state change of the core."""
        self.emit(event.noun, event.data)

    def emit(self, noun: str, data: Mapping[str, JSON]) -> None:
        """Push `data` under the schema of a noun."""
        if not self._closed:
            call_soon(self._loop, lambda: self._emit(noun, data))

    def close(self) -> None:
        """Emit nothing more."""
        self._closed = True

    def _emit(self, noun: str, data: Mapping[str, JSON]) -> None:
        if not self._closed:
            self._bus.emit(schema_id=f"{SCHEMA_BASE}/{noun}/v1", data=dict(data))


class ExecutionNotifier:
    """Tells the pages that a kernel's executions changed: the first change at once, then no more than one each `interval_s`."""

    def __init__(
        self, publisher: Publisher, loop: asyncio.AbstractEventLoop, interval_s: float
    ) -> None:
        self._publisher = publisher
        self._loop = loop
        self._interval_s = interval_s
        self._lock = threading.Lock()
        # A kernel is in here until a whole interval has passed without a change.
        self._unsent: dict[str, int | None] = {}

    def changed(self, kernel_id: str, seq: int) -> None:
        """Note the newest sequence number of a kernel. From any thread; costs a lock and a dict entry while one is due."""
        with self._lock:
            due = kernel_id in self._unsent
            self._unsent[kernel_id] = seq
        if not due:
            call_soon(self._loop, lambda: self._send(kernel_id))

    def _send(self, kernel_id: str) -> None:
        with self._lock:
            seq = self._unsent[kernel_id]
            if seq is None:
                del self._unsent[kernel_id]
                return
            self._unsent[kernel_id] = None
        self._publisher.emit("executions", {"kernel_id": kernel_id, "seq": seq})
        self._loop.call_later(self._interval_s, self._send, kernel_id)


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Run the callback on the loop's thread, unless the loop has been closed."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
