"""How many jobs and runs there are of each kind, for whoever narrows a list; and what narrows one."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select

from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database

PAUSED, RUNNING, FAILING = "paused", "running", "failing"
KINDS = (PAUSED, RUNNING, FAILING)
LAST = 1000  # runs of a job that are counted: its newest
_ENDS = ("succeeded", "failed", "timed_out")

_job, _run = tables.job, tables.run
_OF_JOB = (_run.c.job_id == _job.c.id, _run.c.sweep_index.is_(None))
_LAST_END = (
    select(_run.c.state)
    .where(*_OF_JOB, _run.c.state.in_(_ENDS))
    .order_by(_run.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_IS: dict[str, ColumnElement[bool]] = {
    PAUSED: _job.c.paused.is_(True),
    # A list of what is not over, which is short: looking at each job's runs takes ten times as long.
    RUNNING: _job.c.id.in_(select(_run.c.job_id).where(_run.c.ended_ms.is_(None))),
    FAILING: _LAST_END.in_(_ENDS[1:]),
}


def narrowed(text: str = "", only: str = "") -> list[ColumnElement[bool]]:
    """Return what jobs that are there have to be: with `text` in their name; paused, with runs that are not over, or failed when they ended last."""
    found: list[ColumnElement[bool]] = [_job.c.deleted_ms.is_(None)]
    if text:
        found.append(_job.c.name.icontains(text, autoescape=True))
    if only:
        found.append(_IS[only])
    return found


class Counts:
    """Counts for lists; nothing here takes a lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self, text: str = "") -> dict[str, int]:
        """Return how many jobs with `text` in their name there are, `all` and of each kind."""
        query = select(
            *(
                select(func.count())
                .select_from(_job)
                .where(*narrowed(text, kind))
                .scalar_subquery()
                for kind in ("", *KINDS)
            )
        )
        row = self._database.read(lambda connection: connection.execute(query).one())
        return dict(zip(("all", *KINDS), row, strict=True))

    def runs(self, job_id: str) -> dict[str, int]:
        """Return how many of the last LAST runs of a job are in each state."""
        last = (
            select(_run.c.state)
            .where(_run.c.job_id == job_id, _run.c.sweep_index.is_(None))
            .order_by(_run.c.id.desc())
            .limit(LAST)
            .subquery()
        )
        query = select(last.c.state, func.count()).group_by(last.c.state)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}
