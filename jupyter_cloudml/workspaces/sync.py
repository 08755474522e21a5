"""The same code here and on a machine: snapshots go there, what was changed there comes back, and neither side loses anything."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import JSON, Conflict
from .local import LocalFolder
from .merge import File, decide
from .remote import RemoteFolder
from .snapshot import SIZE_LIMIT, Snapshot, Snapshots

TRIES = 3  # against another computer that syncs to the same folder
Bases = Mapping[str, File | None]


@dataclass(frozen=True)
class Applied:
    """What a machine has: a tree, and for each file that both sides have changed what it was before (None: it was not)."""

    tree: str | None = None
    folder: str = ""
    synced_ms: int = 0
    conflicts: Bases = field(default_factory=dict)

    @classmethod
    def read(cls, state: Path, machine: str) -> Applied:
        """Return what was kept of a machine; nothing before the first sync."""
        try:
            kept = json.loads(_file(state, machine).read_bytes())
        except FileNotFoundError:
            return cls()
        kept["conflicts"] = {
            path: base and File(**base) for path, base in kept["conflicts"].items()
        }
        return cls(**kept)

    def write(self, state: Path, machine: str) -> None:
        """Keep it."""
        temporary = state / f"applied-{machine}.new"
        temporary.write_text(json.dumps(asdict(self)))
        os.replace(temporary, _file(state, machine))


def _file(state: Path, machine: str) -> Path:
    return state / f"applied-{machine}.json"


@dataclass(frozen=True)
class Pulled:
    """What came back: files written or merged here, deleted here, changed on both sides, and left there for their size."""

    taken: Sequence[str] = ()
    deleted: Sequence[str] = ()
    conflicts: Bases = field(default_factory=dict)
    large: Sequence[str] = ()
    there: Bases = field(default_factory=dict)  # each of these files as the machine has it


@dataclass(frozen=True)
class Synced:
    """What a sync has done. `sent` and `dropped` count the files that were written and deleted on the machine."""

    snapshot: Snapshot
    applied: Applied
    sent: int = 0
    dropped: int = 0
    pulled: Pulled = field(default_factory=Pulled)

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
        }


class Sync:
    """Keeps a folder here and one on a machine the same. `state` is a folder of their own; the caller has the workspace's lock."""

    def __init__(self, state: Path, folder: Path, remote: RemoteFolder) -> None:
        self._state = state
        self._snapshots, self._local, self._remote = (
            Snapshots(state, folder),
            LocalFolder(folder),
            remote,
        )
        self._objects = self._snapshots.objects

    @property
    def applied(self) -> Applied:
        """Return what the machine had after the last sync."""
        return Applied.read(self._state, self._remote.link.machine)

    def push(self, snapshot: Snapshot, now_ms: int) -> Synced:
        """Send a snapshot; without a change since the last one nothing is asked of the machine. Raises what RemoteFolder.apply does."""
        applied = self.applied
        if applied.tree == snapshot.tree and not applied.conflicts:
            return Synced(snapshot, applied)
        return self._push(snapshot, Pulled(), now_ms)

    def pull(
        self,
        now_ms: int,
        *,
        limit: int = SIZE_LIMIT,
        send: Collection[str] = (),
        leave: Collection[str] = (),
    ) -> Synced:
        """Bring back what was changed on the machine, then send what it lacks. `send` and `leave` as in Snapshots.take; so is `limit`.

        Larger files stay on the machine, unless they are named in `send`.
        """
        snapshot = self._snapshots.take(send=send, leave=leave, limit=limit)
        told = self._remote.changes()
        if told["tree"] is None:
            return self._push(snapshot, Pulled(), now_ms)
        pulled = self._take_back(snapshot, told, limit, send)
        taken = self._snapshots.take(send=[*send, *pulled.taken], leave=leave, limit=limit)
        return self._push(taken, pulled, now_ms)

    def settle(self, paths: Sequence[str], *, there: bool, now_ms: int) -> Synced:
        """Have these files on both sides as the machine has them (`there`), or as they are here. The other version stays among the objects."""
        here = self._objects.listed(self._snapshots.take(send=paths).tree)
        found: dict[str, File | None] = dict.fromkeys(paths)
        contents = {}
        for path, mode, blob, data in self._remote.get(list(paths)):
            found[path], contents[path] = File(mode, blob), data
            self._objects.put(data)
        done = [
            path
            for path in paths
            if there and self._replace(path, here.get(path), found[path], contents)
        ]
        return self._push(self._snapshots.take(send=paths), Pulled(taken=done, there=found), now_ms)

    def _replace(
        self, path: str, here: File | None, there: File | None, contents: Mapping[str, bytes]
    ) -> bool:
        if there is None:
            return here is None or self._local.delete(path, here)
        return self._local.write(path, there.mode, contents[path], here)

    # -- back ------------------------------------------------------------------------------------------

    def _take_back(
        self, snapshot: Snapshot, told: Mapping[str, Any], limit: int, send: Collection[str]
    ) -> Pulled:
        base, here = self._base(told["tree"]), self._objects.listed(snapshot.tree)
        sizes = {str(path): int(size) for path, _, size in told["changed"]}
        new = [path for path in sizes if path not in here and not base.get(path)]
        unwanted = self._snapshots.ignored(new)
        large = [
            path
            for path, size in sizes.items()
            if size > limit and path not in unwanted and path not in send
        ]
        wanted = [path for path in sizes if path not in unwanted and path not in large]
        taken: list[str] = []
        deleted: list[str] = []
        there: dict[str, File | None] = {}
        conflicts: dict[str, File | None] = {}
        for path, mode, blob, data in self._remote.get(wanted):
            file = there[path] = File(mode, blob)
            done = self._take(path, base.get(path), here.get(path), file, data)
            if done is None:
                conflicts[path] = base.get(path)
            elif done:
                taken.append(path)
        for path in told["gone"]:
            there[path] = None
            action = decide(base.get(path), here.get(path), None)
            if action == "delete" and self._local.delete(path, here.get(path)):
                deleted.append(path)
            elif action != "nothing":
                conflicts[path] = base.get(path)
        return Pulled(taken, deleted, conflicts, large, there)

    def _take(
        self, path: str, base: File | None, here: File | None, there: File, data: bytes
    ) -> bool | None:
        """Take one file as the machine has it; True when that changed something here, None for a conflict."""
        action = decide(base, here, there)
        if action == "nothing":
            return False
        self._objects.put(data)
        if action == "merge" and base and here:
            merged = self._objects.merged(base, here, there)
            if merged is not None and self._local.write(path, here.mode, merged, here):
                return True
        if action == "take" and self._local.write(path, there.mode, data, here):
            return True
        return None

    def _base(self, tree: str | None) -> dict[str, File | None]:
        """The files that the machine was given: of the tree it names, or of the last one from here where that is not known."""
        applied = self.applied
        known = tree if tree is not None and self._objects.has(tree) else applied.tree
        return {**self._objects.listed(known), **applied.conflicts}

    # -- there -----------------------------------------------------------------------------------------

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
                now = Applied(snapshot.tree, answer["folder"], now_ms, conflicts)
                now.write(self._state, self._remote.link.machine)
                failed = set(conflicts)
                return Synced(
                    snapshot, now, len(set(put) - failed), len(set(drop) - failed), pulled
                )
            tree, exists = answer["base"], answer["exists"]
        raise Conflict(
            f"another computer sends code to {self._remote.folder} of {self._remote.link.machine} all the time",
            code="in_use",
            hint="use a folder of its own for each",
        )

    def _rows(
        self, put: Sequence[str], drop: Sequence[str], here: Mapping[str, File], base: Bases
    ) -> tuple[list[list[Any]], list[list[Any]], Any]:
        blobs = [here[path].blob for path in put]
        sizes = self._objects.sizes(blobs)
        rows: list[list[Any]] = []
        for path, size in zip(put, sizes, strict=True):
            file, before = here[path], base.get(path)
            rows.append(
                [path, file.mode, file.blob, size, before and before.mode, before and before.blob]
            )
        gone = [
            [path, *((was.mode, was.blob) if (was := base[path]) else ("", ""))] for path in drop
        ]
        return rows, gone, self._objects.contents(blobs, sizes)
