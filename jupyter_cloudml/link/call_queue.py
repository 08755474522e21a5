"""What other threads want done on the link's thread, which it wakes."""

from __future__ import annotations

import collections
import socket
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
        self._reader, self._writer = (
            socket.socketpair()
        )  # no pipe: Windows can wait for sockets alone
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._open = True
        loop.register(self._reader, READ, self._on_wake)

    def put(self, what: Callable[[], None]) -> None:
        """Have ``what`` called; after close() nothing calls it."""
        self._calls.append(what)
        self._wake()

    def _wake(self) -> None:
        with self._waking:
            if not self._open:
                return
            try:
                self._writer.send(b"x")
            except BlockingIOError:
                return  # full: the thread will wake

    def _on_wake(self, mask: int) -> None:
        try:
            self._reader.recv(4096)
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
            self._reader.close()
            self._writer.close()
            self._open = False
