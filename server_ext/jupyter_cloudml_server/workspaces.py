"""The code of notebooks on machines, called from the event loop: what sends or fetches is an operation, the rest runs on threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.machines.operations import Operation, Operations, Work
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml_server.calls import CallPool

if TYPE_CHECKING:
    from jupyter_cloudml.workspaces.service import Workspaces

Emit = Callable[[str, Mapping[str, JSON]], None]
Key = tuple[str, Path]


class WorkspaceCalls:
    """Every request about code. `local` serves what this computer knows, `remote` what a machine has to be asked.

    `emit` tells the pages that a workspace has changed.
    """

    def __init__(
        self,
        home: Path,
        machines: Machines,
        operations: Operations,
        emit: Emit,
        *,
        local: CallPool,
        remote: CallPool,
    ) -> None:
        self._home, self._machines, self._operations, self._emit = home, machines, operations, emit
        self._local, self._remote = local, remote
        self._lock = threading.Lock()
        self._running: dict[Key, Operation] = {}

    @cached_property
    def _workspaces(self) -> Workspaces:
        """Imported at its first use: it needs a POSIX system here. Raises UsageError elsewhere."""
        try:
            module = import_module("jupyter_cloudml.workspaces.service")
        except ImportError as exc:
            raise UsageError(
                "code cannot be synced from this system",
                code="unsupported",
                hint="use Linux or macOS",
            ) from exc
        return cast("Workspaces", module.Workspaces(self._home, self._machines, self._changed))

    def send(self, folder: Path, machine: str) -> object:
        """Bring the code of a folder to a machine; takes its time. Raises as a sync."""
        return self._workspaces.sync(folder, machine)

    async def status(self, folder: Path, machine: str) -> dict[str, JSON]:
        """Compare a folder with what a machine was sent; `operation` is that which works on it now. Asks no machine."""
        found = await self._local.run(self._status, folder, machine)
        running = self._running.get((machine, Path(str(found["folder"]))))
        return {**found, "operation": running.id if running else None}

    async def changes(self, folder: Path, machine: str) -> dict[str, JSON]:
        """Ask a machine what was changed there. Raises Busy while it is synced, and why it cannot be reached."""
        return await self._remote.run(self._changes, folder, machine)

    async def log(self, folder: Path, count: int) -> list[dict[str, JSON]]:
        """Return the newest snapshots of a folder."""
        return await self._local.run(self._log, folder, count)

    async def refs(self, folder: Path, url: str) -> dict[str, JSON]:
        """Ask a Git URL for its branches and tags; with the commits of its clone in a folder here."""
        return await self._remote.run(self._refs, folder, url)

    async def sync(self, folder: Path, body: Mapping[str, JSON], *, pull: bool) -> Operation:
        """Begin to sync, or join a sync that is under way already; `pull` brings changes back first. Raises NotFound, UsageError."""

        def work(operation: Operation) -> JSON:
            done = self._workspaces.sync(
                folder,
                operation.target,
                machine_path=cast("str | None", body.get("to")),
                pull=pull,
                send=_names(body, "send"),
                leave=_names(body, "leave"),
                everything=bool(body.get("everything")),
                progress=operation.progress,
                cancelled=operation.cancelled,
            )
            return done.to_dict()

        plain = not any(body.get(key) for key in ("to", "send", "leave", "everything"))
        return await self._begin("pull" if pull else "sync", folder, body, work, join=plain)

    async def settle(self, folder: Path, body: Mapping[str, JSON]) -> Operation:
        """Begin to settle conflicts: files are taken as the machine has them, or kept as they are here. Raises NotFound, UsageError."""

        def work(operation: Operation) -> JSON:
            result: JSON = None
            for paths, side in ((_names(body, "take"), "there"), (_names(body, "keep"), "here")):
                if paths:
                    result = self._workspaces.take(
                        folder,
                        operation.target,
                        paths,
                        side=side,
                        progress=operation.progress,
                        cancelled=operation.cancelled,
                    ).to_dict()
            return result

        return await self._begin("settle", folder, body, work, join=False)

    async def clone(self, folder: Path, body: Mapping[str, JSON]) -> Operation:
        """Begin to clone a Git URL into a folder of this computer, at a branch, tag or commit, and to send it to a machine. Raises NotFound."""
        machine = str(body["machine"])
        await self._local.run(self._machines.get, machine)

        def work(operation: Operation) -> JSON:
            root, done = self._workspaces.clone(
                str(body["url"]),
                machine,
                cast("str | None", body.get("ref")) or None,
                into=folder,
                send=_names(body, "send"),
                leave=_names(body, "leave"),
                everything=bool(body.get("everything")),
                progress=operation.progress,
                cancelled=operation.cancelled,
            )
            taken = done.snapshot
            code = {"branch": taken.branch, "base_commit": taken.base_commit, "url": taken.url}
            return {**done.to_dict(), **code, "folder": str(root), "name": root.name}

        return self._operations.start("clone", machine, work)

    async def _begin(
        self, kind: str, folder: Path, body: Mapping[str, JSON], work: Work, *, join: bool
    ) -> Operation:
        machine = str(body["machine"])
        root = Path(str((await self._local.run(self._status, folder, machine))["folder"]))
        key = (machine, root)

        def noted(operation: Operation) -> JSON:
            try:
                return work(operation)
            finally:
                with self._lock:
                    if self._running.get(key) is operation:
                        del self._running[key]

        with self._lock:
            running = self._running.get(key)
            if join and running and running.kind == kind and not running.cancelled.is_set():
                return running
            # The lock is held until the operation is known, so that its end finds it.
            operation = self._running[key] = self._operations.start(kind, machine, noted)
        self._changed(machine, root)
        return operation

    def _status(self, folder: Path, machine: str) -> dict[str, JSON]:
        return self._workspaces.look(folder, machine).to_dict()

    def _changes(self, folder: Path, machine: str) -> dict[str, JSON]:
        return self._workspaces.changes(folder, machine).to_dict()

    def _refs(self, folder: Path, url: str) -> dict[str, JSON]:
        return self._workspaces.refs(url, folder).to_dict()

    def _log(self, folder: Path, count: int) -> list[dict[str, JSON]]:
        return self._workspaces.log(folder, count)

    def _changed(self, machine: str, root: Path) -> None:
        self._emit("workspace", {"machine": machine, "folder": str(root)})


def _names(body: Mapping[str, JSON], field: str) -> Sequence[str]:
    return cast("Sequence[str]", body.get(field, ()))
