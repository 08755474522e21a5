"""Old runs are let go of in small steps that can be cut anywhere: folders, rows, snapshots, notebooks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import empty, hurry
from sqlalchemy import update

from jupyter_cloudml.cli import call
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import NotFound
from jupyter_cloudml.jobs import retention
from jupyter_cloudml.jobs.attempts.run_files import RunFiles
from jupyter_cloudml.jobs.notebooks.snapshots import Snapshots
from jupyter_cloudml.jobs.retention import DAY_MS, Keeper, Keeping
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.locks import FileLock
from jupyter_cloudml.store import Store, StoreError, tables
from jupyter_cloudml.store.jobs.records import RunRecord

DAY_S = 86_400


class ManualClock:
    def __init__(self) -> None:
        self.wall, self.mono = 1_767_225_600_000, 1000.0

    def now_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def go(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.mono += seconds


class World:
    """A store, a home folder, a clock, jobs that are run by hand and are over at once."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.home, self.clock = store, home, ManualClock()
        self.snapshots = Snapshots(store, home, lambda folder, machine: None, self.clock)
        self.jobs = Jobs(store, clock=self.clock, take=self.snapshots.take)
        self.keeper = Keeper(store, home, self.clock)

    def define(self, name: str = "nightly", **more: Any) -> None:
        path = self.home / f"{name}.ipynb"
        cell: Any = {
            "cell_type": "code",
            "source": name,
            "metadata": {},
            "outputs": [],
            "id": "a",
            "execution_count": None,
        }
        book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(book))
        self.jobs.apply({"name": name, "notebook": str(path), **more})

    def run(self, name: str = "nightly", state: str | None = "failed") -> str:
        run = self.jobs.run(name)
        if state is not None:
            change = update(tables.run).where(tables.run.c.id == run.id)
            values = {"state": state, "ended_ms": self.clock.now_ms()}
            self.store.database.write(lambda connection: connection.execute(change.values(values)))
        folder = self.home / "jobs" / "runs" / run.id
        folder.mkdir(parents=True)
        (folder / "1.jsonl").write_bytes(b"x" * 100)
        return run.id

    def go(self, days: float) -> None:
        """Let time pass, for the notebooks as well."""
        self.clock.go(days * DAY_S)

    def age_notebooks(self) -> None:
        """Have the files look as old as the clock of the test says that they are."""
        for path in self.notebooks():
            os.utime(path, (0, 0))

    def notebooks(self) -> list[Path]:
        return sorted((self.home / "jobs" / "notebooks").glob("*.ipynb"))

    def ids(self) -> list[str]:
        return sorted(run.id for run in self.store.runs.page(limit=1000))

    def folders(self) -> list[str]:
        return sorted(os.listdir(self.home / "jobs" / "runs"))

    def clean(self) -> retention.Cleaned:
        done = self.keeper.clean()
        assert done is not None
        return done


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(Config(home=tmp_path_factory.mktemp("keeping"), database=None))
    hurry(store)
    yield store
    store.close()


@pytest.fixture
def world(opened: Store, tmp_path: Path) -> World:
    empty(opened)
    return World(opened, tmp_path)


def test_the_newest_stay_with_all_that_they_have(world: World) -> None:
    world.define(keep_runs=2)
    runs = [world.run() for _ in range(50)]
    assert world.clean().runs == {}  # all of them are young
    world.go(1)
    assert world.keeper.look().runs == {"nightly": 48}
    assert world.keeper.look().bytes == 4800
    assert len(world.ids()) == 50
    done = world.clean()
    assert (done.runs, done.bytes, done.notebooks) == ({"nightly": 48}, 4800, 0)
    assert world.ids() == world.folders() == sorted(runs[-2:])
    told = [each for each in world.store.events.since(0) if each.noun == "job"]
    assert [(each.name, each.state) for each in told][-1] == (told[0].name, "pruned")
    assert world.clean().runs == {}
    assert world.store.events.last_seq() == told[-1].seq, "nothing is gone, nothing is told"


def test_the_last_success_and_what_goes_on_stay_however_old(world: World) -> None:
    world.define(keep_runs=1, keep_days=1)
    world.run()
    good = world.run(state="succeeded")
    world.run()
    waits = world.run(state=None)
    world.go(30)
    assert world.clean().runs == {"nightly": 2}
    assert world.ids() == world.folders() == sorted([good, waits])


def test_files_that_a_run_has_written_count_as_well(world: World) -> None:
    world.define(keep_runs=1)
    folder = world.home / "jobs" / "runs" / world.run()
    (folder / "1.files" / "nb").mkdir(parents=True)
    (folder / "1.files" / "nb" / "out").write_bytes(b"y" * 50)
    world.run()
    world.go(1)
    assert world.keeper.look().bytes == world.clean().bytes == 150
    assert not folder.exists()


def test_days_are_counted_from_the_end(world: World) -> None:
    world.define(keep_days=7)
    world.define("other")
    world.run("other")
    old = world.run()
    world.go(4)
    new = world.run()
    world.go(4)
    assert world.clean().runs == {"nightly": 1}
    assert old not in world.ids()
    assert new in world.ids()
    assert len(world.ids()) == 2


def test_a_clock_that_was_set_makes_nothing_old(world: World) -> None:
    world.define(keep_days=7)
    world.run()
    world.clock.wall += 365 * DAY_MS
    assert world.clean().runs == {}
    assert len(world.ids()) == 1
    world.go(0.1)
    assert world.clean().runs == {}
    world.clock.wall -= 365 * DAY_MS
    assert world.clean().runs == {}
    world.go(7)
    assert world.clean().runs == {"nightly": 1}


def test_runs_of_a_job_that_was_deleted_go_as_before(world: World) -> None:
    world.define(keep_runs=1)
    for _ in range(3):
        world.run()
    world.jobs.delete("nightly")
    world.define(keep_runs=1)  # another one of this name
    world.run()
    world.go(1)
    assert world.clean().runs == {"nightly": 2}
    assert len(world.ids()) == 2


def test_a_run_whose_kernel_may_be_there_stays(world: World) -> None:
    world.define(keep_runs=1, keep_on_failure="1d")
    world.run()
    world.run()
    world.go(1)
    assert world.clean().runs == {}
    world.go(0.1)
    assert world.clean().runs == {"nightly": 1}


class Killed(BaseException):
    pass


def test_who_is_killed_in_the_middle_leaves_nothing_behind_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.define(keep_runs=1)
    runs = [world.run() for _ in range(30)]
    world.go(1)
    assert "keeping" in crash.BESIDE

    def die(name: str) -> None:
        raise Killed(name)

    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", die)
        with pytest.raises(Killed):
            world.keeper.clean()
    assert len(world.folders()) == 10
    assert len(world.ids()) == 30
    assert world.clean().runs == {"nightly": 29}
    assert world.ids() == world.folders() == [runs[-1]]


def test_one_at_a_time_cleans_a_folder(world: World) -> None:
    world.define(keep_runs=1)
    (world.home / "jobs").mkdir(exist_ok=True)
    lock = FileLock(world.home / "jobs" / retention.LOCK)
    assert lock.take()
    assert world.keeper.clean() is None
    lock.release()
    assert world.keeper.clean() is not None


def test_a_folder_that_cannot_be_deleted_keeps_its_row_and_stops_no_other(world: World) -> None:
    world.define(keep_runs=1)
    first, second, third = (world.run() for _ in range(3))
    folder = world.home / "jobs" / "runs" / first
    outside = world.home / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (folder / "1.jsonl").unlink()
    folder.rmdir()
    folder.symlink_to(outside)  # a link is not followed, and not taken for a run's folder
    world.go(1)
    done = world.clean()
    assert done.failed == [str(folder)]
    assert done.runs == {"nightly": 1}
    assert world.ids() == sorted([first, third])
    assert (outside / "precious").exists()
    assert second not in world.folders()


def test_a_notebook_goes_with_its_last_run_and_one_that_is_taken_stays(world: World) -> None:
    world.define(keep_runs=1)
    world.define("other")
    world.run("other")
    world.run()
    path = world.home / "nightly.ipynb"
    path.write_text(path.read_text() + "\n")
    newest = world.run()
    assert len(world.notebooks()) == 3
    world.go(2)
    world.age_notebooks()
    done = world.clean()
    assert (done.runs, done.snapshots, done.notebooks) == ({"nightly": 1}, 1, 1)
    assert len(world.notebooks()) == 2
    run = world.store.runs.get(newest)
    assert run.snapshot_id is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert world.snapshots.of(run.snapshot_id)[0].notebook_ref == f"sha256:{digest}"


def test_a_notebook_that_is_taken_again_while_it_goes_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each order of the two: it was looked at, and is taken before it is moved aside, or after."""
    world.define()
    run = world.jobs.run("nightly")
    (path,) = world.notebooks()
    data = path.read_bytes()
    rename = os.rename
    for before in (True, False):
        world.store.database.write(
            lambda connection: [
                connection.execute(t.delete()) for t in (tables.run, tables.snapshot)
            ]
        )
        os.utime(path, (0, 0))
        world.clock.wall += 2 * DAY_MS
        taken: list[RunRecord] = []

        def meanwhile(old: Path, new: Path, first: bool = before, kept: Any = taken) -> None:
            if not first:
                rename(old, new)
            if not kept:
                kept.append(world.jobs.run("nightly"))
            if first:
                rename(old, new)

        monkeypatch.setattr(os, "rename", meanwhile)
        now = world.clock.wall
        world.clock.wall = int(os.stat(world.home).st_mtime * 1000)  # files have the real time
        world.keeper.clean()
        world.clock.wall = now
        monkeypatch.setattr(os, "rename", rename)
        assert path.read_bytes() == data
        snapshot_id = taken[0].snapshot_id
        assert snapshot_id is not None
        assert world.snapshots.of(snapshot_id)[1] == data
    assert run.snapshot_id


def test_a_home_without_runs_is_clean(world: World) -> None:
    assert world.clean().to_dict() == {
        "runs": {},
        "bytes": 0,
        "snapshots": 0,
        "notebooks": 0,
        "failed": [],
    }


def test_it_is_done_again_and_again_and_ends_when_it_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.define(keep_runs=1)
    world.run()
    world.run()
    world.go(1)
    calls = []
    clean = world.keeper.clean

    def failing_first(*args: Any) -> Any:
        calls.append(args)
        if len(calls) < 3:
            raise (StoreError("busy"), ValueError("an error of its own"))[len(calls) - 1]
        return clean(*args)

    monkeypatch.setattr(world.keeper, "clean", failing_first)
    working = Keeping(world.keeper, 0, 0.01)
    working.start()
    try:
        for _ in range(1000):
            if len(world.ids()) == 1:
                break
            working._stopping.wait(0.02)
        assert len(world.ids()) == 1
    finally:
        working.close()
    assert not working._thread.is_alive()


def test_a_run_that_is_gone_is_not_found(world: World) -> None:
    world.define(keep_runs=1)
    old = world.run()
    world.run()
    world.go(1)
    world.clean()
    with pytest.raises(NotFound):
        world.store.runs.get(old)


def test_the_command_line_deletes_and_prunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path))
    store = Store.open(Config(home=tmp_path, database=None))
    world = World(store, tmp_path)
    world.clock.wall -= DAY_MS
    world.define(keep_runs=1)
    world.run()
    world.run()
    assert call(["job", "prune", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["bytes"]) == ({"nightly": 1}, 100)
    program = [sys.executable, "-c", "from jupyter_cloudml.cli import main; main()"]
    killed = subprocess.run(
        [*program, "job", "prune"], env={**os.environ, crash.VARIABLE: "keeping"}, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(world.folders()) == 1
    assert len(world.ids()) == 2
    assert call(["job", "prune"]) == 0  # nobody holds the lock, and the row goes as well
    assert "nightly" in capsys.readouterr().out
    assert len(world.ids()) == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert call(["job", "delete", "nightly"]) == 130  # nobody has said yes
    assert call(["job", "delete", "nightly", "--yes"]) == 0
    assert call(["job", "delete", "nightly", "--yes"]) == 1
    world.define(keep_runs=1)
    assert world.store.jobs.get("nightly").rev == 1
    assert len(world.ids()) == 1
    lock = FileLock(tmp_path / "jobs" / retention.LOCK)
    assert lock.take()
    assert call(["job", "prune"]) == 1
    lock.release()
    store.close()


def test_who_shares_a_database_lets_go_only_of_what_is_of_that_database(tmp_path: Path) -> None:
    """Somebody has runs in the database of the home, then names another one, and yet another."""
    alone = World(Store.open(Config(home=tmp_path, database=None)), tmp_path)
    alone.define()
    run_id = alone.run()
    alone.age_notebooks()
    stores = [
        Store.open(Config(home=tmp_path, database=f"sqlite:///{tmp_path}/{name}.db"))
        for name in ("one", "other")
    ]
    one, other = (RunFiles(tmp_path / "jobs" / "runs", store.files) for store in stores)
    one.write_here("brought-by-one", "1.html", b"")
    other.log("followed-by-other", 1).open().close()
    for folder in (tmp_path / "jobs" / "runs").iterdir():
        os.utime(folder, (0, 0))
    assert Keeper(stores[0], tmp_path, alone.clock).clean()
    assert alone.folders() == sorted(["followed-by-other", run_id])
    assert len(alone.notebooks()) == 1
    assert Keeper(stores[1], tmp_path, alone.clock).clean()
    assert alone.folders() == [run_id]
    for store in (alone.store, *stores):
        store.close()
