"""What an attempt runs, as its runner reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Resume:
    """What a run goes on with: the kernel that the attempt of this token has left, from the cell `at` on. Where that is gone, all cells run."""

    of: str
    at: int


@dataclass(frozen=True)
class Work:
    """What an attempt runs. `token` is its name, committed before it is started; `notebook` has its parameters in it and no outputs."""

    run: str
    attempt: int
    fence: int
    token: str
    notebook: Mapping[str, Any]
    kernel: Mapping[str, Any]  # argv (with {connection_file}), env, interrupt_mode, language
    cwd: str | Sequence[str] = "~"
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float | None = None
    cell_timeout_s: float | None = None
    startup_timeout_s: float = 60.0
    allow_errors: bool = False
    keep_on_failure_s: float = 0.0
    output_limit: int | None = None
    resume: Resume | None = None
    copy: Mapping[str, Any] | None = (
        None  # of the code: what its folder is made from, on its machine
    )

    def spec(self, cwd: str) -> bytes:
        """Return the line that the runner reads. It has the secrets: it goes to standard input, and nowhere else."""
        said = {
            "run": self.run,
            "attempt": self.attempt,
            "notebook": self.notebook,
            "kernel": dict(self.kernel),
            "cwd": cwd,
            "env": dict(self.env),
            "secrets": dict(self.secrets),
            "timeout_s": self.timeout_s,
            "cell_timeout_s": self.cell_timeout_s,
            "startup_timeout_s": self.startup_timeout_s,
            "allow_errors": self.allow_errors,
            "keep_on_failure_s": self.keep_on_failure_s,
            "output_limit": self.output_limit,
            "resume": None if self.resume is None else asdict(self.resume),
            "copy": None if self.copy is None else dict(self.copy),
        }
        return json.dumps(said).encode() + b"\n"
