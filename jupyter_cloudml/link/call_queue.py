"""What other threads want done on the link's thread, which it wakes."""

from __future__ import annotations

import collections
import os
import threading
import traceback
from collections.abc import Callable

from ..agent.loop import Loop

READ = 1


class CallQueue:
    """Calls from any thread, made in order on the thread of ``loop``."""

    def __init__(self, loop: Loop) -> None:
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._waking = threading.Lock()  # nobody writes to a descriptor that was closed
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        loop.register(self._read_fd, READ, self._on_wake)

    def put(self, what: Callable[[], None]) -> None:
        """Have ``what`` called; after close() nothing calls it."""
        self._calls.append(what)
        self._wake()

    def _wake(self) -> None:
        with self._waking:
            if self._write_fd < 0:
                return
            try:
                os.write(self._write_fd, b"x")
            except BlockingIOError:
                return  # full: the thread will wake

    def _on_wake(self, mask: int) -> None:
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            pass
        try:
            for _ in range(len(self._calls)):
                self._calls.popleft()()
        finally:
            if self._calls:  # one has failed: the others' turn comes all the same
                self._wake()

    def close(self) -> None:
        """Make the calls that are left, and close the descriptors. On the loop's thread, or without one."""
        while self._calls:
            try:
                self._calls.popleft()()
            except Exception:  # noqa: BLE001 - the thread's edge
                traceback.print_exc()
        with self._waking:
            os.close(self._read_fd)
            os.close(self._write_fd)
            self._write_fd = -1
