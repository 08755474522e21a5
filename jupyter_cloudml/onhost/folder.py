"""A folder that is held open, its files reached from its descriptor part by part: no link on the way leads out of it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator

KEPT = 64  # descriptors of folders
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LINKED = (errno.ELOOP, errno.ENOTDIR)


class Failed(Exception):
    """It cannot go on; `code` and the text are for the other end."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class InTheWay(Exception):
    """A link, or a file where a folder has to be, or a folder where a file has to be."""


class HeldFolder:
    """Paths are relative, with slashes. Thread-safe: descriptors are used under the lock, and cost a few system calls a file.

    What is not finished waits in the folder `scratch_name` in it, so that renames stay on one disk.
    """

    def __init__(self, path: str, scratch_name: str) -> None:
        self.path, self.scratch_name = path, scratch_name
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.lock = threading.RLock()
        self._open: OrderedDict[str, int] = OrderedDict()

    def close(self) -> None:
        """Let go of the folder."""
        self.forget()
        os.close(self.fd)

    def forget(self) -> None:
        """Let go of the descriptors of the folders in it: somebody has deleted some."""
        with self.lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def above(self, folder: str, make: bool = False) -> int | None:
        """A descriptor of a folder in it, for whoever has the lock; None where there is none. Raises InTheWay."""
        if not folder:
            return self.fd
        if folder in self._open:
            self._open.move_to_end(folder)
            return self._open[folder]
        outer, _, name = folder.rpartition("/")
        above = self.above(outer, make)
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

    def look(self, path: str) -> os.stat_result | None:
        """The status of a file itself; None where nothing is."""
        folder, _, name = path.rpartition("/")
        with self.lock:
            try:
                above = self.above(folder)
                if above is None:
                    return None
                return os.stat(name, dir_fd=above, follow_symlinks=False)
            except (FileNotFoundError, InTheWay):
                return None

    def place(self, scratch: str, path: str) -> None:
        """Rename a finished file (its path absolute, or from this folder) to its place. Raises InTheWay, OSError."""
        folder, _, name = path.rpartition("/")
        with self.lock:
            for last in (False, True):
                above = self.above(folder, True)
                try:
                    os.replace(scratch, name, src_dir_fd=self.fd, dst_dir_fd=above)
                    return
                except FileNotFoundError:
                    self.forget()
                    if last:
                        raise
                except (IsADirectoryError, NotADirectoryError) as exc:
                    raise InTheWay(f"{path} is a folder") from exc

    def make(self, path: str) -> None:
        """Make a folder. Raises InTheWay, OSError."""
        with self.lock:
            self.above(path, True)

    def open(self, path: str) -> int:
        """Open a file for reading, never a link. Raises InTheWay, OSError."""
        folder, _, name = path.rpartition("/")
        with self.lock:
            above = self.above(folder)
            if above is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            return os.open(name, FILE, dir_fd=above)

    def target(self, path: str) -> str:
        """What a link says. Raises InTheWay, OSError."""
        folder, _, name = path.rpartition("/")
        with self.lock:
            above = self.above(folder)
            if above is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            return os.readlink(name, dir_fd=above)

    def delete(self, path: str) -> None:
        """Delete a file, and the folders that it leaves empty. Raises InTheWay, OSError."""
        with self.lock:
            self.forget()
            parts = path.split("/")
            for depth in range(len(parts), 0, -1):
                above = self.above("/".join(parts[: depth - 1]))
                if above is None:
                    continue
                try:
                    if depth == len(parts):
                        os.unlink(parts[depth - 1], dir_fd=above)
                    else:
                        os.rmdir(parts[depth - 1], dir_fd=above)
                        self.forget()
                except FileNotFoundError:
                    continue
                except OSError as exc:
                    if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return
                    raise

    def walk(self, without: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """Every regular file and link below, in no order; links are not followed, and nothing of the name `without` is told.

        What somebody deletes meanwhile may be left out.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                found = os.scandir(os.path.join(self.path, folder))
            except (FileNotFoundError, NotADirectoryError):
                if not folder:
                    raise
                continue
            with found:
                for each in found:
                    path = folder + each.name
                    if path == self.scratch_name or each.name == without:
                        continue
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(path + "/")
                        continue
                    try:
                        status = each.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                        yield path, status
