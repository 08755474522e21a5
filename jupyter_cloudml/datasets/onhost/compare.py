"""What of a folder is the same as what is listed, and what an earlier sync has brought that is listed no more."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

from ...onhost.folder import InTheWay
from .book import Book
from .folder import Folder, matches
from .job import is_tag_of, tag
from .talk import Choice

# Instead of a name in the cache, of a file that was the same before any sync: it is the user's own, and never deleted.
FOUND = "found"


class Comparison:
    """A folder, beside what is known of it. `mode` is "etag", "size" or "checksum"."""

    def __init__(self, folder: Folder, book: Book, dataset: int, mode: str) -> None:
        self.folder, self.book, self.dataset, self.mode = folder, book, dataset, mode
        book.ask("create temp table seen (path text primary key) without rowid")

    def see(self, paths: Iterable[str]) -> None:
        """Remember that these are listed."""
        with self.book.writing() as database:
            database.executemany("insert or ignore into seen values (?)", [(p,) for p in paths])

    def is_there(
        self, path: str, size: int, etag: str, version: str, entry: tuple[Any, ...] | None
    ) -> bool:
        """Whether a file is the object; `entry` is what the book knows of it."""
        there = self.folder.look(path)
        if there is None or there.st_size != size or not stat.S_ISREG(there.st_mode):
            return False
        if self.mode == "size":
            return True
        stamped = entry and entry[2:4] == (there.st_mtime_ns, there.st_ino)
        same = bool(stamped and entry and entry[1] == size and is_tag_of(entry[0], etag, version))
        if same and self.mode == "etag":
            return True
        if entry and not same and self.mode == "etag" and stamped:
            return False  # as it was fetched, and the object is another one
        return self._has_content(path, size, etag, version, entry, same)

    def _has_content(
        self,
        path: str,
        size: int,
        etag: str,
        version: str,
        entry: tuple[Any, ...] | None,
        otherwise: bool,
    ) -> bool:
        """Read a file to see whether it is the object: one that was there before, or with `--checksum`."""
        try:
            fd = self.folder.open(path)
        except (InTheWay, OSError):
            return False
        try:
            found = matches(fd, size, etag)
            there = os.fstat(fd)
        finally:
            os.close(fd)
        if found:
            blob = entry[4] if entry and entry[4] == FOUND else "" if entry else FOUND
            row = (path, tag(etag, version), size, there.st_mtime_ns, there.st_ino, blob)
            if not otherwise:
                self.book.note(self.dataset, [row])
        return otherwise if found is None else found

    def gone(self, choice: Choice) -> tuple[list[tuple[str, int]], list[str]]:
        """What an earlier sync has brought and is not listed any more, with its size; and of that what was changed since, which stays."""
        rows = self.book.ask(
            "select path, size, mtime_ns, inode from files where dataset=? and inode<>0 and blob<>? and path not in (select path from seen)",
            self.dataset,
            FOUND,
        )
        gone: list[tuple[str, int]] = []
        kept: list[str] = []
        for path, size, mtime_ns, inode in rows:
            if not choice.has(path):
                continue
            there = self.folder.look(path)
            if there is None:
                self.book.forget(self.dataset, [path])
            elif (there.st_size, there.st_mtime_ns, there.st_ino) != (size, mtime_ns, inode):
                kept.append(path)
            else:
                gone.append((path, size))
        return gone, kept
