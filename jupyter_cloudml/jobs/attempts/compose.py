"""What is run of an order: the notebook of the run's snapshot with its parameters in it, the kernel, the folder and the secrets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...errors import JSON, NoEnvironment, NotFound
from ...link.link import Link
from ...machines.equipment import host_specs
from ...machines.model import LOCAL
from ...store import Store
from ...store.jobs.records import RunRecord
from ...workspaces.copies import Copies
from ...workspaces.workspace import place_of
from ..definition.model import JobSpec
from ..definition.triggers import interval_s
from ..notebooks.notebook import Notebook, executed, parse, without_outputs
from ..notebooks.parameters import check, find, inject, language_of
from ..notebooks.snapshots import Snapshots
from ..scheduling.executor import Order
from .run_files import RunFiles
from .secrets import resolve
from .work import Resume, Work

OWN = ("", "python3", "python")  # the machine's own Python is meant


class Spec(Protocol):
    """A kernelspec of a machine, cleaned."""

    @property
    def name(self) -> str: ...
    @property
    def argv(self) -> Sequence[str]: ...
    @property
    def language(self) -> str: ...
    @property
    def interrupt_mode(self) -> str: ...
    @property
    def env(self) -> Sequence[tuple[str, str]]: ...


ReadSpecs = Callable[[JSON], Sequence[Spec]]


class Composer:
    """Composes what attempts run, and keeps beside their records what was composed, without secrets."""

    def __init__(
        self, store: Store, home: Path, snapshots: Snapshots, read_specs: ReadSpecs, folder: Path
    ) -> None:
        self._store, self._home, self._snapshots = store, home, snapshots
        self._read_specs, self._files = read_specs, RunFiles(folder, store.files)
        self._copies = Copies(home)

    def __call__(self, order: Order, link: Link) -> Work:
        """Return the work. Raises CloudMLError for what cannot be run."""
        spec = JobSpec.from_dict(dict(order.spec))
        name = Path(spec.notebook).name
        run = self._store.runs.get(order.run_id)
        snapshot_id, resume = run.snapshot_id, resume_of(run.changes)
        if snapshot_id is None:
            snapshot_id = self._take(run, spec, order)
        snapshot, data = self._snapshots.of(snapshot_id)
        notebook = parse(data, name)
        values = check(find(notebook), order.params, name)
        sent = without_outputs(inject(notebook, values), name)
        kernel = self._kernel(spec, notebook, link)
        here = Path(spec.notebook).parent
        copy, place = None, None
        if snapshot.code.get("copy"):
            copy = self._copies.lend(snapshot.code, link, order.wanted)
        else:
            place = place_of(self._home, str(here), link.machine)
        synced = place.folder if place else snapshot.code.get("folder")
        work = Work(
            run=order.run_id,
            attempt=order.attempt,
            fence=order.fence,
            token=order.name,
            notebook=sent,
            kernel=kernel,
            cwd="~" if copy else folders(here, link, str(synced) if synced else None),
            env=order.environ,
            secrets=resolve(spec.secrets),
            timeout_s=spec.timeout_s,
            cell_timeout_s=spec.cell_timeout_s,
            keep_on_failure_s=kept_for(spec, order.tries),
            resume=resume,
            copy=None if copy is None else copy.to_dict(),
        )
        self._note(order, work, {**place.code, "copy": False} if place else snapshot.code)
        return work

    def clean_up(self, order: Order, link: Link) -> None:
        """Have a machine delete the copies of runs that were killed there. Raises LinkDown, AgentError."""
        if order.spec.get("code") != "live":
            self._copies.sweep(link)

    def _take(self, run: RunRecord, spec: JobSpec, order: Order) -> str:
        """Keep what a run has that a trigger has made: what there is when it starts, and of a sweep what its first run has found."""
        if run.sweep_index is not None and run.parent_run_id is not None:
            known = self._store.runs.get(run.parent_run_id).snapshot_id
            if known is not None:
                self._store.results.give_snapshot(run.id, known)
                return known
        try:
            taken = self._snapshots.take(spec, order.params)
        except NotFound as exc:
            found = self._of_another(run) if exc.code == "no_notebook" else None
            if found is None:
                raise
            self._store.results.give_snapshot(run.id, found)
        else:
            self._store.results.keep_snapshot(run.id, taken, 0)
            found = taken.id
        if run.sweep_index is not None and run.parent_run_id is not None:
            self._store.results.give_snapshot(run.parent_run_id, found)
        return found

    def _of_another(self, run: RunRecord) -> str | None:
        """Return the snapshot that a job had last, where its notebook is on another computer of this database."""
        job = self._store.jobs.by_id(run.job_id)
        if not self._store.computer or job.computer in (None, self._store.computer):
            return None
        return self._store.results.last_snapshot(job.id) or job.snapshot_id

    def _note(self, order: Order, work: Work, code: Mapping[str, JSON]) -> None:
        """Keep the notebook as it is sent, and where it runs with what."""
        told = {
            "machine": order.machine,
            "kernel": dict(work.kernel),
            "code": dict(code),
            "secrets": sorted(work.secrets),
            "params": dict(order.params),
        }
        shown = self._with_cells_before(work)
        for name, value in (("sent", shown), ("work", told)):
            data = json.dumps(value).encode()
            self._files.write(order.run_id, f"{order.attempt}.{name}.json", data, order.fence)

    def _with_cells_before(self, work: Work) -> Mapping[str, Any]:
        """Return the notebook as sent; of one that goes on in another run's kernel, with what that run has printed before."""
        run_id, _, attempt = (
            (work.resume.of if work.resume else "").removeprefix("run-").rpartition("-")
        )
        if work.resume is None or not attempt.isdigit():
            return work.notebook
        sent = self._files.read(run_id, f"{attempt}.sent.json")
        if sent is None:
            return work.notebook
        made = executed(json.loads(sent), self._files.log(run_id, int(attempt)).read())
        at = work.resume.at
        return {**work.notebook, "cells": [*made["cells"][:at], *work.notebook["cells"][at:]]}

    def _kernel(self, spec: JobSpec, notebook: Notebook, link: Link) -> dict[str, Any]:
        named = spec.kernel is not None or spec.environment is not None
        name = wanted(spec, notebook, link.machine)
        language = language_of(notebook)
        if name in OWN:
            return python_kernel(self._python(link))
        specs = self._read_specs(host_specs(link))
        found = next((each for each in specs if each.name.lower() == name.lower()), None)
        if found is not None:
            return {
                "argv": list(found.argv),
                "env": dict(found.env),
                "interrupt_mode": found.interrupt_mode,
                "language": found.language,
            }
        if not named and language == "python":  # made on another computer, for a Python of its own
            return python_kernel(self._python(link))
        there = ", ".join(each.name for each in specs) or "none but its own Python"
        raise NotFound(
            f"{link.machine} has no kernel {name!r}",
            code="no_kernel",
            hint=f"it has {there}; build an environment: jupyter cloudml env build",
        )

    def _python(self, link: Link) -> str:
        if link.machine == LOCAL:
            return sys.executable
        python = self._store.machines.get(link.machine).python
        if python is None:
            raise NoEnvironment(
                f"{link.machine} has no Python with ipykernel",
                code="no_ipykernel",
                hint=f"jupyter cloudml machine start {link.machine}",
            )
        return python


def kept_for(spec: JobSpec, tries: int) -> float:
    """Return for how many seconds the kernel of this try is kept where it fails: that of the last one that there is."""
    last = tries > spec.retry.count
    return float(interval_s(spec.keep_on_failure)) if spec.keep_on_failure and last else 0.0


def resume_of(changes: Mapping[str, JSON]) -> Resume | None:
    """Return what a run goes on with."""
    found = changes.get("resume")
    if not isinstance(found, Mapping):
        return None
    at = found.get("at")
    return Resume(str(found.get("of")), at if isinstance(at, int) else 0)


def wanted(spec: JobSpec, notebook: Notebook, machine: str) -> str:
    """Return the name of the kernelspec that is meant, as the machine has it; "" for its own Python."""
    if spec.environment is not None:
        return f"{spec.environment.lower()}-{spec.kernel or 'python3'}"
    known = notebook["metadata"].get("kernelspec") or {}
    name = spec.kernel or str(known.get("name") or "")
    own = f"cloudml-{machine}"
    if name == own:
        return ""
    return name.removeprefix(f"{own}-")


def python_kernel(python: str) -> dict[str, Any]:
    """Return the kernel of a Python."""
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return {"argv": argv, "env": {}, "interrupt_mode": "signal", "language": "python"}


def folders(here: Path, link: Link, synced: str | None) -> str | list[str]:
    """Return the folders to run in, best first: where the code was sent, the same path, the same place under the home folder, that."""
    if link.machine == LOCAL:
        return str(here)
    found = [synced] if synced else []
    found.append(str(here))
    if here.is_relative_to(Path.home()) and here != Path.home():
        found.append("~/" + str(here.relative_to(Path.home())))
    return [*found, "~"]
