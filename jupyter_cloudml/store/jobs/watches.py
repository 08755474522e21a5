"""Triggers that have to look at something themselves: when they look next, what was there the last time, and what went wrong.

Whoever looks takes the row first, for as long as a look can take, and what comes of it counts only while the row is still taken so: of many
servers one looks, and once that is known to be dead another one looks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, or_, select, update

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import events, tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.ends import fire_now
from jupyter_cloudml.store.jobs.making import JOB_COLUMNS, Fire, announce, insert_runs, pair
from jupyter_cloudml.store.jobs.records import (
    SKIPPED,
    JobRecord,
    NewRun,
    RunRecord,
    TriggerRecord,
    by_hand,
    event_of,
)

WATCHED = ("git", "s3")  # kinds of triggers
_SET_BACK_MS = 60_000  # a look that is due so much later than it was to be: the clock was set back
_FIELDS = tables.watch.c.keys()
_COLUMNS = [column.label(f"watch__{column.name}") for column in tables.watch.c]


@dataclass(frozen=True)
class WatchRecord:
    """One watched trigger. `mark` is what was there at the last look, `failures` how many looks in a row have failed, `error` why."""

    trigger_id: str
    next_look_ms: int
    wait_ms: int
    looked_ms: int | None = None
    mark: str | None = None
    failures: int = 0
    error: Mapping[str, JSON] | None = None
    taken_by: str | None = None


@dataclass(frozen=True)
class Taken:
    """A watch that is this server's to look at, with its trigger and job."""

    watch: WatchRecord
    trigger: TriggerRecord
    job: JobRecord


@dataclass(frozen=True)
class Sight:
    """What a look has found: `mark` is what is there now; `news`: it is to make a run, of which `cause` is kept."""

    mark: str
    news: bool = False
    cause: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What came of a look: the run that it has made, if any, and what is to be told."""

    run: RunRecord | None
    events: Sequence[Event]


class WatchRepository:
    """The table watch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, at_ms: int, until_ms: int, limit: int, server: str | None = None) -> list[Taken]:
        """Take the watches that are due, `limit` at most; others may have them from `until_ms` on, or once the server is known to be dead."""
        watch = tables.watch
        late = watch.c.next_look_ms > at_ms + watch.c.wait_ms + _SET_BACK_MS
        due = or_(watch.c.next_look_ms <= at_ms, late)
        query = _joined().where(due).order_by(watch.c.next_look_ms).limit(limit)
        look = select(watch.c.trigger_id).where(due).limit(1)

        def any_due(connection: Connection) -> bool:
            return connection.execute(look).first() is not None

        if not self._database.read(any_due):  # without waiting for whoever writes
            return []
        return self._database.write(
            lambda connection: _take(connection, query, at_ms, until_ms, server)
        )

    def free(self, dead: Collection[str], at_ms: int) -> None:
        """Have others look at once where servers that are dead were looking."""
        table = tables.watch
        theirs = table.c.taken_by.in_(sorted(dead))

        def any_taken(connection: Connection) -> bool:
            return connection.execute(select(table.c.trigger_id).where(theirs)).first() is not None

        if not dead:
            return
        if self._database.read(any_taken):
            free = update(table).where(theirs).values(next_look_ms=at_ms, taken_by=None)
            self._database.write(lambda connection: connection.execute(free))

    def take_of(self, job_id: str, at_ms: int, until_ms: int) -> list[Taken]:
        """Take all watches of a job, from whoever has them: somebody asks for a look now."""
        query = _joined().where(tables.job.c.id == job_id).order_by(tables.watch.c.trigger_id)
        return self._database.write(
            lambda connection: _take(connection, query, at_ms, until_ms, None)
        )

    def of(self, job_id: str) -> list[WatchRecord]:
        """Return the watches of a job."""
        query = _joined().where(tables.job.c.id == job_id)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [_taken(row).watch for row in rows]

    def saw(self, taken: Taken, sight: Sight, at_ms: int, wait_ms: int) -> Kept | None:
        """Keep what a look has found, and make its run in the same transaction; None where the watch is another's by now."""

        def work(connection: Connection) -> Kept | None:
            values = {"mark": sight.mark, "failures": 0, "error_json": None}
            if not _put(connection, taken, at_ms, wait_ms, **values):
                return None
            run, told = None, []
            if taken.watch.error is not None:
                told.append(_tell(connection, taken, "trigger_works", at_ms, None))
            if sight.news:
                fire = Fire(at_ms, key=sight.mark, cause=sight.cause)
                run, more = fire_now(
                    connection, taken.trigger, _job(connection, taken), fire, at_ms
                )
                told += more
                table = tables.trigger
                fired = update(table).where(table.c.id == taken.trigger.id)
                connection.execute(fired.values(last_key=sight.mark))
            return Kept(run, told)

        return self._database.write(work)

    def failed(
        self, taken: Taken, error: Mapping[str, JSON], at_ms: int, wait_ms: int
    ) -> list[Event]:
        """Keep why a look has failed. It is told when it is another reason than the last time."""

        def work(connection: Connection) -> list[Event]:
            before = taken.watch.error or {}
            since = {"since_ms": before.get("since_ms", at_ms)}
            failures = taken.watch.failures + 1
            values = {"failures": failures, "error_json": json.dumps({**error, **since})}
            if not _put(connection, taken, at_ms, wait_ms, **values):
                return []
            if before.get("message") == error.get("message"):
                return []
            return [_tell(connection, taken, "trigger_failed", at_ms, error)]

        return self._database.write(work)

    def give_back(self, taken: Taken, at_ms: int) -> None:
        """Let another server look at once: this one ends."""
        self._database.write(lambda connection: _give_back(connection, taken, at_ms))

    def skip(
        self, job: JobRecord, key: str, reason: str, at_ms: int
    ) -> tuple[RunRecord, list[Event]]:
        """Record that somebody asked for a run and that there was no reason for one."""
        new = NewRun(job.id, job.rev, by_hand(job.id), key, at_ms, state=SKIPPED, reason=reason)

        def work(connection: Connection) -> tuple[RunRecord, list[Event]]:
            (run,) = insert_runs(connection, [new], at_ms)
            return run, [announce(connection, run, at_ms)]

        return self._database.write(work)


def watch_from(connection: Connection, trigger_id: str, kind: str, at_ms: int) -> None:
    """Begin to watch, where the trigger is of a kind that is watched; the first look is due at once, and only sets the mark."""
    if kind in WATCHED:
        row = WatchRecord(trigger_id, at_ms, 0)
        values = asdict(row)
        values.pop("error")
        connection.execute(insert(tables.watch).values(values))


def unwatch(connection: Connection, trigger_ids: Sequence[str]) -> None:
    """Watch no more."""
    table = tables.watch
    if trigger_ids:
        connection.execute(table.delete().where(table.c.trigger_id.in_(trigger_ids)))


def _joined() -> Select[Any]:
    watch, trigger, job = tables.watch, tables.trigger, tables.job
    return (
        select(*_COLUMNS, trigger, *JOB_COLUMNS)
        .join(trigger, trigger.c.id == watch.c.trigger_id)
        .join(job, job.c.id == trigger.c.job_id)
    )


def _take(
    connection: Connection, query: Select[Any], at_ms: int, until_ms: int, server: str | None
) -> list[Taken]:
    table = tables.watch
    found = []
    rows = connection.execute(query.with_for_update(skip_locked=True, of=table)).all()
    for each in map(_taken, rows):
        new = {"next_look_ms": until_ms, "wait_ms": until_ms - at_ms, "taken_by": server}
        mine = update(table).where(table.c.trigger_id == each.watch.trigger_id)
        connection.execute(mine.values(new))
        watch = WatchRecord(**{**asdict(each.watch), **new})
        found.append(Taken(watch, each.trigger, each.job))
    return found


def _taken(row: Row[Any]) -> Taken:
    values = dict(row._mapping)
    watch = {name: values.pop(f"watch__{name}") for name in _FIELDS}
    error = watch.pop("error_json")
    trigger, job = pair(values)
    return Taken(
        WatchRecord(**watch, error=None if error is None else json.loads(error)), trigger, job
    )


def _put(connection: Connection, taken: Taken, at_ms: int, wait_ms: int, **values: object) -> bool:
    """Write a watch that is still taken as it was."""
    table = tables.watch
    mine = table.c.trigger_id == taken.watch.trigger_id
    as_taken = table.c.next_look_ms == taken.watch.next_look_ms
    values |= {
        "looked_ms": at_ms,
        "next_look_ms": at_ms + wait_ms,
        "wait_ms": wait_ms,
        "taken_by": None,
    }
    done = connection.execute(update(table).where(mine, as_taken).values(values))
    return done.rowcount == 1


def _job(connection: Connection, taken: Taken) -> JobRecord:
    """Return the job as it is now: it may have been changed while somebody looked."""
    table = tables.job
    return JobRecord.of(connection.execute(select(table).where(table.c.id == taken.job.id)).one())


def _give_back(connection: Connection, taken: Taken, at_ms: int) -> None:
    table = tables.watch
    mine = table.c.trigger_id == taken.watch.trigger_id
    as_taken = table.c.next_look_ms == taken.watch.next_look_ms
    connection.execute(
        update(table).where(mine, as_taken).values(next_look_ms=at_ms, taken_by=None)
    )


def _tell(
    connection: Connection, taken: Taken, state: str, at_ms: int, error: Mapping[str, JSON] | None
) -> Event:
    why = None if error is None else dict(error)
    job = _job(connection, taken)
    told = event_of(job, state, at_ms, trigger=taken.trigger.id.partition(":")[2], error=why)
    return events.append(connection, told)
