"""Which servers are dead: those whose heartbeat does not change, by a clock of our own that only goes forward.

No two computers have to agree about the time, and no clock that is set, stands still or jumps makes a server look alive or dead.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jupyter_cloudml.store.jobs.servers import ServerRecord

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what differs with each start of this computer; "" where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass
class _Beat:
    heartbeat_ms: int
    since: float


class Presence:
    """Remembers the heartbeats of other servers and since when they have not changed."""

    def __init__(self, me: str, lease_s: float) -> None:
        self._me, self._lease_s = me, lease_s
        self._seen: dict[str, _Beat] = {}
        self._host, self._boot_id = socket.gethostname(), boot_id()

    def dead(self, servers: Iterable[ServerRecord], owners: Iterable[str], at: float) -> set[str]:
        """Return the servers, and owners of runs, that are dead at this moment of the monotonic clock."""
        there = {server.id: server for server in servers if server.id != self._me}
        self._seen = {each: beat for each, beat in self._seen.items() if each in there}
        found = {
            owner for owner in owners if owner not in there and owner != self._me
        }  # said goodbye
        for each, server in there.items():
            beat = self._seen.get(each)
            if beat is None or beat.heartbeat_ms != server.heartbeat_ms:
                self._seen[each] = beat = _Beat(server.heartbeat_ms, at)
            if at - beat.since >= self._lease_s or self._ended_here(server):
                found.add(each)
        return found

    def _ended_here(self, server: ServerRecord) -> bool:
        """Tell whether a server of this computer is proven dead: no need to wait for its lease."""
        if server.host != self._host or not self._boot_id or not server.boot_id:
            return False
        boot, _, namespace = server.boot_id.partition("/")
        if boot != self._boot_id or namespace != _pid_namespace():
            return False  # an image of the same name elsewhere, or a container whose pids mean nothing here
        try:
            os.kill(server.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def own_boot_id() -> str:
    """Return the computer's boot id with the namespace in which this server's pid means something."""
    return f"{boot_id()}/{_pid_namespace()}"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
