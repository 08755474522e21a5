"""A snapshot: the exact tree of a folder of code, with what is committed, changed and untracked, and without what is ignored.

It is kept in a repository of ours. The user's own, where there is one, is read and never written. Files are taken as their bytes: no filter
(LFS among them), no change of line ends. Folders with nothing in them, sockets, pipes and devices are not part of it, as with git.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import JSON
from .base import Base, compare
from .git import Git
from .guard import SIZE_LIMIT, Amount, check_amount, check_files
from .keeping import Keeper, keep_object
from .known import FILE as KNOWN
from .listing import Found, files, ignored
from .objects import Objects

# Our info/attributes come before every .gitattributes of the folder: see gitattributes(5).
VERBATIM = "* -text !eol -filter -ident !working-tree-encoding !diff -merge\n"
OPTIONS = {"core.bare": "false", "core.looseCompression": "1", "core.fsync": "none"}
REF = "refs/heads/snapshots"
NOBODY = "jupyter-cloudml"
CODE, EMPTY = "code.git", "empty.git"
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


@dataclass(frozen=True)
class Snapshot:
    """A tree as it was taken. `base_commit`, `branch` and `url` are the user's repository's, None where there is none.

    `changed` counts the files that differ from the base commit, `insertions` and `deletions` their lines; None without one, or where they
    were not counted.
    """

    commit: str
    tree: str
    taken_ms: int
    base_commit: str | None = None
    branch: str | None = None
    url: str | None = None
    changed: int | None = None
    insertions: int | None = None
    deletions: int | None = None

    @property
    def diffstat(self) -> Mapping[str, JSON] | None:
        """How much differs from the base commit; None without one."""
        if self.changed is None:
            return None
        return {
            "files": self.changed,
            "insertions": self.insertions,
            "deletions": self.deletions,
        }

    @property
    def dirty(self) -> bool:
        """Whether there is anything that the base commit has not."""
        return self.changed != 0


class Snapshots:
    """The snapshots of one folder, in the folder `state`. For one thread and process at a time: its workspace has the lock."""

    def __init__(self, state: Path, folder: Path, cancelled: threading.Event | None = None) -> None:
        self.state, self.folder = state, folder
        self._cancelled = cancelled or threading.Event()
        self._git = Git(folder, state / CODE, OPTIONS, self._cancelled)
        self._empty = Git(folder, state / EMPTY, OPTIONS, self._cancelled)
        self.objects = Objects(self._git)  # what the snapshots consist of
        self.amount = Amount(0, 0)  # of the last snapshot
        self.undecided: Sequence[Found] = ()  # large files that the last snapshot was taken without

    def take(
        self,
        *,
        send: Collection[str] = (),
        leave: Collection[str] = (),
        undecided: Literal["ask", "leave"] = "ask",
        limit: int = SIZE_LIMIT,
        most: Amount | None = None,
    ) -> Snapshot:
        """Take a snapshot; the newest one again where nothing has changed. Raises GitError, LargeFiles, LargeFolder, Cancelled.

        Files over `limit` bytes have to be named, to be taken (`send`) or not (`leave`), unless the undecided ones are left as well. The rest
        may be no more than `most` (None: any amount).
        """
        self._make()
        found = [each for each in files(self.folder, self._empty) if each.name not in leave]
        large = check_files(found, limit, send, ask=undecided == "ask")
        self.undecided, left = large, {each.path for each in large}
        keeper = Keeper(self.state, self._git, self._cancelled)
        found = [each for each in found if each.path not in left]
        self.amount = Amount.of(found) if most is None else check_amount(found, most, send)
        tree = keeper.keep(found)
        self.objects.remember(keeper.known, keeper.packed)
        newest = self.newest()
        base = Base.of(self.folder)
        if newest and newest.tree == tree and newest.base_commit == base.commit:
            return self._noted(replace(newest, branch=base.branch, url=base.url), newest)
        return self._keep(tree, base, newest)

    def ignored(self, paths: Sequence[str]) -> set[str]:
        """Return those of the paths that would be in no snapshot for the folder's own rules. Raises GitError."""
        return ignored(self.folder, paths, self._empty)

    def newest(self) -> Snapshot | None:
        """Return the newest one, None before the first."""
        try:
            return Snapshot(**json.loads((self.state / "snapshot.json").read_bytes()))
        except (FileNotFoundError, ValueError):  # what a computer that fails has not written
            return None

    def log(self, count: int) -> list[dict[str, JSON]]:
        """Return the newest snapshots, the newest first."""
        self._make()
        told = self._git.ask(
            "log", f"-n{count}", "--format=%H%x00%T%x00%ct%x00%(trailers:unfold)%x01", REF, "--"
        )
        entries: list[dict[str, JSON]] = []
        for entry in (told or "").split("\1")[:-1]:
            commit, tree, seconds, trailers = entry.strip("\n").split("\0")
            notes = dict(line.split(": ", 1) for line in trailers.splitlines() if ": " in line)
            base = notes.get("Base-Commit", "none")
            entries.append(
                {
                    "snapshot": commit,
                    "tree": tree,
                    "taken_ms": int(seconds) * 1000,
                    "base_commit": None if base == "none" else base,
                    "dirty": notes.get("Dirty") != "no",
                }
            )
        return entries

    def _make(self) -> None:
        for bare in (self.state / CODE, self.state / EMPTY):
            if not (bare / "info" / "attributes").exists():
                make_repository(bare)
                (self.state / KNOWN).unlink(missing_ok=True)  # it was of another one

    def _keep(self, tree: str, base: Base, newest: Snapshot | None) -> Snapshot:
        differs = compare(self._git, self.folder, base, tree)
        notes = [
            f"Base-Commit: {base.commit or 'none'}",
            f"Dirty: {'no' if differs and not differs.files else 'yes'}",
        ]
        now_ms = time.time_ns() // 1_000_000
        who = f"{NOBODY} <{NOBODY}@localhost> {now_ms // 1000} +0000"
        parent = [f"parent {newest.commit}"] if newest else []
        head = [f"tree {tree}", *parent, f"author {who}", f"committer {who}", "", "Snapshot", ""]
        text = "\n".join([*head, *notes, ""])
        commit = keep_object(self.state / CODE / "objects", "commit", text.encode())
        _write(self.state / CODE / REF, f"{commit}\n".encode())
        taken = Snapshot(
            commit,
            tree,
            now_ms,
            base.commit,
            base.branch,
            base.url,
            *((differs.files, differs.insertions, differs.deletions) if differs else ()),
        )
        return self._noted(taken, newest)

    def _noted(self, taken: Snapshot, newest: Snapshot | None) -> Snapshot:
        if taken != newest:
            _write(self.state / "snapshot.json", json.dumps(asdict(taken)).encode())
        return taken


def make_repository(bare: Path) -> None:
    """Make a bare repository that takes files as their bytes; what git would write, without starting it."""
    for inner in ("objects/pack", "objects/info", "refs/heads", "info"):
        (bare / inner).mkdir(mode=0o700, parents=True, exist_ok=True)
    (bare / "HEAD").write_text(f"ref: {REF}\n")
    (bare / "config").write_text(CONFIG)
    (bare / "info" / "attributes").write_text(VERBATIM)  # the last: it is whole


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    temporary.replace(path)
