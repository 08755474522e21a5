"""Runs as they are looked at and asked for: pages, submitting, cancelling."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from jupyter_cloudml.errors import NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.ends import cancel_run
from jupyter_cloudml.store.jobs.making import announce, insert_runs
from jupyter_cloudml.store.jobs.records import AttemptRecord, NewRun, RunRecord


class RunRepository:
    """The tables run, attempt and run_edge, as those see them who do not run anything."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, new: Sequence[NewRun], at_ms: int) -> tuple[list[RunRecord], list[Event]]:
        """Make runs; for one whose trigger and key have made a run before, return that one. Also returns what is to be told."""

        def work(connection: Connection) -> tuple[list[RunRecord], list[Event]]:
            _hold_others(connection, new)
            made = insert_runs(connection, new, at_ms)
            told = [announce(connection, run, at_ms) for run in made]
            of = {(run.trigger_id, run.fire_key): run for run in made}
            wanted = [(each.trigger_id, each.fire_key) for each in new]
            return [of.get(key) or _by_key(connection, *key) for key in wanted], told

        return self._database.write(work)

    def get(self, run_id: str) -> RunRecord:
        """Return a run. Raises NotFound."""
        return self._database.read(lambda connection: _get(connection, run_id))

    def page(
        self,
        *,
        job_id: str | None = None,
        states: Sequence[str] = (),
        parent_run_id: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[RunRecord]:
        """Return runs, newest first, those older than the run `before`; the runs of a sweep only where it is `parent_run_id`."""
        table = tables.run
        query = select(table)
        if job_id is not None:
            query = query.where(table.c.job_id == job_id)
        if parent_run_id is not None:
            query = query.where(table.c.parent_run_id == parent_run_id)
        else:
            query = query.where(table.c.sweep_index.is_(None))
        if before is not None:
            query = query.where(table.c.id < before)
        found: list[RunRecord] = []
        # One state after another, each by its index: a list of states would be sorted as a whole.
        narrowed = [query.where(table.c.state == state) for state in states] or [query]

        def work(connection: Connection) -> list[RunRecord]:
            for each in narrowed:
                rows = connection.execute(each.order_by(table.c.id.desc()).limit(limit)).all()
                found.extend(map(RunRecord.of, rows))
            return sorted(found, key=lambda run: run.id, reverse=True)[:limit]

        return self._database.read(work)

    def of_sweep(self, run_id: str) -> list[RunRecord]:
        """Return the runs of a sweep, in order; none where it is no sweep."""
        table = tables.run
        query = select(table).where(
            table.c.parent_run_id == run_id, table.c.sweep_index.is_not(None)
        )
        rows = self._database.read(
            lambda connection: connection.execute(query.order_by(table.c.sweep_index)).all()
        )
        return [RunRecord.of(row) for row in rows]

    def attempts(self, run_id: str) -> list[AttemptRecord]:
        """Return the attempts of a run, in order."""
        table = tables.attempt
        query = select(table).where(table.c.run_id == run_id).order_by(table.c.n)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [AttemptRecord.of(row) for row in rows]

    def fired(self, trigger_id: str, keys: Sequence[str]) -> int:
        """Return for how many of these keys a trigger has made its run."""
        table = tables.run
        made = select(func.count()).where(table.c.trigger_id == trigger_id)

        def work(connection: Connection) -> int:
            parts = (keys[at : at + 500] for at in range(0, len(keys), 500))
            return sum(
                connection.execute(made.where(table.c.fire_key.in_(part))).scalar_one()
                for part in parts
            )

        return self._database.read(work)

    def ups(self, run_id: str) -> list[str]:
        """Return the runs whose end made this one."""
        table = tables.run_edge
        query = select(table.c.up).where(table.c.down == run_id).order_by(table.c.up)
        return self._database.read(lambda connection: list(connection.execute(query).scalars()))

    def cancel(
        self, run_id: str, at_ms: int, reason: str = "cancelled"
    ) -> tuple[RunRecord, list[Event]]:
        """End a run that nobody works on, or ask its owner to end it; nothing happens to one that is over. Raises NotFound."""

        def work(connection: Connection) -> tuple[RunRecord, list[Event]]:
            found = _get(connection, run_id, lock=True)
            told = cancel_run(connection, found, reason, at_ms)
            return _get(connection, run_id), told

        return self._database.write(work)


def _hold_others(connection: Connection, new: Sequence[NewRun]) -> None:
    """Keep others from making the same runs meanwhile: who makes runs of a job by hand holds the job, who fires a trigger the trigger."""
    if connection.dialect.name == "sqlite":
        return  # who writes there does so alone
    for table, ids in (
        (tables.job, {each.job_id for each in new}),
        (tables.trigger, {each.trigger_id for each in new}),
    ):
        query = select(table.c.id).where(table.c.id.in_(sorted(ids))).order_by(table.c.id)
        connection.execute(query.with_for_update(key_share=True)).all()


def _by_key(connection: Connection, trigger_id: str, fire_key: str) -> RunRecord:
    table = tables.run
    query = select(table).where(table.c.trigger_id == trigger_id, table.c.fire_key == fire_key)
    return RunRecord.of(connection.execute(query).one())


def _get(connection: Connection, run_id: str, *, lock: bool = False) -> RunRecord:
    query = select(tables.run).where(tables.run.c.id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id!r}", hint="look at the list of runs")
    return RunRecord.of(row)
