"""The cache that the datasets of a machine share: objects by content, with a quota, least recently used first, and pins.

Room is reserved before an object is put there, so that the quota is never passed, however many programs work at once and wherever one is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable

from ...onhost.folder import Failed
from .book import Book, now
from .folder import is_md5
from .holding import me

ASKED = 500  # names in one query
SHARE = 4  # without a word from the user the cache takes a quarter of its disk
# An object that no pinned dataset has.
FREE = "not exists (select 1 from files join datasets on id=dataset where blob=name and pinned=1)"


class Cache:
    """Thread-safe; several programs may use it."""

    def __init__(self, book: Book) -> None:
        self.book, self.owner = book, me()
        self.clear_up()

    def blob(self, name: str) -> str:
        """Where an object of the cache lies."""
        return os.path.join(self.book.place, "objects", name[:3], name)

    @property
    def quota(self) -> int:
        """How many bytes the cache may hold."""
        rows = self.book.ask("select value from settings where name='quota'")
        return int(rows[0][0]) if rows else shutil.disk_usage(self.book.place).total // SHARE

    def used(self) -> int:
        """How many bytes the cache holds, reserved ones too."""
        return int(self.book.ask("select coalesce(sum(size), 0) from blobs")[0][0])

    def set_quota(self, quota: int) -> None:
        """Give the cache another size; what is too much goes. Raises Failed (`pinned`) where pins hold more."""
        with self.book.writing() as database:
            if not self._make_room(quota, 0):
                raise Failed("pinned", "pinned datasets take more than that")
            database.execute("insert or replace into settings values ('quota', ?)", (quota,))

    def reserve(self, wanted: dict[str, int]) -> set[str]:
        """Take room for objects that are about to come; returns those that got it."""
        got = set()
        quota = self.quota
        with self.book.writing() as database:
            room = quota - self.used()
            for name, size in wanted.items():
                if self.book.ask("select 1 from blobs where name=?", name):
                    continue
                if size > room:
                    if not self._make_room(quota, size):
                        continue
                    room = quota - self.used()
                room -= size
                database.execute(
                    "insert into blobs values (?, ?, 0, 0, ?, ?)", (name, size, now(), self.owner)
                )
                got.add(name)
        return got

    def keep(self, stamps: dict[str, tuple[int, int]]) -> None:
        """Objects lie in their place in the cache: their mtime_ns and inode."""
        with self.book.writing() as database:
            database.executemany(
                "update blobs set mtime_ns=?, inode=?, owner='' where name=? and owner=?",
                [(*stamp, name, self.owner) for name, stamp in stamps.items()],
            )

    def release(self, names: Iterable[str]) -> None:
        """Give up room that was reserved, and what may lie there."""
        with self.book.writing():
            for name in names:
                if self.book.ask("select 1 from blobs where name=? and owner=?", name, self.owner):
                    self._drop(name)

    def known(self, names: list[str]) -> set[str]:
        """Those of some objects that the cache may have."""
        found: set[str] = set()
        for at in range(0, len(names), ASKED):
            some = names[at : at + ASKED]
            marks = ",".join("?" * len(some))
            rows = self.book.ask(f"select name from blobs where name in ({marks})", *some)  # noqa: S608
            found.update(row[0] for row in rows)
        return found

    def usable(self, name: str) -> bool:
        """Whether the cache has an object as it was put there."""
        rows = self.book.ask(
            "select size, mtime_ns, inode from blobs where name=? and owner=''", name
        )
        if not rows:
            return False
        try:
            status = os.lstat(self.blob(name))
        except OSError:
            status = None
        if status and (status.st_size, status.st_mtime_ns, status.st_ino) == tuple(rows[0]):
            return True
        with self.book.writing():
            self._drop(name)  # it was deleted, or written to through a link in some folder
        return False

    def evict(self, dataset: int | None) -> dict[str, int]:
        """Empty the cache of what is not pinned: of one dataset's objects, or of all. The files in folders stay."""
        chosen = "" if dataset is None else " and name in (select blob from files where dataset=?)"
        freed = count = 0
        with self.book.writing():
            values = () if dataset is None else (dataset,)
            for name, size in self.book.ask(
                f"select name, size from blobs where owner='' and {FREE}{chosen}",  # noqa: S608
                *values,
            ):
                count, freed = count + 1, freed + size
                self._drop(name)
        return {"objects": count, "bytes": freed}

    def _make_room(self, quota: int, size: int) -> bool:
        """Drop what was not used for longest until there is room; False, and nothing dropped, where that cannot be."""
        missing = self.used() + size - quota
        if missing <= 0:
            return size <= quota
        free = self.book.ask(
            f"select name, size from blobs where owner='' and {FREE} order by used_ms, name"  # noqa: S608
        )
        if size > quota or sum(each for _, each in free) < missing:
            return False
        for name, each in free:
            if missing <= 0:
                break
            self._drop(name)
            missing -= each
        return True

    def _drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.blob(name))
        self.book.ask("delete from blobs where name=?", name)

    def clear_up(self) -> None:
        """Give back what programs that are gone had reserved."""
        with self.book.writing():
            for name, owner in self.book.ask("select name, owner from blobs where owner<>''"):
                if me(int(owner.partition(".")[0])) != owner:
                    self._drop(name)


def blob_name(etag: str, size: int, where: str, verified: bool) -> str:
    """The name of an object in the cache: by its content where the ETag is its MD5, else by where it lies and its ETag."""
    if verified and is_md5(etag):
        return f"m-{etag}-{size}"
    text = json.dumps([where, etag, size])
    return "o-" + hashlib.sha256(text.encode()).hexdigest()
