"""Remove what a box made: at its end, and, for a box whose test process was killed, before the next one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .cgroup import ROOT as CGROUPS
from .cgroup import remove_group
from .commands import sh, start_time, wait_until
from .fabric import PREFIX

STATE = Path(tempfile.gettempdir(), "jupyter-cloudml-cloudbox")


@contextlib.contextmanager
def locked() -> Iterator[Path]:
    """Hold the lock under which boxes are made and removed; gives the folder that holds them all."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    with open(STATE / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield STATE


def claim(folder: Path) -> None:
    """Say that this process owns the box in `folder`."""
    (folder / "owner").write_text(json.dumps([os.getpid(), start_time(os.getpid())]))


def sweep(state: Path) -> None:
    """Remove every box whose owner is gone, and things that bear our name but belong to no box."""
    alive = set()
    for folder in state.iterdir():
        if folder.is_dir():
            if _owned(folder):
                alive.add(folder.name)
            else:
                remove(folder.name, state)
    named = sh("ip", "netns", "list") + sh("ip", "-o", "link", "show", "type", "bridge")
    for box in set(re.findall(rf"\b{PREFIX}-?([0-9a-f]{{4}})\b", named)) - alive:
        remove(box, state)


def remove(box: str, state: Path) -> None:
    """Remove the processes, networks, mounts, groups and files of one box, as far as they are there."""
    folder = state / box
    for record in folder.glob("*/pid"):
        _end(*map(int, record.read_text().split()))
    for name in re.findall(rf"^{PREFIX}-{box}-\d+", sh("ip", "netns", "list"), re.MULTILINE):
        sh("ip", "netns", "del", name, check=False)
    for name in re.findall(rf"\b({PREFIX}{box}(?:v\d+)?)[@:]", sh("ip", "-o", "link")):
        sh("ip", "link", "del", name, check=False)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        sh("umount", "-l", mount, check=False)
    for group in CGROUPS.glob(f"**/{PREFIX}-{box}-*"):
        remove_group(group)
    if folder.exists():
        sh("rm", "-rf", "--one-file-system", folder)


def _owned(folder: Path) -> bool:
    try:
        pid, started = json.loads((folder / "owner").read_text())
    except (OSError, ValueError):
        return False
    return bool(start_time(pid) == started)


def _end(pid: int, started: int) -> None:
    """End the first process of a host, and with it all others; never one that only has the same number."""
    if start_time(pid) != started:
        return
    for group in CGROUPS.glob(f"**/{PREFIX}-*"):
        if str(pid) in (group / "cgroup.procs").read_text().split():
            for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if (group / name).exists():
                    (group / name).write_text(thawed)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: start_time(pid) != started, f"process {pid} to end")
