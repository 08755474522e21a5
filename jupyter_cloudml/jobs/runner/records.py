"""What is said of a run: one JSON object a line, in order, on a descriptor that may be read days later."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable

JSON = dict[str, Any]
PAUSE = (
    0.02  # seconds between two writes: quick cells go together, and who reads is woken less often
)
FULL = 1 << 16  # bytes that do not wait


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return int(time.time() * 1000)


class Records:
    """Writes records; `later(seconds, function)` is the event loop's, and without one each is written at once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.later: Callable[[float, Callable[[], None]], object] | None = None
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._due = False
        self._written = 0.0

    def say(self, record: str, **fields: Any) -> int:
        """Say one thing; returns its size."""
        line = json.dumps({"record": record, **fields}, separators=(",", ":"), default=str).encode()
        self._waiting.append(line)
        self._bytes += len(line)
        if self.later is None or self._bytes > FULL:
            self.flush()
        elif not self._due:
            self._due = True
            self.later(max(0.0, self._written + PAUSE - time.monotonic()), self.flush)
        return len(line)

    def flush(self) -> None:
        """Write what waits."""
        self._due = False
        self._written = time.monotonic()
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        data = memoryview(b"\n".join([*waiting, b""]))
        while data:
            data = data[os.write(self.fd, data) :]
