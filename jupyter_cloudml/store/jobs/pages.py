"""What lists of jobs and runs say besides the rows themselves, for a whole page at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.making import machine_of
from jupyter_cloudml.store.jobs.records import RunRecord


@dataclass(frozen=True)
class Mark:
    """One run of a job's history, as far as a strip shows it."""

    id: str
    state: str
    due_ms: int
    ended_ms: int | None


@dataclass(frozen=True)
class About:
    """Of which job a run is, as that was when the run was made."""

    job: str
    machine: str


class PageRepository:
    """Reads for lists; nothing here takes a lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def strips(self, job_ids: Sequence[str], count: int = 30) -> dict[str, list[Mark]]:
        """Return the last runs of each job, the newest last."""
        run = tables.run
        columns = (run.c.id, run.c.state, run.c.due_ms, run.c.ended_ms)

        def work(connection: Connection) -> dict[str, list[Mark]]:
            found = {}
            for job_id in job_ids:  # each by its index: one query for all would sort all their runs
                query = select(*columns).where(run.c.job_id == job_id, run.c.sweep_index.is_(None))
                rows = connection.execute(query.order_by(run.c.id.desc()).limit(count)).all()
                found[job_id] = [Mark(*row) for row in reversed(rows)]
            return found

        return self._database.read(work)

    def due(self, job_ids: Collection[str]) -> dict[str, int]:
        """Return when each job is due next, of those that are due by time."""
        table = tables.trigger
        query = (
            select(table.c.job_id, func.min(table.c.next_due_ms))
            .where(table.c.job_id.in_(sorted(job_ids)), table.c.enabled.is_(True))
            .where(table.c.next_due_ms.is_not(None))
            .group_by(table.c.job_id)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def soonest(self, limit: int) -> list[tuple[str, int]]:
        """Return the names of the jobs that are due next, with the time, the soonest first; none that is paused."""
        table, job = tables.trigger, tables.job
        query = (
            select(job.c.name, table.c.next_due_ms)
            .join(job, job.c.id == table.c.job_id)
            .where(table.c.enabled.is_(True), table.c.next_due_ms.is_not(None))
            .where(job.c.paused.is_(False))
            .order_by(table.c.next_due_ms)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [(row[0], row[1]) for row in rows]

    def about(self, runs: Iterable[RunRecord]) -> dict[tuple[str, int], About]:
        """Return job and machine of runs, by (job id, revision); also of jobs that were deleted."""
        revision, job = tables.job_rev, tables.job
        ids = sorted({run.job_id for run in runs})
        wanted = {(run.job_id, run.job_rev) for run in runs}
        query = (
            select(revision.c.job_id, revision.c.rev, revision.c.spec_json, job.c.name)
            .join(job, job.c.id == revision.c.job_id)
            .where(revision.c.job_id.in_(ids))
            .where(revision.c.rev.in_(sorted({rev for _, rev in wanted})))
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        found = {(row.job_id, row.rev): row for row in rows}
        return {
            key: About(row.name, machine_of(_spec(row.spec_json)))
            for key, row in found.items()
            if key in wanted
        }

    def names(self, job_ids: Collection[str]) -> dict[str, str]:
        """Return the names of jobs by id, also of those that were deleted."""
        job = tables.job
        query = select(job.c.id, job.c.name).where(job.c.id.in_(sorted(job_ids)))
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def open(self) -> dict[str, int]:
        """Return how many runs are not over, by state."""
        run = tables.run
        query = select(run.c.state, func.count()).where(run.c.ended_ms.is_(None))
        rows = self._database.read(
            lambda connection: connection.execute(query.group_by(run.c.state)).all()
        )
        return {row[0]: row[1] for row in rows}


def _spec(text: str) -> Mapping[str, JSON]:
    found: Mapping[str, JSON] = json.loads(text)
    return found
