"""What a machine knows of its datasets: `book.db` in `~/.cache/jupyter-cloudml/data/`, beside `objects/` and `locks/`.

It may be lost: what is unknown is looked at anew or fetched again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ...onhost.folder import Failed

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


def set_aside(place: str) -> None:
    """Begin anew where the book is damaged; the cache goes with it."""
    path = os.path.join(place, "book.db")
    os.replace(path, path + ".damaged")
    shutil.rmtree(os.path.join(place, "objects"), ignore_errors=True)
    home()


class Book:
    """Thread-safe; several programs may have it open."""

    def __init__(self) -> None:
        self.place = home()
        self._lock = threading.RLock()
        path = os.path.join(self.place, "book.db")
        try:
            self._db = self._opened(path)
        except sqlite3.DatabaseError as exc:
            if isinstance(exc, sqlite3.OperationalError):  # it may be in order
                code = "busy" if "locked" in str(exc) else "os_error"
                code = "no_space" if "full" in str(exc) else code
                raise Failed(code, f"{path}: {exc}") from exc
            set_aside(self.place)
            self._db = self._opened(path)

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

    def expect(self, dataset: int, paths: Iterable[str]) -> None:
        """Remember that files are about to come, where nothing is known of them."""
        with self.writing() as database:
            database.executemany(
                "insert or ignore into files values (?, ?, '', 0, 0, 0, '')",
                [(dataset, path) for path in paths],
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
                "select count(*), coalesce(sum(size), 0) from files where dataset=? and inode<>0",
                (dataset,),
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


def now() -> int:
    """The time in ms; only which of two uses was later is asked of it."""
    return time.time_ns() // 1_000_000
