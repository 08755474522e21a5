"""A kernel that this agent has not started, joined by a client: what a failed run has left, a child of the process that holds it for its time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import endpoints
from .process import now_ms

if TYPE_CHECKING:
    from .server import Agent

JSON = dict[str, Any]
NEEDED = ("transport", "ip", "key", *endpoints.PORTS)


def connection_of(file: str) -> JSON:
    """The connection that a kernel was started with. Raises OSError, and ValueError for what is none."""
    found = json.loads(Path(file).read_text())
    if not isinstance(found, dict) or any(name not in found for name in NEEDED):
        raise ValueError(f"{file} is no connection file")
    return {**found, "identity": os.urandom(8).hex()}


def check(agent: Agent, joins: JSON) -> JSON:
    """What a start joins, {process, pid, connection_file}, once it is seen to be there: a child of a process that waits for more.

    Raises ValueError that says what is gone.
    """
    holder = agent.owned.get(str(joins["process"]))
    spec = holder.process.spec if holder is not None else {}
    waits = bool(spec.get("warm") and spec.get("until_ms"))
    if holder is None or not waits or holder.process.ending:
        raise ValueError("the kernel is not kept any more")
    pid = int(joins["pid"])
    if parent_of(pid) != holder.process.pid:
        raise ValueError("the kernel has ended")
    return {"process": holder.process.id, "pid": pid, "connection_file": joins["connection_file"]}


def parent_of(pid: int) -> int | None:
    """The parent of a process; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        if os.path.exists("/proc/self/stat"):
            return None
    done = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(done.stdout) if done.stdout.strip().isdigit() else None


def why_over(agent: Agent, joins: JSON) -> str:
    """Why a kernel that was joined has ended, as far as the process that held it tells."""
    holder = agent.owned.get(str(joins["process"]))
    spec = holder.process.spec if holder is not None else {}
    if spec.get("claimed") and not spec.get("until_ms"):
        return "the run that went on in it has ended"
    if spec.get("until_ms") and int(spec["until_ms"]) <= now_ms():
        return "the time for which it was kept is over"
    if holder is not None and holder.process.ending:
        return holder.process.end_reason or "the kernel that was kept was ended"
    return "the kernel that was kept has ended"


def held_open(agent: Agent) -> set[str]:
    """The processes whose kernels somebody has joined, and that are there still."""
    rows = [each.process for each in agent.owned.values() if each.process.exit is None]
    return {str(each.spec["joins"]["process"]) for each in rows if each.spec.get("joins")}
