"""Notebooks that are run by hand: what such a run changes of its job, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import notebook

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import JSON, Conflict
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(Config(home=tmp_path))
    yield opened
    opened.close()


def test_a_run_by_hand_leaves_what_somebody_has_set_in_its_job(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook("1")))
    desk = Desk(store, tmp_path, lambda machine: None, lambda *where: None)
    desk.run_notebook(path, {}, {"kernel": "ir", "max_running": 3}, name="mine")
    made = store.jobs.get("mine")
    assert made.spec["overlap"] == "allow" and made.spec["kernel"] == "ir"

    own: dict[str, JSON] = {
        "retry": {"count": 2},
        "keep_on_failure": "30m",
        "secrets": {"A": "env:A"},
    }
    rest: dict[str, JSON] = {"name": "mine", "notebook": str(path), "overlap": "queue", **own}
    desk.create({**rest, "kernel": "ir"}, rev=1)
    desk.run_notebook(path, {}, name="mine")
    assert store.jobs.get("mine").spec == rest, "where it runs is said by each run"
    desk.run_notebook(path, {}, name="mine")
    assert store.jobs.get("mine").rev == 3
    desk.run_notebook(path, {}, {"max_running": 2}, name="mine")
    assert store.jobs.get("mine").spec == {**rest, "overlap": "allow", "max_running": 2}

    with pytest.raises(Conflict, match="revision 4"):
        desk.create(rest, rev=1)
