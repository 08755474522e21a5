"""The user's workspaces: a folder of code here, and the same on machines. Each is worked on by one process at a time: it has a lock."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..clock import SystemClock
from ..errors import JSON, Busy, NotFound, UsageError
from ..machines.model import LOCAL, Progress, ignore_progress
from ..machines.service import Machines
from ..paths import private_dir
from .applied import Applied
from .base import Base
from .clone import Clone
from .guard import Amount
from .listing import Found
from .opening import LOCK_S, opened
from .progress import Steps
from .refs import Choices, ask
from .remote import RemoteFolder
from .snapshot import Snapshot
from .source import Source
from .sync import Sync, Synced, There
from .workspace import Workspace, default_place, nowhere, root_of, state_of

BRIEF_S = 0.5  # for a look, which takes a moment itself
PULL_STEPS, CLONE_STEPS = 4, 4
Changed = Callable[[str, Path], None]


@dataclass(frozen=True)
class CodeStatus:
    """How a folder here and the one on a machine compare, as far as is known without asking.

    `snapshot` is None before the first sync, `base` the commit that the folder is at then. `unsent` counts the files that differ from what
    the machine was sent; `large` are files that wait for a decision.
    """

    machine: str
    machine_path: str
    folder: str
    snapshot: Snapshot | None
    applied: Applied
    base: Base = field(default_factory=Base)
    unsent: int | None = None
    large: Collection[Found] = ()

    @property
    def is_synced(self) -> bool:
        """Whether the machine has what is here."""
        taken = self.snapshot
        return taken is not None and self.applied.tree == taken.tree and not self.applied.conflicts

    def to_dict(self) -> dict[str, JSON]:
        """Return the document of `code status --json`."""
        taken = self.snapshot
        base = taken or self.base
        commit = taken.base_commit if taken else self.base.commit
        return {
            "machine": self.machine,
            "machine_path": self.machine_path,
            "folder": self.folder,
            "snapshot": taken.commit if taken else None,
            "tree": taken.tree if taken else None,
            "base_commit": commit,
            "short_commit": commit and commit[:7],
            "branch": base.branch,
            "url": base.url,
            "dirty": taken.dirty if taken else None,
            "changed": taken.changed if taken else None,
            "diffstat": taken.diffstat if taken else None,
            "synced_ms": self.applied.synced_ms or None,
            "synced": self.is_synced,
            "unsent": self.unsent,
            "conflicts": sorted(self.applied.conflicts),
            "large": [each.to_dict() for each in self.large],
        }


class Workspaces:
    """Folders of code and their places on machines. Thread-safe.

    `changed(machine, folder)` is called when a sync has changed either side, on the thread of the sync.
    """

    def __init__(
        self, home: Path, machines: Machines, changed: Changed = lambda machine, folder: None
    ) -> None:
        self._home, self._machines, self._clock = home, machines, SystemClock()
        self._changed = changed

    def sync(
        self,
        folder: Path,
        machine: str | None = None,
        *,
        machine_path: str | None = None,
        pull: bool = False,
        send: Collection[str] = (),
        leave: Collection[str] = (),
        everything: bool = False,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> Synced:
        """Bring a folder's code to a machine, with `pull` also back what was changed there. See Sync.

        `machine` may be left out where the folder is on one machine alone. What is decided about large files (`send`, `leave`) and about so
        much (`everything`) holds from then on. Raises GitError, LargeFiles, LargeFolder, NotFound, UsageError, Cancelled, LinkDown,
        and why the machine cannot be reached.
        """
        steps = Steps(progress, cancelled, of=PULL_STEPS if pull else 2)
        with self._opened(root_of(folder), steps) as workspace:
            workspace.decide(send, leave)
            return self._synced(
                workspace, machine, steps, machine_path, pull=pull, everything=everything
            )

    def clone(
        self,
        url: str,
        machine: str,
        ref: str | None = None,
        *,
        into: Path | None = None,
        machine_path: str | None = None,
        send: Collection[str] = (),
        leave: Collection[str] = (),
        everything: bool = False,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> tuple[Path, Synced]:
        """Clone a Git URL here, at a branch, tag or commit, and send it to a machine; said again, it is brought up to date.

        Returns the folder here: in `into`, else one of ours for each URL and machine. The machine gets files alone: no URL, history or password.
        What could not be had of it (a submodule, contents of LFS) is in the `warnings`. Raises what
        Source.parse, Clone.update and `sync` do.
        """
        source = Source.parse(url)
        self._machines.get(machine)
        if machine == LOCAL:
            raise _here()
        if into is None:
            key = hashlib.sha256(f"{source.url}\0{machine}".encode()).hexdigest()[:16]
            home = private_dir(private_dir(self._home / "workspaces") / "clones")
            into = private_dir(home / key)
        root = Path(os.path.realpath(into)) / source.name
        steps = Steps(progress, cancelled, of=CLONE_STEPS)
        with self._opened(root, steps) as workspace:
            clone = Clone(root, source, steps)
            clone.update(ref)
            place = machine_path or workspace.machines.get(machine) or f"~/{source.name}"
            workspace.decide(send, leave)
            done = self._synced(workspace, machine, steps, place, everything=everything)
        return root, replace(done, warnings=clone.report.warnings)

    def refs(self, url: str, into: Path | None = None) -> Choices:
        """Return what there is to choose from of a Git URL, with the commits of its clone in `into`. Raises what Source.parse and refs.ask do."""
        source = Source.parse(url)
        place = private_dir(self._home / "workspaces")
        return ask(source, place, into / source.name if into else None)

    def take(
        self,
        folder: Path,
        machine: str | None,
        paths: Collection[str],
        *,
        side: str,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> Synced:
        """Settle conflicts: have `paths` on both sides as they are "here" or "there". Raises NotFound for a path without a conflict."""
        root, steps = root_of(folder), Steps(progress, cancelled)
        with self._opened(root, steps) as workspace:
            name = workspace.machine(machine)
            sync = self._sync_of(workspace, name, None, steps)
            unknown = sorted(set(paths) - set(sync.applied.conflicts))
            if unknown:
                raise NotFound(
                    f"{unknown[0]} is in no conflict", hint="see `jupyter cloudml code status`"
                )
            done = sync.settle(
                list(paths),
                there=side == "there",
                now_ms=self._clock.now_ms(),
                send=workspace.send,
                leave=workspace.leave,
            )
        self._changed(name, root)
        return done

    def status(self, folder: Path, machine: str | None = None) -> list[CodeStatus]:
        """Compare a folder with each machine that has it, or with one. Raises GitError, NotFound where it is on none."""
        root = root_of(folder)
        with self._opened(root) as workspace:
            names = [workspace.machine(machine)] if machine else sorted(workspace.machines)
            if not names:
                raise nowhere(root)
            known = [name for name in names if name in workspace.machines]
            return [self._compared(workspace, name) for name in known]

    def look(self, folder: Path, machine: str) -> CodeStatus:
        """Say how a folder compares with what a machine was sent, without waiting: while it is synced, or before, from what is kept.

        Raises GitError, UsageError, NotFound for a machine that is not known.
        """
        root = root_of(folder)
        self._machines.get(machine)
        if machine == LOCAL:
            raise _here()
        kept = Workspace(state_of(self._home, root), root)
        if machine not in kept.machines:
            place, base = default_place(root), Base.of(root)
            return CodeStatus(machine, place, str(root), None, Applied(), base)
        try:
            with self._opened(root, wait_s=BRIEF_S) as workspace:
                return self._compared(workspace, machine)
        except Busy:
            applied, newest = self._applied(kept, machine), kept.snapshots.newest()
            return CodeStatus(machine, kept.machines[machine], str(root), newest, applied)

    def changes(self, folder: Path, machine: str) -> There:
        """Ask a machine what was changed there since the last sync. Raises Busy while it is synced, and why it cannot be reached."""
        root = root_of(folder)
        if machine not in Workspace(state_of(self._home, root), root).machines:
            return There()
        with self._opened(root, wait_s=BRIEF_S) as workspace:
            return self._sync_of(workspace, machine, None, Steps()).look()

    def log(self, folder: Path, count: int = 20) -> list[dict[str, JSON]]:
        """Return the newest snapshots of a folder: commit, tree, taken_ms, base_commit, dirty. Raises GitError."""
        root = root_of(folder)
        with self._opened(root) as workspace:
            return workspace.snapshots.log(count)

    def _synced(
        self,
        workspace: Workspace,
        machine: str | None,
        steps: Steps,
        machine_path: str | None = None,
        *,
        pull: bool = False,
        everything: bool = False,
    ) -> Synced:
        name = workspace.machine(machine)
        sync = self._sync_of(workspace, name, machine_path, steps)
        now, before = self._clock.now_ms(), sync.applied
        send, leave = workspace.send, workspace.leave
        most = None if everything else Amount.from_environ(os.environ).grown(workspace.accepted)
        if pull:
            done = sync.pull(now, send=send, leave=leave, most=most)
        else:
            steps.next("looking for changes here")
            with sync.expected():
                taken = workspace.snapshots.take(send=send, leave=leave, most=most)
                done = sync.push(taken, now)
        if everything:
            workspace.accept(workspace.snapshots.amount)
        if done.applied != before:
            self._changed(name, workspace.root)
        return done

    def _compared(self, workspace: Workspace, machine: str) -> CodeStatus:
        taken = workspace.snapshots.take(
            send=workspace.send, leave=workspace.leave, undecided="leave"
        )
        applied = self._applied(workspace, machine)
        unsent = workspace.snapshots.objects.count_changes(applied.tree, taken.tree)
        place, root = workspace.machines[machine], str(workspace.root)
        large = workspace.snapshots.undecided
        return CodeStatus(machine, place, root, taken, applied, unsent=unsent, large=large)

    def _sync_of(
        self, workspace: Workspace, name: str, machine_path: str | None, steps: Steps
    ) -> Sync:
        if name == LOCAL:
            raise _here()
        link = self._machines.link(name)
        path = workspace.place(name, machine_path)
        remote = RemoteFolder(link, workspace.id, path, steps.cancelled)
        target = self._target(workspace, name)
        return Sync(workspace.snapshots, remote, steps, target=target)

    def _applied(self, workspace: Workspace, name: str) -> Applied:
        return workspace.applied(name).at(self._target(workspace, name))

    def _target(self, workspace: Workspace, name: str) -> str:
        """Return which folder of which computer is meant."""
        try:
            address = self._machines.get(name).address
        except NotFound:
            address = ""  # it was removed
        return f"{address}:{workspace.machines[name]}"

    def _opened(
        self, root: Path, steps: Steps | None = None, *, wait_s: float = LOCK_S
    ) -> AbstractContextManager[Workspace]:
        return opened(self._home, root, steps, wait_s=wait_s, clock=self._clock)


def _here() -> UsageError:
    return UsageError("the code is on this computer already", hint="name another machine")
