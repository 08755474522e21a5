"""What people ask of jobs: define, run, fill a range, cancel, pause. The scheduler does the rest."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from jupyter_cloudml.clock import Clock, SystemClock
from jupyter_cloudml.errors import JSON, Conflict, UsageError
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.definition import schedule
from jupyter_cloudml.jobs.definition.circles import refuse_circle
from jupyter_cloudml.jobs.definition.definitions import definition, trigger_of
from jupyter_cloudml.jobs.definition.model import JOB, JobSpec
from jupyter_cloudml.jobs.definition.problems import Problems, refuse
from jupyter_cloudml.jobs.definition.sweeps import Sweep
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.applying import Applied, Author
from jupyter_cloudml.store.jobs.making import computer_of, machine_of
from jupyter_cloudml.store.jobs.records import JobRecord, NewRun, RunRecord, TriggerRecord, by_hand
from jupyter_cloudml.store.jobs.results import Snapshot
from jupyter_cloudml.store.jobs.sweeps import sets_of

BY_TIME = ("at", "cron", "every")  # kinds of triggers
BACKFILL_LATER = 10  # runs of a backfill let those pass that are due now


Take = Callable[
    [JobSpec, Mapping[str, JSON], "bytes | None", Sequence[Mapping[str, JSON]]], Snapshot
]


@dataclass(frozen=True)
class Preview:
    """A trigger in words and the next times at which it fires (UTC ms)."""

    words: str
    next_ms: tuple[int, ...]


@dataclass(frozen=True)
class Filling:
    """What a backfill would do: due times in the range, how many have had their run, the first and the last of them (UTC ms)."""

    due: int
    ran: int
    first_ms: int
    last_ms: int

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {**asdict(self)}


class Jobs:
    """Jobs of one store. `wake` makes a scheduler of this process look at once; others look within a second."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        wake: Callable[[], None] = lambda: None,
        take: Take | None = None,
        look: Callable[[JobRecord], list[RunRecord]] | None = None,
    ) -> None:
        """`take` keeps what a run will have, when it is asked for; without it, that is what there is when the run starts. `look` has the
        triggers of a job look now, as Watcher.look_now.
        """
        self._take, self._look = take, look
        self._store, self._clock = store, clock or SystemClock()
        self._on_event, self._wake = on_event, wake

    def apply(
        self, value: object, author: Author | None = None, *, rev: int | None = None
    ) -> JobRecord:
        """Make or change the job that a JSON definition describes; the same again changes nothing. `rev` as in JobRepository.apply.

        Raises UsageError (bad_job with every wrong field, circle), NotFound for a job to run after that is not there, Conflict (`changed`).
        """
        now = self._clock.now_ms()
        wanted = definition(JobSpec.from_dict(value), now)
        applied = self._store.jobs.apply(wanted, now, author=author, refuse=refuse_circle, rev=rev)
        if applied.event is not None:
            self._tell([applied.event])
        return applied.record

    def apply_file(
        self, specs: Sequence[JobSpec], author: Author, prune: str | None = None
    ) -> tuple[Sequence[Applied], Sequence[JobRecord]]:
        """Make or change many jobs at once, or none of them; `prune` is a project: its other jobs are deleted. Returns both.

        Raises UsageError (circle), NotFound for a job to run after that is not there, Conflict for a job of another project.
        """
        now = self._clock.now_ms()
        wanted = [definition(spec, now) for spec in specs]
        applied, gone, told = self._store.jobs.apply_file(
            wanted, now, author=author, refuse=refuse_circle, prune=prune
        )
        self._tell([each.event for each in applied if each.event is not None])
        self._tell(told)
        self._wake()
        return applied, gone

    def preview(self, trigger: Trigger, count: int = 5) -> Preview:
        """Say when a trigger fires. Raises UsageError."""
        times = schedule.upcoming(trigger, self._clock.now_ms(), count)
        return Preview(schedule.describe(trigger), tuple(times))

    def run(
        self,
        name: str,
        params: Mapping[str, JSON] | None = None,
        *,
        token: str | None = None,
        sweep: JSON = None,
    ) -> RunRecord:
        """Run a job now; said twice with one token, it runs once. `sweep` is in place of the definition's.

        Raises NotFound, UsageError for parameters that cannot be.
        """
        return self.run_job(self._store.jobs.get(name), params, token=token, sweep=sweep)

    def run_job(
        self,
        job: JobRecord,
        params: Mapping[str, JSON] | None = None,
        *,
        token: str | None = None,
        content: bytes | None = None,
        sweep: JSON = None,
    ) -> RunRecord:
        """Run a job now, as this record defines it, or `content` in place of its notebook. Raises as `run`, and what taking its snapshot does."""
        given = dict(params or {})
        problems: Problems = []
        JOB.members["parameters"].kind.read(given, "parameters", problems)
        if sweep is not None:
            Sweep().read(sweep, "sweep", problems)
        refuse(problems, "the run cannot be made", "bad_parameters")
        sets = sets_of(job.spec.get("sweep") if sweep is None else sweep)
        spec = JobSpec.from_dict(dict(job.spec))
        taken = self._take(spec, given, content, sets) if self._take else None
        snapshot_id = taken.id if taken else None
        key = token or secrets.token_hex(8)
        return self._submit(
            job, job.rev, given, key, None, snapshot_id, sweep=sets, where=_where(job)
        )

    def look(self, name: str) -> list[RunRecord]:
        """Have the triggers of a job that look at a Git ref or at S3 look now, and return the runs that they make; where there is nothing new,
        one that is skipped ("no new data"). Raises NotFound, UsageError (`nothing_to_watch`), and why a look fails.
        """
        job = self._store.jobs.get(name)
        return [] if self._look is None else self._look(job)

    def rerun(self, run_id: str, changes: Mapping[str, JSON] = {}) -> RunRecord:
        """Run again what a run that is over ran: the same definition, parameters and snapshot, but for `changes` (see RunRecord).

        Raises NotFound, Conflict while it goes on.
        """
        old = self._store.runs.get(run_id)
        if old.ended_ms is None:
            raise Conflict(
                f"the run {run_id} is not over: it is {old.state}",
                code="in_use",
                hint="wait for its end, or cancel it",
            )
        job = self._store.jobs.get(old.job_id)
        key = secrets.token_hex(8)
        kept = {name: old.changes[name] for name in ("machine",) if name in old.changes}
        made = {**kept, **changes}
        spec = old.spec(self._store.jobs.revision(old.job_id, old.job_rev))
        here = self._store.computer if "machine" in changes else old.computer or job.computer
        return self._submit(
            job,
            old.job_rev,
            old.params,
            key,
            old.id,
            old.snapshot_id,
            made,
            old.cause,
            [each.params for each in self._store.runs.of_sweep(old.id)],
            (machine_of({**spec, **changes}), computer_of({**spec, **changes}, here or None)),
        )

    def backfill(
        self, name: str, from_ms: int, until_ms: int, *, trigger_key: str | None = None
    ) -> list[RunRecord]:
        """Make the runs of all due times of a range, both ends included; a time that had its run already gets no second one. A job without a
        trigger by time, and with one that looks at something, looks now.

        Returns the runs of all these times. Raises NotFound, UsageError for a job without one trigger by time and for a range that is too long.
        """
        job = self._store.jobs.get(name)
        by_time = [each for each in self._store.jobs.triggers(job.id) if each.kind in BY_TIME]
        if self._look is not None and not by_time and self._store.watches.of(job.id):
            return self._look(job)
        trigger = self._trigger_by_time(job, trigger_key)
        due = schedule.between(trigger_of(trigger), from_ms, until_ms)
        priority = job.spec.get("priority")
        new = [
            NewRun(
                job_id=job.id,
                job_rev=job.rev,
                trigger_id=trigger.id,
                fire_key=str(due_ms),
                due_ms=due_ms,
                not_before_ms=due_ms,
                pool=job.pool,
                priority=(priority if isinstance(priority, int) else 0) + BACKFILL_LATER,
                computer=computer_of(job.spec, job.computer),
                machine=machine_of(job.spec),
            )
            for due_ms in due
        ]
        runs, told = self._store.runs.submit(new, self._clock.now_ms())
        self._tell(told)
        self._wake()
        return runs

    def filling(
        self, name: str, from_ms: int, until_ms: int, *, trigger_key: str | None = None
    ) -> Filling:
        """Tell what `backfill` of a trigger by time would do, and do nothing. Raises as it does."""
        trigger = self._trigger_by_time(self._store.jobs.get(name), trigger_key)
        due = schedule.between(trigger_of(trigger), from_ms, until_ms)
        ran = self._store.runs.fired(trigger.id, [str(each) for each in due])
        return Filling(len(due), ran, due[0], due[-1])

    def cancel(self, run_id: str) -> RunRecord:
        """Have a run end: at once where nothing runs, else as soon as its process is confirmed dead. Raises NotFound."""
        run, told = self._store.runs.cancel(run_id, self._clock.now_ms())
        self._tell(told)
        self._wake()
        return run

    def pause(self, name: str, paused: bool = True) -> JobRecord:
        """Have due times of a job skipped, or not any more. Raises NotFound."""
        applied = self._store.jobs.pause(name, paused, self._clock.now_ms())
        if applied.event is not None:
            self._tell([applied.event])
        return applied.record

    def delete(self, name: str) -> None:
        """Take a job out and end its runs; their record stays. Raises NotFound."""
        self._tell(self._store.jobs.delete(name, self._clock.now_ms()))
        self._wake()

    def _submit(
        self,
        job: JobRecord,
        rev: int,
        params: Mapping[str, JSON],
        key: str,
        parent: str | None,
        snapshot_id: str | None,
        changes: Mapping[str, JSON] = {},
        cause: Mapping[str, JSON] = {},
        sweep: Sequence[Mapping[str, JSON]] = (),
        where: tuple[str, str | None] = ("", None),
    ) -> RunRecord:
        now = self._clock.now_ms()
        priority = job.spec.get("priority")
        new = NewRun(
            job_id=job.id,
            job_rev=rev,
            trigger_id=by_hand(job.id),
            fire_key=key,
            due_ms=now,
            params=params,
            not_before_ms=now,
            pool=job.pool,
            priority=priority if isinstance(priority, int) else 0,
            parent_run_id=parent,
            snapshot_id=snapshot_id,
            changes=changes,
            cause=cause,
            sweep=sweep,
            machine=where[0] or None,
            computer=where[1],
        )
        (run, *_), told = self._store.runs.submit([new], now)
        self._tell(told)
        self._wake()
        return run

    def _trigger_by_time(self, job: JobRecord, key: str | None) -> TriggerRecord:
        found = [
            each
            for each in self._store.jobs.triggers(job.id)
            if each.kind in BY_TIME and key in (None, each.id.partition(":")[2])
        ]
        if len(found) != 1:
            which = ", ".join(each.id.partition(":")[2] for each in found)
            raise UsageError(
                f"the job {job.name!r} has {len(found) or 'no'} such triggers by time",
                code="which_trigger",
                hint=f"name one of {which}" if found else "give it a trigger by time first",
            )
        return found[0]

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._on_event(event)


def _where(job: JobRecord) -> tuple[str, str | None]:
    """Return the machine that the runs of a job are for, and the only computer that can run them, if there is such a one."""
    return machine_of(job.spec), computer_of(job.spec, job.computer)
