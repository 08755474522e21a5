"""From where a run is run again, and why; what it has in place of its definition's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from jupyter_cloudml.agent import notebook
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import Conflict, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.attempts.compose import kept_for, resume_of
from jupyter_cloudml.jobs.attempts.kept import KeptKernels, resumed
from jupyter_cloudml.jobs.debugging import to_open
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.notebooks.lineage import completed, had
from jupyter_cloudml.jobs.runner import provenance
from jupyter_cloudml.jobs.runner import run as runner
from jupyter_cloudml.jobs.runner.ends import not_moved_in
from jupyter_cloudml.jobs.runner.kernel import KernelProcess
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import MachineRecord, Store
from jupyter_cloudml.store.jobs.moving import Move
from jupyter_cloudml.store.jobs.records import RunRecord
from jupyter_cloudml.store.jobs.results import Snapshot


class Standing:
    """A clock."""

    now = 1_000_000

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(Config(home=tmp_path))
    yield opened
    opened.close()


def failed(store: Store, **more: Any) -> tuple[Jobs, RunRecord]:
    """A run that is over, as a page shows it."""
    jobs = Jobs(store)
    jobs.apply({"name": "nightly", "notebook": "/a.ipynb", **more})
    run, _ = store.runs.cancel(jobs.run("nightly").id, 5)
    return jobs, replace(run, state="failed", attempts=1)


def test_it_says_from_where_a_run_is_run_again_and_why(store: Store, tmp_path: Path) -> None:
    clock = Standing()
    kernels = KeptKernels(store, tmp_path, clock)
    _, run = failed(store)
    assert kernels.way(run, None, from_failed=False).changes == {}
    way = kernels.way(run, None, from_failed=True)
    assert way.changes == {} and "all cells run: its kernel was not kept" in way.words
    (tmp_path / run.id).mkdir()
    record = {"record": "kept", "connection_file": "/f", "until_ms": 1_060_000, "cell": 2}
    kernels.note(run.id, 1, "run-x-1", "box", [{"record": "begun"}, record])
    way = kernels.way(run, None, from_failed=True)
    assert way.changes == {"machine": "box", "resume": {"of": "run-x-1", "at": 2}}
    assert "at cell 3" in way.words
    way = kernels.way(run, "bigger", from_failed=True)
    assert way.changes == {"machine": "bigger"} and "is on box" in way.words
    clock.now += 60_000
    assert kernels.of(run) is None
    clock.now -= 60_000
    store.computer = "here"
    assert kernels.must(replace(run, computer="there")).machine == "box"
    kernels.note(run.id, 1, "run-x-1", "local", [record])
    with pytest.raises(Conflict, match="another computer"):
        kernels.must(replace(run, computer="there"))
    way = kernels.way(replace(run, computer="there"), None, from_failed=True)
    assert way.changes == {} and "another computer" in way.words
    assert kernels.way(replace(run, computer="here"), None, from_failed=True).changes["resume"]
    assert kernels.must(replace(run, computer="here")).pid == 0
    kernels.gone(run)
    assert kernels.of(run) is None
    with pytest.raises(NotFound, match="was not kept"):
        kernels.must(run)


def test_what_is_opened_is_valid_and_trusted_by_nobody() -> None:
    code: dict[str, Any] = {"cell_type": "code", "source": "1", "outputs": []}
    code["execution_count"] = None
    ids: list[dict[str, str]] = [{}, {"id": "<b>"}, {"id": "same"}, {"id": "same"}]
    cells = [{**code, **each, "metadata": {"trusted": True, "tags": ["x"]}} for each in ids]
    about = {"kernelspec": "odd", "signature": "sha256:0", "widgets": {}}
    made = to_open(
        {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 2},
        "r1",
        {"name": "cloudml-local", "display_name": "Python 3", "language": "python"},
    )
    nbformat.validate(nbformat.from_dict(made))
    assert len({cell["id"] for cell in made["cells"]}) == 4
    assert [cell["metadata"] for cell in made["cells"]] == [{"tags": ["x"]}] * 4
    assert "signature" not in made["metadata"] and made["metadata"]["widgets"] == {}
    assert made["metadata"]["kernelspec"]["name"] == "cloudml-local"


def test_another_machine_is_kept_to_and_the_pool_is_that_machines(store: Store) -> None:
    jobs, run = failed(store, machine="box")
    again = jobs.rerun(run.id, {"machine": "bigger", "resume": {"of": "run-x-1", "at": 2}})
    store.pools.set_cap("machine:box", 0)
    (claim,), _ = store.claims.claim("me", 10, 20, 5, lambda run, n: {"name": "n"})
    assert claim.attempt.machine == claim.spec["machine"] == "bigger"
    assert resume_of(claim.run.changes) is not None
    (taken,), _ = store.claims.take_over("you", {"me"}, 11, 30, 5)
    assert taken.spec["machine"] == "bigger"
    store.runs.cancel(again.id, 12)
    store.claims.move([], 13)
    third = jobs.rerun(run.id)
    assert third.changes == {} and resume_of(third.changes) is None


def test_what_became_of_a_run_that_was_to_go_on_is_told(store: Store) -> None:
    _, run = failed(store)
    assert resumed(run, []) is None
    wanted = replace(run, changes={"resume": {"of": "run-x-1", "at": 2}})
    assert resumed(wanted, []) == {"of": "run-x-1", "at": 2, "why": None}
    whole = resumed(wanted, [{"record": "begun", "resumed_at": None}])
    assert whole is not None and whole["at"] == 0 and "gone" in str(whole["why"])


def test_a_snapshot_has_the_packages_and_the_data_that_its_run_told_of() -> None:
    taken = Snapshot("s", "d", "sha256:n", {"tree": "t"}, None, {})
    assert had([{"record": "begun"}]) is None
    data = [{"source": "s3://b/p", "folder": "/d", "state": "v1", "total_files": 2}]
    environment = {"key": "0" * 16, "packages_sha256": "e" * 64, "packages": ["numpy==2.1"]}
    told = had([{"record": "had", "environment": environment, "data": data}])
    assert told is not None and told.to_dict() == {"environment": environment, "data": data}
    made = completed(taken, told)
    assert made.env_lock_ref == f"env:{'0' * 16}:sha256:{'e' * 64}"
    assert made.data_versions == {"s3://b/p": "v1"} and made.notebook_ref == taken.notebook_ref
    changed = had(
        [{"record": "had", "environment": environment, "data": [{**data[0], "state": "v2"}]}]
    )
    assert changed is not None and completed(taken, changed).sha256 != made.sha256
    assert completed(made, told).sha256 == made.sha256


def test_a_runner_tells_what_is_beside_a_python_and_which_data_was_asked_for(
    tmp_path: Path,
) -> None:
    prefix = tmp_path / ("a" * 16)
    site = prefix / "lib" / "python3.12" / "site-packages"
    site.mkdir(parents=True)
    (prefix / "bin").mkdir()
    python = prefix / "bin" / "python"
    python.touch(0o755)
    (prefix / "lock.txt").write_text("numpy==2.1\n")
    for name in ("Num_Py-2.1.dist-info", "numpy", "ipykernel-7.4.0.dist-info", "odd.dist-info"):
        (site / name).mkdir()
    told = provenance.environment([str(python), "-m", "ipykernel_launcher"])
    assert told is not None and told["packages"] == ["ipykernel==7.4.0", "num-py==2.1"]
    assert (told["key"], len(told["lock_sha256"])) == ("a" * 16, 64)
    assert provenance.environment(["/nowhere/ir"]) is None and provenance.environment([]) is None
    assert provenance.data(str(tmp_path)) == []
    lines = ['{"folder": "/d", "state": "1"}', "no json", "[]", '{"folder": "/d", "state": "2"}']
    (tmp_path / provenance.DATA).write_text("\n".join(lines))
    assert provenance.data(str(tmp_path)) == [{"folder": "/d", "state": "2"}]


def test_a_folder_that_cannot_be_read_costs_a_run_no_more_than_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib" / "python3.12"
    (site / "site-packages" / "numpy-2.1.dist-info").mkdir(parents=True)
    (site / "dist-packages").write_text("no folder")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.touch(0o755)
    told = provenance.environment([str(python)])
    assert told is not None and told["packages"] == ["numpy==2.1"]

    said: list[str] = []
    records: Any = SimpleNamespace(
        say=lambda kind, **more: said.append(kind), flush=lambda: said.append("flushed")
    )
    kernel: Any = SimpleNamespace(spec={"argv": [str(python)]}, folder="/nowhere", code=0)
    run = runner.Run({}, records, kernel)

    async def over() -> dict[str, Any]:
        return {"state": "succeeded"}

    def broken(argv: list[str]) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(run, "run", over)
    monkeypatch.setattr(runner, "environment", broken)
    asyncio.run(run.whole())
    assert said == ["ended", "flushed", "flushed"], "its end is said all the same"


def test_the_end_of_a_run_is_said_before_its_files_which_a_cancel_cuts_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    records: Any = SimpleNamespace(
        say=lambda kind, **more: said.append(f"{kind} {more.get('state')}"),
        flush=lambda: said.append("flushed"),
        later=None,
    )
    quiet = {"interrupt": lambda: None, "kill": lambda: None}
    kernel: Any = SimpleNamespace(spec={"argv": []}, folder="/nowhere", code=0, **quiet)

    class Slow:
        until = 0.0

        def tell(self, *_: object) -> None:
            said.append("tells")
            began = time.monotonic()
            while time.monotonic() < min(self.until, began + 20):
                time.sleep(0.01)
            said.append("is cut short" if time.monotonic() < began + 20 else "takes its time")

    copy: Any = Slow()
    run = runner.Run({"made": copy}, records, kernel)

    async def over() -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, run.cancel)
        return {"state": "succeeded"}

    monkeypatch.setattr(runner, "CANCELLED_S", 0.1)
    monkeypatch.setattr(run, "run", over)
    asyncio.run(run.whole())
    words = [each for each in said if each != "flushed" and not each.startswith("had")]
    assert words == ["ended succeeded", "tells", "is cut short"]
    assert said[:2] == ["ended succeeded", "flushed"]


def test_what_a_notebook_is_given_of_data_is_noted_for_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {"source": "s3://b/p", "folder": "/d", "state": "v1", "total_files": 2, "total_bytes": 9}
    notebook._note({**done, "seconds": 1.0})
    assert provenance.data(str(tmp_path)) == []
    monkeypatch.setenv("CLOUDML_RUN_DATA", str(tmp_path / provenance.DATA))
    notebook._note({**done, "seconds": 1.0})
    assert provenance.data(str(tmp_path)) == [done]
    monkeypatch.setenv("CLOUDML_RUN_DATA", str(tmp_path / "none" / provenance.DATA))
    notebook._note(done)  # no room for the note: the notebook goes on


def test_only_the_last_attempt_leaves_its_kernel() -> None:
    spec = JobSpec.from_dict(
        {"name": "a", "notebook": "b", "keep_on_failure": "30m", "retry": {"count": 2}}
    )
    assert [kept_for(spec, n) for n in (1, 2, 3)] == [0.0, 0.0, 1800.0]
    assert kept_for(JobSpec.from_dict({"name": "a", "notebook": "b"}), 1) == 0


def test_a_kernel_that_cannot_move_in_repeats_no_line_of_its_code() -> None:
    lines = ["----> 3 _o.environ.update({'TOKEN': 'hunter2'})", "OSError: no folder"]
    reply = {"status": "error", "ename": "OSError", "evalue": "no folder\nx", "traceback": lines}
    assert str(not_moved_in(reply)) == "the kernel cannot work there: OSError: no folder"
    assert str(not_moved_in({"status": "abort"})) == "the kernel cannot work there: abort"
    assert len(str(not_moved_in({**reply, "evalue": "x" * 9000}))) < 400


@pytest.mark.parametrize(("price", "cost"), [(500_000, 125_000), (None, None)])
def test_an_attempt_costs_what_its_machine_does_for_the_time(
    store: Store, price: int | None, cost: int | None
) -> None:
    box = MachineRecord("box", "ssh", "box", 1, "running", price_micros=price)
    store.machines.insert(box, lambda record: Event("machine", "box", "running", 1, 1, {}))
    jobs = Jobs(store)
    jobs.apply({"name": "nightly", "notebook": "/a.ipynb", "machine": "box"})
    run = jobs.run("nightly")
    ((claim,), _) = store.claims.claim("me", 10, 20, 5, lambda run, n: {"name": "n"})
    (running,) = store.claims.move(
        [Move(claim.run, "running", via=("provisioning",), attempt_state="running")], 1_000
    )
    assert running.run is not None
    store.claims.move([Move(running.run, "succeeded", attempt_state="succeeded")], 901_000)
    (attempt,) = store.runs.attempts(run.id)
    assert attempt.cost_micros == cost


def test_the_last_words_of_a_kernel_are_not_those_that_it_starts_with(tmp_path: Path) -> None:
    starts = "NOTE: When using the `ipython kernel` entry point, Ctrl-C will not work.\n\nTo connect another client to this kernel, use:\n    --existing /tmp/f.json\n"
    kernel = object.__new__(KernelProcess)
    kernel.log, kernel.greeting, kernel.code, kernel._for_memory = (
        str(tmp_path / "log"),
        0,
        -9,
        False,
    )
    Path(kernel.log).write_text(starts)
    assert kernel.how_it_ended() == "the kernel was ended by signal 9"
    Path(kernel.log).write_text(f"{starts}Segmentation fault\n")
    assert kernel.how_it_ended() == "the kernel was ended by signal 9: Segmentation fault"
