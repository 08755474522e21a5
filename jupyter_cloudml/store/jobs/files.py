"""What runs have left, and the notebooks that they began with, for all computers that share the database: files in pieces."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.results import hold, stale

PIECE = 1 << 20  # bytes, before they are packed
_AT_ONCE = 8  # pieces that are in memory
_QUICK = 1


class FileRepository:
    """The tables run_file and notebook_file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def database_id(self) -> str:
        """Return what tells this database from any other, made when it is first asked for. Raises StoreError."""
        table = tables.database_id
        made = insert(table).values(n=1, id=secrets.token_hex(8))

        def work(connection: Connection) -> str:
            found = connection.execute(select(table.c.id)).scalar()
            if found is None:
                with suppress(IntegrityError), connection.begin_nested():  # somebody else makes it
                    connection.execute(made)
                found = connection.execute(select(table.c.id)).scalar_one()
            return str(found)

        return self._database.write(work)

    def put(self, run_id: str, name: str, data: bytes, fence: int | None = None) -> None:
        """Keep a file of a run, in place of the one of this name. Raises Conflict (code "stale") where the run has another owner by now."""
        table = tables.run_file

        def work(connection: Connection) -> None:
            if fence is not None:
                hold(connection, run_id, fence)
            connection.execute(delete(table).where(_named(run_id, name)))
            for at in range(0, max(len(data), 1), PIECE):
                piece = data[at : at + PIECE]
                connection.execute(insert(table).values(_row(run_id, name, at, piece)))

        self._database.write(work)

    def remove(self, run_id: str, name: str) -> None:
        """Let go of a file."""
        gone = delete(tables.run_file).where(_named(run_id, name))
        self._database.write(lambda connection: connection.execute(gone))

    def get(self, run_id: str, name: str) -> bytes | None:
        """Return a file of a run; None where there is none."""
        table = tables.run_file
        query = select(table.c.data).where(_named(run_id, name)).order_by(table.c.at)
        rows = self._database.read(lambda connection: connection.execute(query).scalars().all())
        return b"".join(map(zlib.decompress, rows)) if rows else None

    def size(self, run_id: str, name: str) -> int | None:
        """Return how many bytes a file of a run has; None where there is none."""
        query = select(func.sum(tables.run_file.c.size)).where(_named(run_id, name))
        found = self._database.read(lambda connection: connection.execute(query).scalar())
        return None if found is None else int(found)

    def of(self, run_id: str, name: str) -> SharedFile:
        """Return a file that is added to."""
        return SharedFile(self._database, run_id, name, self)

    def keep_notebook(self, ref: str, data: bytes, at_ms: int) -> None:
        """Keep a notebook once, by its digest; where it is there, note that it was taken again."""
        table = tables.notebook_file
        again = update(table).where(table.c.ref == ref).values(used_ms=at_ms)

        def work(connection: Connection) -> None:
            if connection.execute(again).rowcount:
                return
            try:
                with connection.begin_nested():
                    for at in range(0, max(len(data), 1), PIECE):
                        piece = data[at : at + PIECE]
                        values = {"ref": ref, "at": at, "size": len(piece), "used_ms": at_ms}
                        packed = zlib.compress(piece, _QUICK)
                        connection.execute(insert(table).values(values | {"data": packed}))
            except IntegrityError:  # somebody keeps it at the same time
                connection.execute(again)

        self._database.write(work)

    def notebook(self, ref: str) -> bytes | None:
        """Return a notebook; None where there is none."""
        table = tables.notebook_file
        query = select(table.c.data).where(table.c.ref == ref).order_by(table.c.at)
        rows = self._database.read(lambda connection: connection.execute(query).scalars().all())
        return b"".join(map(zlib.decompress, rows)) if rows else None

    def delete_notebooks(self, used_before_ms: int) -> int:
        """Delete notebooks that no snapshot has and that were not taken since a time; return how many."""
        table, snapshot = tables.notebook_file, tables.snapshot
        unused = and_(
            table.c.used_ms < used_before_ms,
            ~exists().where(snapshot.c.notebook_ref == table.c.ref),
        )

        def work(connection: Connection) -> int:
            query = select(table.c.ref).where(unused, table.c.at == 0).limit(100)
            found = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(table).where(table.c.ref.in_(found), unused))
            return len(found)

        return self._database.write(work)


@dataclass(frozen=True)
class SharedFile:
    """One file of a run, that one writer at a time adds to."""

    database: Database
    run_id: str
    name: str
    files: FileRepository

    def end(self) -> int:
        """Return how many bytes it has."""
        table = tables.run_file
        query = (
            select(table.c.at + table.c.size)
            .where(_named(self.run_id, self.name))
            .order_by(table.c.at.desc())
            .limit(1)
        )
        return self.database.read(lambda connection: connection.execute(query).scalar()) or 0

    def append(self, at: int, data: bytes) -> None:
        """Add bytes at its end. Raises Conflict (code "stale") where somebody else has done so before, or the run is gone."""
        table = tables.run_file
        row = _row(self.run_id, self.name, at, data)

        def work(connection: Connection) -> None:
            try:
                with connection.begin_nested():
                    connection.execute(insert(table).values(row))
            except IntegrityError as exc:
                raise stale(self.run_id) from exc

        self.database.write(work)

    def pieces(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield what is at or behind a byte, in pieces, each with where it begins; the first may begin before."""
        table = tables.run_file
        while True:
            query = (
                select(table.c.at, table.c.size, table.c.data)
                .where(_named(self.run_id, self.name), table.c.at + table.c.size > start)
                .order_by(table.c.at)
                .limit(_AT_ONCE)
            )
            rows = self.database.read(lambda connection, q=query: connection.execute(q).all())  # type: ignore[misc]
            for row in rows:
                yield row.at, zlib.decompress(row.data)
                start = row.at + row.size
            if len(rows) < _AT_ONCE:
                return


def _named(run_id: str, name: str) -> ColumnElement[bool]:
    table = tables.run_file
    return and_(table.c.run_id == run_id, table.c.name == name)


def _row(run_id: str, name: str, at: int, data: bytes) -> dict[str, object]:
    packed = zlib.compress(data, _QUICK)
    return {"run_id": run_id, "name": name, "at": at, "size": len(data), "data": packed}
