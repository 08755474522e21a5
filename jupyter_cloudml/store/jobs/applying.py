"""Definitions of jobs are written: one, or all of a file at once, with their revisions, triggers and references to secrets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.errors import JSON, Conflict, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.jobs.ends import cancel_open
from jupyter_cloudml.store.jobs.making import LOCAL, machine_of
from jupyter_cloudml.store.jobs.records import JobRecord, TriggerRecord, event_of, new_id
from jupyter_cloudml.store.jobs.watches import unwatch, watch_from

_LOCK = 0x636D6C6A6F62  # "cmljob": who changes what runs after what, or wants a new name, does so alone (PostgreSQL)

Edges = Sequence[tuple[str, str]]
"""(job, the job after which it runs), by name."""


@dataclass(frozen=True)
class Definition:
    """A job as somebody wants it; its triggers have no ids yet where they are new."""

    name: str
    project: str
    spec: Mapping[str, JSON]
    overlap: str
    missed: str
    catchup_cap: int
    timeout_s: int | None
    retry: Mapping[str, JSON]
    pool: str | None
    triggers: Sequence[TriggerRecord] = ()
    after: Mapping[str, str] = field(default_factory=dict)  # trigger id → name of the job before it
    secrets: Mapping[str, str] = field(default_factory=dict)  # variable → where the secret is


@dataclass(frozen=True)
class Author:
    """Who has written a definition, and the commit that it is of."""

    name: str = ""
    git_commit: str | None = None


@dataclass(frozen=True)
class Revision:
    """A definition as it was once, and who has written it."""

    rev: int
    spec: Mapping[str, JSON]
    author: Author


@dataclass(frozen=True)
class Applied:
    """A job after it was applied, and the event that tells of it (None: nothing was changed)."""

    record: JobRecord
    event: Event | None


def apply(
    connection: Connection,
    wanted: Sequence[Definition],
    at_ms: int,
    author: Author,
    refuse: Callable[[Edges], None],
    *,
    whole_project: bool = False,
    prune: str | None = None,
    rev: int | None = None,
    computer: str | None = None,
) -> tuple[list[Applied], list[JobRecord], list[Event]]:
    """Make or change jobs, in any order of what runs after what; return them, the jobs that were deleted, and what is to be told of these.

    `whole_project`: a job of another project is left to that. `prune` is a project: what it has besides is deleted. `rev` is the revision that
    each is at, 0 where it is to be new. `computer` is whose jobs they are from now on, None: whose they were. Raises NotFound, Conflict.
    """
    if (rev == 0 or any(each.after for each in wanted)) and connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    names = {each.name for each in wanted}
    if rev is not None:
        for each in sorted(wanted, key=lambda each: each.name):
            _refuse_changed(connection, each, rev)
    gone = [] if prune is None else _besides(connection, prune, names)
    told = [event for record in gone for event in delete_job(connection, record, at_ms)]
    done = {
        each.name: _row_written(connection, each, at_ms, whole_project, computer)
        for each in sorted(wanted, key=lambda each: each.name)
    }
    for each in wanted:
        record, changed = done[each.name]
        if changed:
            _write_revision(connection, record, author)
            _write_triggers(connection, record, each, at_ms)
            _write_secrets(connection, record, each)
    if any(done[each.name][1] and each.after for each in wanted):
        refuse(_edges(connection))
    _refuse_orphans(connection, gone)
    applied = [
        Applied(
            record,
            events.append(connection, event_of(record, "changed", at_ms)) if changed else None,
        )
        for record, changed in (done[each.name] for each in wanted)
    ]
    return applied, gone, told


def delete_job(connection: Connection, record: JobRecord, at_ms: int) -> list[Event]:
    """Take a job out; return what is to be told."""
    set_columns(connection, record.id, deleted_ms=at_ms)
    ids = select(tables.trigger.c.id).where(tables.trigger.c.job_id == record.id)
    unwatch(connection, list(connection.execute(ids).scalars()))
    off = update(tables.trigger).where(tables.trigger.c.job_id == record.id)
    connection.execute(off.values(enabled=False, next_due_ms=None, token_sha256=None))
    connection.execute(delete(tables.secret_ref).where(tables.secret_ref.c.job_id == record.id))
    told = cancel_open(connection, record.id, "the job was deleted", at_ms)
    return [*told, events.append(connection, event_of(record, "deleted", at_ms))]


def _refuse_changed(connection: Connection, wanted: Definition, rev: int) -> None:
    """Hold a job as somebody has seen it: at revision `rev`, 0 where there was none. Raises Conflict (`changed`).

    One that is as they want it already is no conflict: they say it again, since the answer was lost.
    """
    name = wanted.name
    found = find(connection, name, lock=True)
    there = 0 if found is None else found.rev
    if there == rev or (found is not None and _same(found.spec, wanted.spec)):
        return
    if found is None:
        message, hint = f"there is no job {name} any more", "make it anew, or leave it deleted"
    elif rev == 0:
        message = f"there is a job {name} already"
        hint = "give this one another name, or open that job and change it"
    else:
        message = f"the job {name} was changed meanwhile: it is at revision {there}, not {rev}"
        hint = "load it again, and make your change there"
    raise Conflict(message, code="changed", hint=hint, name=name, rev=there)


def find(connection: Connection, name: str, *, lock: bool = False) -> JobRecord | None:
    """Return the job of this name."""
    table = tables.job
    query = select(table).where(table.c.name == name, table.c.deleted_ms.is_(None))
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else JobRecord.of(row)


def get(connection: Connection, name: str, *, lock: bool = False) -> JobRecord:
    """Return the job of this name, or id. Raises NotFound."""
    found = find(connection, name, lock=lock)
    if found is None:
        table = tables.job
        query = select(table).where(table.c.id == name, table.c.deleted_ms.is_(None))
        row = connection.execute(
            query.with_for_update(key_share=True) if lock else query
        ).one_or_none()
        if row is None:
            raise NotFound(f"there is no job named {name!r}", hint="look at the list of jobs")
        found = JobRecord.of(row)
    return found


def set_columns(connection: Connection, job_id: str, **values: object) -> None:
    """Change the row of a job."""
    connection.execute(update(tables.job).where(tables.job.c.id == job_id).values(values))


def _row_written(
    connection: Connection,
    wanted: Definition,
    at_ms: int,
    whole_project: bool,
    computer: str | None,
) -> tuple[JobRecord, bool]:
    """Write the row of a job; return it, and whether that was needed."""
    found = find(connection, wanted.name, lock=True)
    if found is None:
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            return _written(connection, wanted, None, at_ms, computer), True
        found = get(connection, wanted.name, lock=True)  # somebody has made it at the same time
    if whole_project and found.project not in ("", wanted.project):
        raise Conflict(
            f"there is a job {wanted.name} of the project {found.project}",
            code="other_project",
            hint="give this one another name, or delete that one",
        )
    moves = computer not in (None, found.computer) and machine_of(wanted.spec) == LOCAL
    if _same(found.spec, wanted.spec) and not moves:
        return found, False
    return _written(connection, wanted, found, at_ms, computer), True


def _same(old: Mapping[str, JSON], new: Mapping[str, JSON]) -> bool:
    return json.dumps(dict(old), sort_keys=True) == json.dumps(dict(new), sort_keys=True)


def _besides(connection: Connection, project: str, names: Iterable[str]) -> list[JobRecord]:
    """Return the jobs of a project with other names."""
    table = tables.job
    query = select(table).where(table.c.project == project, table.c.deleted_ms.is_(None))
    rows = connection.execute(query.order_by(table.c.name).with_for_update(key_share=True)).all()
    return [record for record in map(JobRecord.of, rows) if record.name not in names]


def _refuse_orphans(connection: Connection, gone: Sequence[JobRecord]) -> None:
    ids = [record.id for record in gone]
    found = [(down, up) for down, up, up_id in _after(connection) if up_id in ids]
    if found:
        down, up = found[0]
        raise Conflict(
            f"{down} runs after {up}, which would be deleted",
            code="in_use",
            hint=f"take that trigger out of {down} first, or keep {up}",
        )


def _write_revision(connection: Connection, record: JobRecord, author: Author) -> None:
    values = {
        "job_id": record.id,
        "rev": record.rev,
        "spec_json": json.dumps(record.spec),
        "author": author.name,
        "git_commit": author.git_commit,
    }
    connection.execute(insert(tables.job_rev).values(values))


def _written(
    connection: Connection,
    wanted: Definition,
    found: JobRecord | None,
    at_ms: int,
    computer: str | None,
) -> JobRecord:
    values = {
        "project": wanted.project,
        "spec_json": json.dumps(wanted.spec),
        "rev": 1 if found is None else found.rev + 1,
        "overlap": wanted.overlap,
        "missed": wanted.missed,
        "catchup_cap": wanted.catchup_cap,
        "timeout_s": wanted.timeout_s,
        "retry_json": json.dumps(wanted.retry),
        "pool": wanted.pool,
    }
    if computer is not None:
        values["computer"] = computer
    if found is None:
        job_id = new_id(at_ms)
        more = {"id": job_id, "name": wanted.name, "paused": False, "created_ms": at_ms}
        connection.execute(insert(tables.job).values(values | more))
        _relink(connection, wanted.name, job_id)
    else:
        job_id = found.id
        set_columns(connection, job_id, **values)
    return get(connection, wanted.name)


def _relink(connection: Connection, name: str, job_id: str) -> None:
    """Have what ran after a deleted job of this name run after the new one."""
    before = select(tables.job.c.id).where(tables.job.c.name == name)
    table = tables.trigger
    connection.execute(update(table).where(table.c.up_job_id.in_(before)).values(up_job_id=job_id))


def _write_triggers(
    connection: Connection, record: JobRecord, wanted: Definition, at_ms: int
) -> None:
    """Keep the triggers that are the same, switch the others off, add the new ones; ids tell which are the same."""
    table = tables.trigger
    rows = connection.execute(select(table).where(table.c.job_id == record.id)).all()
    there = {row.id: row for row in rows}
    ids = {f"{record.id}:{each.id}": each for each in wanted.triggers}
    for trigger_id, row in there.items():
        if row.enabled and trigger_id not in ids:
            off = update(table).where(table.c.id == trigger_id)
            connection.execute(off.values(enabled=False, next_due_ms=None, token_sha256=None))
            unwatch(connection, [trigger_id])
    for trigger_id, each in ids.items():
        up = wanted.after.get(each.id)
        up_job_id = None if up is None else get(connection, up).id
        if trigger_id not in there:
            values = {
                "id": trigger_id,
                "job_id": record.id,
                "kind": each.kind,
                "cron": each.cron,
                "tz": each.tz,
                "at_ms": each.at_ms,
                "config_json": json.dumps(each.config),
                "up_job_id": up_job_id,
                "next_due_ms": each.next_due_ms,
                "enabled": True,
            }
            connection.execute(insert(table).values(values))
            watch_from(connection, trigger_id, each.kind, at_ms)
        elif not there[trigger_id].enabled or there[trigger_id].up_job_id != up_job_id:
            on = update(table).where(table.c.id == trigger_id)
            connection.execute(
                on.values(enabled=True, next_due_ms=each.next_due_ms, up_job_id=up_job_id)
            )
            if not there[trigger_id].enabled:
                watch_from(connection, trigger_id, each.kind, at_ms)


def _write_secrets(connection: Connection, record: JobRecord, wanted: Definition) -> None:
    table = tables.secret_ref
    connection.execute(delete(table).where(table.c.job_id == record.id))
    rows = [{"job_id": record.id, "env_name": k, "uri": v} for k, v in wanted.secrets.items()]
    if rows:
        connection.execute(insert(table), rows)


def _edges(connection: Connection) -> Edges:
    return [(down, up) for down, up, _ in _after(connection)]


def _after(connection: Connection) -> list[tuple[str, str, str]]:
    """Return (job, the job after which it runs, the id of that) of all triggers in force."""
    down, up, table = tables.job.alias(), tables.job.alias(), tables.trigger
    query = (
        select(down.c.name, up.c.name, up.c.id)
        .select_from(table)
        .join(down, down.c.id == table.c.job_id)
        .join(up, up.c.id == table.c.up_job_id)
        .where(table.c.enabled.is_(True))
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]
