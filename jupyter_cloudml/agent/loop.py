"""One thread, one selector, timers."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from typing import Any, Callable

Handler = Callable[[int], None]


class Loop:
    """Calls handlers when descriptors are ready and when time has come."""

    def __init__(self) -> None:
        self._select = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.running = True

    def register(self, fileobj: Any, events: int, handler: Handler) -> None:
        """Call ``handler(mask)`` when ``fileobj`` is ready."""
        self._select.register(fileobj, events, handler)

    def modify(self, fileobj: Any, events: int) -> None:
        """Wait for other events of the same descriptor."""
        try:
            key = self._select.get_key(fileobj)
        except KeyError:
            return
        if key.events != events:
            self._select.modify(fileobj, events, key.data)

    def unregister(self, fileobj: Any) -> None:
        """Forget a descriptor; nothing happens when it is not known."""
        try:
            self._select.unregister(fileobj)
        except (KeyError, ValueError):
            return

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Call ``what`` once, so many seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), what))

    def run(self) -> None:
        """Go round until ``running`` is false."""
        while self.running:
            self.once()
        self.close()

    def close(self) -> None:
        """Let go of the selector; the descriptors are others'."""
        self._select.close()

    def once(self) -> None:
        """One round."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if not self.running:
            return
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        known = self._select.get_map()
        for key, mask in self._select.select(timeout):
            if (
                key.fd in known and self._select.get_key(key.fd).data is key.data
            ):  # not let go earlier in this round
                key.data(mask)
