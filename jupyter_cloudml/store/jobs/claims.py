"""Who works on which run: claims, what comes of them, and runs taken over from a dead server.

Every change compares (id, state, fence) and writes its event in the same transaction; a new owner has a higher fence, so that whoever was
taken for dead and was not can change nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text, update

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import tables
from jupyter_cloudml.store.engine import Database
from jupyter_cloudml.store.jobs.making import announce, computer_of, machine_of
from jupyter_cloudml.store.jobs.moving import (
    HOUR_MS,
    Move,
    Moved,
    add_attempt,
    change,
    failed_starts,
    moved,
)
from jupyter_cloudml.store.jobs.records import (
    CANCELLED,
    CLAIMED,
    LOST,
    QUEUED,
    RETRY_WAIT,
    SCHEDULED,
    AttemptRecord,
    Claim,
    RunRecord,
)
from jupyter_cloudml.store.jobs.room import Place, candidates, runs_on

GIVEN_UP_MS = 24 * HOUR_MS
GIVEN_UP = "its computer has said nothing for a day: what it runs there may go on"
LONGEST_DELAY_MS = 7 * 24 * HOUR_MS  # the longest that a retry can wait
INTENDED = "intended"  # an attempt whose process has a name and was perhaps never started
_LOCK = 0x636D6C636C61  # "cmlcla": servers count what runs and claim one after another (PostgreSQL)


@dataclass(frozen=True)
class Look:
    """What there is to do now, as one look at the database shows it."""

    due: bool
    ripe: bool
    queued: bool
    next_due_ms: int | None
    next_ripe_ms: int | None
    to_cancel: Mapping[str, str | None]  # why, by run


class Claiming(Exception):  # no error: look again soon
    """Another server claims runs at this moment."""


class ClaimRepository:
    """The table of runs, as those see it who run them."""

    def __init__(self, database: Database, computer: str = "") -> None:
        self._database, self._computer, self._place = database, computer, Place()

    def look(self, server_id: str, at_ms: int) -> Look:
        """Say what there is to do, without taking any lock."""
        run, trigger = tables.run, tables.trigger

        def work(connection: Connection) -> Look:
            due = connection.execute(
                select(func.min(trigger.c.next_due_ms)).where(trigger.c.enabled.is_(True))
            ).scalar()
            soonest, again = (_not_before(connection, state) for state in (SCHEDULED, RETRY_WAIT))
            latest = None if again is None else _not_before(connection, RETRY_WAIT, latest=True)
            ripe = min((time for time in (soonest, again) if time is not None), default=None)
            far_off = latest is not None and latest > at_ms + LONGEST_DELAY_MS
            waiting = select(run.c.id).where(run.c.state == QUEUED, run.c.ended_ms.is_(None))
            asked = select(run.c.id, run.c.reason).where(
                run.c.owner == server_id, run.c.cancel_requested.is_(True)
            )
            return Look(
                due=due is not None and due <= at_ms,
                ripe=far_off or (ripe is not None and ripe <= at_ms),
                queued=connection.execute(waiting.limit(1)).first() is not None,
                next_due_ms=due,
                next_ripe_ms=ripe,
                to_cancel={row.id: row.reason for row in connection.execute(asked)},
            )

        return self._database.read(work)

    def is_idle(self) -> bool:
        """Tell whether no run waits or goes on that this computer can look after."""
        run = tables.run
        query = select(run.c.id).where(run.c.ended_ms.is_(None), runs_on(self._computer)).limit(1)
        return self._database.read(lambda connection: connection.execute(query).first() is None)

    def ripen(self, at_ms: int, limit: int = 200) -> list[Event]:
        """Queue the runs whose time to wait is over, and those that wait for a time that no retry waits for: the clock was set back."""
        run = tables.run
        whose = (
            (SCHEDULED, run.c.not_before_ms <= at_ms),
            (RETRY_WAIT, run.c.not_before_ms <= at_ms),
            (RETRY_WAIT, run.c.not_before_ms > at_ms + LONGEST_DELAY_MS),
        )

        def work(connection: Connection) -> list[Event]:
            told = []
            for state, is_ripe in whose:
                query = (
                    select(run)
                    .where(run.c.state == state, is_ripe, run.c.ended_ms.is_(None))
                    .limit(limit)
                    .with_for_update(skip_locked=True)
                )
                for found in map(RunRecord.of, connection.execute(query).all()):
                    changed = change(connection, found, state=QUEUED)
                    if changed is not None:
                        told.append(announce(connection, changed, at_ms))
            return told

        return self._database.write(work)

    def claim(
        self,
        server_id: str,
        at_ms: int,
        lease_until_ms: int,
        limit: int,
        name: Callable[[RunRecord, int], Mapping[str, JSON]],
    ) -> tuple[list[Claim], list[Event]]:
        """Take runs that are queued and that job, pool and machine have room for; `name` gives an attempt's process its name.

        The attempt, with that name, is written in the same transaction. Raises Claiming while another server is at it.
        """

        def work(connection: Connection) -> tuple[list[Claim], list[Event]]:
            _alone(connection)
            claims, told = [], []
            for run, job_name, spec in candidates(connection, limit, self._place, self._computer):
                n = run.attempts + 1
                taken = change(
                    connection,
                    run,
                    state=CLAIMED,
                    fence=run.fence + 1,
                    owner=server_id,
                    lease_until_ms=lease_until_ms,
                    attempts=n,
                    reason=None,
                    computer=computer_of(spec, self._computer or None),
                )
                if taken is None:
                    continue
                machine = machine_of(spec)
                attempt = AttemptRecord(
                    run.id, n, taken.fence, server_id, machine, name(run, n), INTENDED
                )
                add_attempt(connection, attempt)
                failed = failed_starts(connection, taken) if n > 1 else 0
                claims.append(Claim(taken, attempt, job_name, spec, failed))
                told.append(announce(connection, taken, at_ms))
            return claims, told

        return self._database.write(work)

    def move(self, moves: Sequence[Move], at_ms: int) -> list[Moved]:
        """Change runs that are still as they were seen, all in one transaction; a job that runs after one that ended is fired in it."""
        return self._database.write(
            lambda connection: [moved(connection, each, at_ms) for each in moves]
        )

    def mark(self, run: RunRecord, reason: str) -> RunRecord | None:
        """Note why a run that is still as it was seen is being ended; None when it is not."""
        return self._database.write(lambda connection: change(connection, run, reason=reason))

    def take_over(
        self, server_id: str, dead: Collection[str], at_ms: int, lease_until_ms: int, limit: int
    ) -> tuple[list[Claim], list[Event]]:
        """Become the owner of runs of servers that are dead; they are lost until their processes have been looked for.

        Not of what ran on another computer itself, which only its own servers can ask.
        """
        whose = and_(tables.run.c.owner.in_(sorted(dead)), runs_on(self._computer))
        return self._take(server_id, whose, at_ms, lease_until_ms, limit)

    def lose(self, dead: Collection[str], at_ms: int) -> list[Event]:
        """Note that nobody looks after the runs of dead servers on other computers now; they stay theirs.

        One that somebody wants to end ends where its computer has said nothing for a day: it may be gone for good.
        """
        run = tables.run
        theirs = and_(run.c.owner.in_(sorted(dead)), ~runs_on(self._computer))
        given_up = and_(
            run.c.cancel_requested.is_(True), run.c.lease_until_ms < at_ms - GIVEN_UP_MS
        )

        def work(connection: Connection) -> list[Event]:
            query = select(run).where(theirs, or_(run.c.state != LOST, given_up))
            told: list[Event] = []
            for found in map(
                RunRecord.of, connection.execute(query.with_for_update(skip_locked=True))
            ):
                if found.state != LOST:
                    changed = change(connection, found, state=LOST)
                    told += [] if changed is None else [announce(connection, changed, at_ms)]
                else:
                    end = Move(found, CANCELLED, reason=GIVEN_UP, attempt_state="lost")
                    told += moved(connection, end, at_ms).events
            return told

        return self._database.write(work) if self._computer else []

    def take_back(
        self, server_id: str, run_ids: Collection[str], at_ms: int, lease_until_ms: int
    ) -> tuple[list[Claim], list[Event]]:
        """Take over from oneself: runs of this server of which it does not know, since the answer to a commit was lost."""
        run = tables.run
        whose = and_(run.c.owner == server_id, run.c.id.in_(sorted(run_ids)))
        return self._take(server_id, whose, at_ms, lease_until_ms, len(run_ids))

    def _take(
        self,
        server_id: str,
        whose: ColumnElement[bool],
        at_ms: int,
        lease_until_ms: int,
        limit: int,
    ) -> tuple[list[Claim], list[Event]]:
        run = tables.run

        def work(connection: Connection) -> tuple[list[Claim], list[Event]]:
            query = select(run).where(whose).limit(limit)
            claims, told = [], []
            for row in connection.execute(query.with_for_update(skip_locked=True)).all():
                found = RunRecord.of(row)
                taken = change(
                    connection,
                    found,
                    state=LOST,
                    fence=found.fence + 1,
                    owner=server_id,
                    lease_until_ms=lease_until_ms,
                )
                if taken is None:
                    continue
                claims.append(_claim(connection, taken, server_id))
                told.append(announce(connection, taken, at_ms))
            return claims, told

        return self._database.write(work)


def _not_before(connection: Connection, state: str, *, latest: bool = False) -> int | None:
    """Return the soonest or the latest time until which runs in a state wait: one entry of an index."""
    run = tables.run
    which = func.max(run.c.not_before_ms) if latest else func.min(run.c.not_before_ms)
    query = select(which).where(run.c.state == state, run.c.ended_ms.is_(None))
    return connection.execute(query).scalar()


def _alone(connection: Connection) -> None:
    """Have no other server count and claim meanwhile; none waits here, where a server that was stopped could hold up all."""
    if connection.dialect.name == "postgresql":
        taken = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not taken.scalar():
            raise Claiming


def _claim(connection: Connection, run: RunRecord, server_id: str) -> Claim:
    """Return all about a run that has just got this owner, and note the owner in its attempt."""
    attempt, revision, job = tables.attempt, tables.job_rev, tables.job
    where = and_(attempt.c.run_id == run.id, attempt.c.n == run.attempts)
    connection.execute(update(attempt).where(where).values(fence=run.fence, server_id=server_id))
    found = AttemptRecord.of(connection.execute(select(attempt).where(where)).one())
    query = select(job.c.name, revision.c.spec_json).where(
        job.c.id == run.job_id, revision.c.job_id == job.c.id, revision.c.rev == run.job_rev
    )
    name, spec = connection.execute(query).one()
    return Claim(run, found, name, run.spec(json.loads(spec)), failed_starts(connection, run))
