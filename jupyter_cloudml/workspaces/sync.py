"""The same code here and on a machine: snapshots go there, what was changed there comes back, and neither side loses anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import JSON, Conflict
from .applied import Applied, Bases, code_of
from .coming import Came
from .guard import SIZE_LIMIT, Amount
from .local import LocalFolder
from .merge import File, decide, merged_mode
from .progress import Steps
from .remote import RemoteFolder
from .snapshot import Snapshot, Snapshots

INCOMING = "incoming"  # what comes from a machine, until it is in its place
TRIES = 3  # against another computer that syncs to the same folder


@dataclass(frozen=True)
class Pulled:
    """What came back: files written or merged here, deleted here, changed on both sides, and left there for their size."""

    taken: Sequence[str] = ()
    deleted: Sequence[str] = ()
    conflicts: Bases = field(default_factory=dict)
    large: Sequence[str] = ()
    there: Bases = field(default_factory=dict)  # each of these files as the machine has it


@dataclass(frozen=True)
class There:
    """What was made, changed and deleted on the machine since the last sync, without what would not come back; `more`: and others."""

    changed: Sequence[str] = ()
    gone: Sequence[str] = ()
    more: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Return the answer of GET workspaces/changes."""
        return {"changed": list(self.changed), "gone": list(self.gone), "more": self.more}


@dataclass(frozen=True)
class Synced:
    """What a sync has done. `sent` and `dropped` count the files that were written and deleted on the machine."""

    snapshot: Snapshot
    applied: Applied
    sent: int = 0
    dropped: int = 0
    pulled: Pulled = field(default_factory=Pulled)
    warnings: Sequence[str] = ()  # of what a clone has not got

    def to_dict(self) -> dict[str, JSON]:
        """Return the document of `code sync --json`."""
        return {
            "snapshot": self.snapshot.commit,
            "tree": self.snapshot.tree,
            "machine_path": self.applied.folder,
            "synced_ms": self.applied.synced_ms,
            "sent": self.sent,
            "dropped": self.dropped,
            "taken": list(self.pulled.taken),
            "deleted": list(self.pulled.deleted),
            "large": list(self.pulled.large),
            "conflicts": sorted(self.applied.conflicts),
            "warnings": list(self.warnings),
        }


class Sync:
    """Keeps a folder here and one on a machine the same. The caller has the workspace's lock."""

    def __init__(
        self,
        snapshots: Snapshots,
        remote: RemoteFolder,
        steps: Steps | None = None,
        *,
        target: str = "",
    ) -> None:
        """`target`: see Applied."""
        self._state, self._steps, self._target = snapshots.state, steps or Steps(), target
        self._snapshots, self._objects, self._remote = snapshots, snapshots.objects, remote
        self._local = LocalFolder(snapshots.folder)

    @property
    def applied(self) -> Applied:
        """Return what the machine had after the last sync."""
        return Applied.read(self._state, self._remote.link.machine).at(self._target)

    @contextmanager
    def expected(self) -> Iterator[None]:
        """Have the machine get ready meanwhile, where it has nothing yet: a push will follow."""
        if self.applied.tree is not None:
            yield
            return
        with self._remote.prepared("apply"):
            yield

    def push(self, snapshot: Snapshot, now_ms: int) -> Synced:
        """Send a snapshot; without a change since the last one nothing is asked of the machine. Raises what RemoteFolder.apply does."""
        applied = self.applied
        if applied.tree == snapshot.tree and not applied.conflicts:
            return Synced(snapshot, self._renamed(applied, snapshot))
        return self._push(snapshot, Pulled(), now_ms)

    def pull(
        self,
        now_ms: int,
        *,
        limit: int = SIZE_LIMIT,
        send: Collection[str] = (),
        leave: Collection[str] = (),
        most: Amount | None = None,
    ) -> Synced:
        """Bring back what was changed on the machine, then send what it lacks. `send`, `leave`, `limit` and `most` as in Snapshots.take.

        Larger files stay on the machine, unless they are named in `send`. Raises Conflict (`emptied`) where all files are gone there.
        """
        self._steps.next("looking for changes here")
        snapshot = self._snapshots.take(send=send, leave=leave, limit=limit, most=most)
        self._steps.next(f"looking for changes on {self._remote.link.machine}")
        told = self._remote.changes()
        if told["tree"] is None:
            return self._push(snapshot, Pulled(), now_ms)
        pulled = self._take_back(snapshot, told, limit, send)
        taken = self._snapshots.take(send=[*send, *pulled.taken], leave=leave, limit=limit)
        return self._push(taken, pulled, now_ms)

    def look(self) -> There:
        """Ask the machine what was changed there. Raises what RemoteFolder.changes does."""
        told = self._remote.changes()
        if told["tree"] is None:
            return There()
        base = self._base(told["tree"])
        paths = [str(path) for path, _, _ in told["changed"]]
        unwanted = self._snapshots.ignored([path for path in paths if not base.get(path)])
        changed = [path for path in paths if path not in unwanted]
        gone = [str(path) for path in told["gone"] if base.get(path)]
        return There(changed, gone, bool(told["more"]))

    def settle(
        self,
        paths: Sequence[str],
        *,
        there: bool,
        now_ms: int,
        send: Collection[str] = (),
        leave: Collection[str] = (),
    ) -> Synced:
        """Have these files on both sides as the machine has them (`there`), or as they are here. The other version stays among the objects.

        A file that cannot be put here stays in conflict: what the machine has of it is not touched. `send` and `leave` as in Snapshots.take.
        """
        self._steps.next("looking for changes here")
        send, leave = [*send, *paths], [path for path in leave if path not in paths]
        here = self._objects.listed(self._snapshots.take(send=send, leave=leave).tree)
        found: dict[str, File | None] = dict.fromkeys(paths)
        contents = {}
        with self._fetched(list(paths)) as came:
            for each in came:
                found[each.path], contents[each.path] = File(each.mode, each.blob), each.data
                self._objects.put_file(each.blob, each.data)
            done = [
                path
                for path in paths
                if there and self._replace(path, here.get(path), found[path], contents)
            ]
        settled = {path: found[path] for path in (done if there else paths)}
        taken = self._snapshots.take(send=send, leave=leave)
        return self._push(taken, Pulled(taken=done, there=settled), now_ms)

    def _replace(
        self, path: str, here: File | None, there: File | None, contents: Mapping[str, Path]
    ) -> bool:
        if there is None:
            return here is None or self._local.delete(path, here)
        return self._local.write(path, there.mode, contents[path], here)

    # -- back ------------------------------------------------------------------------------------------

    def _take_back(
        self, snapshot: Snapshot, told: Mapping[str, Any], limit: int, send: Collection[str]
    ) -> Pulled:
        base, here = self._base(told["tree"]), self._objects.listed(snapshot.tree)
        self._refuse_an_emptied_folder(base, told["gone"])
        sizes = {str(path): int(size) for path, _, size in told["changed"]}
        new = [path for path in sizes if path not in here and not base.get(path)]
        unwanted = self._snapshots.ignored(new)
        large = [
            path
            for path, size in sizes.items()
            if size > limit and path not in unwanted and path not in send
        ]
        wanted = [path for path in sizes if path not in unwanted and path not in large]
        text = f"fetching {files(len(wanted))}"
        self._steps.next(text)
        total = sum(sizes[path] for path in wanted)
        taken: list[str] = []
        deleted: list[str] = []
        there: dict[str, File | None] = {}
        conflicts: dict[str, File | None] = {}
        with self._fetched(wanted, lambda done: self._steps.at(text, done, total)) as came:
            for each in came:
                path = each.path
                there[path] = File(each.mode, each.blob)
                done = self._take(base.get(path), here.get(path), each)
                if done is None:
                    conflicts[path] = base.get(path)
                elif done:
                    taken.append(path)
                each.data.unlink()
        for path in told["gone"]:
            there[path] = None
            action = decide(base.get(path), here.get(path), None)
            if action == "delete" and self._local.delete(path, here.get(path)):
                deleted.append(path)
            elif action != "nothing":
                conflicts[path] = base.get(path)
        return Pulled(taken, deleted, conflicts, large, there)

    def _refuse_an_emptied_folder(self, base: Bases, gone: Sequence[str]) -> None:
        """A folder whose files are all gone was cleaned up: that is nobody's wish to delete the project here."""
        known = {path for path, file in base.items() if file is not None}
        if known and known <= set(gone):
            folder, machine = self._remote.folder, self._remote.link.machine
            raise Conflict(
                f"all {files(len(known))} of the code are gone from {folder} on {machine}; nothing was deleted here",
                code="emptied",
                hint=f"remove {folder} there as well and pull again: the code is sent anew",
            )

    @contextmanager
    def _fetched(
        self, paths: list[str], told: Callable[[int], None] = lambda done: None
    ) -> Iterator[list[Came]]:
        """Have the contents of files of the machine, all of them, in a folder of ours: none is taken before the last has come."""
        folder = self._state / INCOMING
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield self._remote.get(paths, folder, told)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, base: File | None, here: File | None, came: Came) -> bool | None:
        """Take one file as the machine has it; True when that changed something here, None for a conflict."""
        path, there = came.path, File(came.mode, came.blob)
        action = decide(base, here, there)
        if action == "nothing":
            return False
        if action == "take" and self._local.write(path, there.mode, came.data, here):
            return True
        self._objects.put_file(came.blob, came.data)  # nothing is lost
        if action == "merge" and base and here:
            merged = self._objects.merged(base, here, there)
            mode = merged_mode(base, here, there)
            if merged is not None and self._local.write(path, mode, merged, here):
                return True
        return None

    def _base(self, tree: str | None) -> dict[str, File | None]:
        """The files that the machine was given: of the tree it names, or of the last one from here where that is not known."""
        applied = self.applied
        known = tree if tree is not None and self._objects.has(tree) else applied.tree
        if known is not None and not self._objects.has(known):
            known = None  # lost: what differs on the machine stays there, and is named
        return {**self._objects.listed(known), **applied.conflicts}

    # -- there -----------------------------------------------------------------------------------------

    def _renamed(self, applied: Applied, snapshot: Snapshot) -> Applied:
        """Note that the same tree belongs to another commit by now."""
        if applied.code != code_of(snapshot):
            applied = replace(applied, code=code_of(snapshot))
            applied.write(self._state, self._remote.link.machine)
        return applied

    def _push(self, snapshot: Snapshot, pulled: Pulled, now_ms: int) -> Synced:
        applied, here = self.applied, self._objects.listed(snapshot.tree)
        tree, exists = applied.tree, True
        for _ in range(TRIES):
            base = {**self._base(tree), **pulled.there, **pulled.conflicts} if exists else {}
            asked = {*applied.conflicts, *pulled.there}
            put = [path for path, file in here.items() if base.get(path) != file or path in asked]
            drop = [
                path
                for path, file in base.items()
                if path not in here and (file or path in pulled.there)
            ]
            answer = self._remote.apply(tree, snapshot.tree, *self._rows(put, drop, here, base))
            if "base" not in answer:
                conflicts = {path: base.get(path) for path in answer["conflicts"]}
                now = Applied.of(snapshot, answer["folder"], now_ms, conflicts, self._target)
                now.write(self._state, self._remote.link.machine)
                sent = {path for path in put if base.get(path) != here[path]} - set(conflicts)
                return Synced(snapshot, now, len(sent), len(set(drop) - set(conflicts)), pulled)
            tree, exists = answer["base"], answer["exists"]
        raise Conflict(
            f"another computer sends code to {self._remote.folder} of {self._remote.link.machine} all the time",
            code="in_use",
            hint="use a folder of its own for each",
        )

    def _rows(
        self, put: Sequence[str], drop: Sequence[str], here: Mapping[str, File], base: Bases
    ) -> tuple[list[list[Any]], list[list[Any]], Any]:
        sizes = self._objects.sizes([here[path].blob for path in put])
        rows: list[list[Any]] = []
        for path, size in zip(put, sizes, strict=True):
            file, before = here[path], base.get(path)
            rows.append(
                [path, file.mode, file.blob, size, before and before.mode, before and before.blob]
            )
        gone = [
            [path, *((was.mode, was.blob) if (was := base[path]) else ("", ""))] for path in drop
        ]
        # What the machine has already it is only asked about.
        sent = [
            (here[path].blob, size)
            for path, size in zip(put, sizes, strict=True)
            if base.get(path) != here[path]
        ]
        text = f"sending {files(len(sent))}"
        self._steps.next(text)
        contents = self._objects.deflated([blob for blob, _ in sent], [size for _, size in sent])
        return rows, gone, self._steps.counted(text, sum(size for _, size in sent), contents)


def files(count: int) -> str:
    """Return a number of files in words."""
    return f"{count} file" if count == 1 else f"{count} files"
