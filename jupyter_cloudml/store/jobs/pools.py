"""Pools: runs that share a cap on how many of them go on at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.records import QUEUED

OF_MACHINE = "machine:"  # machine:NAME is the pool of all runs of a machine


@dataclass(frozen=True)
class PoolRecord:
    """A pool: `cap` is None where it has none, `running` are the runs that hold a place of it, `waiting` those that are queued for one.

    Of the pool of a machine what waits is not known: only a claim finds out where a run goes.
    """

    name: str
    cap: int | None
    running: int
    waiting: int | None


class PoolRepository:
    """The table pool, with the runs that are in each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_cap(self, name: str, cap: int | None) -> None:
        """Let no more than `cap` runs of a pool go on at once; None takes the cap away. What goes on already is not ended."""
        table = tables.pool
        change = update(table).where(table.c.name == name).values(cap=cap)

        def work(connection: Connection) -> None:
            if cap is None:
                connection.execute(delete(table).where(table.c.name == name))
            elif not connection.execute(change).rowcount:
                try:
                    with connection.begin_nested():
                        connection.execute(insert(table).values(name=name, cap=cap))
                except IntegrityError:  # somebody sets it at the same time
                    connection.execute(change)

        self._database.write(work)

    def all(self) -> list[PoolRecord]:
        """Return every pool that has a cap, a run that is not over, or a job, by name."""
        return self._database.read(_all)


def _all(connection: Connection) -> list[PoolRecord]:
    pool, job = tables.pool, tables.job
    caps: dict[str, int] = {row.name: row.cap for row in connection.execute(select(pool))}
    named = select(job.c.pool).where(job.c.pool.is_not(None), job.c.deleted_ms.is_(None)).distinct()
    running, waiting = _running(connection), _waiting(connection)
    machines = {name for name in (*caps, *running) if name.startswith(OF_MACHINE)}
    there = {*caps, *connection.execute(named).scalars(), *running, *waiting}
    return [
        PoolRecord(name, caps.get(name), running[name], None if name in machines else waiting[name])
        for name in sorted(there)
    ]


def _running(connection: Connection) -> Counter[str]:
    run, attempt = tables.run, tables.attempt
    query = (
        select(run.c.pool, attempt.c.machine, func.count())
        .join(attempt, and_(attempt.c.run_id == run.c.id, attempt.c.n == run.c.attempts))
        .where(run.c.owner.is_not(None))
        .group_by(run.c.pool, attempt.c.machine)
    )
    found: Counter[str] = Counter()
    for pool, machine, count in connection.execute(query):
        found[f"{OF_MACHINE}{machine}"] += count
        if pool is not None:
            found[pool] += count
    return found


def _waiting(connection: Connection) -> Counter[str]:
    run = tables.run
    query = (
        select(run.c.pool, func.count())
        .where(run.c.state == QUEUED, run.c.pool.is_not(None))
        .group_by(run.c.pool)
    )
    return Counter({row.pool: row[1] for row in connection.execute(query)})
