"""The servers that run jobs: each says again and again that it lives, in a row of its own."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database


@dataclass(frozen=True)
class ServerRecord:
    """One server. `heartbeat_ms` differs with each beat: whoever sees it unchanged for a lease, by a clock of its own, takes the server for dead."""

    id: str
    host: str
    pid: int
    boot_id: str
    heartbeat_ms: int
    version: str
    computer: str | None = None  # of a database that several computers share


class ServerRepository:
    """The table of servers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, server: ServerRecord) -> None:
        """Say that a server lives. It touches no row but its own, so that nothing which others hold can make it late."""
        table = tables.server
        later = case(
            (table.c.heartbeat_ms >= server.heartbeat_ms, table.c.heartbeat_ms + 1),
            else_=server.heartbeat_ms,
        )

        def work(connection: Connection) -> None:
            mine = update(table).where(table.c.id == server.id)
            if connection.execute(mine.values(heartbeat_ms=later)).rowcount == 0:
                with contextlib.suppress(IntegrityError), connection.begin_nested():
                    connection.execute(insert(table).values(asdict(server)))

        self._database.write(work)

    def renew(self, server_id: str, lease_until_ms: int) -> dict[str, int]:
        """Renew the leases of a server's runs; return these runs with the fences that it holds."""
        run = tables.run

        def work(connection: Connection) -> dict[str, int]:
            held = select(run.c.id, run.c.fence).where(run.c.owner == server_id)
            found = {row.id: row.fence for row in connection.execute(held)}
            if found:
                renewed = update(run).where(run.c.owner == server_id)
                connection.execute(renewed.values(lease_until_ms=lease_until_ms))
            return found

        return self._database.write(work)

    def list(self) -> list[ServerRecord]:
        """Return all servers that have not said goodbye, dead ones too."""
        query = select(tables.server).order_by(tables.server.c.id)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [ServerRecord(**row._mapping) for row in rows]

    def owners(self) -> set[str]:
        """Return who owns a run now."""
        owner = tables.run.c.owner
        query = select(owner).where(owner.is_not(None)).distinct()
        return self._database.read(lambda connection: set(connection.execute(query).scalars()))

    def forget(self, server_id: str) -> None:
        """Take a server out that owns nothing any more."""
        table, owner = tables.server, tables.run.c.owner
        idle = ~select(owner).where(owner == server_id).exists()
        gone = delete(table).where(table.c.id == server_id, idle)
        self._database.write(lambda connection: connection.execute(gone))

    def goodbye(self, server_id: str) -> None:
        """Take a server out at its own word: others go on with its runs at once."""
        gone = delete(tables.server).where(tables.server.c.id == server_id)
        self._database.write(lambda connection: connection.execute(gone))
