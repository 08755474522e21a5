"""How runs end, and what follows in the same transaction: jobs that run after, the end of a sweep, what people are to be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.jobs.making import (
    JOB_COLUMNS,
    Fire,
    announce,
    busy_of,
    insert_runs,
    new_run,
    pairs,
)
from jupyter_cloudml.store.jobs.notices import write_notices
from jupyter_cloudml.store.jobs.records import (
    CANCELLED,
    FINAL,
    OWNERLESS,
    SKIPPED,
    JobRecord,
    RunRecord,
    TriggerRecord,
)
from jupyter_cloudml.store.jobs.sweeps import end_of

OVERLAP_REPLACE = "replace"
_ENDS_OF = {"success": ("succeeded",), "failure": ("failed", "timed_out")}
_AFTER = (
    select(tables.trigger, *JOB_COLUMNS)
    .join(tables.job, tables.job.c.id == tables.trigger.c.job_id)
    .where(tables.trigger.c.up_job_id == bindparam("ended"), tables.trigger.c.enabled.is_(True))
)


def ended(connection: Connection, run: RunRecord, at_ms: int) -> list[Event]:
    """Do what follows when a run is over."""
    if run.sweep_index is not None and run.parent_run_id is not None:
        return _end_sweep(connection, run.parent_run_id, at_ms)
    write_notices(connection, run, at_ms)
    return fire_after(connection, run, at_ms)


def _end_sweep(connection: Connection, parent_id: str, at_ms: int) -> list[Event]:
    """End a sweep whose last run has ended. Its row is held first: of two runs that end at once, one sees both."""
    table = tables.run
    query = select(table).where(table.c.id == parent_id, table.c.ended_ms.is_(None))
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return []
    parent = RunRecord.of(row)
    of_sweep = (table.c.parent_run_id == parent_id, table.c.sweep_index.is_not(None))
    open_ = select(table.c.id).where(*of_sweep, table.c.ended_ms.is_(None)).limit(1)
    if connection.execute(open_).first() is not None:
        return []
    count = select(table.c.state, func.count()).where(*of_sweep).group_by(table.c.state)
    states = {row[0]: row[1] for row in connection.execute(count)}
    state, reason = end_of(states, cancelled=parent.cancel_requested)
    values = {"state": state, "ended_ms": at_ms, "reason": parent.reason or reason}
    connection.execute(update(table).where(table.c.id == parent_id).values(values))
    changed = replace(parent, **values)  # type: ignore[arg-type]
    return [announce(connection, changed, at_ms), *ended(connection, changed, at_ms)]


def fire_after(connection: Connection, ended: RunRecord, at_ms: int) -> list[Event]:
    """Make the runs of the jobs that run after this one, which has just ended."""
    if ended.state == SKIPPED:
        return []
    told: list[Event] = []
    for trigger, job in pairs(connection.execute(_AFTER, {"ended": ended.job_id}).all()):
        on = str(trigger.config.get("on", "success"))
        if on != "always" and ended.state not in _ENDS_OF.get(on, ()):
            continue
        fire = Fire(at_ms, key=ended.id)
        told += fire_now(connection, trigger, job, fire, at_ms, up_run_id=ended.id, on=on)[1]
    return told


def fire_now(
    connection: Connection,
    trigger: TriggerRecord,
    job: JobRecord,
    fire: Fire,
    at_ms: int,
    **more: Any,
) -> tuple[RunRecord | None, list[Event]]:
    """Make the run of a trigger that something other than a time fires, by the job's policy; None where it was made before."""
    busy = busy_of(connection, [job] if job.overlap != "allow" else [])
    fire = replace(fire, reason="the job is paused") if job.paused else fire
    new = replace(new_run(trigger, job, fire, busy), **more)
    made = insert_runs(connection, [new], at_ms)
    told = replace_others(connection, job, made, at_ms)
    told += [announce(connection, run, at_ms) for run in made]
    return (made[0] if made else None), told


def replace_others(
    connection: Connection, job: JobRecord, made: Sequence[RunRecord], at_ms: int
) -> list[Event]:
    """Have runs that were just made replace the others of their job, where that is its policy; one that was made before replaces nothing."""
    new = [run.id for run in made if run.job_id == job.id and run.ended_ms is None]
    if job.overlap != OVERLAP_REPLACE or not new:
        return []
    return cancel_open(connection, job.id, "a newer run replaces it", at_ms, but=new)


def cancel_open(
    connection: Connection, job_id: str, reason: str, at_ms: int, *, but: Sequence[str] = ()
) -> list[Event]:
    """End the runs of a job that nobody works on, and ask for the end of the others; `but` are left alone."""
    table = tables.run
    query = select(table).where(
        table.c.job_id == job_id,
        table.c.ended_ms.is_(None),
        table.c.sweep_index.is_(None),  # they end with their sweep
    )
    told = []
    for row in connection.execute(query.with_for_update()).all():
        if row.id not in but:
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
        told += ended(connection, changed, at_ms)
    if changed.sweep_count is not None:
        told += _cancel_sweep(connection, changed, at_ms)
    return told


def _cancel_sweep(connection: Connection, parent: RunRecord, at_ms: int) -> list[Event]:
    table = tables.run
    query = select(table).where(
        table.c.parent_run_id == parent.id,
        table.c.sweep_index.is_not(None),
        table.c.ended_ms.is_(None),
    )
    told = []
    for row in connection.execute(query.order_by(table.c.id).with_for_update()).all():
        told += cancel_run(connection, RunRecord.of(row), parent.reason or CANCELLED, at_ms)
    return told
