"""Whether a process was killed because memory ran out: by what the system counts, and by how much it had. Standard library only."""

from __future__ import annotations

import os
import signal

ALL = 0.9  # of the memory that there is: who is killed with so much was killed for that, also where nobody counts (systemd-oomd, gVisor)
NO_LIMIT = 1 << 60  # what version 1 of control groups has for none is about 2 ** 63


def was_for_memory(
    code: int | None, asked: bool, kills: int, peak_bytes: int, limit_bytes: int
) -> bool:
    """Whether an end was for memory. `asked`: somebody of ours has killed it; `kills`: how many kills were counted since it began. Pure."""
    if code != -signal.SIGKILL or asked:
        return False
    return kills > 0 or (limit_bytes > 0 and peak_bytes >= ALL * limit_bytes)


def oom_kills() -> int:
    """How often this system, or the control group of this process, has killed for memory, as far as they tell."""
    counted = _counter("/proc/vmstat", "oom_kill")
    for folder in _groups():
        for name in ("memory.events", "memory.oom_control"):
            counted += _counter(os.path.join(folder, name), "oom_kill")
    return counted


def memory_limit() -> int:
    """How much memory this process and its children may have, in bytes; 0 where nobody says."""
    limits = [1024 * _counter("/proc/meminfo", "MemTotal:")]
    for folder in _groups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                with open(os.path.join(folder, name)) as file:
                    limits.append(int(file.read()))
            except (OSError, ValueError):  # "max", too
                continue
    return min((limit for limit in limits if 0 < limit < NO_LIMIT), default=0)


def _groups() -> list[str]:
    found = []
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            found.append(f"/sys/fs/cgroup{path}")
        elif "memory" in kinds.split(","):
            found.append(f"/sys/fs/cgroup/memory{path}")
    return found


def _counter(path: str, name: str) -> int:
    try:
        with open(path) as file:
            return next(int(line.split()[1]) for line in file if line.split()[:1] == [name])
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
