"""Rows of runs, as they are first written: each trigger and key makes one run, once; a sweep is a run that others are part of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.jobs.records import (
    FINAL,
    QUEUED,
    RUNNING,
    SKIPPED,
    JobRecord,
    NewRun,
    RunRecord,
    TriggerRecord,
    new_id,
)
from jupyter_cloudml.store.jobs.sweeps import sets_of

JOB_COLUMNS = [
    column.label(f"job__{column.name}") for column in tables.job.c
]  # beside a trigger's columns
OVERLAP_SKIP = "skip"
LOCAL = "local"  # the machine that is whichever computer it is said on
SWEEP = "sweep"  # "sweep:<run id>" stands for the trigger of a run that is part of one
_KEY = tuple_(tables.run.c.trigger_id, tables.run.c.fire_key)
_MADE = select(tables.run.c.trigger_id, tables.run.c.fire_key).where(
    _KEY.in_(bindparam("keys", expanding=True))
)
_INSERT = insert(tables.run)


@dataclass(frozen=True)
class Fire:
    """One firing of a trigger; with a reason it is recorded as skipped. `key` tells it from others where the time does not; `cause` is kept."""

    due_ms: int
    reason: str | None = None
    key: str | None = None
    cause: Mapping[str, JSON] = field(default_factory=dict)


def announce(connection: Connection, run: RunRecord, at_ms: int) -> Event:
    """Write the event that tells of a run's present state."""
    return events.append(connection, run.event(at_ms))


def insert_runs(connection: Connection, new: Sequence[NewRun], at_ms: int) -> list[RunRecord]:
    """Write runs, those left out whose trigger and key have made one already; return what was written, the runs of a sweep behind it.

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
            run = _record(each, at_ms)
            made.append(run)
            if run.sweep_count:
                made += _children(run, each.sweep, at_ms)
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


def _children(parent: RunRecord, sets: Sequence[Mapping[str, JSON]], at_ms: int) -> list[RunRecord]:
    """Return the runs of a sweep, in order."""
    return [
        replace(
            parent,
            id=new_id(at_ms),
            trigger_id=f"{SWEEP}:{parent.id}",
            fire_key=str(index),
            params={**parent.params, **each},
            parent_run_id=parent.id,
            state=QUEUED,
            started_ms=None,
            sweep_index=index,
            sweep_count=None,
        )
        for index, each in enumerate(sets)
    ]


def pairs(rows: Iterable[Row[Any]]) -> Iterator[tuple[TriggerRecord, JobRecord]]:
    """Read rows of `pair`."""
    return (pair(dict(row._mapping)) for row in rows)


def pair(values: dict[str, Any]) -> tuple[TriggerRecord, JobRecord]:
    """Read the columns of a trigger and, beside them, JOB_COLUMNS."""
    of_job = {name[5:]: values.pop(name) for name in list(values) if name.startswith("job__")}
    return TriggerRecord.from_values(values), JobRecord.from_values(of_job)


def busy_of(connection: Connection, jobs: Iterable[JobRecord]) -> set[str]:
    """Return which of these jobs have a run that is not over."""
    ids = sorted({job.id for job in jobs})
    if not ids:
        return set()
    table = tables.run
    query = select(table.c.job_id).where(table.c.job_id.in_(ids), table.c.ended_ms.is_(None))
    return set(connection.execute(query.distinct()).scalars())


def new_run(trigger: TriggerRecord, job: JobRecord, fire: Fire, busy: set[str]) -> NewRun:
    """Return the run that a trigger makes, by its job's policy; `busy` are the jobs with a run that is not over."""
    reason = fire.reason
    if reason is None and job.overlap == OVERLAP_SKIP and job.id in busy:
        reason = "overlap: the run before it is not over"
    priority = job.spec.get("priority")
    return NewRun(
        job_id=job.id,
        job_rev=job.rev,
        trigger_id=trigger.id,
        fire_key=fire.key or str(fire.due_ms),
        due_ms=fire.due_ms,
        state=QUEUED if reason is None else SKIPPED,
        reason=reason,
        not_before_ms=fire.due_ms,
        pool=job.pool,
        priority=priority if isinstance(priority, int) else 0,
        cause=fire.cause,
        sweep=sets_of(job.spec.get("sweep")),
        computer=computer_of(job.spec, job.computer),
        machine=machine_of(job.spec),
    )


def computer_of(spec: Mapping[str, JSON], computer: str | None) -> str | None:
    """Return which computer alone can run this: "local" is where the job was defined; None: any."""
    return computer if machine_of(spec) == LOCAL else None


def machine_of(spec: Mapping[str, JSON]) -> str:
    """Return the machine that a definition names."""
    machine = spec.get("machine")
    return machine if isinstance(machine, str) else LOCAL


def _record(new: NewRun, at_ms: int) -> RunRecord:
    sweeps = bool(new.sweep) and new.state == QUEUED
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
        state=RUNNING if sweeps else new.state,  # until the last run of the sweep has ended
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
        started_ms=at_ms if sweeps else None,
        ended_ms=at_ms if new.state in FINAL else None,
        changes=new.changes,
        cause=new.cause,
        sweep_count=len(new.sweep) if sweeps else None,
        computer=new.computer,
        machine=new.machine,
    )


def _values(run: RunRecord) -> dict[str, object]:
    values = dict(run.__dict__)
    values["params_json"] = json.dumps(values.pop("params"))
    values["changes_json"] = json.dumps(values.pop("changes"))
    for name in ("cause", "result"):
        value = values.pop(name)
        values[f"{name}_json"] = json.dumps(value) if value else None
    return values
