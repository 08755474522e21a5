"""What of the past is let go of: runs that a job keeps no more, and snapshots that no run has. In steps that hold no lock for long."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, false, func, or_, select

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.notices import WAITING
from jupyter_cloudml.store.jobs.records import JobRecord, event_of

YOUNG_MS = 2 * 3_600_000
"""So old are runs at least that are let go of: a clock that is set back by an hour must find the times that have had their run."""


@dataclass(frozen=True)
class Kept:
    """A job, also one that was deleted, how many runs there are of it, how many more are parts of a sweep, and its definition."""

    id: str
    name: str
    runs: int
    parts: int
    spec: Mapping[str, JSON]


class KeepingRepository:
    """Deletes rows of the tables run and snapshot. Any number of servers may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self, *, after: str = "", limit: int = 500) -> list[Kept]:
        """Return the jobs that have runs, by id, those after `after`."""
        run, job = tables.run, tables.job
        counted = (
            select(
                run.c.job_id,
                func.count().label("all"),
                func.count(run.c.sweep_index).label("parts"),
            )
            .where(run.c.job_id > after)
            .group_by(run.c.job_id)
            .order_by(run.c.job_id)
            .limit(limit)
            .subquery()
        )
        runs = (counted.c.all - counted.c.parts).label("runs")
        query = select(job.c.id, job.c.name, runs, counted.c.parts, job.c.spec_json).join(
            counted, counted.c.job_id == job.c.id
        )
        rows = self._database.read(
            lambda connection: connection.execute(query.order_by(job.c.id)).all()
        )
        return [Kept(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    def surplus(
        self,
        job_id: str,
        *,
        keep: int,
        ended_before_ms: int | None,
        at_ms: int,
        after: str = "",
        limit: int = 20,
    ) -> list[str]:
        """Return runs of a job, oldest first, those after the run `after`, that are not among the newest `keep` or that ended before a time.

        Never one that goes on or is young, nor the last success, nor one of which somebody is still to be told, nor what a run that goes on was
        made of. A sweep counts as one run; what is
        part of it goes once it has gone.
        """
        run = tables.run

        def work(connection: Connection) -> list[str]:
            whole = run.c.sweep_index.is_(None)
            mine = select(run.c.id).where(run.c.job_id == job_id, whole).order_by(run.c.id.desc())
            oldest = connection.execute(mine.offset(max(keep, 1) - 1).limit(1)).scalar()
            good = connection.execute(mine.where(run.c.state == "succeeded").limit(1)).scalar()
            too_many = [] if oldest is None else [run.c.id < oldest]
            too_old = [] if ended_before_ms is None else [run.c.ended_ms < ended_before_ms]
            surplus = and_(whole, run.c.id != (good or ""), or_(false(), *too_many, *too_old))
            sweep = run.alias()
            left = and_(~whole, ~exists().where(sweep.c.id == run.c.parent_run_id))
            query = select(run.c.id).where(
                run.c.job_id == job_id, run.c.id > after, _over(at_ms), or_(surplus, left)
            )
            return list(connection.execute(query.order_by(run.c.id).limit(limit)).scalars())

        return self._database.read(work)

    def delete_runs(self, ids: Sequence[str], at_ms: int) -> int:
        """Delete runs with all that hangs on them, but those that go on by now; return how many."""
        run = tables.run

        def work(connection: Connection) -> int:
            query = select(run.c.id).where(run.c.id.in_(ids), _over(at_ms)).order_by(run.c.id)
            found = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(run).where(run.c.id.in_(found)))
            return len(found)

        return self._database.write(work)

    def tell(self, job_id: str, at_ms: int) -> Event | None:
        """Write the event that tells of a job that some of its runs are gone; None where the job is gone as well."""
        query = select(tables.job).where(
            tables.job.c.id == job_id, tables.job.c.deleted_ms.is_(None)
        )

        def work(connection: Connection) -> Event | None:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            return events.append(connection, event_of(JobRecord.of(row), "pruned", at_ms))

        return self._database.write(work)

    def delete_snapshots(self, used_before_ms: int, limit: int = 100) -> int:
        """Delete snapshots that no run has and that were not taken since a time; return how many."""
        table, run, job = tables.snapshot, tables.run, tables.job
        unused = and_(
            table.c.used_ms < used_before_ms,
            ~exists().where(run.c.snapshot_id == table.c.id),
            ~exists().where(job.c.snapshot_id == table.c.id, job.c.deleted_ms.is_(None)),
        )

        def work(connection: Connection) -> int:
            query = select(table.c.id).where(unused).order_by(table.c.id).limit(limit)
            found = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(table).where(table.c.id.in_(found), unused))
            return len(found)

        return self._database.write(work)

    def there(self, run_ids: Collection[str]) -> set[str]:
        """Return which of these runs there are."""
        query = select(tables.run.c.id).where(tables.run.c.id.in_(sorted(run_ids)))
        return self._database.read(lambda connection: set(connection.execute(query).scalars()))

    def notebooks_of_snapshots(self, refs: Collection[str]) -> set[str]:
        """Return which of these notebooks a snapshot has."""
        ref = tables.snapshot.c.notebook_ref
        query = select(ref).where(ref.in_(sorted(refs))).distinct()
        return self._database.read(lambda connection: set(connection.execute(query).scalars()))


def _over(at_ms: int) -> ColumnElement[bool]:
    """Whether a run is over, not young, all were told of it, and no run that goes on was made of it."""
    run, child, notice = tables.run, tables.run.alias(), tables.notice
    return and_(
        run.c.ended_ms.is_not(None),
        run.c.created_ms < at_ms - YOUNG_MS,
        run.c.ended_ms < at_ms - YOUNG_MS,
        ~exists().where(child.c.parent_run_id == run.c.id, child.c.ended_ms.is_(None)),
        ~exists().where(notice.c.run_id == run.c.id, notice.c.state == WAITING),
    )
