"""Runs hosts.py beside the agent's loop, which must not wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .loop import Loop

LIMIT = 120.0  # seconds


def run(loop: Loop, done: Callable[[dict[str, Any]], None], pythons: bool = True) -> None:
    """Start the search; ``done`` gets {"result": …} or {"error": …}. Without ``pythons`` only for kernelspecs."""
    argv = [sys.executable, str(Path(__file__).with_name("hosts.py"))]
    if pythons:  # a kernel that starts meanwhile comes first: this takes seconds of a whole core
        argv = ["nice", "-n", "19", *argv]
    else:
        argv.append("kernelspecs")
    fd, theirs = os.pipe()
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL
        )
    except OSError as exc:
        os.close(fd)
        done({"error": {"code": "os_error", "message": f"{argv[0]}: {exc.strerror}"}})
        return
    finally:
        os.close(theirs)
    parts: list[bytes] = []

    def read(mask: int) -> None:
        data = os.read(fd, 1 << 16)
        if data:
            parts.append(data)
            return
        loop.unregister(fd)
        os.close(fd)
        child.wait()
        try:
            done({"result": json.loads(b"".join(parts))})
        except ValueError:
            message = "the search for kernels and Pythons failed"
            done({"error": {"code": "agent_error", "message": message}})

    def too_long() -> None:
        if child.poll() is None:
            child.kill()

    loop.register(fd, 1, read)
    loop.after(LIMIT, too_long)
