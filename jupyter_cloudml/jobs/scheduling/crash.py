"""Points at which a test has the process killed, to see that nothing is lost there. Without the variable they do nothing."""

from __future__ import annotations

import os
import signal

VARIABLE = "JUPYTER_CLOUDML_CRASH_AT"
POINTS = (
    "firing",
    "fired",
    "claimed",
    "starting",
    "started",
    "running",
    "ended",
    "finished",
    "taken_over",
)  # in the life of a run
BESIDE = (
    "keeping",
    "looking",
    "looked",
    "telling",
    "told",
)  # old runs are deleted, watched places looked at, people told


def point(name: str) -> None:
    """Kill this process here if the environment asks for it."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
