"""Where sockets are: beside what they belong to, or in a private folder of /tmp where that path is too long for one."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

LONGEST = 107 if sys.platform == "linux" else 103  # bytes that the system takes
NUMBERED = 90  # of a path to which names are added
ASKED_AT = "JUPYTER_CLOUDML_AGENT"  # in the environment of kernels: the path of the agent's socket


def control(base: Path) -> Path:
    """Where the agent of ``base`` listens. Raises OSError where the folder of /tmp is not this user's alone."""
    return _place(base, "ctl", LONGEST)


def of_kernel(folder: Path) -> str:
    """The beginning of the paths of a kernel's sockets. Raises OSError, as above."""
    return str(_place(folder, "k", NUMBERED))


def _place(folder: Path, name: str, limit: int) -> Path:
    path = folder / name
    if len(os.fsencode(path)) <= limit:
        return path
    short = Path("/tmp") / f"cloudml-{os.getuid()}"  # noqa: S108 - its owner and mode are checked
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise OSError(1, "not a private folder", str(short))
    return short / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}-{name}"
