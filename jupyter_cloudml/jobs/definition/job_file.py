"""A file of jobs, cloudml.yaml: from and to text, and the JSON schema of it for editors. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs.definition import yaml_text
from jupyter_cloudml.jobs.definition.model import JOB, JobSpec
from jupyter_cloudml.jobs.definition.problems import Problem, Problems
from jupyter_cloudml.jobs.definition.shapes import ListOf, Member, Record

NAME = "cloudml.yaml"
MOST = 1000
SHOWN = 20


@dataclass(frozen=True)
class JobFile:
    """What a file defines. `lines`: where each job is in it, by name."""

    jobs: tuple[JobSpec, ...]
    project: str = ""
    lines: Mapping[str, int] | None = None


def _check(values: Mapping[str, object], path: str, problems: Problems) -> None:
    seen: set[str] = set()
    for n, job in enumerate(cast("tuple[JobSpec, ...]", values.get("jobs", ()))):
        if job.name in seen:
            remedy = "give each job a name of its own"
            problems.append(Problem(f"jobs[{n}].name", f"is {job.name} a second time", remedy))
        seen.add(job.name)


_JOB = replace(JOB, members={k: v for k, v in JOB.members.items() if k != "project"})
FILE = Record(
    JobFile,
    {
        "project": Member(
            JOB.members["project"].kind,
            "what all jobs of the file belong to; `apply --prune` deletes those of this project that the file has not",
            "",
        ),
        "jobs": Member(ListOf(_JOB, MOST), "the jobs; paths of notebooks are relative to the file"),
    },
    title="Jobs of a project",
    check=_check,
)


def schema() -> dict[str, JSON]:
    """Return the JSON schema of a file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **FILE.schema()}


def parse(text: str, name: str) -> JobFile:
    """Return what a file defines. Raises UsageError (code "bad_file"): its details list each problem with its line, field, cause and remedy."""
    node = yaml_text.read(text, name)
    problems: Problems = []
    found = FILE.read(node.value, "", problems)
    if problems:
        raise refused(
            name, [(problem, node.line_of(_place(problem.field))) for problem in problems]
        )
    file = cast(JobFile, found)
    lines = {job.name: node.line_of(f"jobs[{n}]") for n, job in enumerate(file.jobs)}
    jobs = tuple(replace(job, project=file.project) for job in file.jobs)
    return replace(file, jobs=jobs, lines=lines)


def refused(name: str, problems: Sequence[tuple[Problem, int]]) -> UsageError:
    """Return the error that lists problems of a file with their lines."""
    (first, line), count = problems[0], len(problems)
    more = f", and {count - 1} more" if count > 1 else ""
    told: list[JSON] = [{**each.to_dict(), "line": at} for each, at in problems[:SHOWN]]
    return UsageError(
        f"{name}:{line}: {first.field} {first.cause}{more}",
        code="bad_file",
        hint=first.remedy,
        file=name,
        line=line,
        problems=told,
    )


def to_text(jobs: Sequence[JobSpec], folder: Path) -> str:
    """Return the file that defines these jobs, in `folder`. Raises UsageError where they belong to several projects."""
    projects = sorted({job.project for job in jobs})
    if len(projects) > 1:
        raise UsageError(
            f"the jobs belong to several projects: {', '.join(each or 'none' for each in projects)}",
            code="several_projects",
            hint="name one: --project",
        )
    project: dict[str, JSON] = {"project": projects[0]} if projects and projects[0] else {}
    return yaml_text.write({**project, "jobs": [_written(job, folder) for job in jobs]})


def _written(job: JobSpec, folder: Path) -> JSON:
    told = replace(job, project="").to_dict()
    notebook = Path(job.notebook)
    if notebook.is_relative_to(folder):
        told["notebook"] = os.path.relpath(notebook, folder)
    return told


def _place(path: str) -> str:
    return path.rpartition("a name in ")[2]


__all__ = ["FILE", "NAME", "JobFile", "parse", "refused", "schema", "to_text"]
