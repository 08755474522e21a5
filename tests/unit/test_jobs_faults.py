"""A locked database and a full disk, as whoever types a command meets them and as runs live through them: a clear error, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import small_disk

from jupyter_cloudml.cli import call
from jupyter_cloudml.config import Config
from jupyter_cloudml.jobs.scheduling.executor import Phase
from jupyter_cloudml.store import Store, StoreError, engine

from .test_jobs_engine import SETTINGS, World

NB = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
Said = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a notebook, whose home is `home` in it."""
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(engine, "BUSY_MS", 50)
    monkeypatch.setattr(engine, "BUSY_TOTAL_S", 0.2)
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "a.ipynb").write_text(json.dumps(NB))
    return tmp_path


def create(place: Path, name: str) -> int:
    return call(["job", "create", name, str(place / "a.ipynb"), "--cron", "0 0 * * *"])


def names(said: Said) -> list[str]:
    said.readouterr()
    assert call(["job", "list", "--json"]) == 0
    return [job["name"] for job in json.loads(said.readouterr().out)["jobs"]]


def test_a_locked_database_is_named_and_lists_are_shown(place: Path, capsys: Said) -> None:
    assert create(place, "before") == 0
    holder = sqlite3.connect(place / "home" / "cloudml.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        for command in (["job", "pause", "before"], ["job", "run", str(place / "a.ipynb")]):
            capsys.readouterr()
            assert call(command) == 1
            told = capsys.readouterr().err
            assert "is locked by another process" in told and "→ end the process" in told
        assert create(place, "meanwhile") == 1
        assert names(capsys) == ["before"]
    finally:
        holder.close()
    assert create(place, "after") == 0
    assert names(capsys) == ["after", "before"]


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    """The home on a small disk of its own."""
    with small_disk(place / "home", "2m") as home:
        yield home


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_is_named_and_what_there_was_is_there(
    place: Path, disk: Path, capsys: Said
) -> None:
    assert create(place, "before") == 0
    ballast = fill(disk)
    for command in (["job", "pause", "before"], ["job", "run", str(place / "a.ipynb")]):
        capsys.readouterr()
        assert call(command) == 1
        told = capsys.readouterr().err
        assert "no space left" in told and "→ free some space" in told
    ballast.unlink()
    assert names(capsys) == ["before"]
    assert create(place, "after") == 0


def test_runs_that_end_while_the_disk_is_full_are_told_of_once_there_is_room(disk: Path) -> None:
    store = Store.open(Config(home=disk))
    world = World(store)
    world.job("nightly", {"every": "1m"}, overlap="allow")
    world.tick(60)
    (run,) = world.runs()
    seen = store.events.last_seq()
    ballast = fill(disk)
    world.machines.end(run)
    for _ in range(3):
        with pytest.raises(StoreError, match="no space left"):
            world.tick(60)
    assert world.states() == ["running"] and world.machines.forgotten == []
    assert world.machines.now[f"run-{run.id}-1"].phase is Phase.ENDED
    ballast.unlink()
    world.tick(SETTINGS.poll_s)
    assert store.runs.get(run.id).state == "succeeded"
    assert world.machines.forgotten == [f"run-{run.id}-1"], "not before its end is on record"
    told = [(each.name, each.state) for each in store.events.since(seen)]
    assert told.count((run.id, "succeeded")) == 1
    assert world.states().count("running") == 1, "and what was due meanwhile is made up for once"
    store.close()
