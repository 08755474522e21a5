"""How a run ends, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
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


def not_moved_in(reply: Mapping[str, Any]) -> Stop:
    """The end of a run whose kernel did not take its folder and environment. The code had its secrets: no line of a traceback is repeated."""
    name, value = str(reply.get("ename") or ""), str(reply.get("evalue") or "")
    first = (value.splitlines() or [""])[0]
    said = f"{name}: {first}".strip(": ")[:300] or str(reply.get("status"))[:300]
    return Stop("failed", "kernel_start", f"the kernel cannot work there: {said}")


def failed(name: str, value: str, index: int) -> Stop:
    """The end of a run by an exception in a cell."""
    reason = "out_of_memory" if name == "MemoryError" else "cell_error"
    return Stop("failed", reason, f"cell {index + 1}: {name}: {value}"[:2000])
