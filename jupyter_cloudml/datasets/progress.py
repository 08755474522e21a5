"""How far a sync is: files, bytes, rate and remaining time. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 10.0
FORETOLD_S = 7 * 86400.0  # what would take longer stands still


@dataclass
class Progress:
    """What the machine has told, and how fast it goes. Seconds are any clock's that does not go back."""

    counts: dict[str, int] = field(default_factory=dict)
    listed: bool = False
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def take(self, counts: dict[str, Any], now: float) -> None:
        """Take the machine's counts; what is no number is left out."""
        self.counts = {name: value for name, value in counts.items() if type(value) is int}
        self._seen.append((now, self.get("bytes")))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    def get(self, name: str) -> int:
        """A count."""
        return self.counts.get(name, 0)

    @property
    def rate(self) -> float:
        """Bytes a second, over the last ten seconds."""
        if len(self._seen) < 2:
            return 0.0
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        return max(0, after - before) / (end - begin) if end > begin else 0.0

    @property
    def percent(self) -> int:
        """How much of the bytes is there; 0 while it is not known how many there are, and 100 only at the end."""
        wanted = self.get("wanted_bytes")
        return min(99, 100 * self.get("bytes") // wanted) if self.listed and wanted else 0

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at this rate; None while that is not known."""
        left = self.get("wanted_bytes") - self.get("bytes")
        return left / self.rate if self.listed and self.rate and left >= 0 else None


def duration(seconds: float) -> str:
    """Return a time to go in a word or two."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bytes_text(count: float) -> str:
    """Return a number of bytes with its unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def text(progress: Progress) -> str:
    """Return a line for people."""
    done, wanted = progress.get("bytes"), progress.get("wanted_bytes")
    more = "" if progress.listed else " so far"
    parts = [
        f"{progress.get('files')} of {progress.get('wanted') + progress.get('cached')} files{more}",
        f"{bytes_text(done)} of {bytes_text(wanted)}",
    ]
    if progress.rate:
        parts.append(f"{bytes_text(progress.rate)}/s")
    if progress.remaining_s is not None and progress.remaining_s < FORETOLD_S:
        parts.append(f"{duration(progress.remaining_s)} to go")
    return ", ".join(parts)
