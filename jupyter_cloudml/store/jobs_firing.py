"""How runs come into being: a due time, the end of another job's run, a person. Each trigger and key makes one run, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update

from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs_records import (
    CANCELLED,
    FINAL,
    OWNERLESS,
    QUEUED,
    SKIPPED,
    JobRecord,
    NewRun,
    RunRecord,
    TriggerRecord,
    new_id,
)

_JOB = [
    column.label(f"job__{column.name}") for column in tables.job.c
]  # beside a trigger's columns
_KEY = tuple_(tables.run.c.trigger_id, tables.run.c.fire_key)
_MADE = select(tables.run.c.trigger_id, tables.run.c.fire_key).where(
    _KEY.in_(bindparam("keys", expanding=True))
)
_INSERT = insert(tables.run)
_AFTER = (
    select(tables.trigger, *_JOB)
    .join(tables.job, tables.job.c.id == tables.trigger.c.job_id)
    .where(tables.trigger.c.up_job_id == bindparam("ended"), tables.trigger.c.enabled.is_(True))
)
OVERLAP_SKIP, OVERLAP_REPLACE = "skip", "replace"


@dataclass(frozen=True)
class Fire:
    """One due time of a trigger; with a reason it is recorded as skipped."""

    due_ms: int
    reason: str | None = None


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
            busy = _busy(connection, [job for _, job in found if job.overlap != "allow"])
            for trigger, job in found:
                firing = decide(trigger, job, at_ms)
                made = [_new(trigger, job, fire, busy) for fire in firing.fires]
                if job.overlap == OVERLAP_REPLACE and any(run.state == QUEUED for run in made):
                    told += cancel_open(connection, job.id, "a newer run replaces it", at_ms)
                new += made
                _advance(connection, trigger, firing)
            made_runs = insert_runs(connection, new, at_ms)
            return len(found), told + [announce(connection, run, at_ms) for run in made_runs]

        return self._database.write(work)

    def recompute(self, at_ms: int, next_due: Callable[[TriggerRecord], int | None]) -> int:
        """Set anew when the triggers are due that wait for later than `at_ms`: the clock was set back. Returns how many were changed.

        A time that has made its run already makes no second one.
        """

        def work(connection: Connection) -> int:
            table = tables.trigger
            query = select(table).where(table.c.enabled.is_(True), table.c.next_due_ms > at_ms)
            changed = 0
            for row in connection.execute(query.with_for_update()).all():
                found = TriggerRecord.of(row)
                due = next_due(found)
                if due is not None and found.next_due_ms is not None and due < found.next_due_ms:
                    where = table.c.id == found.id
                    connection.execute(update(table).where(where).values(next_due_ms=due))
                    changed += 1
            return changed

        return self._database.write(work)


def announce(connection: Connection, run: RunRecord, at_ms: int) -> Event:
    """Write the event that tells of a run's present state."""
    return events.append(connection, run.event(at_ms))


def insert_runs(connection: Connection, new: Sequence[NewRun], at_ms: int) -> list[RunRecord]:
    """Write runs, those left out whose trigger and key have made one already; return what was written.

    The caller holds the row of each trigger, or writes one run of which two would be refused by the table.
    """
    there: set[tuple[str, str]] = set()
    for start in range(0, len(new), 200):
        keys = [(each.trigger_id, each.fire_key) for each in new[start : start + 200]]
        found = connection.execute(_MADE, {"keys": keys})
        there |= {(row[0], row[1]) for row in found}
    made: list[RunRecord] = []
    for each in new:
        if (each.trigger_id, each.fire_key) not in there:
            there.add((each.trigger_id, each.fire_key))
            made.append(_record(each, at_ms))
    if made:
        connection.execute(_INSERT, [_values(run) for run in made])
        edges = {(each.trigger_id, each.fire_key): each for each in new if each.up_run_id}
        rows = [
            {"up": up.up_run_id, "down": run.id, "on": up.on}
            for run in made
            if (up := edges.get((run.trigger_id, run.fire_key))) is not None
        ]
        if rows:
            connection.execute(insert(tables.run_edge), rows)
    return made


def fire_after(connection: Connection, ended: RunRecord, at_ms: int) -> list[Event]:
    """Make the runs of the jobs that run after this one, which has just ended."""
    if ended.state == SKIPPED:
        return []
    told: list[Event] = []
    for trigger, job in map(_pair, connection.execute(_AFTER, {"ended": ended.job_id}).all()):
        on = str(trigger.config.get("on", "success"))
        if on != "always" and (on == "success") != (ended.state == "succeeded"):
            continue
        busy = _busy(connection, [job] if job.overlap != "allow" else [])
        fire = Fire(at_ms, "the job is paused" if job.paused else None)
        new = replace(_new(trigger, job, fire, busy), fire_key=ended.id, up_run_id=ended.id, on=on)
        if job.overlap == OVERLAP_REPLACE and new.state == QUEUED:
            told += cancel_open(connection, job.id, "a newer run replaces it", at_ms)
        told += [announce(connection, run, at_ms) for run in insert_runs(connection, [new], at_ms)]
    return told


def cancel_open(connection: Connection, job_id: str, reason: str, at_ms: int) -> list[Event]:
    """End the runs of a job that nobody works on, and ask for the end of the others."""
    table = tables.run
    query = select(table).where(table.c.job_id == job_id, table.c.ended_ms.is_(None))
    told = []
    for row in connection.execute(query.with_for_update()).all():
        told += cancel_run(connection, RunRecord.of(row), reason, at_ms)
    return told


def cancel_run(connection: Connection, run: RunRecord, reason: str, at_ms: int) -> list[Event]:
    """End a run that nobody works on, or ask its owner to; the caller holds its row."""
    if run.state in FINAL or run.cancel_requested:
        return []
    changes: dict[str, object] = {"cancel_requested": True, "reason": reason}
    if run.state in OWNERLESS:
        changes |= {"state": CANCELLED, "ended_ms": at_ms}
    connection.execute(update(tables.run).where(tables.run.c.id == run.id).values(changes))
    changed = replace(run, **changes)  # type: ignore[arg-type]
    told = [announce(connection, changed, at_ms)]
    if changed.state == CANCELLED:
        told += fire_after(connection, changed, at_ms)
    return told


def _due(connection: Connection, at_ms: int, limit: int) -> list[tuple[TriggerRecord, JobRecord]]:
    table = tables.trigger
    query = (
        select(table, *_JOB)
        .join(tables.job, tables.job.c.id == table.c.job_id)
        .where(table.c.enabled.is_(True), table.c.next_due_ms <= at_ms)
        .order_by(table.c.next_due_ms)
        .limit(limit)
        .with_for_update(skip_locked=True, of=table)
    )
    return [_pair(row) for row in connection.execute(query).all()]


def _pair(row: Row[tuple[object, ...]]) -> tuple[TriggerRecord, JobRecord]:
    values = dict(row._mapping)
    of_job = {name[5:]: values.pop(name) for name in list(values) if name.startswith("job__")}
    return TriggerRecord.from_values(values), JobRecord.from_values(of_job)


def _advance(connection: Connection, trigger: TriggerRecord, firing: Firing) -> None:
    values: dict[str, object] = {"next_due_ms": firing.next_due_ms}
    if firing.fires:
        values["last_key"] = str(firing.fires[-1].due_ms)
    table = tables.trigger
    connection.execute(update(table).where(table.c.id == trigger.id).values(values))


def _busy(connection: Connection, jobs: Iterable[JobRecord]) -> set[str]:
    """Return which of these jobs have a run that is not over."""
    ids = sorted({job.id for job in jobs})
    if not ids:
        return set()
    table = tables.run
    query = select(table.c.job_id).where(table.c.job_id.in_(ids), table.c.ended_ms.is_(None))
    return set(connection.execute(query.distinct()).scalars())


def _new(trigger: TriggerRecord, job: JobRecord, fire: Fire, busy: set[str]) -> NewRun:
    reason = fire.reason
    if reason is None and job.overlap == OVERLAP_SKIP and job.id in busy:
        reason = "overlap: the run before it is not over"
    priority = job.spec.get("priority")
    return NewRun(
        job_id=job.id,
        job_rev=job.rev,
        trigger_id=trigger.id,
        fire_key=str(fire.due_ms),
        due_ms=fire.due_ms,
        state=QUEUED if reason is None else SKIPPED,
        reason=reason,
        not_before_ms=fire.due_ms,
        pool=job.pool,
        priority=priority if isinstance(priority, int) else 0,
    )


def _record(new: NewRun, at_ms: int) -> RunRecord:
    return RunRecord(
        id=new_id(at_ms),
        job_id=new.job_id,
        job_rev=new.job_rev,
        trigger_id=new.trigger_id,
        fire_key=new.fire_key,
        due_ms=new.due_ms,
        params=new.params,
        snapshot_id=new.snapshot_id,
        parent_run_id=new.parent_run_id,
        state=new.state,
        reason=new.reason,
        fence=0,
        owner=None,
        lease_until_ms=None,
        cancel_requested=False,
        attempts=0,
        not_before_ms=new.not_before_ms,
        pool=new.pool,
        priority=new.priority,
        created_ms=at_ms,
        started_ms=None,
        ended_ms=at_ms if new.state in FINAL else None,
        changes=new.changes,
    )


def _values(run: RunRecord) -> dict[str, object]:
    values = dict(run.__dict__)
    values["params_json"] = json.dumps(values.pop("params"))
    values["changes_json"] = json.dumps(values.pop("changes"))
    return values
