"""A folder of code: its files by path, mode and blob, named as git names them (SHA-1 of size and bytes)."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Any

from ...onhost.folder import HeldFolder, InTheWay

SCRATCH = ".cloudml-new"
PIECE = 1 << 20


class Tree(HeldFolder):
    """A folder of code."""

    def __init__(self, path: str) -> None:
        super().__init__(path, SCRATCH)

    def read(self, path: str) -> tuple[str, bytes] | None:
        """Mode and content of a file or link; None where neither is."""
        status = self.look(path)
        if status is None:
            return None
        try:
            if stat.S_ISLNK(status.st_mode):
                return "120000", os.fsencode(self.target(path))
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(self.open(path), "rb", buffering=0) as file:
                return mode_of(status), file.read()
        except (FileNotFoundError, InTheWay):
            return None

    def named(self, path: str) -> tuple[str, str] | None:
        """Mode and blob of a file or link, which is read in pieces; None where neither is."""
        status = self.look(path)
        if status is None:
            return None
        try:
            if stat.S_ISLNK(status.st_mode):
                return "120000", blob_of(os.fsencode(self.target(path)))
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(self.open(path), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
                while piece := file.read(PIECE):
                    digest.update(piece)
            return mode_of(status), digest.hexdigest()
        except (FileNotFoundError, InTheWay):
            return None


def mode_of(status: os.stat_result) -> str:
    """The mode as git keeps it."""
    if stat.S_ISLNK(status.st_mode):
        return "120000"
    return "100755" if status.st_mode & 0o100 else "100644"


def stamp(status: os.stat_result) -> list[int]:
    """What tells that a file was written since, also by one who puts its time back."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def blob_of(data: bytes) -> str:
    """The name of a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def good_path(path: Any) -> bool:
    """Whether a path stays in its folder and out of a repository's own files."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    return all(
        part not in ("", ".", "..", SCRATCH) and part.lower() != ".git" for part in path.split("/")
    )


def failure(exc: OSError) -> dict[str, Any]:
    """What the other end is told."""
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    return {
        "failed": "no_space" if full else "os_error",
        "message": ": ".join(str(each) for each in (exc.filename, exc.strerror) if each),
    }
