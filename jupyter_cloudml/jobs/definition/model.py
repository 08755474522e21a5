"""What a job is: its whole definition from and to JSON, and the JSON schema of it for editors and forms. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs.definition.fields import Anything, Choice, Number, Text
from jupyter_cloudml.jobs.definition.notify import NOTIFY, Notify
from jupyter_cloudml.jobs.definition.problems import Problem, Problems, refuse
from jupyter_cloudml.jobs.definition.retries import RETRY, RetryPolicy
from jupyter_cloudml.jobs.definition.shapes import ListOf, MapOf, Member, Record, plain
from jupyter_cloudml.jobs.definition.sweeps import PARAMETER, Sweep
from jupyter_cloudml.jobs.definition.triggers import NAME, TRIGGER, YEAR_S, Trigger, interval_s

KEEP_RUNS = 1000
RESERVED = ("parameters", "preview", "schema", "selection")  # other things under jobs/ over REST
OVERLAPS = ("skip", "queue", "replace", "allow")
_MOST_KEPT_S = 86400
MISSED = ("one", "skip", "all")
CODES = ("copy", "live")


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
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    pool: str | None = None
    priority: int = 0
    secrets: Mapping[str, str] = field(default_factory=dict)
    keep_on_failure: str | None = None
    code: str | None = None
    keep_runs: int = KEEP_RUNS
    keep_days: int | None = None
    sweep: Mapping[str, JSON] | list[JSON] | None = None
    notify: tuple[Notify, ...] = ()

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return plain(self)

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


def _check_job(values: Mapping[str, object], path: str, problems: Problems) -> None:
    if values.get("name") in RESERVED:
        where = f"{path}.name".lstrip(".")
        remedy = "choose another name: over REST this one is something else"
        problems.append(Problem(where, f"cannot be {values['name']!r}", remedy))
    beside = values.get("overlap", "skip") == "allow" or values.get("sweep") is not None
    if values.get("max_running") is not None and not beside:
        remedy = "set overlap to allow, or take max_running out"
        where = f"{path}.max_running".lstrip(".")
        problems.append(Problem(where, "means nothing where one run goes on at a time", remedy))
    triggers = cast("tuple[Trigger, ...]", values.get("triggers", ()))
    keys = [trigger.key for trigger in triggers]
    for n, key in enumerate(keys):
        if key in keys[:n]:
            where = f"{path}.triggers[{n}]".lstrip(".")
            problems.append(Problem(where, "is there twice", "take one out"))


_MACHINE = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", 63, example="box-2")
_VARIABLE = Text(r"[A-Za-z_][A-Za-z0-9_]*", 200, example="API_TOKEN")
_SECRET = Text(r"(env|keyring|file):.+", 1000, example="keyring:service/name")
_SECONDS = Number(1, YEAR_S)


def kept_for(text: str) -> int:
    """Return for how many seconds a kernel is to be kept. Raises UsageError."""
    seconds = interval_s(text)
    if seconds > _MOST_KEPT_S:
        raise UsageError(f"{text} is too long", hint="write 1d or less")
    return seconds


def _kept_for(text: str) -> None:
    kept_for(text)


JOB = Record(
    JobSpec,
    {
        "name": Member(NAME, "what the job is called; no other has the name"),
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
            MapOf(PARAMETER, Anything()),
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
            Number(1, 1000),
            "how many go on at once, where overlap is allow, and of a sweep (4 where it is left out)",
            None,
            True,
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
        "pool": Member(NAME, "shares the cap of this pool with other jobs", None, True),
        "priority": Member(
            Number(-1000, 1000), "which goes first when there is no room for all: the smaller", 0
        ),
        "secrets": Member(
            MapOf(_VARIABLE, _SECRET), "variables of the environment, and where each secret is", {}
        ),
        "keep_on_failure": Member(
            Text(longest=16, example="30m", check=_kept_for),
            "leave the kernel of a failed run there for so long, to look at and to go on in",
            None,
            True,
        ),
        "code": Member(
            Choice(CODES),
            "the folder that it runs in: a copy of its project as it was when the run was made (so where that is a repository or was synced, if left out), or the folder itself",
            None,
            True,
        ),
        "keep_runs": Member(
            Number(1, 1_000_000),
            "so many of its newest runs are kept, and the last success",
            KEEP_RUNS,
        ),
        "keep_days": Member(
            Number(1, 36_500), "so many days a run is kept; the last success stays", None, True
        ),
        "notify": Member(ListOf(NOTIFY, 20), "who is told of the ends of its runs", []),
        "sweep": Member(
            Sweep(),
            "runs it once with each of these parameters: lists of values, each with each, or a list of sets",
            None,
            True,
        ),
    },
    title="Job",
    check=_check_job,
)
