"""The database: SQLite in the home folder, or PostgreSQL by URL; bounded waits, and errors that say what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError, UsageError

T = TypeVar("T")

BUSY_MS = 2_000  # one wait of SQLite or PostgreSQL for a lock
BUSY_TOTAL_S = 10.0  # all tries together
CHECKED_BYTES = 64 << 20  # files up to this size are checked as a whole when opened

_READ = "cloudml_read"
NO_ROOM = 1 << 16  # bytes free: too few for the files that SQLite makes when it begins

_SQLITE_CAUSES = (
    ("locked", "store_busy"),
    ("disk is full", "store_full"),
    ("malformed", "store_corrupt"),
    ("not a database", "store_corrupt"),
    ("readonly", "store_unavailable"),
    ("unable to open", "store_unavailable"),
    ("disk I/O error", "store_io"),
)
_POSTGRES_CAUSES = {
    "40001": "store_busy",
    "40P01": "store_busy",
    "55P03": "store_busy",
    "53100": "store_full",
    "53300": "store_busy",
    "XX001": "store_corrupt",
    "XX002": "store_corrupt",
}


class StoreError(CloudMLError):
    """The database cannot do it now: code is store_busy, store_full, store_corrupt, store_newer or store_unavailable.

    Or it never will, since it refuses what was to be written: store_refused.
    """

    code = "store_unavailable"
    status = 503


class Database:
    """An engine with bounded transactions. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def name(self) -> str:
        """Return what errors call the database: the file, or the URL without its password."""
        if self.engine.dialect.name == "sqlite":
            return self.engine.url.database or ""
        return self.engine.url.render_as_string(hide_password=True)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read-only view of the database. Raises StoreError."""
        return self._run(work, {_READ: True})

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, again while another process holds the lock, for 10 s at most. Raises StoreError."""
        return self._run(work, {})

    def _run(self, work: Callable[[Connection], T], options: dict[str, bool]) -> T:
        deadline = time.monotonic() + BUSY_TOTAL_S
        while True:
            try:
                with (
                    self.engine.connect().execution_options(**options) as connection,
                    connection.begin(),
                ):
                    return work(connection)
            except DBAPIError as exc:
                error = explain(exc, self)
                if error.code != "store_busy" or time.monotonic() >= deadline:
                    raise error from exc
                time.sleep(0.01)  # SQLite can refuse at once where waiting would be a deadlock
            except PoolTimeout as exc:
                raise StoreError(
                    f"all connections to the database {self.name} are in use",
                    code="store_busy",
                    hint="something holds the database: end it, or try again",
                ) from exc

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_database(config: Config) -> Database:
    """Open the database of an installation; a new SQLite file is made 0600.

    Raises UsageError for an impossible URL, StoreError when it is damaged (the file is then kept aside) or out of reach.
    """
    url = database_url(config)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    try:
        engine = create_engine(
            url, pool_pre_ping=True, pool_timeout=BUSY_TOTAL_S, connect_args=_postgres_arguments()
        )
    except ImportError as exc:
        raise UsageError(
            f"JUPYTER_CLOUDML_DB names {url.get_backend_name()}, and its driver is not installed: {exc.name}",
            hint="install it with: pip install 'jupyter-cloudml[postgres]'",
        ) from exc
    return Database(engine)


def database_url(config: Config) -> URL:
    """Return the URL of the configured database. Raises UsageError for one that is neither SQLite nor PostgreSQL."""
    if config.database is None:
        return URL.create("sqlite", database=str(config.database_file))
    try:
        url = make_url(config.database)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as exc:
        raise UsageError(
            "JUPYTER_CLOUDML_DB is not a database URL", hint="use postgresql://user@host/name"
        ) from exc
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database or url.database == ":memory:":
        raise UsageError(
            f"JUPYTER_CLOUDML_DB names {backend!r}, which cannot keep the state",
            hint="use postgresql://user@host/name, or leave it unset for SQLite",
        )
    return url


def explain(exc: DBAPIError, database: Database) -> StoreError:
    """Turn a driver's error into one that names the database, the cause and the remedy."""
    code = _cause(exc)
    name, why = (
        database.name,
        str(exc.orig).strip().splitlines()[0] if str(exc.orig).strip() else type(exc.orig).__name__,
    )
    free = _free_bytes(name)
    if code == "store_io":  # also what a full disk says where SQLite begins a file
        code = "store_unavailable" if free is None or free >= NO_ROOM else "store_full"
    if code == "store_busy":
        return StoreError(
            f"the database {name} is locked by another process",
            code=code,
            hint="end the process that holds it, or try again",
        )
    if code == "store_full":
        return StoreError(
            f"no space left for the database {name}"
            + ("" if free is None else f" ({free} bytes free)"),
            code=code,
            hint="free some space; running kernels go on meanwhile",
        )
    if code == "store_corrupt":
        return StoreError(
            f"the database {name} is damaged: {why}", code=code, hint="restore it from a backup"
        )
    if code == "store_refused":
        return StoreError(
            f"the database {name} refuses what was to be written: {why}",
            code=code,
            hint="tell whoever looks after it; all else goes on",
        )
    return StoreError(
        f"the database {name} cannot be used: {why}",
        code=code,
        hint="see that it is there and may be written",
    )


def _cause(exc: DBAPIError) -> str:
    if isinstance(exc, (DataError, IntegrityError)):
        return "store_refused"
    if isinstance(exc.orig, sqlite3.Error):
        text = str(exc.orig)
        return next((code for part, code in _SQLITE_CAUSES if part in text), "store_unavailable")
    return _POSTGRES_CAUSES.get(str(getattr(exc.orig, "sqlstate", "")), "store_unavailable")


def _free_bytes(name: str) -> int | None:
    try:
        return shutil.disk_usage(Path(name).parent).free
    except OSError:
        return None


def _postgres_arguments() -> dict[str, str | int]:
    # A process that is stopped in the middle of a transaction must not hold its locks for ever.
    idle = f"-c idle_in_transaction_session_timeout={int(BUSY_TOTAL_S * 1000)}"
    settings = f"-c lock_timeout={BUSY_MS} -c statement_timeout=30000 -c timezone=UTC {idle}"
    return {"connect_timeout": 10, "options": settings, "application_name": "jupyter-cloudml"}


def _open_sqlite(url: URL) -> Database:
    path = Path(url.database or "")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        opened = path.stat()
    except OSError as exc:
        raise StoreError(
            f"the database {path} cannot be opened: {exc.strerror}",
            hint="see that its folder is there and may be written",
        ) from exc
    engine = create_engine(url, pool_timeout=BUSY_TOTAL_S, connect_args={"timeout": BUSY_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    database = Database(engine)
    try:
        if opened.st_size <= CHECKED_BYTES:
            answer = database.read(
                lambda connection: connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            )
            if answer != "ok":
                raise StoreError(f"the database {path} is damaged: {answer}", code="store_corrupt")
    except StoreError as exc:
        database.close()
        if exc.code != "store_corrupt":
            raise
        raise _kept_aside(path, opened, exc.message) from exc
    return database


def _prepare_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where we say (see _begin_sqlite)
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: it waits here, where nothing is done yet, and never fails half-way.
    read = connection.get_execution_options().get(_READ)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")


def _kept_aside(path: Path, opened: os.stat_result, cause: str) -> StoreError:
    """Move a damaged database out of the way, so that nothing more is written to it, and say where it is."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        if path.stat().st_ino == opened.st_ino:  # else another process has done it already
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                extra = path.with_name(path.name + suffix)
                if extra.exists():
                    extra.rename(aside.with_name(aside.name + suffix))
    except OSError as exc:
        return StoreError(
            f"{cause}; moving it aside failed: {exc.strerror}",
            code="store_corrupt",
            hint=f"move {path} away",
        )
    return StoreError(
        f"{cause}; it was kept as {aside.name}",
        code="store_corrupt",
        hint=f"put a backup at {path}, or start again with an empty one and add your machines anew",
    )
