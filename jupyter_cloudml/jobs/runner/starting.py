"""How a run begins: it is said, and its kernel is started."""

from __future__ import annotations

import errno
import os

from .copy import Copy, NoCode
from .ends import Stop, ended
from .kernel import KernelProcess
from .records import Records, now_ms
from .spec import JSON, env_of, folder


def begun(spec: JSON, records: Records, resumed_at: int | None = None) -> None:
    """Say that it is being run, before anything is; from which cell on, where it goes on in a kernel that was kept."""
    who = {"run": spec["run"], "attempt": spec["attempt"], "pid": os.getpid()}
    records.say("begun", **who, resumed_at=resumed_at, at_ms=now_ms())


def placed(spec: JSON, records: Records) -> bool:
    """Make the folder of the run where that is to be a copy of its code; False when it cannot be, which is said."""
    if not spec.get("copy"):
        return True
    copy = Copy(spec["copy"], str(spec["run"]), int(spec["attempt"]))
    try:
        copy.make()
    except NoCode as exc:
        stop = Stop("failed", "no_code", str(exc))
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "no space left" if full else f"{exc.filename}: {exc.strerror}"
        code = "no_space" if full else "kernel_start"
        stop = Stop("failed", code, f"the folder of the run cannot be made: {why}")
    else:
        spec["cwd"], spec["made"] = copy.cwd, copy
        return True
    copy.remove()
    records.say("ended", **ended(stop, None, 0), at_ms=now_ms())
    return False


def start_kernel(spec: JSON, ipc: bool = True) -> KernelProcess:
    """Start the kernel in the run's folder. Raises OSError."""
    return KernelProcess(spec["kernel"], env_of(spec), folder(spec), ipc)


def try_to_start(spec: JSON, records: Records) -> KernelProcess | None:
    """Start the kernel in the folder of the run; None when it cannot be, which is said."""
    if not placed(spec, records):
        return None
    try:
        return start_kernel(spec)
    except (OSError, ValueError) as exc:
        why = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        end = ended(Stop("failed", "kernel_start", why), None, 0)
        records.say("ended", **end, at_ms=now_ms())
        return None
