"""Who works on which run: claims, what comes of them, and runs taken over from a dead server.

Every change compares (id, state, fence) and writes its event in the same transaction; a new owner has a higher fence, so that whoever was
taken for dead and was not can change nothing any more.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.ends import ended
from jupyter_cloudml.store.jobs.making import announce
from jupyter_cloudml.store.jobs.records import (
    CANCELLED,
    CLAIMED,
    FINAL,
    LOST,
    OWNERLESS,
    QUEUED,
    RETRY_WAIT,
    SCHEDULED,
    AttemptRecord,
    Claim,
    RunRecord,
)
from jupyter_cloudml.store.jobs.room import Place, candidates, machine_of
from jupyter_cloudml.store.texts import storable

_LOCK = 0x636D6C636C61  # "cmlcla": servers count what runs and claim one after another (PostgreSQL)

HOUR_MS = 3_600_000
LONGEST_DELAY_MS = 7 * 24 * HOUR_MS  # the longest that a retry can wait
NEVER = "never"  # an attempt of which is known that its process was never started
INTENDED = "intended"  # an attempt whose process has a name and was perhaps never started


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


@dataclass(frozen=True)
class Look:
    """What there is to do now, as one look at the database shows it."""

    due: bool
    ripe: bool
    queued: bool
    next_due_ms: int | None
    next_ripe_ms: int | None
    to_cancel: Mapping[str, str | None]  # why, by run


class Claiming(Exception):  # no error: look again soon
    """Another server claims runs at this moment."""


class ClaimRepository:
    """The table of runs, as those see it who run them."""

    def __init__(self, database: Database) -> None:
        self._database, self._place = database, Place()

    def look(self, server_id: str, at_ms: int) -> Look:
        """Say what there is to do, without taking any lock."""
        run, trigger = tables.run, tables.trigger

        def work(connection: Connection) -> Look:
            due = connection.execute(
                select(func.min(trigger.c.next_due_ms)).where(trigger.c.enabled.is_(True))
            ).scalar()
            soonest, again = (_not_before(connection, state) for state in (SCHEDULED, RETRY_WAIT))
            latest = None if again is None else _not_before(connection, RETRY_WAIT, latest=True)
            ripe = min((time for time in (soonest, again) if time is not None), default=None)
            far_off = latest is not None and latest > at_ms + LONGEST_DELAY_MS
            waiting = select(run.c.id).where(run.c.state == QUEUED, run.c.ended_ms.is_(None))
            asked = select(run.c.id, run.c.reason).where(
                run.c.owner == server_id, run.c.cancel_requested.is_(True)
            )
            return Look(
                due=due is not None and due <= at_ms,
                ripe=far_off or (ripe is not None and ripe <= at_ms),
                queued=connection.execute(waiting.limit(1)).first() is not None,
                next_due_ms=due,
                next_ripe_ms=ripe,
                to_cancel={row.id: row.reason for row in connection.execute(asked)},
            )

        return self._database.read(work)

    def ripen(self, at_ms: int, limit: int = 200) -> list[Event]:
        """Queue the runs whose time to wait is over, and those that wait for a time that no retry waits for: the clock was set back."""
        run = tables.run
        whose = (
            (SCHEDULED, run.c.not_before_ms <= at_ms),
            (RETRY_WAIT, run.c.not_before_ms <= at_ms),
            (RETRY_WAIT, run.c.not_before_ms > at_ms + LONGEST_DELAY_MS),
        )

        def work(connection: Connection) -> list[Event]:
            told = []
            for state, is_ripe in whose:
                query = (
                    select(run)
                    .where(run.c.state == state, is_ripe, run.c.ended_ms.is_(None))
                    .limit(limit)
                    .with_for_update(skip_locked=True)
                )
                for found in map(RunRecord.of, connection.execute(query).all()):
                    changed = _change(connection, found, state=QUEUED)
                    if changed is not None:
                        told.append(announce(connection, changed, at_ms))
            return told

        return self._database.write(work)

    def claim(
        self,
        server_id: str,
        at_ms: int,
        lease_until_ms: int,
        limit: int,
        name: Callable[[RunRecord, int], Mapping[str, JSON]],
    ) -> tuple[list[Claim], list[Event]]:
        """Take runs that are queued and that job, pool and machine have room for; `name` gives an attempt's process its name.

        The attempt, with that name, is written in the same transaction. Raises Claiming while another server is at it.
        """

        def work(connection: Connection) -> tuple[list[Claim], list[Event]]:
            _alone(connection)
            claims, told = [], []
            for run, job_name, spec in candidates(connection, limit, self._place):
                n = run.attempts + 1
                taken = _change(
                    connection,
                    run,
                    state=CLAIMED,
                    fence=run.fence + 1,
                    owner=server_id,
                    lease_until_ms=lease_until_ms,
                    attempts=n,
                    reason=None,
                )
                if taken is None:
                    continue
                machine = machine_of(spec)
                attempt = AttemptRecord(
                    run.id, n, taken.fence, server_id, machine, name(run, n), INTENDED
                )
                connection.execute(_INSERT_ATTEMPT, _attempt_values(attempt))
                failed_starts = _failed_starts(connection, taken) if n > 1 else 0
                claims.append(Claim(taken, attempt, job_name, spec, failed_starts))
                told.append(announce(connection, taken, at_ms))
            return claims, told

        return self._database.write(work)

    def move(self, moves: Sequence[Move], at_ms: int) -> list[Moved]:
        """Change runs that are still as they were seen, all in one transaction; a job that runs after one that ended is fired in it."""
        return self._database.write(
            lambda connection: [_move(connection, each, at_ms) for each in moves]
        )

    def mark(self, run: RunRecord, reason: str) -> RunRecord | None:
        """Note why a run that is still as it was seen is being ended; None when it is not."""
        return self._database.write(lambda connection: _change(connection, run, reason=reason))

    def take_over(
        self, server_id: str, dead: Collection[str], at_ms: int, lease_until_ms: int, limit: int
    ) -> tuple[list[Claim], list[Event]]:
        """Become the owner of runs of servers that are dead; they are lost until their processes have been looked for."""
        whose = tables.run.c.owner.in_(sorted(dead))
        return self._take(server_id, whose, at_ms, lease_until_ms, limit)

    def take_back(
        self, server_id: str, run_ids: Collection[str], at_ms: int, lease_until_ms: int
    ) -> tuple[list[Claim], list[Event]]:
        """Take over from oneself: runs of this server of which it does not know, since the answer to a commit was lost."""
        run = tables.run
        whose = and_(run.c.owner == server_id, run.c.id.in_(sorted(run_ids)))
        return self._take(server_id, whose, at_ms, lease_until_ms, len(run_ids))

    def _take(
        self,
        server_id: str,
        whose: ColumnElement[bool],
        at_ms: int,
        lease_until_ms: int,
        limit: int,
    ) -> tuple[list[Claim], list[Event]]:
        run = tables.run

        def work(connection: Connection) -> tuple[list[Claim], list[Event]]:
            query = select(run).where(whose).limit(limit)
            claims, told = [], []
            for row in connection.execute(query.with_for_update(skip_locked=True)).all():
                found = RunRecord.of(row)
                taken = _change(
                    connection,
                    found,
                    state=LOST,
                    fence=found.fence + 1,
                    owner=server_id,
                    lease_until_ms=lease_until_ms,
                )
                if taken is None:
                    continue
                claims.append(_claim(connection, taken, server_id))
                told.append(announce(connection, taken, at_ms))
            return claims, told

        return self._database.write(work)


def _not_before(connection: Connection, state: str, *, latest: bool = False) -> int | None:
    """Return the soonest or the latest time until which runs in a state wait: one entry of an index."""
    run = tables.run
    which = func.max(run.c.not_before_ms) if latest else func.min(run.c.not_before_ms)
    query = select(which).where(run.c.state == state, run.c.ended_ms.is_(None))
    return connection.execute(query).scalar()


def _alone(connection: Connection) -> None:
    """Have no other server count and claim meanwhile; none waits here, where a server that was stopped could hold up all."""
    if connection.dialect.name == "postgresql":
        taken = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not taken.scalar():
            raise Claiming


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


def _change(connection: Connection, run: RunRecord, **values: object) -> RunRecord | None:
    """Change a run that is as it was seen; None when it is not. What is over is never changed."""
    bound = {f"new_{name}": value for name, value in values.items()}
    bound |= {"seen_id": run.id, "seen_state": run.state, "seen_fence": run.fence}
    if connection.execute(_update_run(tuple(values)), bound).rowcount != 1:
        return None
    return replace(run, **values)  # type: ignore[arg-type]


def _move(connection: Connection, move: Move, at_ms: int) -> Moved:
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
    changed = _change(connection, move.run, **values)
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


def _claim(connection: Connection, run: RunRecord, server_id: str) -> Claim:
    """Return all about a run that has just got this owner, and note the owner in its attempt."""
    attempt, revision, job = tables.attempt, tables.job_rev, tables.job
    where = and_(attempt.c.run_id == run.id, attempt.c.n == run.attempts)
    connection.execute(update(attempt).where(where).values(fence=run.fence, server_id=server_id))
    found = AttemptRecord.of(connection.execute(select(attempt).where(where)).one())
    query = select(job.c.name, revision.c.spec_json).where(
        job.c.id == run.job_id, revision.c.job_id == job.c.id, revision.c.rev == run.job_rev
    )
    name, spec = connection.execute(query).one()
    return Claim(run, found, name, run.spec(json.loads(spec)), _failed_starts(connection, run))


def _failed_starts(connection: Connection, run: RunRecord) -> int:
    """Return how many attempts of a run were never started."""
    table = tables.attempt
    query = select(func.count()).where(table.c.run_id == run.id, table.c.state == NEVER)
    return connection.execute(query).scalar_one()


def _attempt_values(attempt: AttemptRecord) -> dict[str, object]:
    values = asdict(attempt)
    values["process_handle_json"] = json.dumps(values.pop("handle"))
    values.pop("exit")
    return values
