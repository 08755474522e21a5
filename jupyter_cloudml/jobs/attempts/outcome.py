"""How an attempt ended, by what it has said and by the end of its process. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ProtocolError
from ...link.process import Ended
from ..notebooks.records import Record


@dataclass(frozen=True)
class Kept:
    """The kernel that a failed attempt has left, for so long (UTC ms) and at most."""

    connection_file: str
    until_ms: int
    cell: int | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: `state` is that of its run. `began`: something of the notebook may have run."""

    state: str  # succeeded, failed, timed_out, cancelled
    reason: str  # "", cell_error, out_of_memory, kernel_died, kernel_start, run_timeout, cell_timeout, cancelled, runner_died
    message: str
    began: bool
    cell: int | None = None
    peak_bytes: int = 0
    error: Mapping[str, str] | None = None  # ename and evalue of the cell that failed
    exit: Mapping[str, Any] | None = None
    kept: Kept | None = None  # its process goes on for that alone


class Course:
    """What the records of an attempt have told of its course."""

    def __init__(self, began: bool) -> None:
        self.began = began
        self.end: Record | None = None
        self.error: Mapping[str, str] | None = None
        self.kept: Kept | None = None

    def look(self, batch: Iterable[Record]) -> None:
        """Note what a batch tells."""
        for record in batch:
            kind = record["record"]
            self.began = self.began or kind == "begun"
            if kind == "ended":
                self.end = record
            elif kind == "kept":
                self.kept = kept_of(record)
            elif kind == "cell" and record.get("error") and record.get("status") == "error":
                self.error = None if record.get("allowed") else record["error"]

    def outcome(self, said: Ended | None, stderr: bytes, cancelled: bool) -> Outcome:
        """Return how it ended, by its own words or by its exit; None: its process goes on for the kernel's sake."""
        if self.end is not None:
            return Outcome(
                state=str(self.end["state"]),
                reason=str(self.end["reason"]),
                message=str(self.end["message"]),
                began=True,
                cell=self.end.get("cell"),
                peak_bytes=int(self.end.get("peak_bytes") or 0),
                error=self.error,
                exit=None if said is None else said.exit,
                kept=self.kept if said is None else None,
            )
        if said is None:
            raise ProtocolError("the run keeps its kernel before its end")
        peak = int(said.exit.get("peak_bytes") or 0)
        state, reason = ("cancelled", "cancelled") if cancelled else ("failed", "runner_died")
        message = "it was cancelled" if cancelled else _death(said, stderr)
        if said.exit.get("oom"):
            state, reason = "failed", "out_of_memory"
        return Outcome(state, reason, message, self.began, peak_bytes=peak, exit=said.exit)


def kept_of(record: Record) -> Kept:
    """Return what a record tells of the kernel that was left."""
    cell = record.get("cell")
    return Kept(str(record["connection_file"]), int(record["until_ms"]), cell)


def _death(said: Ended, stderr: bytes) -> str:
    why = said.exit.get("reason")
    if isinstance(why, str) and why:
        return f"the process of the run ended: {why}"
    words = " | ".join(stderr.decode(errors="replace").strip().splitlines()[-3:])[-500:]
    return f"the process of the run ended with {said.status}{f': {words}' if words else ''}"
