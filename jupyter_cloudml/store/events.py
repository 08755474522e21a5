"""What happened (events, for whoever watches) and who asked for it (audit)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, insert, or_, select

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database

EVENTS_KEPT = 10_000
_TRIM_EVERY = 500
_APPEND = insert(tables.event)


def append(connection: Connection, event: Event) -> Event:
    """Write an event within the transaction of the change it tells of; return it with its place in the table."""
    table = tables.event
    values = {
        "noun": event.noun,
        "name": event.name,
        "state": event.state,
        "version": event.version,
        "data_json": json.dumps(event.data),
        "at_ms": event.at_ms,
    }
    (seq,) = connection.execute(_APPEND, values).inserted_primary_key or (0,)
    if seq % _TRIM_EVERY == 0:
        connection.execute(delete(table).where(table.c.id <= seq - EVENTS_KEPT))
    return replace(event, seq=seq)


class EventRepository:
    """The newest events, by number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, event: Event) -> Event:
        """Write an event that belongs to no other change of the database."""
        return self._database.write(lambda connection: append(connection, event))

    def last_seq(self) -> int:
        """Return the number of the newest event, 0 when there is none."""
        return self._database.read(
            lambda connection: connection.execute(select(func.max(tables.event.c.id))).scalar() or 0
        )

    def since(self, seq: int, limit: int = 1000, missing: Collection[int] = ()) -> list[Event]:
        """Return the events after `seq`, and those of the numbers `missing`, oldest first, `limit` at most."""
        table = tables.event
        wanted = table.c.id > seq
        if missing:
            wanted = or_(wanted, table.c.id.in_(sorted(missing)))
        query = select(table).where(wanted).order_by(table.c.id).limit(limit)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [
            Event(
                noun=row.noun,
                name=row.name,
                state=row.state,
                version=row.version,
                at_ms=row.at_ms,
                data=json.loads(row.data_json),
                seq=row.id,
            )
            for row in rows
        ]


@dataclass(frozen=True)
class AuditRow:
    """Who did what to which object, and what came of it ("done", or the code of the error)."""

    at_ms: int
    who: str
    what: str
    target: str
    result: str


class AuditRepository:
    """The trail of acts; rows are only ever added."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def record(self, who: str, what: str, target: str, result: str) -> None:
        """Add one row. No argument may hold a secret."""
        row = {
            "at_ms": self._clock.now_ms(),
            "who": who,
            "what": what,
            "target": target,
            "result": result,
        }
        self._database.write(
            lambda connection: connection.execute(insert(tables.audit).values(row))
        )

    def newest(self, limit: int = 100) -> list[AuditRow]:
        """Return the newest rows, newest first."""
        table = tables.audit
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [AuditRow(row.at_ms, row.who, row.what, row.target, row.result) for row in rows]
