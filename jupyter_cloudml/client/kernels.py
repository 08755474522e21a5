"""The kernels of all machines, as their agents know them: also those that no server is attached to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jupyter_cloudml.client.reach import LOOK_S, Unreached, processes
from jupyter_cloudml.errors import JSON, AgentError, Conflict, NotFound
from jupyter_cloudml.machines.service import Machines

GRACE_S = 5.0
ASK_S = 15.0
CODE = ("url", "branch", "base_commit", "snapshot", "tree")
LINES = ("files", "insertions", "deletions")
SHORTEST_ID = 4  # characters of an id that may stand for the whole


@dataclass(frozen=True)
class KernelRow:
    """A kernel on a machine as its agent knows it.

    `id` is Jupyter's where a front end has started it, else the process's. `state` is connected (somebody is attached), detached (it
    goes on alone) or ended; `execution_state` is what the kernel says: busy, idle, starting. `code` is which code the machine had when it
    started, None where none was synced.
    """

    id: str
    machine: str
    process: str
    spec: str
    path: str
    state: str
    since_ms: int
    cause: str | None
    exit: Mapping[str, JSON] | None
    pid: int | None
    execution_state: str
    code: Mapping[str, JSON] | None = None

    @classmethod
    def parse(cls, machine: str, row: Mapping[str, Any]) -> KernelRow:
        """Read an agent's row; what is missing or of another type there is left empty."""
        labels = row.get("labels")
        labels = labels if isinstance(labels, Mapping) else {}
        exit_ = row.get("exit")
        exit_ = exit_ if isinstance(exit_, Mapping) else None
        process = _text(row.get("id"))
        ended = row.get("state") != "running"
        state = "ended" if ended else "connected" if row.get("attached") is True else "detached"
        pid = row.get("pid")
        return cls(
            id=_text(labels.get("kernel_id")) or process,
            machine=machine,
            process=process,
            spec=_text(labels.get("spec")),
            path=_text(labels.get("path")),
            state=state,
            since_ms=_count((exit_ or {}).get("ended_ms") if ended else row.get("started_ms")),
            cause=_text((exit_ or {}).get("reason")) or None,
            exit=exit_,
            pid=pid if type(pid) is int else None,
            execution_state=_text(row.get("execution_state")),
            code=_code(labels.get("code")),
        )

    def to_dict(self) -> dict[str, JSON]:
        """Return the row: the fields of `GET kernels`, then `pid` and `execution_state`."""
        return {
            "id": self.id,
            "machine": self.machine,
            "process": self.process,
            "spec": self.spec,
            "path": self.path,
            "state": self.state,
            "since_ms": self.since_ms,
            "cause": self.cause,
            "exit": dict(self.exit) if self.exit is not None else None,
            "code": dict(self.code) if self.code is not None else None,
            "pid": self.pid,
            "execution_state": self.execution_state,
        }


Rows: TypeAlias = list[KernelRow]  # the class has a method of the name `list`


class KernelVerbs:
    """`client.kernels`."""

    def __init__(self, core: Machines) -> None:
        self._core = core

    def list(
        self, on: str | None = None, *, wait_s: float = 5.0, unreached: Unreached | None = None
    ) -> Rows:
        """Return the kernels that somebody has started, on one machine or on all that can be reached within `wait_s` seconds.

        The machines that were not reached go to `unreached`; one that was asked for by name raises why.
        """
        if on is not None:
            rows = self._core.processes(on)
            found = {on: rows if isinstance(rows, list) else []}
        else:
            found = processes(self._core, wait_s, unreached or Unreached())
        return [
            KernelRow.parse(machine, row)
            for machine, rows in found.items()
            for row in rows
            if isinstance(row, Mapping) and row.get("kind") == "kernel" and not row.get("warm")
        ]

    def stop(self, id: str, *, on: str | None = None, grace_s: float = GRACE_S) -> KernelRow:
        """End a kernel, named by Jupyter's id, by its process or by the first four or more characters of either.

        Returns it as it was. Raises NotFound, Conflict (`ambiguous`), and why its machine can't be reached.
        """
        unreached = Unreached()
        row = _pick(self.list(on, unreached=unreached), id, unreached)
        if row.state != "ended":
            link = self._core.link(row.machine)
            link.call("stop", ASK_S, id=row.process, grace_s=grace_s)
            self._await_end(row, grace_s)
        return row

    def _await_end(self, row: KernelRow, grace_s: float) -> None:
        link = self._core.link(row.machine)
        deadline = time.monotonic() + grace_s + ASK_S
        while any(
            each["id"] == row.process and each["state"] == "running"
            for each in link.call("list", ASK_S)
        ):
            if time.monotonic() > deadline:
                raise AgentError(
                    f"kernel {row.id} on {row.machine} did not end",
                    code="timeout",
                    hint="try again",
                )
            time.sleep(LOOK_S)


def _pick(rows: Sequence[KernelRow], id: str, unreached: Unreached) -> KernelRow:
    exact = [row for row in rows if id in (row.id, row.process)]
    found = exact or [
        row
        for row in rows
        if len(id) >= SHORTEST_ID and (row.id.startswith(id) or row.process.startswith(id))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise Conflict(
            f"{len(found)} kernels begin with {id!r}", code="ambiguous", hint="give more of the id"
        )
    away = ", ".join(sorted(unreached.errors))
    raise NotFound(
        f"there is no kernel {id[:80]!r}{f' on the machines that answer (not: {away})' if away else ''}",
        hint="see: jupyter cloudml kernel list",
    )


def _code(value: object) -> dict[str, JSON] | None:
    """Read which code a kernel was started with: plain values of the names that we give."""
    if not isinstance(value, Mapping):
        return None
    texts = {name: _text(value.get(name)) or None for name in CODE}
    stat = value.get("diffstat")
    counts = {name: stat.get(name) for name in LINES} if isinstance(stat, Mapping) else None
    known = counts and {n: each if type(each) is int else None for n, each in counts.items()}
    return {**texts, "dirty": value.get("dirty") is True, "diffstat": known}


def _text(value: object) -> str:
    return value[:1024] if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
