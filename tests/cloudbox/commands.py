"""Run the system's own tools, and say which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NEEDED = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "fallocate": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
}


class CommandFailed(RuntimeError):
    """A tool ended with an error."""


def sh(*argv: str | Path, stdin: str = "", check: bool = True, timeout: float = 30) -> str:
    """Run a tool to its end and return what it printed. Raises CommandFailed, TimeoutExpired."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode:
        raise CommandFailed(
            f"{' '.join(map(str, argv))} ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def missing() -> Sequence[str]:
    """Return what this computer lacks to be a box of hosts, in words."""
    lacks = [
        f"{package} (for {tool})" for tool, package in NEEDED.items() if shutil.which(tool) is None
    ]
    if os.geteuid() != 0:
        lacks.append("root (namespaces, mounts)")
    if "overlay" not in Path("/proc/filesystems").read_text():
        lacks.append("the overlay file system")
    return lacks


def start_time(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot: with the pid it names one process for ever."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 10) -> None:
    """Wait until `condition` holds. Raises TimeoutError, naming `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.01)
