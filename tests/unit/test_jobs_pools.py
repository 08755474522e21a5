"""Pools: what people set and see of them; that claims heed them is in test_jobs_store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import notebook

from jupyter_cloudml.cli import call
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import NotFound, UsageError
from jupyter_cloudml.store import tables


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    return tmp_path


def test_pools_are_those_with_a_cap_a_job_or_runs(home: Path) -> None:
    path = home / "a.ipynb"
    path.write_text(json.dumps(notebook("1")))
    with Client() as client:
        client.jobs.create({"name": "train", "notebook": str(path), "pool": "gpu"})
        client.jobs.run("train")
        client.jobs.pools.set("machine:box-2", 3)
        found = {each.name: each for each in client.jobs.pools.all()}
        assert [*found] == ["gpu", "machine:box-2"]
        gpu, box = found.values()
        assert (gpu.cap, gpu.running, gpu.waiting) == (None, 0, 1)
        assert (box.cap, box.running, box.waiting) == (3, 0, None)
        # What is not queued waits for no place: a sweep goes on, another run is tried again later.
        for state in ("running", "retry_wait", "scheduled"):
            run = client.jobs.run("train")
            change = tables.run.update().where(tables.run.c.id == run.id)
            with client.jobs._store.database.engine.begin() as connection:
                connection.execute(change.values(state=state, ended_ms=None))
        assert client.jobs.pools.all()[0].waiting == 1
        assert client.jobs.pools.set("gpu", 0).cap == 0

        client.jobs.pools.remove("gpu")
        assert client.jobs.pools.all()[0].cap is None
        with pytest.raises(NotFound, match="'gpu'"):
            client.jobs.pools.remove("gpu")
        with pytest.raises(NotFound, match="'other'"):
            client.jobs.pools.remove("other")


@pytest.mark.parametrize("name", ["", "a b", "machine:", "../a", "<b>"])
def test_a_wrong_name_is_refused(home: Path, name: str) -> None:
    with Client() as client:
        with pytest.raises(UsageError) as caught:
            client.jobs.pools.set(name, 1)
        assert caught.value.code == "bad_pool" and client.jobs.pools.all() == []


def test_the_command_line_sets_lists_and_removes(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str, code: int = 0) -> str:
        assert call(["job", "pool", *words]) == code
        told = capsys.readouterr()
        return told.out + told.err

    assert "no pools" in run("list")
    row = {"name": "gpu", "cap": 2, "running": 0, "waiting": 0}
    assert json.loads(run("set", "gpu", "2", "--json")) == row
    assert json.loads(run("list", "--json")) == {"pools": [row]}
    assert run("list").splitlines()[-1].split() == ["gpu", "2", "0", "0"]
    run("set", "gpu", "-1", code=2)
    run("remove", "gpu")
    assert "there is no pool" in run("remove", "gpu", code=1)
