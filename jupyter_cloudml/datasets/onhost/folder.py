"""A dataset's folder, and how a file in it is held against the ETag of an object."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

from ...onhost.folder import HeldFolder, InTheWay

SCRATCH = ".cloudml-data"
PIECE = 1 << 20


class Folder(HeldFolder):
    """The folder at a path, which may begin with ~; made where it is missing."""

    def __init__(self, path: str, make: bool = True) -> None:
        home = os.path.expanduser("~")
        path = os.path.realpath(os.path.join(home, os.path.expanduser(path)))
        if make:
            os.makedirs(path, exist_ok=True)
        super().__init__(path, SCRATCH)
        self.device = os.fstat(self.fd).st_dev

    def scratch(self) -> str:
        """The folder for what is not finished, made where it is missing. Raises InTheWay."""
        try:
            os.mkdir(SCRATCH, 0o700, dir_fd=self.fd)
        except FileExistsError:
            there = os.stat(SCRATCH, dir_fd=self.fd, follow_symlinks=False)
            if not stat.S_ISDIR(there.st_mode):
                raise InTheWay(f"{SCRATCH} is no folder") from None
            if there.st_uid != os.geteuid():  # who could change what is checked there
                raise InTheWay(f"{SCRATCH} belongs to somebody else") from None
        return os.path.join(self.path, SCRATCH)

    def leave(self) -> None:
        """Take the scratch folder away, if nothing waits in it."""
        try:
            os.rmdir(SCRATCH, dir_fd=self.fd)
        except OSError:
            return

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every regular file below, in no order."""
        return ((path, found) for path, found in self.walk() if stat.S_ISREG(found.st_mode))


def is_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of the content (it is none of an encrypted object, nor at some services)."""
    return len(etag) == 32 and not set(etag) - set("0123456789abcdef")


def matches(fd: int, size: int, etag: str) -> bool | None:
    """Whether a file has the content of an object; None where its ETag does not tell."""
    if is_md5(etag):
        return digest(fd, 0, size).hexdigest() == etag
    whole, dash, count = etag.partition("-")
    if not dash or not is_md5(whole) or not count.isdigit() or not 0 < int(count) <= 10_000:
        return None
    for part in part_sizes(size, int(count)):
        joined = b"".join(
            digest(fd, at, min(part, size - at)).digest() for at in range(0, size, part)
        )
        if hashlib.md5(joined, usedforsecurity=False).hexdigest() == whole:
            return True
    return None


def part_sizes(size: int, count: int) -> list[int]:
    """The sizes of parts that a multipart upload may have had, in whole MB: at most four that tools use."""
    usual = [8 << 20, 16 << 20, 5 << 20, 15 << 20, 32 << 20, 50 << 20, 64 << 20, 100 << 20]
    least = -(-size // count)
    rounded = -(-least // (1 << 20)) << 20
    return [part for part in dict.fromkeys([*usual, rounded]) if -(-size // part) == count][:4]


def digest(fd: int, at: int, size: int) -> hashlib._Hash:
    """The MD5 of a piece of a file."""
    found = hashlib.md5(usedforsecurity=False)
    end = at + size
    while at < end:
        data = os.pread(fd, min(PIECE, end - at), at)
        if not data:
            break
        found.update(data)
        at += len(data)
    return found
