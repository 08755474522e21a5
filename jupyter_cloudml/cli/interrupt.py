"""Ctrl-C: work that can be called off is, and clears up after itself; only the second time is it left where it stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def cancellable() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; the second raises KeyboardInterrupt."""
    called_off = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if called_off.is_set():
            raise KeyboardInterrupt
        called_off.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield called_off
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
