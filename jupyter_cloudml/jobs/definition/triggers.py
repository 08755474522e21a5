"""What makes a job run: a moment, a cron expression, an interval, another job, a commit, objects in S3, a webhook. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import cast

from jupyter_cloudml.datasets.address import Address
from jupyter_cloudml.errors import JSON, NotFound, UsageError
from jupyter_cloudml.jobs.definition import cron
from jupyter_cloudml.jobs.definition.fields import Choice, Flag, Text
from jupyter_cloudml.jobs.definition.problems import Problem, Problems, refuse
from jupyter_cloudml.jobs.definition.shapes import Member, Record, plain
from jupyter_cloudml.workspaces.source import Source, check_ref

WATCHED = ("git", "s3")  # these look at something themselves, every so often
KINDS = (*WATCHED, "at", "cron", "every", "after", "webhook")
LOOK_MS = {"git": 60_000, "s3": 300_000}  # between two looks
ON = ("success", "failure", "always")
YEAR_S = 366 * 86400
NAME = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", 100, example="nightly-report")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = re.compile(r"([1-9][0-9]{0,7})([smhd])")


@dataclass(frozen=True)
class Trigger:
    """What makes a job run: a moment (`at`), a cron expression, an interval (`every`), the end of another job's run (`after`), a new
    commit on a `ref` of a `git` repository, new or changed objects under an `s3` prefix, or a call of its `webhook`.

    `at` is local to `tz` unless it names an offset; `every` is counted from the epoch, or from `start`, and beside `git` and `s3` says how
    often these are looked at.
    """

    at: str | None = None
    cron: str | None = None
    every: str | None = None
    after: str | None = None
    tz: str = "UTC"
    start: str | None = None
    on: str = "success"
    git: str | None = None
    ref: str = "HEAD"
    s3: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    webhook: bool | None = None

    @property
    def kind(self) -> str:
        """Return at, cron, every, after, git, s3 or webhook."""
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

    @property
    def wait_ms(self) -> int:
        """Return how long after a look at a Git ref or at S3 the next one is due."""
        return self.every_ms or LOOK_MS[self.kind]

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON, without what is left at its default."""
        return plain(self)

    @classmethod
    def from_dict(cls, value: object) -> Trigger:
        """Read JSON. Raises UsageError (code "bad_trigger") that names each wrong field."""
        problems: Problems = []
        found = TRIGGER.read(value, "", problems)
        refuse(problems, "the trigger cannot be used", "bad_trigger")
        return cast(Trigger, found)


def interval_s(text: str) -> int:
    """Return the seconds of 90s, 15m, 2h or 1d. Raises UsageError."""
    found = _EVERY.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= YEAR_S:
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


def _check_trigger(values: Mapping[str, object], path: str, problems: Problems) -> None:
    given = [kind for kind in KINDS if values.get(kind) is not None]
    if set(given) & set(WATCHED) and "every" in given:
        given.remove("every")  # how often it looks
    where, known = path or "the trigger", ", ".join(KINDS)
    if len(given) != 1:
        cause = f"has {' and '.join(given)}" if given else f"has none of {known}"
        problems.append(Problem(where, cause, f"give it exactly one of {known}"))
        return
    if values.get("webhook") is False:
        problems.append(Problem(where, "has webhook false", "make it true, or take it out"))
    for name, of in _BESIDE:
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


def _check_git(text: str) -> None:
    """Raise CloudMLError for what cannot be a repository, or holds a password: definitions are kept and shown."""
    try:
        source = Source.parse(text)
    except NotFound:  # of a folder: looked for when it is looked at
        return
    if source.password or len(source.user) > _LONGEST_USER:
        raise UsageError(
            "it holds a password or a token, and definitions are kept in clear",
            hint="leave it out, and let a credential helper of git have it",
        )


def _one_kind(kind: str) -> dict[str, JSON]:
    if kind != "every":
        return {"required": [kind]}
    return {"required": [kind], "not": {"anyOf": [{"required": [each]} for each in WATCHED]}}


_LONGEST_USER = 30  # of an https URL: a longer one is a token
_BESIDE = (
    ("on", ("after",)),
    ("start", ("every",)),
    ("tz", ("at", "cron", "every")),
    ("ref", ("git",)),
    ("endpoint_url", ("s3",)),
    ("profile", ("s3",)),
    ("region", ("s3",)),
)

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
            "again and again after so long; beside git and s3: how often to look (1m and 5m where it is left out)",
            None,
            True,
        ),
        "after": Member(NAME, "after each run of the job of this name", None, True),
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
        "git": Member(
            Text(longest=4096, example="https://github.com/ada/digits.git", check=_check_git),
            "at each new commit of a repository: a URL without a password, or a folder",
            None,
            True,
        ),
        "ref": Member(
            Text(longest=255, example="main", check=check_ref),
            "the branch or tag that is looked at",
            "HEAD",
        ),
        "s3": Member(
            Text(longest=4096, example="s3://bucket/incoming", check=Address.parse),
            "when objects under this prefix are new or have changed",
            None,
            True,
        ),
        "endpoint_url": Member(
            Text(longest=2000, example="https://s3.example.org"),
            "another S3 service than AWS",
            None,
            True,
        ),
        "profile": Member(Text(longest=200), "a profile of ~/.aws", None, True),
        "region": Member(Text(longest=100, example="eu-central-1"), "of the bucket", None, True),
        "webhook": Member(Flag(), "when somebody who knows its token calls", None, True),
    },
    title="Trigger",
    check=_check_trigger,
    more={"oneOf": [_one_kind(kind) for kind in KINDS]},
)
