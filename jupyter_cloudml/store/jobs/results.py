"""What runs leave: results of cells, artifacts, snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, and_, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from jupyter_cloudml.errors import JSON, Conflict, NotFound
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.records import new_id

_CELLS = 500  # in one statement


@dataclass(frozen=True)
class CellResult:
    """One cell of one attempt; `output_ref` says where its outputs are."""

    cell_id: str
    idx: int
    status: str
    started_ms: int | None = None
    ended_ms: int | None = None
    output_ref: str | None = None


@dataclass(frozen=True)
class Artifact:
    """One file that an attempt has made."""

    id: str
    run_id: str
    attempt: int
    kind: str
    uri: str
    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """The code, packages and data that runs had; `sha256` is that of all the rest together."""

    id: str
    sha256: str
    notebook_ref: str
    code: Mapping[str, JSON]
    env_lock_ref: str | None
    data_versions: Mapping[str, JSON]


class ResultRepository:
    """The tables cell_result, artifact and snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_cells(
        self, run_id: str, attempt: int, fence: int, cells: Sequence[CellResult]
    ) -> None:
        """Write cells of an attempt, over what was there of them. Raises Conflict (code "stale") when the run has another owner by now."""
        table = tables.cell_result

        def work(connection: Connection) -> None:
            hold(connection, run_id, fence)
            for start in range(0, len(cells), _CELLS):  # of 10,000 none waits long
                some = cells[start : start + _CELLS]
                mine = and_(table.c.run_id == run_id, table.c.attempt == attempt)
                there = table.c.idx.in_([cell.idx for cell in some])
                connection.execute(delete(table).where(mine, there))
                rows = [{"run_id": run_id, "attempt": attempt, **vars(cell)} for cell in some]
                connection.execute(insert(table), rows)

        self._database.write(work)

    def cells(self, run_id: str, attempt: int) -> list[CellResult]:
        """Return the cells of an attempt, in order."""
        table = tables.cell_result
        columns = [table.c[name] for name in CellResult.__dataclass_fields__]
        query = select(*columns).where(table.c.run_id == run_id, table.c.attempt == attempt)
        rows = self._database.read(
            lambda connection: connection.execute(query.order_by(table.c.idx)).all()
        )
        return [CellResult(**row._mapping) for row in rows]

    def add_artifact(self, artifact: Artifact, fence: int) -> None:
        """Write an artifact, over the one of this id. Raises Conflict (code "stale") when the run has another owner by now."""

        def work(connection: Connection) -> None:
            hold(connection, artifact.run_id, fence)
            table = tables.artifact
            connection.execute(delete(table).where(table.c.id == artifact.id))
            connection.execute(insert(tables.artifact).values(asdict(artifact)))

        self._database.write(work)

    def add_artifacts(self, run_id: str, artifacts: Sequence[Artifact], fence: int) -> None:
        """Write artifacts of one kind of an attempt, over those that were there. Raises Conflict (code "stale") when the run has another owner."""
        table = tables.artifact

        def work(connection: Connection) -> None:
            hold(connection, run_id, fence)
            for first in artifacts[:1]:
                like = and_(
                    table.c.run_id == run_id,
                    table.c.attempt == first.attempt,
                    table.c.kind == first.kind,
                )
                connection.execute(delete(table).where(like))
                connection.execute(insert(table), [asdict(each) for each in artifacts])

        self._database.write(work)

    def artifacts(self, run_id: str) -> list[Artifact]:
        """Return the artifacts of a run."""
        table = tables.artifact
        query = select(table).where(table.c.run_id == run_id).order_by(table.c.id)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [Artifact(**row._mapping) for row in rows]

    def add_snapshot(self, snapshot: Snapshot, at_ms: int) -> Snapshot:
        """Keep a snapshot, once, by its digest. Returns it with its id."""
        return self._database.write(lambda connection: _kept(connection, snapshot, at_ms))

    def keep_snapshot(self, run_id: str, snapshot: Snapshot, at_ms: int) -> Snapshot:
        """Note what a run had; a snapshot is kept once, by its digest. Returns it with its id. Raises NotFound."""

        def work(connection: Connection) -> Snapshot:
            kept = _kept(connection, snapshot, at_ms)
            of_run = update(tables.run).where(tables.run.c.id == run_id)
            if connection.execute(of_run.values(snapshot_id=kept.id)).rowcount == 0:
                raise NotFound(f"there is no run {run_id!r}", hint="look at the list of runs")
            return kept

        return self._database.write(work)

    def give_snapshot(self, run_id: str, snapshot_id: str) -> None:
        """Have a run that has no snapshot yet use this one."""
        table = tables.run
        without = update(table).where(table.c.id == run_id, table.c.snapshot_id.is_(None))
        self._database.write(
            lambda connection: connection.execute(without.values(snapshot_id=snapshot_id))
        )

    def last_snapshot(self, job_id: str) -> str | None:
        """Return the snapshot of the newest run of a job that has one."""
        table = tables.run
        query = select(table.c.snapshot_id).where(
            table.c.job_id == job_id, table.c.snapshot_id.is_not(None)
        )
        newest = query.order_by(table.c.id.desc()).limit(1)
        return self._database.read(lambda connection: connection.execute(newest).scalar())

    def record_values(self, run_id: str, fence: int, values: Mapping[str, JSON]) -> None:
        """Keep the values that a notebook has told. Raises Conflict (code "stale") when the run has another owner by now."""

        def work(connection: Connection) -> None:
            hold(connection, run_id, fence)
            mine = update(tables.run).where(tables.run.c.id == run_id)
            connection.execute(mine.values(result_json=json.dumps(values) if values else None))

        self._database.write(work)

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot. Raises NotFound."""
        table = tables.snapshot
        query = select(table).where(table.c.id == snapshot_id)
        row = self._database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFound(f"there is no snapshot {snapshot_id!r}")
        values = dict(row._mapping)
        values["code"] = json.loads(values.pop("code_json"))
        values["data_versions"] = json.loads(values.pop("data_versions_json"))
        del values["used_ms"]
        return Snapshot(**values)


def _kept(connection: Connection, snapshot: Snapshot, at_ms: int) -> Snapshot:
    """Write a snapshot where it is not there; where it is, note that it was taken again, so that nobody lets go of it now."""
    table = tables.snapshot
    mine = table.c.sha256 == snapshot.sha256
    later = case((table.c.used_ms < at_ms, at_ms), else_=table.c.used_ms)
    again = update(table).where(mine).values(used_ms=later)
    values = asdict(snapshot) | {"id": new_id(at_ms), "used_ms": at_ms}
    values["code_json"] = json.dumps(values.pop("code"))
    values["data_versions_json"] = json.dumps(values.pop("data_versions"))
    if connection.execute(again).rowcount == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(table).values(values))
        except IntegrityError:  # another run has kept the same just now
            connection.execute(again)
    return replace(snapshot, id=connection.execute(select(table.c.id).where(mine)).scalar_one())


def hold(connection: Connection, run_id: str, fence: int) -> None:
    """Keep the row of a run for its owner. Raises NotFound, Conflict (code "stale") where it has another one by now."""
    table = tables.run
    query = select(table.c.fence).where(table.c.id == run_id).with_for_update()
    found = connection.execute(query).scalar()
    if found is None:
        raise NotFound(f"there is no run {run_id!r}", hint="look at the list of runs")
    if found != fence:
        raise stale(run_id)


def stale(run_id: str) -> Conflict:
    """Return what somebody hears who was taken for dead."""
    return Conflict(
        f"the run {run_id} has another owner by now",
        code="stale",
        hint="leave it to that server: it goes on with the same process",
    )
