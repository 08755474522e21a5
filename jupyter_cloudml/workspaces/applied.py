"""What a machine has of a folder of code, as of the last sync. It is read without a lock: the file is replaced in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import JSON
from .merge import File
from .snapshot import Snapshot

Bases = Mapping[str, File | None]


@dataclass(frozen=True)
class Applied:
    """What a machine has: a tree, and for each file that both sides have changed what it was before (None: it was not).

    `folder` is absolute there; `code` says which snapshot it is: see Snapshot. `target` is the address and folder that were meant: what is
    kept says nothing of another computer under the same name, or of another folder.
    """

    tree: str | None = None
    folder: str = ""
    synced_ms: int = 0
    conflicts: Bases = field(default_factory=dict)
    code: Mapping[str, JSON] = field(default_factory=dict)
    target: str = ""

    @classmethod
    def of(
        cls, snapshot: Snapshot, folder: str, synced_ms: int, conflicts: Bases, target: str
    ) -> Applied:
        """Return what a machine has that was sent a snapshot."""
        return cls(snapshot.tree, folder, synced_ms, conflicts, code_of(snapshot), target)

    def at(self, target: str) -> Applied:
        """Return what is known of a target: this, or nothing."""
        return self if self.target == target else Applied()

    @classmethod
    def read(cls, state: Path, machine: str) -> Applied:
        """Return what was kept of a machine; nothing before the first sync."""
        try:
            kept = json.loads(_file(state, machine).read_bytes())
        except (FileNotFoundError, ValueError):  # what a computer that fails has not written
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


def code_of(snapshot: Snapshot) -> dict[str, JSON]:
    """Return which code a snapshot is, as it is recorded with what runs of it: {url, branch, base_commit, snapshot, tree, dirty, diffstat}."""
    return {
        "url": snapshot.url,
        "branch": snapshot.branch,
        "base_commit": snapshot.base_commit,
        "snapshot": snapshot.commit,
        "tree": snapshot.tree,
        "dirty": snapshot.dirty,
        "diffstat": snapshot.diffstat,
    }


def _file(state: Path, machine: str) -> Path:
    return state / f"applied-{machine}.json"
