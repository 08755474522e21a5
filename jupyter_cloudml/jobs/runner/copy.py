"""The folder of a run: a copy of its code, made of what is kept on this machine (workspaces/onhost/shelf.py). Standard library only.

Whoever has made one holds `runs/<name>.lock`; where that is free, somebody else deletes what was left.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .records import Records

JSON = dict[str, Any]
PIECE = 192 << 10
FILES, FILE_BYTES, ALL_BYTES = 1000, 50 << 20, 200 << 20  # of what a run has written
NAMED = 100  # files that are left, by name
SECONDS = 60.0  # for bringing them; of a run that was cancelled less
CANCELLED_S = 3.0
NOT_TOLD = (".git", "__pycache__", ".ipynb_checkpoints")
FICLONE = 0x40049409
MADE: list[Copy] = []


class NoCode(Exception):
    """What the copy is to be made of is not there."""


class Copy:
    """One folder, from when it is made until the process ends."""

    def __init__(self, said: JSON, run: str, attempt: int) -> None:
        self._place, self._tree, self._links = said["place"], said["tree"], said["links"]
        self._outer = os.path.join(self._place, "runs", f"{run}-{attempt}")
        self.folder = os.path.join(self._outer, said["name"])
        self.cwd = os.path.normpath(os.path.join(self.folder, said["inside"]))
        self._were: dict[str, tuple[int, ...]] = {}
        self._blobs: dict[str, str] = {}
        self._lock = -1
        self.until = (
            math.inf
        )  # monotonic seconds: then it tells no more contents; may be set meanwhile

    def make(self) -> None:
        """Make it. Raises NoCode, OSError."""
        with open(os.path.join(self._place, "lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # nothing of the tree is let go of meanwhile
            self._lock = os.open(f"{self._outer}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            MADE.append(self)
            shutil.rmtree(self._outer, ignore_errors=True)
            os.makedirs(self.folder)
            self._fill()
        for name, target in self._links:
            path = os.path.join(self.folder, name)
            if not os.path.lexists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink(target, path)
        os.makedirs(self.cwd, exist_ok=True)

    def _fill(self) -> None:
        try:
            with open(os.path.join(self._place, "trees", self._tree + ".json")) as file:
                files = json.load(file)
            made = {self.folder}
            for path, mode, blob, _ in sorted(files, key=lambda row: bool(row[1] == "120000")):
                target = os.path.join(self.folder, path)
                above = os.path.dirname(target)
                if above not in made:
                    os.makedirs(above, exist_ok=True)
                    made.add(above)
                source = os.path.join(self._place, "objects", blob[:2], blob[2:])
                if mode == "120000":
                    with open(source, "rb") as link:
                        os.symlink(os.fsdecode(link.read()), target)
                    continue
                cloned(source, target, 0o777 if mode == "100755" else 0o666)
                self._were[path], self._blobs[path] = stamp(os.lstat(target)), blob
        except (FileNotFoundError, ValueError) as exc:
            raise NoCode(
                f"the code of the run is not whole on this machine any more: {exc}"
            ) from exc

    def remove(self) -> None:
        """Delete it; what cannot be deleted stays, and is tried again by the next run."""
        with suppress(RecursionError):  # some folders are in a thousand others
            shutil.rmtree(self._outer, ignore_errors=True)
            if os.path.isdir(self._outer):  # the notebook has made some of it unwritable
                open_up(self._outer)
                shutil.rmtree(self._outer, ignore_errors=True)
        if self._lock >= 0:
            if not os.path.exists(self._outer):
                os.unlink(f"{self._outer}.lock")
            os.close(self._lock)
            self._lock = -1

    # -- what the run has written -------------------------------------------------------------------------------------------
    def written(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Each file that was not in the tree, or is another now: its path in the copy, the whole one, and its status. Links are not followed."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                names = sorted(os.listdir(os.path.join(self.folder, folder)))
            except OSError:
                continue
            for name in names:
                path = f"{folder}/{name}".lstrip("/")
                whole = os.path.join(self.folder, path)
                try:
                    status = os.lstat(whole)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode) and name not in NOT_TOLD:
                    waiting.append(path)
                elif stat.S_ISREG(status.st_mode) and not self._is_same(path, whole, status):
                    yield path, whole, status

    def _is_same(self, path: str, whole: str, status: os.stat_result) -> bool:
        were = self._were.get(path)
        if were is None or were == stamp(status):
            return were is not None
        if were[0] != status.st_size:
            return False
        digest = hashlib.sha1(b"blob %d\0" % status.st_size, usedforsecurity=False)
        try:
            with open(whole, "rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
        except OSError:
            return False
        return digest.hexdigest() == self._blobs[path]

    def tell(self, records: Records) -> None:
        """Say what was written: the contents of so much of it, and the names of the rest."""
        taken: list[JSON] = []
        left: list[JSON] = []
        more, total = 0, 0
        for path, whole, status in self.written():
            fits = len(taken) < FILES and status.st_size <= min(FILE_BYTES, ALL_BYTES - total)
            if fits and is_text(path) and time.monotonic() < self.until:
                told = self._said(records, path, whole)
                if told is not None:
                    total += told["bytes"]
                    taken.append({**told, "new": path not in self._were})
                    continue
            if len(left) < NAMED:
                left.append({"path": path, "bytes": status.st_size})
            else:
                more += 1
        if taken or left:
            records.say("files", files=taken, left=left, more=more)

    def _said(self, records: Records, path: str, whole: str) -> JSON | None:
        """Say one file, in pieces; None where it cannot be read whole, or in time."""
        digest, at = hashlib.sha256(), 0
        try:
            fd = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                while True:
                    piece = file.read(PIECE)
                    if at + len(piece) > FILE_BYTES or time.monotonic() > self.until:
                        return None
                    if piece or not at:
                        records.say("file", path=path, at=at, data=b64encode(piece).decode())
                    digest.update(piece)
                    at += len(piece)
                    if not piece:
                        return {"path": path, "bytes": at, "sha256": digest.hexdigest()}
        except OSError:
            return None


def is_text(path: str) -> bool:
    """Whether a name can be told: it is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """What tells that a file was written since."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def cloned(source: str, target: str, mode: int) -> None:
    """Copy a file; where the disk can share the contents of two files until one is written, that takes no room. Raises OSError.

    No hard link: what a notebook writes in its folder would be in the folders of all other runs.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(source, "rb", buffering=0) as old, open(os.open(target, flags, mode), "wb") as new:
        if shared(old.fileno(), new.fileno()):
            return
        while piece := old.read(1 << 20):
            new.write(piece)


_SHARES = [True]


def shared(old: int, new: int) -> bool:
    """Have one file share another's contents; False where the disk cannot."""
    if _SHARES[0]:
        try:
            fcntl.ioctl(new, FICLONE, old)
            return True
        except OSError:
            _SHARES[0] = False
    return False


def open_up(folder: str) -> None:
    """Have the owner write in all folders of a folder, but for those that are somebody else's."""
    with suppress(OSError):
        os.chmod(folder, 0o700)
    for above, names, _ in os.walk(folder):
        for path in (os.path.join(above, name) for name in names):
            if not os.path.islink(path):
                with suppress(OSError):
                    os.chmod(path, 0o700)


def remove_all() -> None:
    """Delete every copy that this process has made."""
    while MADE:
        MADE.pop().remove()
