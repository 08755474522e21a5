"""How a run begins: it is said, and its kernel is started."""

from __future__ import annotations

import os

from .ends import Stop, ended
from .kernel import KernelProcess
from .records import Records, now_ms
from .spec import JSON, env_of, folder


def begun(spec: JSON, records: Records, resumed_at: int | None = None) -> None:
    """Say that it is being run, before anything is; from which cell on, where it goes on in a kernel that was kept."""
    who = {"run": spec["run"], "attempt": spec["attempt"], "pid": os.getpid()}
    records.say("begun", **who, resumed_at=resumed_at, at_ms=now_ms())


def start_kernel(spec: JSON, ipc: bool = True) -> KernelProcess:
    """Start the kernel in the run's folder. Raises OSError."""
    return KernelProcess(spec["kernel"], env_of(spec), folder(spec), ipc)


def try_to_start(spec: JSON, records: Records) -> KernelProcess | None:
    """Start the kernel; None when it cannot be, which is said."""
    try:
        return start_kernel(spec)
    except (OSError, ValueError) as exc:
        why = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        end = ended(Stop("failed", "kernel_start", why), None, 0)
        records.say("ended", **end, at_ms=now_ms())
        return None
