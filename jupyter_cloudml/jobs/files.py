"""Files of jobs against the jobs that there are: what a file would change, changing it, and writing jobs into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import JSON, NotFound, UsageError
from ..store import Store
from ..store.jobs.applying import Author
from ..store.jobs.records import JobRecord
from .authors import author_of
from .definition.job_file import NAME, JobFile, parse, refused, to_text
from .definition.model import JobSpec
from .definition.plan import CHANGE, CREATE, SAME, Change, plan
from .definition.problems import Problem
from .definition.yaml_text import MOST_BYTES
from .desk import name_of, repository_in
from .service import Jobs

PAGE = 500


@dataclass(frozen=True)
class Source:
    """A file of jobs as it was read. `name` is what errors call it; paths in it are relative to `folder`."""

    file: JobFile
    name: str
    folder: Path
    author: Author


class JobFiles:
    """Applies and writes files of one store's jobs. `known` raises NotFound where there is no machine of a name."""

    def __init__(self, store: Store, jobs: Jobs, known: Callable[[str], object]) -> None:
        self._store, self._jobs, self._known = store, jobs, known

    def plan(self, source: Source, *, prune: bool = False) -> list[Change]:
        """Return what applying a file would change. Raises UsageError (`bad_file`) for what cannot be applied."""
        there = self._there(source.file, prune)
        gone = self._gone(source.file, there) if prune else []
        self._check(source, there, gone)
        specs = {name: dict(record.spec) for name, record in there.items()}
        return plan([spec.to_dict() for spec in source.file.jobs], specs, gone)

    def apply(self, source: Source, *, prune: bool = False) -> list[Change]:
        """Apply a file, all of it or nothing; return what was changed. Raises as `plan`, and Conflict, UsageError (`circle`)."""
        planned = {change.name: change for change in self.plan(source, prune=prune)}
        project = source.file.project if prune else None
        applied, gone = self._jobs.apply_file(source.file.jobs, source.author, project)
        done = []
        for each in applied:
            kind = CREATE if each.record.rev == 1 else CHANGE
            known = planned[each.record.name]
            done.append(replace(known, kind=SAME if each.event is None else kind))
        return [*done, *(Change("delete", record.name) for record in gone)]

    def export(self, names: Sequence[str], folder: Path, project: str | None = None) -> str:
        """Return the file, in `folder`, of these jobs; of none named all, but those that stand for runs of notebooks by hand.

        Raises NotFound, UsageError (`several_projects`).
        """
        records = [self._store.jobs.get(name) for name in names] or [
            record for record in self._all(project) if not _is_by_hand(record)
        ]
        if not records:
            raise NotFound("there is no job to write", hint="make one: jupyter cloudml job create")
        return to_text([JobSpec.from_dict(dict(record.spec)) for record in records], folder)

    def _all(self, project: str | None) -> list[JobRecord]:
        found: list[JobRecord] = []
        while True:
            after = found[-1].name if found else ""
            page = self._store.jobs.page(after=after, limit=PAGE, project=project)
            found += page
            if len(page) < PAGE:
                return found

    def _there(self, file: JobFile, prune: bool) -> dict[str, JobRecord]:
        """Return the jobs by name that the file names, runs after, or would delete."""
        names = {spec.name for spec in file.jobs}
        names |= {each.after for spec in file.jobs for each in spec.triggers if each.after}
        found = {}
        for name in names:
            try:
                record = self._store.jobs.get(name)
            except NotFound:
                continue
            found[record.name] = record
        if prune:
            found |= {record.name: record for record in self._all(file.project)}
        return found

    @staticmethod
    def _gone(file: JobFile, there: Mapping[str, JobRecord]) -> list[str]:
        if not file.project:
            raise UsageError(
                "the file names no project",
                code="no_project",
                hint="write `project: NAME` into it: only jobs of that project are deleted",
            )
        names = {spec.name for spec in file.jobs}
        return [
            name
            for name, record in there.items()
            if record.project == file.project and name not in names
        ]

    def _check(self, source: Source, there: Mapping[str, JobRecord], gone: Sequence[str]) -> None:
        """Raise UsageError with the line of each job that names what is not there."""
        names = {spec.name for spec in source.file.jobs} | (there.keys() - set(gone))
        problems = []
        for spec in source.file.jobs:
            line = (source.file.lines or {}).get(spec.name, 1)
            problems += [(each, line) for each in self._lacks(spec, names, there)]
        if problems:
            raise refused(source.name, problems)

    def _lacks(
        self, spec: JobSpec, names: set[str], there: Mapping[str, JobRecord]
    ) -> list[Problem]:
        found = []
        if not os.path.isfile(spec.notebook):
            remedy = "give a path of an .ipynb file, relative to this file"
            cause = f"names {spec.notebook}, which is not there"
            found.append(Problem(f"{spec.name}.notebook", cause, remedy))
        try:
            self._known(spec.machine)
        except NotFound as exc:
            cause = f"is refused: {exc.message}"
            found.append(Problem(f"{spec.name}.machine", cause, exc.hint))
        for n, each in enumerate(spec.triggers):
            if each.after is not None and each.after not in names:
                remedy = "define that job in the file, or make it first"
                cause = f"names {each.after}, which is no job"
                found.append(Problem(f"{spec.name}.triggers[{n}].after", cause, remedy))
        record = there.get(spec.name)
        if record is not None and record.project not in ("", spec.project):
            remedy = "give this one another name, or delete that one"
            cause = f"is a job of the project {record.project} already"
            found.append(Problem(f"{spec.name}.name", cause, remedy))
        return found


def read(path: Path) -> Source:
    """Return a file of jobs. Raises NotFound, UsageError (`bad_file`)."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError as exc:
        raise NotFound(
            f"there is no file {path}",
            code="no_file",
            hint=f"name one with -f, or write one: jupyter cloudml job export -f {NAME}",
        ) from exc
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}", code="bad_file") from exc
    return source_of(data, str(path), path.absolute().parent, path.absolute())


def source_of(data: bytes, name: str, folder: Path, path: Path | None = None) -> Source:
    """Return the file that these bytes are. Raises UsageError (`bad_file`)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise UsageError(
            f"{name}:{line}: is no UTF-8",
            code="bad_file",
            hint="save it as UTF-8",
        ) from exc
    file = parse(text, name)
    jobs = tuple(_placed(spec, folder) for spec in file.jobs)
    return Source(replace(file, jobs=jobs), name, folder, author_of(path, folder=folder))


def _placed(spec: JobSpec, folder: Path) -> JobSpec:
    """Return a job whose paths are whole: that of its notebook, and of a repository that is a folder, as in `git: .`."""
    triggers = tuple(
        each if each.git is None else replace(each, git=repository_in(each.git, folder))
        for each in spec.triggers
    )
    return replace(spec, notebook=_whole(spec.notebook, folder), triggers=triggers)


def _whole(path: str, folder: Path) -> str:
    return os.path.abspath(folder / os.path.expanduser(path))


def _is_by_hand(record: JobRecord) -> bool:
    notebook = record.spec.get("notebook")
    return not record.spec.get("triggers") and record.name == name_of(Path(str(notebook)))


def told(changes: Sequence[Change]) -> dict[str, JSON]:
    """Return changes as JSON."""
    return {"jobs": [change.to_dict() for change in changes]}
