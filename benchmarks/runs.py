"""Runs of notebooks on this computer, with live records, beside nbclient and papermill in process and the bare start of a kernel."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from benchmarks import peer_scheduler
from benchmarks.candidates import AGENT, LOCAL
from benchmarks.figures import Figure, Row
from benchmarks.session import NoAnswer
from jupyter_cloudml.client import Client
from jupyter_cloudml.jobs.attempts.attempt import Attempts
from jupyter_cloudml.jobs.attempts.work import Work
from jupyter_cloudml.jobs.notebooks.notebook import Notebook, without_outputs
from jupyter_cloudml.jobs.notebooks.records import Cursor, Record
from jupyter_cloudml.jobs.scheduler import Scheduler
from jupyter_cloudml.link.link import Link
from jupyter_cloudml_kernels.machines import current

CELLS = 100
MACHINE = "local"
READY_S = 60.0
KERNEL: dict[str, Any] = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "env": {},
    "interrupt_mode": "signal",
    "language": "python",
}


def measure(folder: Path, rounds: int) -> list[Row]:
    """Measure each in turn, `rounds` times; jupyter-scheduler is installed below `folder` for that. Raises NoAnswer."""
    folder.mkdir()
    rows = _measure(rounds)
    return [*rows, *_asked_for(folder, -(-rounds // 2), rows[-1].figures[LOCAL])]


def _asked_for(folder: Path, rounds: int, bare: Figure) -> list[Row]:
    """Measure what somebody waits for who asks a scheduler for a run: from the asking to the first cell, which says when it ran."""
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    with (
        Client() as client,
        peer_scheduler.serving(folder / "peer") as peer,
        client.jobs.serving(keep_ready=True) as ours,
    ):
        _ask(client, ours, folder)  # from the second run on a kernel is ready
        for _ in range(rounds):
            found["theirs"].append(peer.first_cell())
            _settle(client)
            found["ours"].append(_ask(client, ours, folder))
    title = "asked for a run → its first cell, kernel kept ready"
    before = Row(title, "s", "≤ 0.3 × bare kernel start", tool="bare kernel start")
    before.figures = {LOCAL: bare, AGENT: Figure.of(found["ours"])}
    before.bounds = {AGENT: lambda ours, theirs: ours <= 0.3 * theirs}
    beside = Row(title, "s", tool="jupyter-scheduler")
    beside.figures = {LOCAL: Figure.of(found["theirs"]), AGENT: before.figures[AGENT]}
    return [before, beside]


def _ask(client: Client, scheduler: Scheduler, folder: Path) -> float:
    mark = folder / f"mark-{secrets.token_hex(4)}"
    path = folder / f"{mark.name}.ipynb"
    path.write_text(json.dumps(peer_scheduler.notebook(mark)))
    began = time.time()
    run = client.jobs.run(str(path))
    scheduler.engine.wake()  # as a server does
    ran = peer_scheduler.at(mark)
    if client.jobs.wait(run.id).state != "succeeded":
        raise NoAnswer(f"the run {run.id} has not succeeded")
    return ran - began


def _settle(client: Client) -> None:
    """Wait until a kernel is ready again."""
    link = client.core.link(MACHINE)
    _await(link, lambda rows: any(row["warm"] and row["seq"] for row in rows))


def _measure(rounds: int) -> list[Row]:
    link, attempts = current().link("local"), Attempts()
    attempts.prepare(link)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, seconds in (
            ("nbclient", _timed(_nbclient)),
            ("papermill", _timed(_papermill)),
            ("bare", _timed(_bare)),
            ("whole", _run(link, attempts, None, CELLS).whole),
            ("first", _run(link, attempts, None, 2).first),
            ("ready", _run(link, attempts, KERNEL, 2).first),
        ):
            found.setdefault(name, []).append(seconds)
    beside = {name: Figure.of(each) for name, each in found.items()}

    def row(title: str, ours: str, theirs: str, tool: str, most: float | None) -> Row:
        promise = "" if most is None else f"≤ {most:g} × {tool}"
        made = Row(title, "s", promise, tool=tool)
        made.figures = {LOCAL: beside[theirs], AGENT: beside[ours]}
        if most is not None:
            made.bounds = {AGENT: lambda ours, theirs: ours <= most * theirs}
        return made

    return [
        row(f"{CELLS} trivial cells, warm runner", "whole", "nbclient", "nbclient in process", 1.1),
        row(f"{CELLS} trivial cells, warm runner", "whole", "papermill", "papermill", None),
        row("run now → first cell, warm runner", "first", "bare", "bare kernel start", 1.15),
        row("run now → first cell, kernel kept ready", "ready", "bare", "bare kernel start", 0.3),
    ]


def _timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _notebook(cells: int) -> Notebook:
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "metadata": {},
            "source": f"{n} + 1",
            "outputs": [],
            "execution_count": None,
        }
        for n in range(cells)
    ]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": made,
        "metadata": {"kernelspec": spec, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _nbclient() -> None:
    NotebookClient(nbformat.from_dict(_notebook(CELLS)), kernel_name="python3").execute()


def _papermill() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(nbformat.from_dict(_notebook(CELLS)), f"{folder}/in.ipynb")
        papermill.execute_notebook(
            f"{folder}/in.ipynb", f"{folder}/out.ipynb", progress_bar=False, kernel_name="python3"
        )


def _bare() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    client.execute_interactive("1 + 1", store_history=False)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@dataclass
class _Watch:
    """When the first cell was done, and the whole (a Sink)."""

    began: float = field(default_factory=time.monotonic)
    first: float = 0.0
    whole: float = 0.0
    cells: int = 0

    def take(self, batch: Sequence[Record], cursor: Cursor) -> None:
        for record in batch:
            done = record["record"] == "cell" and record["state"] == "done"
            self.cells += done
            if done and not self.first:
                self.first = time.monotonic() - self.began

    def link(self, up: bool) -> None:
        """Nothing to do."""


def _run(link: Link, attempts: Attempts, kernel: dict[str, Any] | None, cells: int) -> _Watch:
    """Run with a runner that waits, with this kernel or without one; another is made ready only afterwards."""
    attempts.keep_ready(link, kernel, 1)
    _await(link, lambda rows: any(row["warm"] and row["seq"] for row in rows))
    name = secrets.token_hex(8)
    work = Work(name, 1, 1, name, without_outputs(_notebook(cells), "it"), KERNEL)
    watch = _Watch()
    attempt = attempts.start(link, work)
    attempts.keep_ready(link, kernel, 0)
    outcome = attempt.follow(watch)
    watch.whole = time.monotonic() - watch.began
    attempt.forget()
    if outcome is None or outcome.state != "succeeded" or watch.cells != cells:
        raise NoAnswer(f"a run of {cells} cells: {outcome}")
    _await(link, lambda rows: not any(row["warm"] and row["state"] == "running" for row in rows))
    return watch


def _await(link: Link, settled: Callable[[list[dict[str, Any]]], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while not settled(link.call("list")):
        if time.monotonic() > deadline:
            raise NoAnswer("no runner gets ready")
        time.sleep(0.05)
    time.sleep(0.2)  # it collects its garbage, and then it waits
