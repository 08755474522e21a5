"""How the other end is told, and what can go wrong."""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any


class Failed(Exception):
    """It can't go on; the text is for a person."""


class NoSpace(Exception):
    """The disk is full; the text is the folder."""


class InUse(Exception):
    """Something runs in an environment; the argument is the list of its processes."""


def say(**event: Any) -> None:
    """Tell the other end."""
    sys.stderr.write(json.dumps(event) + "\n")
    sys.stderr.flush()


def told(exc: Exception, path: str) -> Exception:
    """The error of this package for an error of the system."""
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(os.path.dirname(path))
    return Failed(f"{path}: {exc}")


def free_bytes(path: str) -> int:
    """What this user can still write there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
