"""A kernel that is there already, and that a new kernel of Jupyter is to be: what a failed run has left on its machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Joins:
    """Which one: the agent's process that holds it, the kernel's own process, its connection file, and the run and attempt that have left it."""

    process: str
    pid: int
    connection_file: str
    run: str
    attempt: int

    def to_text(self) -> str:
        """Return it as a record keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Joins | None:
        """Read it; None for anything else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def asked(self) -> dict[str, Any]:
        """Return what the agent is told."""
        return {
            "process": self.process,
            "pid": self.pid,
            "connection_file": self.connection_file,
        }
