"""Who is to be told of the end of a run: rows written with that end, so that none is forgotten, and taken by one server at a time."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.records import RunRecord
from jupyter_cloudml.store.texts import storable

FAILURE, RECOVERY, SUCCESS = "failure", "recovery", "success"
WAITING, SENT, GIVEN_UP = "waiting", "sent", "given_up"
_BAD = ("failed", "timed_out")
_ENDS = (*_BAD, "succeeded")
_SET_BACK_MS = 86_400_000  # no notice waits for so long: the clock was set back

_job, _run = tables.job, tables.run
_SPEC = select(_job.c.spec_json).where(
    _job.c.id == bindparam("of_job"), _job.c.spec_json.contains('"notify"')
)
_BEFORE = (
    select(_run.c.state)
    .where(_run.c.job_id == bindparam("of_job"), _run.c.id < bindparam("run"))
    .where(_run.c.sweep_index.is_(None), _run.c.state.in_(_ENDS))
    .order_by(_run.c.id.desc())
    .limit(1)
)


@dataclass(frozen=True)
class NoticeRecord:
    """One address that is to be told of one run. `claim` is that of the server that is at it."""

    run_id: str
    n: int
    address: str
    about: str
    state: str = WAITING
    tries: int = 0
    not_before_ms: int = 0
    claim: str | None = None
    error: str | None = None
    sent_ms: int | None = None


def write_notices(connection: Connection, run: RunRecord, at_ms: int) -> None:
    """Note who is to be told of a run that has just ended, as its job says now."""
    if run.state not in _ENDS:
        return
    text = connection.execute(_SPEC, {"of_job": run.job_id}).scalar()
    wanted = json.loads(text).get("notify") if text is not None else None
    if not isinstance(wanted, list):
        return
    before = connection.execute(_BEFORE, {"of_job": run.job_id, "run": run.id}).scalar()
    rows = [
        vars(NoticeRecord(run.id, n, str(each.get("to")), about, not_before_ms=at_ms))
        for n, each in enumerate(wanted)
        if isinstance(each, dict) and (about := about_of(run.state, before, each.get("on")))
    ]
    if rows:
        connection.execute(insert(tables.notice), rows)


def about_of(state: str, before: str | None, on: JSON) -> str | None:
    """Return what somebody is told of an end, by the end before it and by what they want to hear of; None: nothing. Pure."""
    wanted = on if isinstance(on, list) else [FAILURE, RECOVERY]
    if state in _BAD:
        return FAILURE if FAILURE in wanted else None
    if before in _BAD and RECOVERY in wanted:
        return RECOVERY
    return SUCCESS if SUCCESS in wanted else None


class NoticeRepository:
    """The table notice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, at_ms: int, until_ms: int, limit: int) -> list[NoticeRecord]:
        """Take notices that are due; others may have them from `until_ms` on, where this server has died meanwhile."""
        table = tables.notice
        late = table.c.not_before_ms > at_ms + _SET_BACK_MS
        due = (table.c.state == WAITING, or_(table.c.not_before_ms <= at_ms, late))
        first = select(table.c.run_id).where(*due).limit(1)
        query = select(table).where(*due).order_by(table.c.not_before_ms).limit(limit)

        def work(connection: Connection) -> list[NoticeRecord]:
            found = []
            for row in connection.execute(query.with_for_update(skip_locked=True)).all():
                notice = NoticeRecord(**row._mapping)
                values: dict[str, Any] = {
                    "claim": secrets.token_hex(8),
                    "tries": notice.tries + 1,
                    "not_before_ms": until_ms,
                }
                connection.execute(_update(notice).values(values))
                found.append(replace(notice, **values))
            return found

        if self._database.read(lambda connection: connection.execute(first).first()) is None:
            return []  # without waiting for whoever writes
        return self._database.write(work)

    def sent(self, notice: NoticeRecord, at_ms: int) -> None:
        """Note that somebody was told."""
        self._put(notice, state=SENT, sent_ms=at_ms, error=None, claim=None)

    def failed(self, notice: NoticeRecord, error: str, again_ms: int | None) -> None:
        """Note why nobody was told; it is tried again at a time, or given up (None)."""
        values: Mapping[str, Any] = {"error": storable(error), "claim": None}
        state = {"state": GIVEN_UP} if again_ms is None else {"not_before_ms": again_ms}
        self._put(notice, **values, **state)

    def of(self, run_id: str) -> list[NoticeRecord]:
        """Return the notices of a run."""
        table = tables.notice
        query = select(table).where(table.c.run_id == run_id).order_by(table.c.n)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [NoticeRecord(**row._mapping) for row in rows]

    def _put(self, notice: NoticeRecord, **values: Any) -> None:
        still = _update(notice).where(tables.notice.c.claim == notice.claim).values(values)
        self._database.write(lambda connection: connection.execute(still))


def _update(notice: NoticeRecord) -> Any:
    table = tables.notice
    return update(table).where(table.c.run_id == notice.run_id, table.c.n == notice.n)
