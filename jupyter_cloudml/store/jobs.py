"""Jobs as they are kept: definitions with their revisions, triggers and references to secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Row, Select, delete, insert, select, text, update

from jupyter_cloudml.errors import JSON, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs_firing import cancel_open
from jupyter_cloudml.store.jobs_records import JobRecord, TriggerRecord, new_id

_LOCK = 0x636D6C6A6F62  # "cmljob": who changes what runs after what does so alone (PostgreSQL)

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
class Applied:
    """A job after it was applied, and the event that tells of it (None: nothing was changed)."""

    record: JobRecord
    event: Event | None


class JobRepository:
    """The tables job, job_rev, trigger and secret_ref."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(
        self,
        wanted: Definition,
        at_ms: int,
        *,
        author: str = "",
        git_commit: str | None = None,
        refuse: Callable[[Edges], None] = lambda edges: None,
    ) -> Applied:
        """Make the job of this name, or give it a new revision; what is the same already stays as it is.

        A trigger that is there keeps its next due time. `refuse` is shown what runs after what, and raises when that cannot be.
        Raises NotFound for a job that is to run after one that is not there.
        """

        def work(connection: Connection) -> Applied:
            if wanted.after and connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            found = _find(connection, wanted.name, lock=True)
            if found is not None and dict(found.spec) == dict(wanted.spec):
                return Applied(found, None)
            record = _written(connection, wanted, found, at_ms)
            revision = {
                "job_id": record.id,
                "rev": record.rev,
                "spec_json": json.dumps(record.spec),
                "author": author,
                "git_commit": git_commit,
            }
            connection.execute(insert(tables.job_rev).values(revision))
            _write_triggers(connection, record, wanted)
            _write_secrets(connection, record, wanted)
            if wanted.after:
                refuse(_edges(connection))
            return Applied(record, events.append(connection, _event(record, "changed", at_ms)))

        return self._database.write(work)

    def get(self, name: str) -> JobRecord:
        """Return the job of this name, or id. Raises NotFound."""
        return self._database.read(lambda connection: _get(connection, name))

    def page(
        self, *, after: str = "", limit: int = 50, project: str | None = None, text: str = ""
    ) -> list[JobRecord]:
        """Return jobs by name, those after `after`; with `text`, those that have it in their name."""
        table = tables.job
        query = select(table).where(table.c.deleted_ms.is_(None), table.c.name > after)
        if project is not None:
            query = query.where(table.c.project == project)
        if text:
            query = query.where(table.c.name.icontains(text, autoescape=True))
        query = query.order_by(table.c.name).limit(limit)
        return [JobRecord.of(row) for row in self._rows(query)]

    def triggers(self, job_id: str) -> list[TriggerRecord]:
        """Return the triggers of a job that are in force."""
        table = tables.trigger
        query = select(table).where(table.c.job_id == job_id, table.c.enabled.is_(True))
        return [TriggerRecord.of(row) for row in self._rows(query.order_by(table.c.id))]

    def secrets(self, job_id: str) -> dict[str, str]:
        """Return which variable is filled from where; never a secret itself."""
        table = tables.secret_ref
        rows = self._rows(select(table).where(table.c.job_id == job_id))
        return {row.env_name: row.uri for row in rows}

    def revision(self, job_id: str, rev: int) -> Mapping[str, JSON]:
        """Return the definition as it was at a revision. Raises NotFound."""
        table = tables.job_rev
        rows = self._rows(select(table).where(table.c.job_id == job_id, table.c.rev == rev))
        if not rows:
            raise NotFound(f"the job {job_id} has no revision {rev}", hint="see its history")
        spec: Mapping[str, JSON] = json.loads(rows[0].spec_json)
        return spec

    def pause(self, name: str, paused: bool, at_ms: int) -> Applied:
        """Have the job's due times skipped from now on, or not any more. Raises NotFound."""

        def work(connection: Connection) -> Applied:
            found = _get(connection, name, lock=True)
            if found.paused == paused:
                return Applied(found, None)
            changed = replace(found, paused=paused)
            _update(connection, found.id, paused=paused)
            state = "paused" if paused else "resumed"
            return Applied(changed, events.append(connection, _event(changed, state, at_ms)))

        return self._database.write(work)

    def delete(self, name: str, at_ms: int) -> list[Event]:
        """Take a job out: its name is free, nothing makes it run, its runs end, and what they did stays on record. Raises NotFound."""

        def work(connection: Connection) -> list[Event]:
            found = _get(connection, name, lock=True)
            _update(connection, found.id, deleted_ms=at_ms)
            table = tables.trigger
            off = update(table).where(table.c.job_id == found.id)
            connection.execute(off.values(enabled=False, next_due_ms=None))
            connection.execute(
                delete(tables.secret_ref).where(tables.secret_ref.c.job_id == found.id)
            )
            told = cancel_open(connection, found.id, "the job was deleted", at_ms)
            return [*told, events.append(connection, _event(found, "deleted", at_ms))]

        return self._database.write(work)

    def _rows(self, query: Select[tuple[object, ...]]) -> Sequence[Row[tuple[object, ...]]]:
        return self._database.read(lambda connection: connection.execute(query).all())


def _event(record: JobRecord, state: str, at_ms: int) -> Event:
    data: dict[str, JSON] = {
        "id": record.id,
        "name": record.name,
        "rev": record.rev,
        "paused": record.paused,
        "deleted": state == "deleted",
    }
    return Event("job", record.name, state, record.rev, at_ms, data)


def _find(connection: Connection, name: str, *, lock: bool = False) -> JobRecord | None:
    table = tables.job
    query = select(table).where(table.c.name == name, table.c.deleted_ms.is_(None))
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else JobRecord.of(row)


def _get(connection: Connection, name: str, *, lock: bool = False) -> JobRecord:
    found = _find(connection, name, lock=lock)
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


def _update(connection: Connection, job_id: str, **values: object) -> None:
    connection.execute(update(tables.job).where(tables.job.c.id == job_id).values(values))


def _written(
    connection: Connection, wanted: Definition, found: JobRecord | None, at_ms: int
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
    if found is None:
        job_id = new_id(at_ms)
        more = {"id": job_id, "name": wanted.name, "paused": False, "created_ms": at_ms}
        connection.execute(insert(tables.job).values(values | more))
        _relink(connection, wanted.name, job_id)
    else:
        job_id = found.id
        _update(connection, job_id, **values)
    return _get(connection, wanted.name)


def _relink(connection: Connection, name: str, job_id: str) -> None:
    """Have what ran after a deleted job of this name run after the new one."""
    before = select(tables.job.c.id).where(tables.job.c.name == name)
    table = tables.trigger
    connection.execute(update(table).where(table.c.up_job_id.in_(before)).values(up_job_id=job_id))


def _write_triggers(connection: Connection, record: JobRecord, wanted: Definition) -> None:
    """Keep the triggers that are the same, switch the others off, add the new ones; ids tell which are the same."""
    table = tables.trigger
    rows = connection.execute(select(table).where(table.c.job_id == record.id)).all()
    there = {row.id: row for row in rows}
    ids = {f"{record.id}:{each.id}": each for each in wanted.triggers}
    for trigger_id, row in there.items():
        if row.enabled and trigger_id not in ids:
            off = update(table).where(table.c.id == trigger_id)
            connection.execute(off.values(enabled=False, next_due_ms=None))
    for trigger_id, each in ids.items():
        up = wanted.after.get(each.id)
        up_job_id = None if up is None else _get(connection, up).id
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
        elif not there[trigger_id].enabled or there[trigger_id].up_job_id != up_job_id:
            on = update(table).where(table.c.id == trigger_id)
            connection.execute(
                on.values(enabled=True, next_due_ms=each.next_due_ms, up_job_id=up_job_id)
            )


def _write_secrets(connection: Connection, record: JobRecord, wanted: Definition) -> None:
    table = tables.secret_ref
    connection.execute(delete(table).where(table.c.job_id == record.id))
    rows = [{"job_id": record.id, "env_name": k, "uri": v} for k, v in wanted.secrets.items()]
    if rows:
        connection.execute(insert(table), rows)


def _edges(connection: Connection) -> Edges:
    down, up, table = tables.job.alias(), tables.job.alias(), tables.trigger
    query = (
        select(down.c.name, up.c.name)
        .select_from(table)
        .join(down, down.c.id == table.c.job_id)
        .join(up, up.c.id == table.c.up_job_id)
        .where(table.c.enabled.is_(True))
    )
    return [(row[0], row[1]) for row in connection.execute(query)]
