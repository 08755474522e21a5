"""Jobs as they are kept: definitions with their revisions, triggers and references to secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Row, Select, select

from jupyter_cloudml.errors import JSON, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.applying import (
    Applied,
    Author,
    Definition,
    Edges,
    Revision,
    apply,
    delete_job,
    get,
    set_columns,
)
from jupyter_cloudml.store.jobs.counts import narrowed
from jupyter_cloudml.store.jobs.records import JobRecord, TriggerRecord, event_of


class JobRepository:
    """The tables job, job_rev, trigger and secret_ref."""

    def __init__(self, database: Database, computer: str = "") -> None:
        self._database, self._computer = database, computer or None

    def apply(
        self,
        wanted: Definition,
        at_ms: int,
        *,
        author: Author | None = None,
        refuse: Callable[[Edges], None] = lambda edges: None,
        rev: int | None = None,
    ) -> Applied:
        """Make the job of this name, or give it a new revision; what is the same already stays as it is.

        A trigger that is there keeps its next due time. `refuse` is shown what runs after what, and raises when that cannot be. `rev` is the
        revision that somebody has seen, 0 where there is to be no job of this name yet; None: whatever there is.
        Raises NotFound for a job that is to run after one that is not there, Conflict (`changed`) where there is another revision.
        """
        who = author or Author()
        (applied,), _, _ = self._database.write(
            lambda connection: apply(
                connection, [wanted], at_ms, who, refuse, rev=rev, computer=self._computer
            )
        )
        return applied

    def apply_file(
        self,
        wanted: Sequence[Definition],
        at_ms: int,
        *,
        author: Author,
        refuse: Callable[[Edges], None],
        prune: str | None = None,
    ) -> tuple[list[Applied], list[JobRecord], list[Event]]:
        """Apply all of a file in one transaction, or nothing; return the jobs, those that were deleted, and what is to be told of these.

        `prune` is a project: what it has besides is deleted. Raises as `apply`, and Conflict for a job of another project, and for one that runs after a deleted one.
        """
        return self._database.write(
            lambda connection: apply(
                connection, wanted, at_ms, author, refuse, whole_project=True, prune=prune
            )
        )

    def get(self, name: str) -> JobRecord:
        """Return the job of this name, or id. Raises NotFound."""
        return self._database.read(lambda connection: get(connection, name))

    def page(
        self,
        *,
        after: str = "",
        limit: int = 50,
        project: str | None = None,
        text: str = "",
        only: str = "",
    ) -> list[JobRecord]:
        """Return jobs by name, those after `after`, with `text` in their name and of the kind `only` (see counts)."""
        table = tables.job
        query = select(table).where(*narrowed(text, only), table.c.name > after)
        if project is not None:
            query = query.where(table.c.project == project)
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

    def by_id(self, job_id: str) -> JobRecord:
        """Return a job, also one that was deleted. Raises NotFound."""
        query = select(tables.job).where(tables.job.c.id == job_id)
        row = self._database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFound(f"there is no job {job_id!r}", hint="look at the list of jobs")
        return JobRecord.of(row)

    def give_snapshot(self, job_id: str, snapshot_id: str) -> None:
        """Note the notebook of a job as it was when it was defined."""
        self._database.write(
            lambda connection: set_columns(connection, job_id, snapshot_id=snapshot_id)
        )

    def revision(self, job_id: str, rev: int) -> Mapping[str, JSON]:
        """Return the definition as it was at a revision. Raises NotFound."""
        spec: Mapping[str, JSON] = json.loads(self._revision(job_id, rev).spec_json)
        return spec

    def author(self, job_id: str, rev: int) -> Author:
        """Return who has written a revision. Raises NotFound."""
        row = self._revision(job_id, rev)
        return Author(row.author, row.git_commit)

    def revisions(self, job_id: str, limit: int) -> list[Revision]:
        """Return the revisions of a job, the newest first."""
        table = tables.job_rev
        query = select(table).where(table.c.job_id == job_id)
        rows = self._rows(query.order_by(table.c.rev.desc()).limit(limit))
        return [
            Revision(row.rev, json.loads(row.spec_json), Author(row.author, row.git_commit))
            for row in rows
        ]

    def pause(self, name: str, paused: bool, at_ms: int) -> Applied:
        """Have the job's due times skipped from now on, or not any more. Raises NotFound."""

        def work(connection: Connection) -> Applied:
            found = get(connection, name, lock=True)
            if found.paused == paused:
                return Applied(found, None)
            changed = replace(found, paused=paused)
            set_columns(connection, found.id, paused=paused)
            state = "paused" if paused else "resumed"
            return Applied(changed, events.append(connection, event_of(changed, state, at_ms)))

        return self._database.write(work)

    def delete(self, name: str, at_ms: int) -> list[Event]:
        """Take a job out: its name is free, nothing makes it run, its runs end, and what they did stays on record. Raises NotFound."""

        def work(connection: Connection) -> list[Event]:
            return delete_job(connection, get(connection, name, lock=True), at_ms)

        return self._database.write(work)

    def _revision(self, job_id: str, rev: int) -> Row[tuple[object, ...]]:
        table = tables.job_rev
        rows = self._rows(select(table).where(table.c.job_id == job_id, table.c.rev == rev))
        if not rows:
            raise NotFound(f"the job {job_id} has no revision {rev}", hint="see its history")
        return rows[0]

    def _rows(self, query: Select[tuple[object, ...]]) -> Sequence[Row[tuple[object, ...]]]:
        return self._database.read(lambda connection: connection.execute(query).all())
