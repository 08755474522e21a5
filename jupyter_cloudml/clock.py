"""Time behind a seam, so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the project reads the time: stored times are UTC, durations are monotonic."""

    def now_ms(self) -> int:
        """Return UTC as milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean something."""


class SystemClock:
    """The clock of the computer."""

    def now_ms(self) -> int:
        """Return UTC as milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean something."""
        return time.monotonic()
