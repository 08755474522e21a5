"""A folder of code here and on a machine, which is this computer."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from jupyter_cloudml.workspaces.guard import SIZE_LIMIT
from jupyter_cloudml.workspaces.remote import RemoteFolder
from jupyter_cloudml.workspaces.snapshot import Snapshots
from jupyter_cloudml.workspaces.sync import Sync, Synced

from .links import CutLink
from .repositories import git


class Place:
    """A folder here, and the same one on a machine."""

    def __init__(self, tmp_path: Path, link: CutLink) -> None:
        self.here, self.there = tmp_path / "code", tmp_path / "machine" / "code"
        self.state, self.link, self.id = tmp_path / "state", link, secrets.token_hex(4)
        self.here.mkdir()
        git(self.here, "init", "-q")
        (self.here / "train.py").write_text("one\ntwo\nthree\nfour\nfive\n")
        (self.here / "data.csv").write_text("a,b\n")
        (self.here / ".gitignore").write_text("*.log\n__pycache__/\n")
        git(self.here, "add", "-A")
        git(self.here, "commit", "-qm", "First")
        self.now = 0

    def sync(self) -> Sync:
        return Sync(self.snapshots(), RemoteFolder(self.link, self.id, str(self.there)))

    def snapshots(self) -> Snapshots:
        return Snapshots(self.state, self.here)

    def push(self) -> Synced:
        self.now += 1
        return self.sync().push(self.snapshots().take(), self.now)

    def pull(self, limit: int = SIZE_LIMIT) -> Synced:
        self.now += 1
        return self.sync().pull(self.now, limit=limit)

    def contents(self, folder: Path) -> dict[str, tuple[bool, bool, bytes]]:
        """Each file: whether it is a link, whether it may be run, its bytes; without what is ignored."""
        found = {}
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if path.is_symlink():
                found[name] = (True, False, os.fsencode(os.readlink(path)))
            elif path.is_file() and not name.startswith(".git/") and path.suffix != ".log":
                found[name] = (False, os.access(path, os.X_OK), path.read_bytes())
        return found

    def assert_same(self) -> None:
        assert self.contents(self.there) == self.contents(self.here)
