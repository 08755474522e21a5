"""The user's workspaces: a folder of code here, and the same on machines. What is known of one lies in a folder of its own, under a lock.

`<home>/workspaces/<digest of the folder>/`: `workspace.json` (its id, and its folder on each machine), the snapshots, and what each machine has.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..clock import SystemClock
from ..errors import JSON, Busy, NotFound, UsageError
from ..locks import FileLock
from ..machines.model import LOCAL
from ..machines.service import Machines
from ..paths import private_dir
from .git import Git
from .remote import RemoteFolder
from .snapshot import Snapshot, Snapshots
from .sync import Applied, Sync, Synced

LOCK_S = 60.0
LOOK_S = 0.05


@dataclass(frozen=True)
class CodeStatus:
    """How a folder here and the one on a machine compare, as far as is known without asking."""

    machine: str
    machine_path: str
    folder: str
    snapshot: Snapshot
    applied: Applied

    @property
    def is_synced(self) -> bool:
        """Whether the machine has what is here."""
        return self.applied.tree == self.snapshot.tree and not self.applied.conflicts

    def to_dict(self) -> dict[str, JSON]:
        """Return the document of `code status --json`."""
        taken = self.snapshot
        return {
            "machine": self.machine,
            "machine_path": self.machine_path,
            "folder": self.folder,
            "snapshot": taken.commit,
            "tree": taken.tree,
            "base_commit": taken.base_commit,
            "branch": taken.branch,
            "url": taken.url,
            "dirty": taken.dirty,
            "changed": taken.changed,
            "synced_ms": self.applied.synced_ms or None,
            "synced": self.is_synced,
            "conflicts": sorted(self.applied.conflicts),
        }


class Workspaces:
    """Folders of code and their places on machines. Thread-safe; a workspace is worked on by one process at a time."""

    def __init__(self, home: Path, machines: Machines) -> None:
        self._home, self._machines, self._clock = home, machines, SystemClock()

    def sync(
        self,
        folder: Path,
        machine: str | None = None,
        *,
        machine_path: str | None = None,
        pull: bool = False,
        send: Collection[str] = (),
        leave: Collection[str] = (),
        cancelled: threading.Event | None = None,
    ) -> Synced:
        """Bring a folder's code to a machine, with `pull` also back what was changed there. See Sync.

        `machine` may be left out where the folder is on one machine alone. What is decided about large files (`send`, `leave`) holds from
        then on. Raises GitError, LargeFiles, NotFound, UsageError, LinkDown,
        and why the machine cannot be reached.
        """
        root = root_of(folder)
        with self._opened(root) as workspace:
            name = workspace.machine(machine)
            sync = self._sync_of(workspace, name, machine_path, cancelled)
            workspace.decide(send, leave)
            now = self._clock.now_ms()
            if pull:
                return sync.pull(now, send=workspace.send, leave=workspace.leave)
            snapshot = workspace.snapshots.take(send=workspace.send, leave=workspace.leave)
            return sync.push(snapshot, now)

    def take(
        self, folder: Path, machine: str | None, paths: Collection[str], *, side: str
    ) -> Synced:
        """Settle conflicts: have `paths` on both sides as they are "here" or "there". Raises NotFound for a path without a conflict."""
        root = root_of(folder)
        with self._opened(root) as workspace:
            name = workspace.machine(machine)
            sync = self._sync_of(workspace, name, None, None)
            unknown = sorted(set(paths) - set(sync.applied.conflicts))
            if unknown:
                raise NotFound(
                    f"{unknown[0]} is in no conflict", hint="see `jupyter cloudml code status`"
                )
            return sync.settle(list(paths), there=side == "there", now_ms=self._clock.now_ms())

    def status(self, folder: Path, machine: str | None = None) -> list[CodeStatus]:
        """Compare a folder with each machine that has it, or with one. Raises GitError, NotFound where it is on none."""
        root = root_of(folder)
        with self._opened(root) as workspace:
            names = [workspace.machine(machine)] if machine else sorted(workspace.machines)
            if not names:
                raise _nowhere(root)
            snapshot = workspace.snapshots.take(
                send=workspace.send, leave=workspace.leave, undecided="leave"
            )
            return [
                CodeStatus(
                    name, workspace.machines[name], str(root), snapshot, workspace.applied(name)
                )
                for name in names
                if name in workspace.machines
            ]

    def log(self, folder: Path, count: int = 20) -> list[dict[str, JSON]]:
        """Return the newest snapshots of a folder: commit, tree, taken_ms, base_commit, dirty. Raises GitError."""
        root = root_of(folder)
        with self._opened(root) as workspace:
            return workspace.snapshots.log(count)

    def _sync_of(
        self,
        workspace: _Workspace,
        name: str,
        machine_path: str | None,
        cancelled: threading.Event | None,
    ) -> Sync:
        if name == LOCAL:
            raise UsageError("the code is on this computer already", hint="name another machine")
        link = self._machines.link(name)
        path = workspace.place(name, machine_path)
        return Sync(
            workspace.state, workspace.root, RemoteFolder(link, workspace.id, path, cancelled)
        )

    @contextmanager
    def _opened(self, root: Path) -> Iterator[_Workspace]:
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        state = private_dir(private_dir(self._home / "workspaces") / digest)
        lock = FileLock(state / "lock")
        deadline = self._clock.monotonic() + LOCK_S
        while not lock.take():
            if self._clock.monotonic() > deadline:
                raise Busy(f"another process syncs {root}", hint="wait for it")
            time.sleep(LOOK_S)
        try:
            yield _Workspace(state, root)
        finally:
            lock.release()


class _Workspace:
    """What is kept of one folder; its lock is held."""

    def __init__(self, state: Path, root: Path) -> None:
        self.state, self.root = state, root
        self.snapshots = Snapshots(state, root)
        self._file = state / "workspace.json"
        try:
            kept: dict[str, Any] = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            kept = {"id": secrets.token_hex(8), "machines": {}, "large": {}}
        self.id, self.machines = str(kept["id"]), dict(kept["machines"])
        self._large: dict[str, bool] = kept["large"]  # by path, whether it is sent

    @property
    def send(self) -> list[str]:
        """The large files that are sent."""
        return [path for path, sent in self._large.items() if sent]

    @property
    def leave(self) -> list[str]:
        """The large files that stay here."""
        return [path for path, sent in self._large.items() if not sent]

    def decide(self, send: Collection[str], leave: Collection[str]) -> None:
        """Remember what is to become of large files."""
        if send or leave:
            self._large |= {**dict.fromkeys(leave, False), **dict.fromkeys(send, True)}
            self._keep()

    def machine(self, name: str | None) -> str:
        """Return the machine that is meant. Raises NotFound where the folder is on none, UsageError where on several."""
        if name is not None:
            return name
        if not self.machines:
            raise _nowhere(self.root)
        if len(self.machines) > 1:
            names = ", ".join(sorted(self.machines))
            raise UsageError(f"{self.root} is on {names}", hint="say which one with --on NAME")
        return str(next(iter(self.machines)))

    def place(self, machine: str, path: str | None) -> str:
        """Return the folder on a machine, and remember it."""
        place = path or self.machines.get(machine) or default_place(self.root)
        if self.machines.get(machine) != place:
            self.machines[machine] = place
            self._keep()
        return place

    def _keep(self) -> None:
        temporary = self._file.with_suffix(".new")
        kept = {
            "id": self.id,
            "folder": str(self.root),
            "machines": self.machines,
            "large": self._large,
        }
        temporary.write_text(json.dumps(kept))
        temporary.replace(self._file)

    def applied(self, machine: str) -> Applied:
        """Return what a machine had after the last sync."""
        return Applied.read(self.state, machine)


def root_of(folder: Path) -> Path:
    """Return the top folder of the repository that a folder is in; the folder itself where there is none. Raises UsageError."""
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    top = Git(folder).ask("rev-parse", "--show-toplevel")
    root = Path(top) if top else folder
    if root in (Path.home(), *Path.home().parents):
        raise UsageError(
            f"{root} holds more than code", hint="name a folder below your home folder"
        )
    return root


def default_place(root: Path) -> str:
    """Return where a folder goes on a machine: the same place under the home folder, else its own name there."""
    try:
        return "~/" + str(root.relative_to(Path.home()))
    except ValueError:
        return f"~/{root.name}"


def _nowhere(root: Path) -> NotFound:
    return NotFound(f"{root} is on no machine", hint="send it: jupyter cloudml code sync --on NAME")
