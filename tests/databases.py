"""One database for many tests: emptied between them, and never waiting for a disk."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, event

from jupyter_cloudml.store import Store, tables


def hurry(store: Store) -> None:
    """Have SQLite not wait for the disk: no test of what was decided needs a power cut survived."""
    engine = store.database.engine
    if engine.dialect.name != "sqlite":
        return

    def prepare(connection: sqlite3.Connection, _entry: object) -> None:
        connection.execute("PRAGMA synchronous=OFF").close()

    event.listen(engine, "connect", prepare)
    engine.dispose()


def empty(store: Store) -> None:
    """Take all rows out."""

    def work(connection: Connection) -> None:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())

    store.database.write(work)
