"""What a machine knows of one workspace: the tree that was applied last, and each of its files as it was then."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import time
from typing import IO, Any

from ...onhost.folder import Failed
from .tree import SCRATCH, Tree, mode_of, stamp

# What is known of a file: mode ("100644", "100755", "120000"), blob, size, mtime and ctime in ns, inode.
Entry = list[Any]
RACY_NS = 20_000_000  # a file as young as its entry is read again: its clock may not have moved on
PATIENCE_S = 2.0  # with a program that has the lock
FOLDER_S = 60.0  # with one of another workspace that works in the same folder


class State:
    """What the machine knows of one workspace; under its lock until the program ends."""

    def __init__(self, workspace: str, folder: str) -> None:
        if not workspace.isalnum():
            raise Failed("bad_name", f"{workspace!r} is no workspace")
        home = os.path.expanduser("~")
        self.place = os.path.join(home, ".cache", "jupyter-cloudml", "code", workspace)
        mask = os.umask(0o077)
        os.makedirs(self.place, exist_ok=True)
        os.umask(mask)
        self.lock = open(os.path.join(self.place, "lock"), "a+")  # noqa: SIM115 - until the end
        hold(self.lock)
        self.folder = os.path.join(home, os.path.expanduser(folder))
        self.tree: str | None = None
        self.files: dict[str, Entry] = {}
        self.at_ns = 0
        try:
            with open(os.path.join(self.place, "state.json")) as file:
                kept = json.load(file)
        except (FileNotFoundError, ValueError):
            return
        if kept["folder"] == self.folder and os.path.isdir(self.folder):
            self.tree, self.files, self.at_ns = kept["tree"], kept["files"], kept["at_ns"]

    def open(self) -> Tree:
        """The folder, made where it is missing; what an earlier program left unfinished is taken away.

        Nobody else works in it until the program ends: another computer may send code to the same folder.
        """
        os.makedirs(self.folder, exist_ok=True)
        tree = Tree(self.folder)
        self.alone = only_one(os.path.dirname(self.place), self.folder)
        shutil.rmtree(os.path.join(self.folder, SCRATCH), ignore_errors=True)
        return tree

    def keep(self) -> None:
        """Write it down."""
        path = os.path.join(self.place, "state.json")
        with open(path + ".new", "w") as file:
            kept = {
                "folder": self.folder,
                "tree": self.tree,
                "files": self.files,
                "at_ns": self.at_ns,
            }
            json.dump(kept, file)
        os.replace(path + ".new", path)

    def is_same(self, tree: Tree, path: str, mode: str, blob: str) -> bool:
        """Whether a file has this content."""
        status = tree.look(path)
        if status is None:
            return False
        entry = self.files.get(path)
        young = max(status.st_mtime_ns, status.st_ctime_ns) + RACY_NS
        if entry and entry[2:] == stamp(status) and young < self.at_ns:
            return [mode, blob] == [mode_of(status), entry[1]]
        return tree.named(path) == (mode, blob)

    def note(self, tree: Tree, path: str, mode: str, blob: str) -> None:
        """Remember a file as it is now."""
        status = tree.look(path)
        if status is not None:
            self.files[path] = [mode, blob, *stamp(status)]


def hold(lock: IO[str]) -> None:
    """Take the lock.

    A workspace has one client, which calls one program at a time: one that still has the lock after a while waits for a client that was killed,
    and is ended. It had written nothing yet; else it would have come to its end.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not taken(lock):
        if time.monotonic() > deadline:
            lock.seek(0)
            pid = lock.read()
            if pid.isdigit() and not taken(lock):
                os.kill(int(pid), signal.SIGKILL)
            fcntl.flock(lock, fcntl.LOCK_EX)
            break
        time.sleep(0.02)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def only_one(code: str, folder: str) -> IO[str]:
    """Take the lock of a folder. It is beside the states: some disks can lock no folder, and the folder is not ours."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    lock = open(os.path.join(code, name + ".lock"), "w")  # noqa: SIM115 - until the end
    deadline = time.monotonic() + FOLDER_S
    while not taken(lock):
        if time.monotonic() > deadline:
            raise Failed("in_use", f"another computer sends code to {folder}: use another folder")
        time.sleep(0.02)
    return lock


def taken(lock: IO[str]) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
