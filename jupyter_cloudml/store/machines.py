"""Machines as they are kept: every change compares the version, and its event is written in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypeAlias

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.errors import JSON, Conflict, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database


@dataclass(frozen=True)
class MachineRecord:
    """One machine as it is kept.

    `spec` is what its provider needs to find it, `desired` what the user wants of it (running, stopping, stopped, absent),
    `price_micros` is what an hour costs, in millionths (None: nobody has said), `cull_idle_s` ends kernels that are idle for so long (None: never), `prewarm` kernels are kept ready.
    """

    name: str
    provider: str
    label: str
    created_ms: int
    desired: str
    spec: Mapping[str, JSON] = field(default_factory=dict)
    host_key: str | None = None
    cull_idle_s: int | None = None
    prewarm: int = 0
    python: str | None = None
    price_micros: int | None = None
    version: int = 1


@dataclass(frozen=True)
class Change:
    """A machine after a change and the event that tells of it."""

    record: MachineRecord
    event: Event


Announce: TypeAlias = Callable[[MachineRecord], Event]


class MachineRepository:
    """The table of machines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[MachineRecord]:
        """Return all machines by name."""
        query = select(tables.machine).order_by(tables.machine.c.name)
        return [
            _record(row)
            for row in self._database.read(lambda connection: connection.execute(query).all())
        ]

    def get(self, name: str) -> MachineRecord:
        """Return one machine. Raises NotFound."""
        return self._database.read(lambda connection: _get(connection, name))

    def insert(self, record: MachineRecord, announce: Announce) -> Change:
        """Add a machine. Raises Conflict when the name is taken."""

        def work(connection: Connection) -> Change:
            try:
                connection.execute(insert(tables.machine).values(_values(record)))
            except IntegrityError as exc:
                raise _exists(record.name) from exc
            return Change(record, events.append(connection, announce(record)))

        return self._database.write(work)

    def update(self, record: MachineRecord, announce: Announce, **changes: JSON) -> Change:
        """Change a machine that is still as `record` has it. Raises Conflict (code "stale") when it is not, NotFound."""

        def work(connection: Connection) -> Change:
            current = _get(connection, record.name, lock=True)
            if current.version != record.version:
                raise _stale(record.name)
            return _replace(connection, current, announce, changes)

        return self._database.write(work)

    def touch(self, name: str, announce: Announce) -> Change:
        """Give a machine a new version, for a change of its live state. Raises NotFound."""
        return self._database.write(
            lambda connection: _replace(connection, _get(connection, name, lock=True), announce, {})
        )

    def delete(self, record: MachineRecord, announce: Announce) -> Change:
        """Take a machine out. Raises Conflict (code "stale") when it was changed meanwhile, NotFound."""

        def work(connection: Connection) -> Change:
            current = _get(connection, record.name, lock=True)
            if current.version != record.version:
                raise _stale(record.name)
            connection.execute(delete(tables.machine).where(tables.machine.c.name == record.name))
            last = replace(current, version=current.version + 1)
            return Change(last, events.append(connection, announce(last)))

        return self._database.write(work)


def _get(connection: Connection, name: str, *, lock: bool = False) -> MachineRecord:
    query = select(tables.machine).where(tables.machine.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no machine named {name!r}", hint="see `jupyter cloudml machine list`"
        )
    return _record(row)


def _replace(
    connection: Connection, current: MachineRecord, announce: Announce, changes: Mapping[str, JSON]
) -> Change:
    values = asdict(current) | dict(changes) | {"version": current.version + 1}
    changed = MachineRecord(**values)
    table = tables.machine
    done = connection.execute(
        update(table)
        .where(table.c.name == current.name, table.c.version == current.version)
        .values(_values(changed))
    )
    if done.rowcount != 1:
        raise _stale(current.name)
    return Change(changed, events.append(connection, announce(changed)))


def _values(record: MachineRecord) -> dict[str, JSON]:
    values = asdict(record)
    values["spec_json"] = json.dumps(values.pop("spec"), sort_keys=True)
    return values


def _record(row: Row[tuple[object, ...]]) -> MachineRecord:
    values = dict(row._mapping)
    values["spec"] = json.loads(values.pop("spec_json"))
    return MachineRecord(**values)


def _exists(name: str) -> Conflict:
    return Conflict(
        f"there is a machine named {name!r} already",
        hint="choose another name, or remove that one first",
    )


def _stale(name: str) -> Conflict:
    return Conflict(
        f"the machine {name!r} was changed by somebody else meanwhile",
        code="stale",
        hint="look again, then repeat",
    )
