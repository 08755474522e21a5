"""Ends what a test server started, when the test lets go of it or dies.

A server, the agent that it starts and the kernels of both are in sessions of their own: no process group holds them. They share one
variable in their environment instead. `python reaper.py NAME=VALUE` waits for the end of its standard input, which also comes when the
test is killed, then ends every process that has that variable.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

SETTLE_S = 5.0


def marked(mark: bytes) -> list[int]:
    """Return the processes that have `mark` (NAME=VALUE) in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def reap(mark: bytes) -> None:
    """Kill until none is left; a process may fork while it is looked at."""
    until = time.monotonic() + SETTLE_S
    while (pids := marked(mark)) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    reap(sys.argv[1].encode())
