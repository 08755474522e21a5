"""The end of everything that runs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jupyter_cloudml.client.reach import LOOK_S, Unreached, processes
from jupyter_cloudml.errors import JSON, AgentError, CloudMLError, NotFound
from jupyter_cloudml.machines.equipment import prewarm_key
from jupyter_cloudml.machines.service import Machines

ASK_S = 15.0


@dataclass(frozen=True)
class Stopped:
    """What `stop_all` did on one machine: how many processes have ended, or why it could not be done."""

    machine: str
    ended: int = 0
    error: CloudMLError | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return it as the command line's `--json` shows it."""
        error = self.error.to_dict() if self.error else None
        return {"machine": self.machine, "ended": self.ended, "error": error}


def stop_all(core: Machines, wait_s: float, grace_s: float) -> list[Stopped]:
    """End every process on every machine that should run: asked first, after `grace_s` seconds by force."""
    unreached = Unreached()
    results = []
    for name, rows in processes(core, wait_s, unreached).items():
        try:
            results.append(Stopped(name, _stop_processes(core, name, rows, grace_s)))
        except CloudMLError as error:
            results.append(Stopped(name, error=error))
    failed = [Stopped(name, error=error) for name, error in unreached.errors.items()]
    return sorted([*results, *failed], key=lambda each: each.machine)


def _stop_processes(core: Machines, name: str, rows: list[dict[str, Any]], grace_s: float) -> int:
    link = core.link(name)
    python = core.get(name).python
    if python is not None:  # or those that wait would be made up for
        link.call("prewarm", ASK_S, key=prewarm_key(python), count=0)
    running = {str(row.get("id")) for row in rows if row.get("state") == "running"}
    for process in running:
        with suppress(NotFound):  # it has ended meanwhile
            link.call("stop", ASK_S, id=process, grace_s=grace_s)
    deadline = time.monotonic() + grace_s + ASK_S
    while True:
        left = running & {
            str(row["id"]) for row in link.call("list", ASK_S) if row["state"] == "running"
        }
        if not left:
            return len(running)
        if time.monotonic() > deadline:
            raise AgentError(
                f"{len(left)} processes on {name} did not end: {', '.join(sorted(left))}",
                code="timeout",
                hint="they hang in the system (a dead file server, a driver); look there",
            )
        time.sleep(LOOK_S)
