"""What is needed to open the kernel that a failed run has left: where it is, and a notebook of the run to open it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JSON
from ..link.link import Link
from ..store import Store
from .attempts.attempt import Attempts
from .attempts.compose import OWN, wanted
from .attempts.kept import Left, no_kernel
from .definition.model import JobSpec
from .notebooks.notebook import Notebook, parse, plain
from .results import Results


@dataclass(frozen=True)
class Opening:
    """The kernel that an attempt of a run has left. `spec` is the name of its kernelspec on its machine ("" for the machine's own Python), `path`
    the notebook that the run was of, `notebook` what became of it.
    """

    left: Left
    attempt: int
    spec: str
    path: Path
    notebook: Notebook


class Debugging:
    """Finds what a failed run has left. From any thread."""

    def __init__(self, store: Store, results: Results, link_of: Callable[[str], Link]) -> None:
        self._store, self._results, self._link_of = store, results, link_of

    def look(self, run_id: str) -> Opening:
        """Return what is known here. Raises NotFound for a run that is not there or has left no kernel (`no_kernel`, which says why)."""
        run = self._store.runs.get(run_id)
        left = self._results.kernels.must(run)
        spec = JobSpec.from_dict({**self._store.jobs.revision(run.job_id, run.job_rev)})
        made = parse(self._results.notebook(run_id).read_bytes(), "the executed notebook")
        name = wanted(spec, made, left.machine)
        own = "" if name in OWN else name
        return Opening(left, run.attempts, own, Path(spec.notebook), made)

    def holder(self, opening: Opening) -> str:
        """Return the process on the machine that holds the kernel. Raises NotFound (`no_kernel`) where it is gone, and why the machine cannot be reached."""
        left = opening.left
        holder = Attempts().holder(self._link_of(left.machine), left.name)
        if holder is None or not left.pid:
            self.gone(left.run, opening.attempt)
            raise no_kernel(left.run, "it is not there any more")
        return holder

    def gone(self, run_id: str, attempt: int) -> None:
        """Note that the kernel of a run has ended. Raises NotFound."""
        run = self._store.runs.get(run_id)
        if run.attempts == attempt:
            self._results.kernels.gone(run)


def to_open(notebook: Notebook, run_id: str, kernel: Mapping[str, JSON]) -> Notebook:
    """Return an executed notebook as a notebook of this kernelspec that may be saved: valid, and trusted by nobody. Pure.

    What a cell says of being trusted would have the server sign it when it is saved.
    """
    made = plain(notebook)
    cells: list[Any] = []
    for cell in made["cells"]:
        metadata = {k: v for k, v in (cell.get("metadata") or {}).items() if k != "trusted"}
        cells.append({**cell, "metadata": metadata})
    about = {k: v for k, v in made["metadata"].items() if k != "signature"}
    about |= {"kernelspec": dict(kernel), "cloudml_debug": {"run": run_id}}
    return {**made, "cells": cells, "metadata": about}
