"""Which queued runs can be worked on: job, pool and machine each have room for so many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, true, tuple_

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.jobs.making import machine_of
from jupyter_cloudml.store.jobs.pools import OF_MACHINE
from jupyter_cloudml.store.jobs.records import QUEUED, RunRecord
from jupyter_cloudml.store.jobs.sweeps import AT_ONCE

_PAGE = 100
_PAGES = 20  # so many pages of runs that have to wait are looked at in one claim


@dataclass
class Place:
    """How far the claims before have come in a queue that is too long for one."""

    key: tuple[int, int, str] | None = None


def candidates(
    connection: Connection, limit: int, place: Place, computer: str = ""
) -> Iterable[tuple[RunRecord, str, Mapping[str, JSON]]]:
    """Yield queued runs, first come first served within a priority, for which there is room and which this computer can run.

    Half of the pages are the first of the queue, the others go on where the claim before has stopped: what has no room hides nothing for ever.
    """
    room = _Room(connection)
    run, job, revision = tables.run, tables.job, tables.job_rev
    query = (
        select(
            run,
            job.c.name.label("job__name"),
            job.c.overlap.label("job__overlap"),
            revision.c.spec_json.label("job__spec"),
        )
        .join(job, job.c.id == run.c.job_id)
        .join(revision, and_(revision.c.job_id == run.c.job_id, revision.c.rev == run.c.job_rev))
        .where(run.c.state == QUEUED, run.c.ended_ms.is_(None), runs_on(computer))
        .order_by(run.c.priority, run.c.not_before_ms, run.c.id)
        .limit(_PAGE)
    )
    order = tuple_(run.c.priority, run.c.not_before_ms, run.c.id)
    left = limit
    key: tuple[int, int, str] | None = None
    for number in range(_PAGES):
        if number == _PAGES // 2 and place.key is not None and key is not None:
            key = max(key, place.key)
        page = query if number == 0 or key is None else query.where(order > tuple_(*key))
        page = page.where(*room.may_have_room())
        rows = connection.execute(page).all()
        for row in rows:
            found, name, overlap, spec = _candidate(row)
            key = (found.priority, found.not_before_ms, found.id)
            if left and room.take(found, overlap, spec):
                left -= 1
                yield found, name, spec
        if not left:
            return
        if len(rows) < _PAGE:
            place.key = None
            return
    place.key = key


def runs_on(computer: str) -> ColumnElement[bool]:
    """Whether a computer can run a run, and find its process ("": there is only one)."""
    mine = tables.run.c.computer
    return or_(mine.is_(None), mine == computer) if computer else true()


def _candidate(row: Row[tuple[object, ...]]) -> tuple[RunRecord, str, str, Mapping[str, JSON]]:
    values = dict(row._mapping)
    name, overlap = values.pop("job__name"), values.pop("job__overlap")
    spec: Mapping[str, JSON] = json.loads(values.pop("job__spec"))
    found = RunRecord.from_values(values)
    return found, name, overlap, found.spec(spec)


class _Room:
    """How many more runs each job, pool and machine can have."""

    def __init__(self, connection: Connection) -> None:
        run, attempt = tables.run, tables.attempt
        query = (
            select(run.c.job_id, run.c.pool, attempt.c.machine)
            .join(attempt, and_(attempt.c.run_id == run.c.id, attempt.c.n == run.c.attempts))
            .where(run.c.owner.is_not(None))
        )
        self._jobs: Counter[str] = Counter()
        self._pools: Counter[str] = Counter()
        for row in connection.execute(query):
            self._jobs[row.job_id] += 1
            self._pools[f"{OF_MACHINE}{row.machine}"] += 1
            if row.pool is not None:
                self._pools[row.pool] += 1
        pools = connection.execute(select(tables.pool.c.name, tables.pool.c.cap))
        self._caps: dict[str, int] = {row.name: row.cap for row in pools}
        self._full_jobs: set[str] = set()

    def may_have_room(self) -> list[ColumnElement[bool]]:
        """Return what leaves out the runs of jobs, pools and machines that are known to be full."""
        run = tables.run
        full = {name for name, cap in self._caps.items() if self._pools[name] >= cap}
        machines = {name.removeprefix(OF_MACHINE) for name in full if name.startswith(OF_MACHINE)}
        found = [
            or_(column.is_(None), column.not_in(sorted(names)))
            for column, names in ((run.c.pool, full), (run.c.machine, machines))
            if names
        ]
        return [*found, run.c.job_id.not_in(sorted(self._full_jobs))] if self._full_jobs else found

    def take(self, run: RunRecord, overlap: str, spec: Mapping[str, JSON]) -> bool:
        """Take a place for a run where there is one."""
        most = spec.get("max_running") if overlap == "allow" else 1
        if run.sweep_index is not None:
            most = spec.get("max_running") or AT_ONCE
        pools = [f"{OF_MACHINE}{machine_of(spec)}", *([run.pool] if run.pool is not None else [])]
        if isinstance(most, int) and self._jobs[run.job_id] >= most:
            self._full_jobs.add(run.job_id)
            return False
        if any(name in self._caps and self._pools[name] >= self._caps[name] for name in pools):
            return False
        self._jobs[run.job_id] += 1
        self._pools.update(pools)
        return True
