"""A job's definition as the store keeps it, and a stored trigger as the schedule reads it. Pure."""

from __future__ import annotations

from jupyter_cloudml.jobs.definition import schedule
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.store.jobs.applying import Definition
from jupyter_cloudml.store.jobs.firing import Fire, Firing
from jupyter_cloudml.store.jobs.records import JobRecord, TriggerRecord

_HOUR_MS = 3_600_000


def definition(spec: JobSpec, now_ms: int) -> Definition:
    """Return what the store is to keep; due times are those later than now."""
    return Definition(
        name=spec.name,
        project=spec.project,
        spec=spec.to_dict(),
        overlap=spec.overlap,
        missed=spec.missed,
        catchup_cap=spec.catchup_cap,
        timeout_s=spec.timeout_s,
        retry=spec.retry.to_dict(),
        pool=spec.pool,
        triggers=[_record(trigger, now_ms) for trigger in spec.triggers],
        after={each.key: each.after for each in spec.triggers if each.after is not None},
        secrets=spec.secrets,
    )


def trigger_of(record: TriggerRecord) -> Trigger:
    """Return the trigger that a row holds."""
    return Trigger.from_dict(record.config)


def decide(record: TriggerRecord, job: JobRecord, now_ms: int) -> Firing:
    """Say what a trigger that is due makes, by its job's policy."""
    due_ms = now_ms if record.next_due_ms is None else record.next_due_ms
    return schedule.firing(
        trigger_of(record),
        due_ms,
        now_ms,
        missed=job.missed,
        cap=job.catchup_cap,
        paused=job.paused,
    )


def next_due(record: TriggerRecord, now_ms: int) -> int | None:
    """Return when a stored trigger is due after now."""
    return schedule.next_after(trigger_of(record), now_ms)


def _record(trigger: Trigger, now_ms: int) -> TriggerRecord:
    return TriggerRecord(
        id=trigger.key,
        job_id="",
        kind=trigger.kind,
        cron=trigger.cron,
        tz=trigger.tz,
        at_ms=trigger.at_ms,
        config=trigger.to_dict(),
        next_due_ms=schedule.next_after(trigger, now_ms),
    )


def unusable(record: TriggerRecord, now_ms: int, error: Exception) -> Firing:
    """Return what a trigger makes that cannot be read: a skipped run that says why, and a new try in an hour."""
    due_ms = now_ms if record.next_due_ms is None else record.next_due_ms
    return Firing([Fire(due_ms, f"the trigger cannot be used: {error}")], now_ms + _HOUR_MS)
