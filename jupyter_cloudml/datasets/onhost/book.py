"""What a machine knows of its datasets, and the cache that they share: objects by content, with a quota, least recently used first, and pins.

`~/.cache/jupyter-cloudml/data/`: `book.db`, `objects/`, `locks/`. The book may be lost: what is unknown is looked at anew or fetched again. Room in the
cache is reserved before an object is put there, so that the quota is never passed, however many programs work at once and wherever one is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ...onhost.folder import Failed
from .folder import is_md5

SHARE = 4  # without a word from the user the cache takes a quarter of its disk
TAKEOVER_S = 10.0
SCHEMA = """
create table if not exists settings (name text primary key, value integer) without rowid;
create table if not exists datasets (
  id integer primary key, folder text, source text, upward integer default 0, pinned integer default 0,
  files integer default 0, bytes integer default 0, synced_ms integer default 0, unique (folder, source));
create table if not exists files (
  dataset integer, path text, etag text, size integer, mtime_ns integer, inode integer, blob text default '',
  primary key (dataset, path)) without rowid;
create index if not exists files_by_blob on files (blob);
create table if not exists blobs (
  name text primary key, size integer, mtime_ns integer, inode integer, used_ms integer, owner text) without rowid;
create index if not exists blobs_by_use on blobs (used_ms);
"""


def home() -> str:
    """The folder of all this, made private."""
    path = os.path.join(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "data")
    mask = os.umask(0o077)
    try:
        os.makedirs(os.path.join(path, "objects"), exist_ok=True)
        os.makedirs(os.path.join(path, "locks"), exist_ok=True)
    finally:
        os.umask(mask)
    return path


def me(pid: int = 0) -> str:
    """A process by its number and start: the name under which it reserves room. "" where it has ended."""
    pid = pid or os.getpid()
    try:
        with open(f"/proc/{pid}/stat") as file:
            return f"{pid}.{file.read().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return f"{pid}.0"


class Book:
    """Thread-safe; several programs may have it open."""

    def __init__(self) -> None:
        self.place = home()
        self.owner = me()
        self._lock = threading.RLock()
        path = os.path.join(self.place, "book.db")
        try:
            self._db = self._opened(path)
        except sqlite3.DatabaseError as exc:
            if "locked" in str(exc) or "full" in str(exc):
                raise Failed("no_space" if "full" in str(exc) else "busy", str(exc)) from exc
            os.replace(path, path + ".damaged")
            shutil.rmtree(os.path.join(self.place, "objects"), ignore_errors=True)
            home()
            self._db = self._opened(path)
        self.clear_up()

    def _opened(self, path: str) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        os.chmod(path, 0o600)
        # What a power failure loses is only what was known, never a file.
        database.execute("pragma synchronous=off")
        database.executescript(SCHEMA)
        return database

    def ask(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    # -- datasets ------------------------------------------------------------------------------------

    def dataset(self, folder: str, source: str, upward: bool) -> int:
        """The number of a dataset, known from now on."""
        with self.writing() as database:
            database.execute(
                "insert or ignore into datasets (folder, source, upward) values (?, ?, ?)",
                (folder, source, upward),
            )
        return int(
            self.ask("select id from datasets where folder=? and source=?", folder, source)[0][0]
        )

    def known(self, dataset: int, first: str, last: str) -> dict[str, tuple[Any, ...]]:
        """What is known of the files from one path to another: etag, size, mtime_ns, inode, blob."""
        rows = self.ask(
            "select path, etag, size, mtime_ns, inode, blob from files where dataset=? and path between ? and ?",
            dataset,
            first,
            last,
        )
        return {row[0]: row[1:] for row in rows}

    def note(self, dataset: int, rows: Iterable[tuple[Any, ...]]) -> None:
        """Remember files: path, etag, size, mtime_ns, inode, blob."""
        with self.writing() as database:
            database.executemany(
                "insert or replace into files values (?, ?, ?, ?, ?, ?, ?)",
                [(dataset, *row) for row in rows],
            )

    def forget(self, dataset: int, paths: Iterable[str]) -> None:
        """Forget files."""
        with self.writing() as database:
            database.executemany(
                "delete from files where dataset=? and path=?", [(dataset, path) for path in paths]
            )

    def synced(self, dataset: int, now_ms: int) -> tuple[int, int]:
        """Remember the end of a sync; say how many files and bytes the dataset has now."""
        with self.writing() as database:
            files, size = database.execute(
                "select count(*), coalesce(sum(size), 0) from files where dataset=?", (dataset,)
            ).fetchone()
            database.execute(
                "update datasets set files=?, bytes=?, synced_ms=? where id=?",
                (files, size, now_ms, dataset),
            )
            database.execute(
                "update blobs set used_ms=? where name in (select blob from files where dataset=?)",
                (now_ms, dataset),
            )
        return files, size

    # -- cache ---------------------------------------------------------------------------------------

    def blob(self, name: str) -> str:
        """Where an object of the cache lies."""
        return os.path.join(self.place, "objects", name[:3], name)

    @property
    def quota(self) -> int:
        """How many bytes the cache may hold."""
        rows = self.ask("select value from settings where name='quota'")
        return int(rows[0][0]) if rows else shutil.disk_usage(self.place).total // SHARE

    def used(self) -> int:
        """How many bytes the cache holds, reserved ones too."""
        return int(self.ask("select coalesce(sum(size), 0) from blobs")[0][0])

    def set_quota(self, quota: int) -> None:
        """Give the cache another size; what is too much goes. Raises Failed (`pinned`) where pins hold more."""
        with self.writing() as database:
            if not self._make_room(quota, 0):
                raise Failed("pinned", "pinned datasets take more than that")
            database.execute("insert or replace into settings values ('quota', ?)", (quota,))

    def reserve(self, wanted: dict[str, int]) -> set[str]:
        """Take room for objects that are about to come; returns those that got it."""
        got = set()
        quota = self.quota
        with self.writing() as database:
            room = quota - self.used()
            for name, size in wanted.items():
                if self.ask("select 1 from blobs where name=?", name):
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
        with self.writing() as database:
            database.executemany(
                "update blobs set mtime_ns=?, inode=?, owner='' where name=? and owner=?",
                [(*stamp, name, self.owner) for name, stamp in stamps.items()],
            )

    def release(self, names: Iterable[str]) -> None:
        """Give up room that was reserved, and what may lie there."""
        with self.writing():
            for name in names:
                if self.ask("select 1 from blobs where name=? and owner=?", name, self.owner):
                    self._drop(name)

    def usable(self, name: str) -> bool:
        """Whether the cache has an object as it was put there."""
        rows = self.ask("select size, mtime_ns, inode from blobs where name=? and owner=''", name)
        if not rows:
            return False
        try:
            status = os.lstat(self.blob(name))
        except OSError:
            status = None
        if status and (status.st_size, status.st_mtime_ns, status.st_ino) == tuple(rows[0]):
            return True
        with self.writing():
            self._drop(name)  # it was deleted, or written to through a link in some folder
        return False

    def evict(self, dataset: int | None) -> dict[str, int]:
        """Empty the cache of what is not pinned: of one dataset's objects, or of all. The files in folders stay."""
        chosen = "" if dataset is None else " and name in (select blob from files where dataset=?)"
        freed = count = 0
        with self.writing():
            values = () if dataset is None else (dataset,)
            for name, size in self.ask(
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
        free = self.ask(
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
        self._db.execute("delete from blobs where name=?", (name,))

    def clear_up(self) -> None:
        """Give back what programs that are gone had reserved."""
        with self.writing():
            for name, owner in self.ask("select name, owner from blobs where owner<>''"):
                if me(int(owner.partition(".")[0])) != owner:
                    self._drop(name)


# An object that no pinned dataset has.
FREE = "not exists (select 1 from files join datasets on id=dataset where blob=name and pinned=1)"


def now() -> int:
    """The time in ms; only which of two uses was later is asked of it."""
    return time.time_ns() // 1_000_000


def blob_name(etag: str, size: int, where: str, verified: bool) -> str:
    """The name of an object in the cache: by its content where the ETag is its MD5, else by where it lies and its ETag."""
    if verified and is_md5(etag):
        return f"m-{etag}-{size}"
    text = json.dumps([where, etag, size])
    return "o-" + hashlib.sha256(text.encode()).hexdigest()


class FolderLock:
    """One sync of a folder at a time. One that the same installation began and no longer looks after is ended."""

    def __init__(self, place: str, folder: str, installation: str) -> None:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
        self._file = open(os.path.join(place, "locks", digest), "a+")  # noqa: SIM115 - until the end
        deadline = time.monotonic() + TAKEOVER_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._end_holder(installation, folder, deadline)
        self._file.truncate(0)
        self._file.write(json.dumps([me(), installation]))
        self._file.flush()

    def _end_holder(self, installation: str, folder: str, deadline: float) -> None:
        self._file.seek(0)
        try:
            holder, theirs = json.loads(self._file.read())
        except ValueError:
            holder, theirs = "", installation  # it has just begun
        if theirs != installation or time.monotonic() > deadline:
            raise Failed("busy", f"another sync of {folder} is under way")
        pid = int(holder.partition(".")[0] or 0)
        if pid and me(pid) == holder:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
