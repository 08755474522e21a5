"""What a job is: typed definitions from and to JSON, and the JSON schema of them for editors and forms. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timezone
from typing import cast

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs import cron
from jupyter_cloudml.jobs.fields import (
    Anything,
    Choice,
    Flag,
    ListOf,
    MapOf,
    Member,
    Number,
    Problem,
    Problems,
    Record,
    Text,
    refuse,
)

OVERLAPS = ("skip", "queue", "replace", "allow")
MISSED = ("one", "skip", "all")
ON = ("success", "failure", "always")
CAUSES = ("error", "timeout", "lost", "oom")  # why an attempt failed, besides names of exceptions
_YEAR_S = 366 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = re.compile(r"([1-9][0-9]{0,7})([smhd])")


@dataclass(frozen=True)
class Trigger:
    """What makes a job run: a moment (`at`), a cron expression, an interval (`every`), or the end of another job's run (`after`).

    `at` is local to `tz` unless it names an offset; `every` is counted from the epoch, or from `start`.
    """

    at: str | None = None
    cron: str | None = None
    every: str | None = None
    after: str | None = None
    tz: str = "UTC"
    start: str | None = None
    on: str = "success"

    @property
    def kind(self) -> str:
        """Return at, cron, every or after."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def key(self) -> str:
        """Return what tells this trigger from the job's others; the same trigger has the same key for ever."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def at_ms(self) -> int | None:
        """Return the moment as UTC ms. Raises UsageError."""
        return None if self.at is None else moment(self.at, self.tz)

    @property
    def start_ms(self) -> int:
        """Return from when an interval is counted, as UTC ms. Raises UsageError."""
        return 0 if self.start is None else moment(self.start, self.tz)

    @property
    def every_ms(self) -> int | None:
        """Return the interval."""
        return None if self.every is None else interval_s(self.every) * 1000

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return _plain(self)

    @classmethod
    def from_dict(cls, value: object) -> Trigger:
        """Read JSON. Raises UsageError (code "bad_trigger") that names each wrong field."""
        problems: Problems = []
        found = TRIGGER.read(value, "", problems)
        refuse(problems, "the trigger cannot be used", "bad_trigger")
        return cast(Trigger, found)


KINDS = ("at", "cron", "every", "after")


@dataclass(frozen=True)
class RetryPolicy:
    """How often an attempt that failed is followed by another, and when: delay × factor^(n-1), at most max_delay seconds.

    `on`: which failures (CAUSES, or names of exceptions); empty means all.
    """

    count: int = 0
    delay_s: int = 30
    factor: float = 2.0
    max_delay_s: int = 3600
    on: tuple[str, ...] = ()

    def covers(self, attempts: int, cause: str, exception: str | None = None) -> bool:
        """Tell whether another attempt follows after so many."""
        wanted = not self.on or cause in self.on or (exception is not None and exception in self.on)
        return attempts <= self.count and wanted

    def delay_ms(self, attempts: int) -> int:
        """Return how long to wait after so many attempts."""
        try:
            delay = self.delay_s * self.factor ** (max(attempts, 1) - 1)
        except OverflowError:
            delay = float(self.max_delay_s)
        return int(min(delay, self.max_delay_s) * 1000)

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return _plain(self)

    @classmethod
    def from_dict(cls, value: object) -> RetryPolicy:
        """Read JSON. Raises UsageError (code "bad_retry") that names each wrong field."""
        problems: Problems = []
        found = RETRY.read(value, "", problems)
        refuse(problems, "the retry policy cannot be used", "bad_retry")
        return cast(RetryPolicy, found)


@dataclass(frozen=True)
class JobSpec:
    """The whole definition of a job. Durations are seconds; None means no limit, or what the notebook says."""

    name: str
    notebook: str
    project: str = ""
    machine: str = "local"
    environment: str | None = None
    kernel: str | None = None
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    triggers: tuple[Trigger, ...] = ()
    overlap: str = "skip"
    max_running: int | None = None
    missed: str = "one"
    catchup_cap: int = 10
    timeout_s: int | None = None
    cell_timeout_s: int | None = None
    retry: RetryPolicy = RetryPolicy()
    pool: str | None = None
    priority: int = 0
    secrets: Mapping[str, str] = field(default_factory=dict)
    keep_on_failure: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return _plain(self)

    @classmethod
    def from_dict(cls, value: object) -> JobSpec:
        """Read JSON. Raises UsageError (code "bad_job"): its details list every wrong field with cause and remedy."""
        problems: Problems = []
        found = JOB.read(value, "", problems)
        refuse(problems, "the job cannot be used", "bad_job")
        return cast(JobSpec, found)


def schema() -> dict[str, JSON]:
    """Return the JSON schema of a job."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **JOB.schema()}


def interval_s(text: str) -> int:
    """Return the seconds of 90s, 15m, 2h or 1d. Raises UsageError."""
    found = _EVERY.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= _YEAR_S:
        raise UsageError(
            f"{text[:100]!r} is no interval", hint="write a number and s, m, h or d, as in 15m"
        )
    return seconds


def moment(text: str, tz: str) -> int:
    """Return a date and time as UTC ms; local to the zone unless it names an offset. Raises UsageError.

    One that the zone's clock leaves out is refused; of one that comes twice the first is taken.
    """
    try:
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if found.tzinfo is None:
            found = found.replace(tzinfo=cron.zone(tz))
            if found.astimezone(timezone.utc).astimezone(found.tzinfo).replace(
                tzinfo=None
            ) != found.replace(tzinfo=None):
                raise UsageError(
                    f"there is no {text} in {tz}: the clock is set forward then",
                    hint="choose a time an hour earlier or later",
                )
        ms = int(found.timestamp() * 1000)
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"{text[:100]!r} is no date and time", hint="write it as in 2026-12-01T09:00"
        ) from exc
    return ms


def circle(edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """Return the jobs of a circle in "runs after" pairs, the first one again at its end; None where there is none."""
    after: dict[str, set[str]] = {}
    for job, before in edges:
        after.setdefault(job, set()).add(before)
    done: set[str] = set()
    for start in sorted(after):
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in done:
                path.append(name)
                stack.append((name, True))
                stack += [(each, False) for each in sorted(after.get(name, ()))]
    return None


def refuse_circle(edges: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError (code "circle") where jobs run after each other in a circle."""
    found = circle(edges)
    if found is not None:
        raise UsageError(
            f"these jobs would run after each other for ever: {' after '.join(found)}",
            code="circle",
            hint="take one of these triggers out",
        )


def _plain(value: object) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for each in fields(value):  # type: ignore[arg-type]
        now = getattr(value, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if now != default:
            found[each.name] = _json(now)
    return found


def _json(value: object) -> JSON:
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    if isinstance(value, Trigger | RetryPolicy):
        return value.to_dict()
    return cast(JSON, dict(value) if isinstance(value, Mapping) else value)


def _check_trigger(values: Mapping[str, object], path: str, problems: Problems) -> None:
    given = [kind for kind in KINDS if values.get(kind) is not None]
    where = path or "the trigger"
    if len(given) != 1:
        cause = f"has {' and '.join(given)}" if given else "has none of at, cron, every, after"
        problems.append(Problem(where, cause, "give it exactly one of at, cron, every, after"))
        return
    for name, of in (("on", ("after",)), ("start", ("every",)), ("tz", ("at", "cron", "every"))):
        if name in values and given[0] not in of:
            remedy = f"take it out, or use {' or '.join(of)}"
            problems.append(
                Problem(f"{path}.{name}".lstrip("."), f"means nothing beside {given[0]}", remedy)
            )
    for name in ("at", "start"):
        text = values.get(name)
        if isinstance(text, str):
            try:
                moment(text, str(values.get("tz", "UTC")))
            except UsageError as exc:
                problems.append(
                    Problem(f"{path}.{name}".lstrip("."), f"is refused: {exc.message}", exc.hint)
                )


def _check_job(values: Mapping[str, object], path: str, problems: Problems) -> None:
    if values.get("max_running") is not None and values.get("overlap", "skip") != "allow":
        remedy = "set overlap to allow, or take max_running out"
        problems.append(
            Problem("max_running", "means nothing where one run goes on at a time", remedy)
        )
    triggers = cast("tuple[Trigger, ...]", values.get("triggers", ()))
    keys = [trigger.key for trigger in triggers]
    for n, key in enumerate(keys):
        if key in keys[:n]:
            problems.append(Problem(f"triggers[{n}]", "is there twice", "take one out"))


_NAME = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", 100, example="nightly-report")
_MACHINE = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", 63, example="box-2")
_VARIABLE = Text(r"[A-Za-z_][A-Za-z0-9_]*", 200, example="API_TOKEN")
_SECRET = Text(r"(env|keyring|file):.+", 1000, example="keyring:service/name")
_SECONDS = Number(1, _YEAR_S)

TRIGGER = Record(
    Trigger,
    {
        "at": Member(
            Text(longest=64, example="2026-12-01T09:00"), "once, at this date and time", None, True
        ),
        "cron": Member(
            Text(longest=200, example="30 2 * * 1-5", check=cron.check),
            "at the times of a cron expression",
            None,
            True,
        ),
        "every": Member(
            Text(longest=16, example="15m", check=interval_s),
            "again and again after so long",
            None,
            True,
        ),
        "after": Member(_NAME, "after each run of the job of this name", None, True),
        "tz": Member(
            Text(longest=100, example="Europe/Prague", check=cron.zone), "the time zone", "UTC"
        ),
        "start": Member(
            Text(longest=64, example="2026-12-01T09:00"),
            "from when an interval is counted",
            None,
            True,
        ),
        "on": Member(Choice(ON), "after which ends of the other job's runs", "success"),
    },
    title="Trigger",
    check=_check_trigger,
    more={"oneOf": [{"required": [kind]} for kind in KINDS]},
)
RETRY = Record(
    RetryPolicy,
    {
        "count": Member(Number(0, 100), "how many more attempts", 0),
        "delay_s": Member(Number(0, 7 * 86400), "seconds before the second attempt", 30),
        "factor": Member(Number(1, 100, whole=False), "by which the delay grows each time", 2.0),
        "max_delay_s": Member(Number(0, 7 * 86400), "the longest delay in seconds", 3600),
        "on": Member(
            ListOf(Text(r"[A-Za-z_][A-Za-z0-9_.]*", 200, example="ConnectionError")),
            f"after which failures: {', '.join(CAUSES)}, or names of exceptions; all when empty",
            [],
        ),
    },
    title="Retry policy",
)
JOB = Record(
    JobSpec,
    {
        "name": Member(_NAME, "what the job is called; no other has the name"),
        "notebook": Member(
            Text(longest=4000, example="reports/nightly.ipynb"), "the path of the notebook"
        ),
        "project": Member(Text(longest=200, empty=True), "what it belongs to", ""),
        "machine": Member(_MACHINE, "the machine that it runs on", "local"),
        "environment": Member(Text(longest=200), "the environment on that machine", None, True),
        "kernel": Member(
            Text(longest=200), "the kernelspec, in place of the notebook's", None, True
        ),
        "parameters": Member(
            MapOf(Text(r"[^\W\d]\w*", 200, example="alpha"), Anything()),
            "what the notebook's parameters are set to",
            {},
        ),
        "triggers": Member(ListOf(TRIGGER), "what makes it run", []),
        "overlap": Member(
            Choice(OVERLAPS),
            "what becomes of a run that is due while another goes on: it is skipped, waits, ends the other, or runs beside it",
            "skip",
        ),
        "max_running": Member(
            Number(1, 1000), "how many go on at once, where overlap is allow", None, True
        ),
        "missed": Member(
            Choice(MISSED),
            "how many of the due times that no server was there for are made up for: the last one, none, or all",
            "one",
        ),
        "catchup_cap": Member(Number(1, 1000), "at most so many, where missed is all", 10),
        "timeout_s": Member(_SECONDS, "seconds after which a run is ended", None, True),
        "cell_timeout_s": Member(_SECONDS, "seconds after which a cell is ended", None, True),
        "retry": Member(RETRY, "attempts after one that failed", {}),
        "pool": Member(_NAME, "shares the cap of this pool with other jobs", None, True),
        "priority": Member(
            Number(-1000, 1000), "which goes first when there is no room for all: the smaller", 0
        ),
        "secrets": Member(
            MapOf(_VARIABLE, _SECRET), "variables of the environment, and where each secret is", {}
        ),
        "keep_on_failure": Member(
            Flag(), "leave the kernel of a failed run there to look at", False
        ),
    },
    title="Job",
    check=_check_job,
)
