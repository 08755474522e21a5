"""How a run ends, and what is said of it."""

from __future__ import annotations

from typing import Any


class Stop(Exception):
    """The run is to end in this state, for this reason."""

    def __init__(self, state: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.state, self.reason = state, reason


def ended(stop: Stop, cell: int | None, peak_bytes: int) -> dict[str, Any]:
    """What is said of the end of a run."""
    return {
        "state": stop.state,
        "reason": stop.reason,
        "message": str(stop),
        "cell": None if stop.state == "succeeded" else cell,
        "peak_bytes": peak_bytes,
    }


def failed(name: str, value: str, index: int) -> Stop:
    """The end of a run by an exception in a cell."""
    reason = "out_of_memory" if name == "MemoryError" else "cell_error"
    return Stop("failed", reason, f"cell {index + 1}: {name}: {value}"[:2000])
