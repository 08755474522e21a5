"""Questions to all machines at once, for so long as somebody wants to wait."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jupyter_cloudml.errors import CloudMLError, Conflict, Unreachable
from jupyter_cloudml.machines.model import State, Status
from jupyter_cloudml.machines.service import Machines

LOOK_S = 0.02


@dataclass
class Unreached:
    """Collects the machines that a question to all of them did not reach, and why."""

    errors: dict[str, CloudMLError] = field(default_factory=dict)


def connect(core: Machines, names: Sequence[str], wait_s: float) -> None:
    """Connect to machines side by side, and ask what runs there."""
    asked = []
    for name in names:
        with suppress(Conflict):  # it is not to run
            core.link(name, wait=False)
            asked.append(name)
    deadline = time.monotonic() + wait_s
    while any(_is_awaited(core.get(name).status) for name in asked):
        if time.monotonic() > deadline:
            break
        time.sleep(LOOK_S)
    for name in asked:
        if core.get(name).status.state is State.RUNNING:
            with suppress(CloudMLError):  # its state says why
                core.processes(name)


def reached(core: Machines, wait_s: float, unreached: Unreached) -> list[str]:
    """Connect to every machine that should run, side by side; return those that are up in time."""
    connect(core, [view.name for view in core.list()], wait_s)
    up = []
    for view in core.list():
        status = view.status
        if status.state is State.RUNNING:
            up.append(view.name)
        elif _is_awaited(status):
            unreached.errors[view.name] = Unreachable(
                f"{view.name} did not answer within {wait_s:g} s",
                code="timeout",
                hint="try again",
            )
        elif status.error is not None:
            unreached.errors[view.name] = status.error
    return up


def processes(
    core: Machines, wait_s: float, unreached: Unreached
) -> dict[str, list[dict[str, Any]]]:
    """Ask every machine that should run for its processes; those that don't answer in time go to `unreached`."""
    names = reached(core, wait_s, unreached)
    found = {}
    for name in names:
        try:
            rows = core.processes(name)
        except CloudMLError as error:
            unreached.errors[name] = error
            continue
        found[name] = (
            [dict(row) for row in rows if isinstance(row, Mapping)]
            if isinstance(rows, list)
            else []
        )
    return found


def _is_awaited(status: Status) -> bool:
    """Say whether a machine that should run has neither answered nor failed to."""
    not_yet = status.state is State.STOPPED and status.cause is not None
    return not_yet or status.state is State.STARTING
