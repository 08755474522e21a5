"""The steps of a sync, told to whoever waits for it, and where it may be called off."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from ..clock import Clock, SystemClock
from ..errors import Cancelled
from ..machines.model import Progress, Step, ignore_progress

EVERY_S = 0.5  # between two words about the same step
MB = 1 << 20


class Steps:
    """Counts the steps of one sync. Each raises Cancelled when the sync was called off."""

    def __init__(
        self,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
        *,
        of: int = 2,
        clock: Clock | None = None,
    ) -> None:
        self.cancelled = cancelled or threading.Event()
        self._progress, self._of, self._clock = progress, of, clock or SystemClock()
        self._n, self._since_ms, self._told = 0, 0, 0.0

    def next(self, text: str) -> None:
        """Enter the next step."""
        self._n, self._since_ms = min(self._n + 1, self._of), self._clock.now_ms()
        self._tell(text)

    def also(self, text: str) -> None:
        """Say what the step has come to."""
        self._tell(text)

    def again(self, text: str) -> None:
        """Say how far the step is; twice a second at most."""
        if self._clock.monotonic() - self._told >= EVERY_S:
            self._tell(text)

    def counted(
        self, text: str, total: int, pieces: Iterable[tuple[int, bytes]]
    ) -> Iterator[bytes]:
        """Yield the pieces, each of so many bytes of contents, and say how many of `total` have gone."""
        done = 0
        for size, piece in pieces:
            yield piece
            done += size
            self.at(text, done, total)

    def at(self, text: str, done: int, total: int) -> None:
        """Say how many bytes of a step are done."""
        self.again(f"{text}: {done / MB:.1f} of {max(done, total) / MB:.1f} MB")

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled when it was called off."""
        if self.cancelled.is_set():
            raise Cancelled("the sync was called off")

    def _tell(self, text: str) -> None:
        self.stop_if_cancelled()
        self._told = self._clock.monotonic()
        self._progress(Step(self._n, self._of, text, self._since_ms))
