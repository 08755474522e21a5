"""A dataset's folder, reached from its descriptor part by part: no link on the way leads out of it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator

SCRATCH = ".cloudml-data"  # in the folder itself, so that renames stay on one disk
PIECE = 1 << 20
KEPT = 64  # descriptors of folders
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LINKED = (errno.ELOOP, errno.ENOTDIR)


class Failed(Exception):
    """It cannot go on; `code` and the text are for the other end."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class InTheWay(Exception):
    """A link, or a file where a folder has to be, or a folder where a file has to be."""


class Folder:
    """Thread-safe: descriptors are used under the lock, and cost a few system calls a file."""

    def __init__(self, path: str, make: bool = True) -> None:
        home = os.path.expanduser("~")
        self.path = os.path.realpath(os.path.join(home, os.path.expanduser(path)))
        if make:
            os.makedirs(self.path, exist_ok=True)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self.fd).st_dev
        self._lock = threading.RLock()
        self._open: OrderedDict[str, int] = OrderedDict()

    def scratch(self) -> str:
        """The folder for what is not finished, made where it is missing. Raises InTheWay."""
        try:
            os.mkdir(SCRATCH, 0o700, dir_fd=self.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(SCRATCH, dir_fd=self.fd, follow_symlinks=False).st_mode):
                raise InTheWay(f"{SCRATCH} is no folder") from None
        return os.path.join(self.path, SCRATCH)

    def leave(self) -> None:
        """Take the scratch folder away, if nothing waits in it."""
        try:
            os.rmdir(SCRATCH, dir_fd=self.fd)
        except OSError:
            return

    def _above(self, folder: str, make: bool) -> int | None:
        """A descriptor of a folder in it; None where there is none. Raises InTheWay."""
        if not folder:
            return self.fd
        if folder in self._open:
            self._open.move_to_end(folder)
            return self._open[folder]
        outer, _, name = folder.rpartition("/")
        above = self._above(outer, make)
        if above is None:
            return None
        try:
            if make:
                try:
                    os.mkdir(name, dir_fd=above)
                except FileExistsError:
                    pass
            fd = os.open(name, FOLDER, dir_fd=above)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in LINKED:
                raise InTheWay(f"{folder} is no folder") from exc
            raise
        self._open[folder] = fd
        while len(self._open) > KEPT:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _forget(self) -> None:
        """Let go of all descriptors: somebody has deleted folders."""
        while self._open:
            os.close(self._open.popitem()[1])

    def look(self, path: str) -> os.stat_result | None:
        """The status of a file itself; None where nothing is."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            try:
                above = self._above(folder, False)
                if above is None:
                    return None
                return os.stat(name, dir_fd=above, follow_symlinks=False)
            except (FileNotFoundError, InTheWay):
                return None

    def place(self, scratch: str, path: str) -> None:
        """Rename a finished file to its place. Raises InTheWay, OSError."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            for last in (False, True):
                above = self._above(folder, True)
                try:
                    os.replace(scratch, name, dst_dir_fd=above)
                    return
                except FileNotFoundError:
                    self._forget()
                    if last:
                        raise
                except (IsADirectoryError, NotADirectoryError) as exc:
                    raise InTheWay(f"{path} is a folder") from exc

    def make(self, path: str) -> None:
        """Make a folder. Raises InTheWay, OSError."""
        with self._lock:
            self._above(path, True)

    def open(self, path: str) -> int:
        """Open a file for reading, never a link. Raises OSError."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            above = self._above(folder, False)
            if above is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            return os.open(name, flags, dir_fd=above)

    def delete(self, path: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        with self._lock:
            self._forget()
            parts = path.split("/")
            for depth in range(len(parts), 0, -1):
                above = self._above("/".join(parts[: depth - 1]), False)
                if above is None:
                    continue
                try:
                    if depth == len(parts):
                        os.unlink(parts[depth - 1], dir_fd=above)
                    else:
                        os.rmdir(parts[depth - 1], dir_fd=above)
                except FileNotFoundError:
                    continue
                except OSError as exc:
                    if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return
                    raise

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every regular file below, in no order; links are not followed."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(os.path.join(self.path, folder)) as found:
                for each in found:
                    path = folder + each.name
                    if path == SCRATCH:
                        continue
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(path + "/")
                    elif each.is_file(follow_symlinks=False):
                        yield path, each.stat(follow_symlinks=False)


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
