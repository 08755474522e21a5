"""What attempts leave: rows of cells, the executed notebook, its HTML, and the document that tells all of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import JSON, NotFound, UsageError
from ..store import Store
from ..store.jobs.making import SWEEP
from ..store.jobs.notices import NoticeRecord
from ..store.jobs.pages import About
from ..store.jobs.records import FINAL, AttemptRecord, RunRecord
from ..store.jobs.results import Artifact
from .attempts.kept import KeptKernels, resumed
from .attempts.run_files import RunFiles
from .attempts.run_log import RunLog
from .attempts.written import WrittenFiles
from .cells import CellsSoFar, cells_of
from .notebooks.lineage import Had, completed, had
from .notebooks.notebook import Notebook, executed, html
from .notebooks.records import Record
from .scheduling.executor import Order

NOTEBOOK, PAGE = "notebook", "html"
# A notebook displays a dictionary as this, and its values are those of the run; or it glues them with scrapbook.
RESULT = "application/vnd.cloudml.result+json"
SCRAP = "application/scrapbook.scrap.json+json"
RESULT_BYTES = 8_000


class Results:
    """Results of runs, below a folder that has one folder for each run."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._files = store, RunFiles(folder, store.files)
        self.kernels = KeptKernels(store, folder)
        self._written = WrittenFiles(store.results, self._files)
        self._so_far = CellsSoFar()

    def log_of(self, run_id: str, attempt: int) -> RunLog:
        """Return the records of an attempt, for reading."""
        return self._files.log(run_id, attempt)

    def keep(self, order: Order) -> None:
        """Write what an attempt has left; said again, it is the same. Raises Conflict (code "stale"), NoSpace, StoreError."""
        if not self._was_sent(order.run_id, order.attempt):
            return
        records = list(self.log_of(order.run_id, order.attempt).read())
        self._store.results.record_cells(
            order.run_id, order.attempt, order.fence, cells_of(records)
        )
        values = values_of(records)
        if values:
            self._store.results.record_values(order.run_id, order.fence, values)
        self._notebook(order.run_id, order.attempt, order.fence)
        self.kernels.note(order.run_id, order.attempt, order.name, order.machine, records)
        self._keep_lineage(order, had(records))
        self._written.keep(order, records)

    def file(self, run_id: str, name: str, attempt: int | None = None) -> Path:
        """Return a file that a run has written into its copy of the code. Raises NotFound."""
        run = self._store.runs.get(run_id)
        return self._written.path(run.id, attempt or len(self._store.runs.attempts(run_id)), name)

    def _keep_lineage(self, order: Order, told: Had | None) -> None:
        """Note which packages and data a run had, also in its snapshot."""
        if told is None:
            return
        data = json.dumps(told.to_dict()).encode()
        self._files.write(order.run_id, f"{order.attempt}.had.json", data, order.fence)
        snapshot_id = self._store.runs.get(order.run_id).snapshot_id
        if snapshot_id is not None:
            taken = completed(self._store.results.snapshot(snapshot_id), told)
            self._store.results.keep_snapshot(order.run_id, taken, 0)

    def _was_sent(self, run_id: str, attempt: int) -> bool:
        return self._files.exists(run_id, f"{attempt}.sent.json")

    def sent(self, run_id: str, attempt: int) -> Notebook | None:
        """Return the notebook that an attempt was given; None where it was given none."""
        found = self._files.read(run_id, f"{attempt}.sent.json")
        return None if found is None else json.loads(found)

    def given(self, run_id: str, attempt: int) -> Notebook:
        """Return the notebook that an attempt was given. Raises NotFound (`no_results`) until it was."""
        sent = self.sent(run_id, attempt)
        if sent is None:
            raise NotFound(f"the run {run_id} has no notebook here", code="no_results")
        return sent

    def _notebook(self, run_id: str, attempt: int, fence: int) -> Path:
        data = self._so_far_of(run_id, attempt)
        path = self._files.write(run_id, f"{attempt}.ipynb", data, fence)
        self._artifact(run_id, attempt, fence, NOTEBOOK, path, data)
        return path

    def _so_far_of(self, run_id: str, attempt: int) -> bytes:
        made = executed(self.given(run_id, attempt), self.log_of(run_id, attempt).read())
        return (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")

    def _page(self, run: RunRecord, attempt: int, notebook: Path) -> Path:
        """Return the page of a notebook; of a run that goes on it is made each time, beside the one of its end."""
        page = notebook.with_suffix(".html")
        if run.ended_ms is not None and page.exists():
            return page
        data = html(json.loads(notebook.read_bytes()), run.id).encode(errors="replace")
        self._files.write_here(run.id, page.name, data)
        if run.ended_ms is not None:
            self._artifact(run.id, attempt, run.fence, PAGE, page, data)
        return page

    def _artifact(
        self, run_id: str, attempt: int, fence: int, kind: str, path: Path, data: bytes
    ) -> None:
        row = Artifact(
            id=f"{run_id}-{attempt}-{kind}",
            run_id=run_id,
            attempt=attempt,
            kind=kind,
            uri=path.as_uri(),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        self._store.results.add_artifact(row, fence)

    def show(self, run_id: str, *, page: bool = True) -> dict[str, JSON]:
        """Return all that is known of a run; of one that goes on, all so far. Makes its notebook and its page (`html`). Raises NotFound."""
        run = self._store.runs.get(run_id)
        attempts = self._store.runs.attempts(run_id)
        self._written.bring(run_id, len(attempts))
        return self._told(run, attempts, *self._made(run, attempts, page=page))

    def look(self, run_id: str) -> dict[str, JSON]:
        """Return the same as `show`, and make nothing: paths are of what has been made. Raises NotFound."""
        run = self._store.runs.get(run_id)
        attempts = self._store.runs.attempts(run_id)
        notebook = self._files.path(run_id, f"{len(attempts)}.ipynb")
        page = notebook.with_suffix(".html")
        there = [path if run.ended_ms and path.exists() else None for path in (notebook, page)]
        return self._told(run, attempts, *there)

    def notebook(self, run_id: str, attempt: int | None = None) -> Path:
        """Return the executed notebook of a run, or of an earlier attempt; made now where the run goes on. Raises NotFound."""
        run = self._store.runs.get(run_id)
        attempts = self._store.runs.attempts(run_id)
        if attempt is not None and attempt < len(attempts):
            return _there(self._files.bring(run_id, f"{attempt}.ipynb"), run_id)
        notebook, _ = self._made(run, attempts, page=False)
        return _there(notebook, run_id)

    def page(self, run_id: str) -> Path:
        """Return the page of a run. Raises NotFound, UsageError (`no_nbconvert`)."""
        run = self._store.runs.get(run_id)
        attempts = self._store.runs.attempts(run_id)
        notebook, _ = self._made(run, attempts, page=False)
        return self._page(run, len(attempts), _there(notebook, run_id))

    def _told(
        self,
        run: RunRecord,
        attempts: list[AttemptRecord],
        notebook: Path | None,
        page: Path | None,
    ) -> dict[str, JSON]:
        costs = [each.cost_micros for each in attempts if each.cost_micros is not None]
        about = self._store.pages.about([run]).get((run.job_id, run.job_rev))
        left = self.kernels.of(run)
        return {
            **run_to_dict(run, about),
            "attempts": [_attempt(each) for each in attempts],
            "executed_notebook": None if notebook is None else str(notebook),
            "html": None if page is None else str(page),
            "provenance": self._provenance(run, attempts),
            "cost": sum(costs) / 1e6 if costs else None,
            "artifacts": [
                _artifact(each)
                for each in self._store.results.artifacts(run.id)
                if each.kind in (NOTEBOOK, PAGE)
            ],
            "cells": self._cells(run, attempts),
            "files": self._written.told(run.id, len(attempts)),
            "notices": [_notice(each) for each in self._store.notices.of(run.id)],
            "children": [child_to_dict(run, each) for each in self._store.runs.of_sweep(run.id)],
            "kept": None if left is None else left.to_dict(),
            "from_failed": self._from_failed(run),
            "resumed": resumed(run, self.log_of(run.id, len(attempts)).read()),
        }

    def _from_failed(self, run: RunRecord) -> JSON:
        """Say from where `retry` with `from_failed` would run a run that has failed, and why; None of any other."""
        if run.state not in ("failed", "timed_out") or run.sweep_count is not None:
            return None
        return self.kernels.way(run, None, from_failed=True).words

    def _made(
        self, run: RunRecord, attempts: list[AttemptRecord], *, page: bool
    ) -> tuple[Path | None, Path | None]:
        n = len(attempts)
        if n == 0 or not self._was_sent(run.id, n):
            return None, None
        if (
            run.ended_ms is None
        ):  # not in place of the one of its end, which may be written just now
            data = self._so_far_of(run.id, n)
            notebook = self._files.write_here(run.id, f"{n}.so-far.ipynb", data)
        else:
            made = self._files.bring(run.id, f"{n}.ipynb")
            notebook = made or self._notebook(run.id, n, run.fence)
        try:
            return notebook, self._page(run, n, notebook) if page else None
        except UsageError:  # nbconvert is not installed here
            return notebook, None

    def _cells(self, run: RunRecord, attempts: list[AttemptRecord]) -> list[JSON]:
        if not attempts:
            return []
        n = len(attempts)
        kept = self._store.results.cells(run.id, n)
        rows = kept or self._so_far.of(self.log_of(run.id, n))
        return [asdict(each) for each in rows]

    def _provenance(self, run: RunRecord, attempts: list[AttemptRecord]) -> dict[str, JSON]:
        spec = self._store.jobs.revision(run.job_id, run.job_rev)
        wrote = self._store.jobs.author(run.job_id, run.job_rev)
        told = self._files.read(run.id, f"{len(attempts)}.work.json") if attempts else None
        found: dict[str, Any] = {} if told is None else json.loads(told)
        noted = self._files.read(run.id, f"{len(attempts)}.had.json") if attempts else None
        lineage: dict[str, Any] = {} if noted is None else json.loads(noted)
        taken = None if run.snapshot_id is None else self._store.results.snapshot(run.snapshot_id)
        return {
            "job": spec.get("name"),
            "job_rev": run.job_rev,
            "job_author": wrote.name or None,
            "job_commit": wrote.git_commit,
            "notebook": spec.get("notebook"),
            "notebook_sha256": None if taken is None else taken.notebook_ref.partition(":")[2],
            "snapshot": run.snapshot_id,
            "code": found.get("code") or (dict(taken.code) if taken else {}) or None,
            "machine": found.get("machine") or spec.get("machine") or "local",
            "environment": spec.get("environment"),
            "kernel": found.get("kernel"),
            "params": found.get("params") or run.params,
            "trigger": dict(run.cause) or None,
            "secrets": found.get("secrets") or [],
            "packages": lineage.get("environment"),
            "data": lineage.get("data") or [],
        }


def _there(path: Path | None, run_id: str) -> Path:
    if path is None:
        raise NotFound(
            f"the run {run_id} has no notebook here",
            code="no_results",
            hint="it has one once it has begun",
        )
    return path


def run_to_dict(run: RunRecord, about: About | None = None) -> dict[str, JSON]:
    """Return a run as it is listed; `about` says of which job it is and on which machine."""
    return {
        "run": run.id,
        "id": run.id,
        "state": run.state,
        "reason": run.reason or None,
        "job": None if about is None else about.job,
        "job_id": run.job_id,
        "job_rev": run.job_rev,
        "machine": run.changes.get("machine") or (None if about is None else about.machine),
        "trigger": trigger_kind(run.trigger_id),
        "parameters": dict(run.params),
        "attempts": run.attempts,
        "due_ms": run.due_ms,
        "created_ms": run.created_ms,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "retry_of": run.parent_run_id if run.sweep_index is None else None,
        "sweep_count": run.sweep_count,
        "sweep_index": run.sweep_index,
        "result": dict(run.result) or None,
        "parent_run_id": run.parent_run_id,
        "cancel_requested": run.cancel_requested and run.state not in FINAL,
    }


def _notice(found: NoticeRecord) -> dict[str, JSON]:
    return {
        "to": found.address,
        "about": found.about,
        "state": found.state,
        "tries": found.tries,
        "error": found.error,
        "sent_ms": found.sent_ms,
    }


def values_of(records: Iterable[Record]) -> dict[str, JSON]:
    """Return the values that a notebook has displayed as results, RESULT_BYTES of them at most; the last of a name counts. Pure."""
    found: dict[str, JSON] = {}
    for record in records:
        data = (record.get("output") or {}).get("data") if record["record"] == "output" else None
        told = (data or {}).get(RESULT) or {}
        scrap = (data or {}).get(SCRAP) or {}
        if isinstance(scrap, dict) and isinstance(scrap.get("name"), str):
            told = {scrap["name"]: scrap.get("data")}
        if isinstance(told, dict):
            more = {**found, **{str(name): value for name, value in told.items()}}
            found = more if len(json.dumps(more)) <= RESULT_BYTES else found
    return found


def child_to_dict(parent: RunRecord, run: RunRecord) -> dict[str, JSON]:
    """Return a run of a sweep as its table has it: with the parameters that it does not share with the others."""
    shared = parent.params
    own = {k: v for k, v in run.params.items() if k not in shared or shared[k] != v}
    return {
        "run": run.id,
        "index": run.sweep_index,
        "parameters": own,
        "state": run.state,
        "reason": run.reason or None,
        "result": dict(run.result) or None,
    }


def trigger_kind(trigger_id: str) -> str:
    """Return what made a run: "now" of one that somebody asked for, "sweep" of one of a sweep, else the kind of its trigger."""
    owner, _, key = trigger_id.partition(":")
    return owner if owner in ("now", SWEEP) else key.partition("-")[0]


def _attempt(found: AttemptRecord) -> Mapping[str, JSON]:
    return {
        "n": found.n,
        "state": found.state,
        "machine": found.machine,
        "process": found.handle.get("name"),
        "exit": found.exit,
        "started_ms": found.started_ms,
        "ended_ms": found.ended_ms,
        "cost": None if found.cost_micros is None else found.cost_micros / 1e6,
    }


def _artifact(found: Artifact) -> dict[str, JSON]:
    return {
        "kind": found.kind,
        "attempt": found.attempt,
        "bytes": found.bytes,
        "sha256": found.sha256,
    }
