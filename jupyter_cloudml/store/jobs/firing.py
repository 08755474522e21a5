"""How runs come into being by a due time. Each trigger and key makes one run, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.ends import replace_others
from jupyter_cloudml.store.jobs.making import (
    JOB_COLUMNS,
    Fire,
    announce,
    busy_of,
    insert_runs,
    new_run,
    pairs,
)
from jupyter_cloudml.store.jobs.records import JobRecord, NewRun, TriggerRecord

__all__ = ["Fire", "Firing", "FiringRepository"]


@dataclass(frozen=True)
class Firing:
    """What a trigger that is due makes, and when it is due next (None: never again)."""

    fires: Sequence[Fire]
    next_due_ms: int | None


Decide = Callable[[TriggerRecord, JobRecord, int], Firing]
"""Says of (trigger, job, now) what to make; pure, and called within the transaction."""


class FiringRepository:
    """Turns triggers into runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fire(self, at_ms: int, decide: Decide, limit: int = 200) -> tuple[int, list[Event]]:
        """Make the runs of triggers that are due, and advance these, in one transaction.

        Returns how many triggers were due, `limit` at most, and what is to be told. Many servers may call it at once.
        """

        def work(connection: Connection) -> tuple[int, list[Event]]:
            found = _due(connection, at_ms, limit)
            told: list[Event] = []
            new: list[NewRun] = []
            busy = busy_of(connection, [job for _, job in found if job.overlap != "allow"])
            for trigger, job in found:
                firing = decide(trigger, job, at_ms)
                new += [new_run(trigger, job, fire, busy) for fire in firing.fires]
                _advance(connection, trigger, firing)
            made = insert_runs(connection, new, at_ms)
            for job in {job.id: job for _, job in found}.values():
                told += replace_others(connection, job, made, at_ms)
            return len(found), told + [announce(connection, run, at_ms) for run in made]

        return self._database.write(work)

    def recompute(self, at_ms: int, next_due: Callable[[TriggerRecord], int | None]) -> int:
        """Set anew when the triggers are due that wait for later than `at_ms`: the clock was set back. Returns how many were changed.

        A time that has made its run already makes no second one. Nobody waits for it where nothing is to be changed.
        """
        table = tables.trigger
        query = select(table).where(table.c.enabled.is_(True), table.c.next_due_ms > at_ms)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        known: dict[str, int | None] = {}  # of thousands many are due at the same times
        for row in rows:
            if row.config_json not in known:
                known[row.config_json] = next_due(TriggerRecord.of(row))
        sooner = [
            (row.id, row.next_due_ms, due)
            for row in rows
            if (due := known[row.config_json]) is not None and due < row.next_due_ms
        ]

        def work(connection: Connection) -> int:
            changed = 0
            for trigger_id, seen_ms, due in sooner:
                still = (table.c.id == trigger_id, table.c.next_due_ms == seen_ms)
                on = update(table).where(*still, table.c.enabled.is_(True))
                changed += connection.execute(on.values(next_due_ms=due)).rowcount
            return changed

        return self._database.write(work) if sooner else 0


def _due(connection: Connection, at_ms: int, limit: int) -> list[tuple[TriggerRecord, JobRecord]]:
    table = tables.trigger
    query = (
        select(table, *JOB_COLUMNS)
        .join(tables.job, tables.job.c.id == table.c.job_id)
        .where(table.c.enabled.is_(True), table.c.next_due_ms <= at_ms)
        .order_by(table.c.next_due_ms)
        .limit(limit)
        .with_for_update(skip_locked=True, of=table)
    )
    return list(pairs(connection.execute(query).all()))


def _advance(connection: Connection, trigger: TriggerRecord, firing: Firing) -> None:
    values: dict[str, object] = {"next_due_ms": firing.next_due_ms}
    if firing.fires:
        values["last_key"] = str(firing.fires[-1].due_ms)
    table = tables.trigger
    connection.execute(update(table).where(table.c.id == trigger.id).values(values))
