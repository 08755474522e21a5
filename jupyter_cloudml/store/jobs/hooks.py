"""Triggers that a stranger fires who knows a token: only the token's digest is kept."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select, update

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.ends import fire_now
from jupyter_cloudml.store.jobs.making import JOB_COLUMNS, Fire, pair
from jupyter_cloudml.store.jobs.records import JobRecord, RunRecord, TriggerRecord

WEBHOOK = "webhook"


class HookRepository:
    """The triggers of kind webhook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_name: str) -> tuple[TriggerRecord, JobRecord] | None:
        """Return the webhook of a job, by the job's name; None where there is no such job, or it has none."""
        return self._database.read(lambda connection: _find(connection, job_name))

    def set(self, trigger_id: str, token_sha256: str, *, rotate: bool) -> bool:
        """Have a token fire a trigger that has none, or with `rotate` in place of the one before. Tells whether it does now."""
        table = tables.trigger
        change = update(table).where(table.c.id == trigger_id, table.c.enabled.is_(True))
        if not rotate:
            change = change.where(table.c.token_sha256.is_(None))
        values = change.values(token_sha256=token_sha256)
        return self._database.write(lambda connection: connection.execute(values).rowcount == 1)

    def fire(
        self, job_name: str, token_sha256: str, key: str, params: Mapping[str, JSON], at_ms: int
    ) -> tuple[RunRecord, list[Event]] | None:
        """Make the run of this key, or return the one that was made before. None where the token fires it no more."""

        def work(connection: Connection) -> tuple[RunRecord, list[Event]] | None:
            found = _find(connection, job_name, lock=True)
            if found is None or found[0].token_sha256 != token_sha256:
                return None
            trigger, job = found
            table = tables.run
            known = select(table).where(table.c.trigger_id == trigger.id, table.c.fire_key == key)
            if (row := connection.execute(known).one_or_none()) is not None:
                return RunRecord.of(row), []
            made, told = fire_now(
                connection,
                trigger,
                job,
                Fire(at_ms),
                at_ms,
                fire_key=key,
                params=params,
                cause={"kind": WEBHOOK},
            )
            return None if made is None else (made, told)

        return self._database.write(work)


def _find(
    connection: Connection, job_name: str, *, lock: bool = False
) -> tuple[TriggerRecord, JobRecord] | None:
    table, job = tables.trigger, tables.job
    query = (
        select(table, *JOB_COLUMNS)
        .join(job, job.c.id == table.c.job_id)
        .where(job.c.name == job_name, job.c.deleted_ms.is_(None))
        .where(table.c.kind == WEBHOOK, table.c.enabled.is_(True))
    )
    if lock:
        query = query.with_for_update(of=table)
    row = connection.execute(query).first()
    return None if row is None else pair(dict(row._mapping))
