"""How runs change: by compare-and-set on (id, state, fence), with their attempts, and with what follows from an end, in one transaction."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Update, and_, bindparam, func, insert, select, update

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.jobs.ends import ended
from jupyter_cloudml.store.jobs.making import announce
from jupyter_cloudml.store.jobs.records import (
    CANCELLED,
    FINAL,
    OWNERLESS,
    QUEUED,
    RETRY_WAIT,
    AttemptRecord,
    RunRecord,
)
from jupyter_cloudml.store.texts import storable

HOUR_MS = 3_600_000
NEVER = "never"  # an attempt of which is known that its process was never started
_INSERT_ATTEMPT = insert(tables.attempt)


@dataclass(frozen=True)
class Move:
    """A run that goes from the state in which it was seen to another, by way of others; fields that are None stay."""

    run: RunRecord
    state: str
    via: tuple[str, ...] = ()
    reason: str | None = None
    not_before_ms: int | None = None
    attempt_state: str | None = None
    exit: Mapping[str, JSON] | None = None
    cost_micros: int | None = None


@dataclass(frozen=True)
class Moved:
    """What came of a Move: the run as it is now, or None where it was no longer as it had been seen."""

    run: RunRecord | None
    events: Sequence[Event] = ()


@functools.cache  # there are a few sets of columns, and building a statement takes longer than running it
def _update_run(names: tuple[str, ...]) -> Update:
    table = tables.run
    where = and_(
        table.c.id == bindparam("seen_id"),
        table.c.state == bindparam("seen_state"),
        table.c.fence == bindparam("seen_fence"),
        table.c.ended_ms.is_(None),
    )
    return update(table).where(where).values({name: bindparam(f"new_{name}") for name in names})


@functools.cache
def _update_attempt(names: tuple[str, ...]) -> Update:
    table = tables.attempt
    where = and_(table.c.run_id == bindparam("of_run"), table.c.n == bindparam("of_n"))
    values: dict[str, object] = {name: bindparam(f"new_{name}") for name in names}
    if "started_ms" in names:
        values["started_ms"] = func.coalesce(table.c.started_ms, bindparam("new_started_ms"))
    return update(table).where(where).values(values)


def change(connection: Connection, run: RunRecord, **values: object) -> RunRecord | None:
    """Change a run that is as it was seen; None when it is not. What is over is never changed."""
    bound = {f"new_{name}": value for name, value in values.items()}
    bound |= {"seen_id": run.id, "seen_state": run.state, "seen_fence": run.fence}
    if connection.execute(_update_run(tuple(values)), bound).rowcount != 1:
        return None
    return replace(run, **values)  # type: ignore[arg-type]


def moved(connection: Connection, move: Move, at_ms: int) -> Moved:
    """Change a run that is still as it was seen, and its attempt; fire what runs after it where it has ended."""
    if move.state in (QUEUED, RETRY_WAIT) and _is_to_end(connection, move.run):
        move = replace(move, state=CANCELLED, reason="cancelled")
    values: dict[str, object] = {"state": move.state}
    if move.reason is not None:
        values["reason"] = storable(move.reason)
    if move.not_before_ms is not None:
        values["not_before_ms"] = move.not_before_ms
    if move.state in OWNERLESS:
        values |= {"owner": None, "lease_until_ms": None}
    if move.state in FINAL:
        values["ended_ms"] = at_ms
    if "running" in (move.state, *move.via) and move.run.started_ms is None:
        values["started_ms"] = at_ms
    changed = change(connection, move.run, **values)
    if changed is None:
        return Moved(None)
    if move.attempt_state is not None:
        _change_attempt(connection, changed, move, at_ms)
    told = [
        announce(connection, replace(move.run, state=state, reason=None), at_ms)
        for state in move.via  # told, and never seen: all of this is one transaction
    ]
    told.append(announce(connection, changed, at_ms))
    if changed.state in FINAL:
        told += ended(connection, changed, at_ms)
    return Moved(changed, told)


def _is_to_end(connection: Connection, run: RunRecord) -> bool:
    """Look once more, under the lock of the row: somebody may have asked for the end since the run was seen."""
    query = select(tables.run.c.cancel_requested).where(tables.run.c.id == run.id)
    return bool(connection.execute(query.with_for_update()).scalar())


def _change_attempt(connection: Connection, run: RunRecord, move: Move, at_ms: int) -> None:
    values: dict[str, object] = {"state": move.attempt_state}
    if move.attempt_state != NEVER:
        values["started_ms"] = at_ms  # unless it is known already
    if move.attempt_state != "running":
        values |= {
            "ended_ms": at_ms,
            "exit_json": None if move.exit is None else json.dumps(move.exit),
            "cost_micros": move.cost_micros,
        }
        if move.attempt_state != NEVER and move.cost_micros is None:
            values["cost_micros"] = _cost_micros(connection, run, at_ms)
    bound = {f"new_{name}": value for name, value in values.items()}
    bound |= {"of_run": run.id, "of_n": run.attempts}
    connection.execute(_update_attempt(tuple(values)), bound)


def _cost_micros(connection: Connection, run: RunRecord, at_ms: int) -> int | None:
    """Return what an attempt that ends now has cost: the price of its machine for the time that it took; None where it has no price."""
    attempt, machine = tables.attempt, tables.machine
    query = (
        select(attempt.c.started_ms, machine.c.price_micros)
        .join(machine, machine.c.name == attempt.c.machine)
        .where(attempt.c.run_id == run.id, attempt.c.n == run.attempts)
        .where(machine.c.price_micros.is_not(None))
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.started_ms is None:
        return None
    return int(row.price_micros) * max(0, at_ms - int(row.started_ms)) // HOUR_MS


def failed_starts(connection: Connection, run: RunRecord) -> int:
    """Return how many attempts of a run were never started."""
    table = tables.attempt
    query = select(func.count()).where(table.c.run_id == run.id, table.c.state == NEVER)
    return connection.execute(query).scalar_one()


def add_attempt(connection: Connection, attempt: AttemptRecord) -> None:
    """Write an attempt, which names its process before anything is started."""
    values = asdict(attempt)
    values["process_handle_json"] = json.dumps(values.pop("handle"))
    values.pop("exit")
    connection.execute(_INSERT_ATTEMPT, values)
