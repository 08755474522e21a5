"""Jobs, triggers, runs and attempts as they are kept. Plain values; times are UTC epoch ms."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event

QUEUED, CLAIMED, LOST, SKIPPED, CANCELLED = "queued", "claimed", "lost", "skipped", "cancelled"
SCHEDULED, RETRY_WAIT, RUNNING = "scheduled", "retry_wait", "running"
FINAL = frozenset({"succeeded", "failed", "timed_out", CANCELLED, SKIPPED})
OWNERLESS = FINAL | {SCHEDULED, QUEUED, RETRY_WAIT}  # nobody works on a run in these states

_numbers = itertools.count()


def new_id(at_ms: int) -> str:
    """Return an id that nobody else makes and that sorts by time, and within a process by order."""
    return f"{max(at_ms, 0):012x}{next(_numbers) & 0xFFFF:04x}{secrets.token_hex(6)}"


def by_hand(job_id: str) -> str:
    """Return what stands for the trigger of a run that somebody asked for."""
    return f"now:{job_id}"


@dataclass(frozen=True)
class JobRecord:
    """One job. `spec` is all of its definition; the other fields repeat what the scheduler looks at."""

    id: str
    project: str
    name: str
    rev: int
    spec: Mapping[str, JSON]
    paused: bool
    overlap: str
    missed: str
    catchup_cap: int
    timeout_s: int | None
    retry: Mapping[str, JSON]
    pool: str | None
    created_ms: int
    deleted_ms: int | None = None
    computer: str | None = None  # where it was defined, in a database that several share
    snapshot_id: str | None = None

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> JobRecord:
        """Read a row of the table."""
        return cls.from_values(dict(row._mapping))

    @classmethod
    def from_values(cls, columns: Mapping[str, Any]) -> JobRecord:
        """Read the columns of the table by name."""
        values = dict(columns)
        values["spec"] = json.loads(values.pop("spec_json"))
        values["retry"] = json.loads(values.pop("retry_json"))
        return cls(**values)


def event_of(record: JobRecord, state: str, at_ms: int, **more: JSON) -> Event:
    """Return what tells of a job, and `more` of what has become of it."""
    data: dict[str, JSON] = {
        "id": record.id,
        "name": record.name,
        "rev": record.rev,
        "paused": record.paused,
        "deleted": state == "deleted",
        **more,
    }
    return Event("job", record.name, state, record.rev, at_ms, data)


@dataclass(frozen=True)
class TriggerRecord:
    """What makes a job run: a time (`next_due_ms`), or the end of another job's run (`up_job_id`)."""

    id: str
    job_id: str
    kind: str
    cron: str | None = None
    tz: str | None = None
    at_ms: int | None = None
    config: Mapping[str, JSON] = field(default_factory=dict)
    up_job_id: str | None = None
    next_due_ms: int | None = None
    last_key: str | None = None
    enabled: bool = True
    token_sha256: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> TriggerRecord:
        """Read a row of the table."""
        return cls.from_values(dict(row._mapping))

    @classmethod
    def from_values(cls, columns: Mapping[str, Any]) -> TriggerRecord:
        """Read the columns of the table by name."""
        values = dict(columns)
        values["config"] = json.loads(values.pop("config_json"))
        return cls(**values)


@dataclass(frozen=True)
class NewRun:
    """A run to be made; one of the same trigger and key is made once."""

    job_id: str
    job_rev: int
    trigger_id: str
    fire_key: str
    due_ms: int
    params: Mapping[str, JSON] = field(default_factory=dict)
    state: str = QUEUED
    reason: str | None = None
    not_before_ms: int = 0
    pool: str | None = None
    priority: int = 0
    parent_run_id: str | None = None
    snapshot_id: str | None = None
    changes: Mapping[str, JSON] = field(default_factory=dict)
    up_run_id: str | None = None  # the run whose end fired this one
    on: str = ""
    cause: Mapping[str, JSON] = field(default_factory=dict)  # what its trigger found
    sweep: Sequence[
        Mapping[str, JSON]
    ] = ()  # it is run once with each of these, by runs of its own
    computer: str | None = None  # the only one that can run it
    machine: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """One run. A change of it compares (id, state, fence); `ended_ms` says that the state is final.

    `changes`: what it has in place of its definition's: `machine`; and `resume`, of which run it goes on from which cell.
    """

    id: str
    job_id: str
    job_rev: int
    trigger_id: str
    fire_key: str
    due_ms: int
    params: Mapping[str, JSON]
    snapshot_id: str | None
    parent_run_id: str | None
    state: str
    reason: str | None
    fence: int
    owner: str | None
    lease_until_ms: int | None
    cancel_requested: bool
    attempts: int
    not_before_ms: int
    pool: str | None
    priority: int
    created_ms: int
    started_ms: int | None
    ended_ms: int | None
    changes: Mapping[str, JSON] = field(default_factory=dict)
    cause: Mapping[str, JSON] = field(default_factory=dict)
    sweep_count: int | None = None  # it is a sweep of so many runs, and runs nothing itself
    sweep_index: int | None = None  # its place in the sweep `parent_run_id`
    result: Mapping[str, JSON] = field(default_factory=dict)  # values that its notebook has told
    computer: str | None = None  # the only one that can run it
    machine: str | None = None

    def spec(self, spec: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Return what is run of a definition."""
        machine = self.changes.get("machine")
        return spec if machine is None else {**spec, "machine": machine}

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> RunRecord:
        """Read a row of the table."""
        return cls.from_values(dict(row._mapping))

    @classmethod
    def from_values(cls, columns: Mapping[str, Any]) -> RunRecord:
        """Read the columns of the table by name."""
        values = dict(columns)
        values["params"] = json.loads(values.pop("params_json"))
        values["changes"] = json.loads(values.pop("changes_json"))
        for name in ("cause", "result"):
            values[name] = json.loads(values.pop(f"{name}_json") or "{}")
        return cls(**values)

    def event(self, at_ms: int) -> Event:
        """Return what tells of the run's present state."""
        data: dict[str, JSON] = {
            "id": self.id,
            "job_id": self.job_id,
            "state": self.state,
            "reason": self.reason,
            "attempts": self.attempts,
            "cancel_requested": self.cancel_requested,
        }
        return Event("run", self.id, self.state, self.fence, at_ms, data)


@dataclass(frozen=True)
class AttemptRecord:
    """One try of a run; `handle` names its process and was written before that was started."""

    run_id: str
    n: int
    fence: int
    server_id: str
    machine: str
    handle: Mapping[str, JSON]
    state: str
    exit: Mapping[str, JSON] | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    cost_micros: int | None = None

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> AttemptRecord:
        """Read a row of the table."""
        return cls.from_values(dict(row._mapping))

    @classmethod
    def from_values(cls, columns: Mapping[str, Any]) -> AttemptRecord:
        """Read the columns of the table by name."""
        values = dict(columns)
        values["handle"] = json.loads(values.pop("process_handle_json"))
        found = values.pop("exit_json")
        values["exit"] = None if found is None else json.loads(found)
        return cls(**values)


@dataclass(frozen=True)
class Claim:
    """A run that a server works on: the run, its current attempt, the job's name and the definition of the run's revision.

    `failed_starts`: how many of its attempts were never started.
    """

    run: RunRecord
    attempt: AttemptRecord
    job_name: str
    spec: Mapping[str, JSON]
    failed_starts: int = 0
