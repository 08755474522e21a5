"""What runs are given and leave, without machines: secrets, kernels, cells, and who seems to serve."""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from runs import notebook

from jupyter_cloudml.clock import SystemClock
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.attempts.compose import wanted
from jupyter_cloudml.jobs.attempts.run_log import RunLog
from jupyter_cloudml.jobs.attempts.secrets import resolve
from jupyter_cloudml.jobs.cells import MOST, CellsSoFar, cells_of
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.notebooks.records import START, Record
from jupyter_cloudml.jobs.results import Results
from jupyter_cloudml.jobs.scheduler import is_idle, is_served
from jupyter_cloudml.jobs.scheduling.presence import own_boot_id
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.servers import ServerRecord


def test_secrets_are_looked_up_and_a_missing_one_is_named_by_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "one")
    (tmp_path / "token").write_text("two\n")
    ring = ModuleType("keyring")
    ring.get_password = lambda service, name: {("a/b", "ada"): "three"}.get((service, name))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    found = resolve({"A": "env:A_TOKEN", "B": f"file:{tmp_path / 'token'}", "C": "keyring:a/b/ada"})
    assert found == {"A": "one", "B": "two", "C": "three"}
    for uri in (
        "env:NOT_SET_ANYWHERE",
        f"file:{tmp_path}",
        "file:/nowhere",
        "keyring:a/b/eve",
        "file:~nobody-of-this-name/x",
    ):
        with pytest.raises(UsageError) as caught:
            resolve({"A": "env:A_TOKEN", "X": uri})
        assert caught.value.code == "no_secret" and uri in caught.value.message
        assert caught.value.hint and "one" not in str(caught.value).replace("None", "")


@pytest.mark.parametrize(
    ("kernelspec", "more", "name"),
    [
        (None, {}, ""),
        ("python3", {}, "python3"),
        ("cloudml-box", {}, ""),
        ("cloudml-box-digits-python3", {}, "digits-python3"),
        ("cloudml-other", {}, "cloudml-other"),
        ("ir", {"kernel": "julia"}, "julia"),
        ("ir", {"environment": "Digits"}, "digits-python3"),
        ("ir", {"environment": "digits", "kernel": "ir"}, "digits-ir"),
    ],
)
def test_the_kernel_of_a_run_is_named_as_its_machine_names_it(
    kernelspec: str | None, more: dict[str, str], name: str
) -> None:
    made = notebook("1")
    if kernelspec:
        made["metadata"]["kernelspec"] = {"name": kernelspec}
    spec = JobSpec.from_dict({"name": "a", "notebook": "a.ipynb", "machine": "box", **more})
    assert wanted(spec, made, "box") == name


def test_cells_are_told_as_far_as_they_have_come() -> None:
    records: list[Record] = [
        {"record": "begun"},
        {"record": "cell", "index": 0, "id": "a", "state": "started", "at_ms": 5},
        {"record": "output", "index": 0},
        {"record": "cell", "index": 0, "id": "a", "state": "done", "status": "ok", "at_ms": 9},
        {"record": "cell", "index": 2, "id": None, "state": "started", "at_ms": 10},
    ]
    first, second = cells_of(records)
    assert (first.cell_id, first.status, first.started_ms, first.ended_ms) == ("a", "ok", 5, 9)
    assert (second.idx, second.status, second.started_ms, second.ended_ms) == (
        2,
        "running",
        10,
        None,
    )


def test_a_run_that_goes_on_is_read_on_however_often_it_is_looked_at(tmp_path: Path) -> None:
    store = Store.open(Config(tmp_path, None))
    log = RunLog(tmp_path / "none", 1)
    try:
        jobs, results = Jobs(store), Results(store, tmp_path)
        jobs.apply({"name": "long", "notebook": "/a.ipynb"})
        run = jobs.run("long")
        store.claims.claim("me", 10, 20, 5, lambda run, n: {"name": "n"})
        log = RunLog(tmp_path / run.id, 1).open()

        def states() -> list[object]:
            cells: Any = results.look(run.id)["cells"]
            return [cell["status"] for cell in cells]

        assert states() == []
        cell: Record = {"record": "cell", "index": 0, "id": "a", "state": "started", "at_ms": 5}
        log.append([cell], START)
        assert states() == ["running"]
        size = log.path.stat().st_size
        with log.path.open("r+b") as file:
            file.write(b"x" * (size - 1))  # who reads it again says so
        log.append([{**cell, "state": "done", "status": "ok"}, {**cell, "index": 1}], START)
        assert states() == ["ok", "running"] and states() == ["ok", "running"]
    finally:
        log.close()
        store.close()


def test_of_how_many_runs_that_is_remembered_is_bounded(tmp_path: Path) -> None:
    so_far = CellsSoFar()
    for n in range(MOST + 5):
        assert so_far.of(RunLog(tmp_path, n)) == []
    assert len(so_far._known) == MOST


def test_a_scheduler_counts_as_there_while_it_says_so(tmp_path: Path) -> None:
    store = Store.open(Config(tmp_path, None))
    try:
        assert is_idle(store) and not is_served(store)
        now = SystemClock().now_ms()
        store.servers.beat(ServerRecord("late", "elsewhere", 1, "", now - 3_600_000, ""))
        store.servers.beat(
            ServerRecord("dead", socket.gethostname(), 2**22 - 1, own_boot_id(), now, "")
        )
        assert not is_served(store)
        store.servers.beat(ServerRecord("there", "elsewhere", 1, "", now, ""))
        assert is_served(store)
    finally:
        store.close()


def test_a_scheduler_that_ends_looks_once_more_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever asks for a run while it ends sees a scheduler, and starts none."""
    said: list[str] = []

    class Doing:
        @contextlib.contextmanager
        def serving(self, *, keep_ready: bool) -> Iterator[Any]:
            said.append("works")
            yield SimpleNamespace(engine=SimpleNamespace(id="one"))
            said.append("gone")

        def is_idle(self) -> bool:
            return True

        def hand_over(self) -> bool:
            said.append("looked")
            return False

    client = contextlib.nullcontext(SimpleNamespace(jobs=Doing()))
    module = importlib.import_module("jupyter_cloudml.cli.scheduler")
    monkeypatch.setattr(module, "Client", lambda: client)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    module.scheduler.callback(until_idle=True, warm=None)
    assert said == ["works", "gone", "looked"]
