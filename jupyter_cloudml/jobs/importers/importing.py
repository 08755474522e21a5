"""Definitions that come from other schedulers: what was found, what was not and why, and the file of jobs that it makes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_cloudml.errors import JSON, CloudMLError
from jupyter_cloudml.jobs.definition.job_file import to_text
from jupyter_cloudml.jobs.definition.model import RESERVED, JobSpec

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = 300


@dataclass(frozen=True)
class Remark:
    """What is to be said of one place: why it makes no job, or what the job does otherwise."""

    where: str
    text: str

    def line(self) -> str:
        """Return it as one line that nothing in it can break."""
        return _plain(f"{self.where}: {self.text}")

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {"where": self.where, "text": self.text}


@dataclass
class Imported:
    """The jobs that were found, the places that make none, and what is to be known of the jobs."""

    jobs: list[JobSpec] = field(default_factory=list)
    refused: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)

    def add(self, where: str, name: str, definition: Mapping[str, JSON]) -> bool:
        """Add a job, under a name like this one that no other has; one that cannot be is refused with its cause, and False returned."""
        free = _free_name(name, {job.name for job in self.jobs})
        try:
            self.jobs.append(JobSpec.from_dict({"name": free, **definition}))
        except CloudMLError as exc:
            self.refuse(where, exc.message)
            return False
        return True

    def refuse(self, where: str, why: str) -> None:
        """Note that a place makes no job, and why."""
        self.refused.append(Remark(where, why))

    def note(self, where: str, text: str) -> None:
        """Note what a job does otherwise than before."""
        self.notes.append(Remark(where, text))

    def text(self, folder: Path, project: str = "") -> str:
        """Return the file of jobs in `folder`, with all that is to be said of it as comments. Raises UsageError."""
        jobs = [JobSpec.from_dict({**job.to_dict(), **_project(project)}) for job in self.jobs]
        head = "".join(
            f"# {what}:\n" + "".join(f"#   {each.line()}\n" for each in remarks)
            for what, remarks in (("Not imported", self.refused), ("To know", self.notes))
            if remarks
        )
        return head + to_text(jobs, folder)

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "jobs": [job.to_dict() for job in self.jobs],
            "refused": [each.to_dict() for each in self.refused],
            "notes": [each.to_dict() for each in self.notes],
        }


def _project(project: str) -> dict[str, JSON]:
    return {"project": project} if project else {}


def _free_name(text: str, taken: Iterable[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:90] or "notebook"
    name, n, used = base, 1, {*taken, *RESERVED}
    while name in used:
        n += 1
        name = f"{base}-{n}"
    return name


def _plain(text: str) -> str:
    found = "".join(c if c.isprintable() else " " for c in text)
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"
