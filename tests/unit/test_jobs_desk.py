"""Notebooks that are run by hand: what such a run changes of its job, and what it leaves."""

from __future__ import annotations

import getpass
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.repositories import git
from jupyter_server.auth.identity import User
from runs import notebook

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import JSON, Conflict
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.store import Store
from jupyter_cloudml_server.handlers.base import name_of


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


def test_each_revision_has_who_has_written_it_and_at_which_commit(
    store: Store, tmp_path: Path
) -> None:
    root = tmp_path / "digits"
    root.mkdir()
    path, file = root / "a.ipynb", root / "a.json"
    path.write_text(json.dumps(notebook("1")))
    file.write_text("{}")
    desk = Desk(store, tmp_path, lambda machine: None, lambda *where: None)
    made: dict[str, JSON] = {"name": "nightly", "notebook": str(path)}
    desk.create(made)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "First")
    commit = git(root, "rev-parse", "HEAD")
    desk.create({**made, "priority": 1}, author="ada")
    desk.create({**made, "priority": 1}, author="bob")  # the same: nothing is written
    path.write_text(json.dumps(notebook("2")))
    desk.create({**made, "priority": 2}, file=file, author="ada")
    desk.create({**made, "priority": 2, "code": "live"}, author="ada")
    told: Any = desk.lists.job("nightly")["revisions"]
    assert [(each["rev"], each["git_commit"]) for each in told] == [
        (4, f"{commit}-dirty"),
        (3, commit),
        (2, commit),
        (1, None),
    ]
    assert [each["author"] for each in told] == ["ada", "ada", "ada", getpass.getuser()]
    assert told[1]["changes"] == [{"field": "priority", "old": 1, "new": 2}]
    assert told[0]["changes"] == [{"field": "code", "old": None, "new": "live"}]
    run = desk.run_notebook(path, {}, {"code": "live"}, author="eve")
    shown: Any = desk.results.look(run.id)["provenance"]
    assert (shown["job_author"], shown["job_commit"]) == ("eve", None)
    seen: Any = desk.results.look(desk.jobs.run("nightly").id)["provenance"]
    assert (seen["job_author"], seen["job_commit"]) == ("ada", f"{commit}-dirty")


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (User("ada", "Ada"), "ada"),
        (User(uuid.uuid4().hex, "Anonymous Carme"), None),
        (None, None),
    ],
)
def test_who_asks_over_rest_is_named_where_the_server_knows(user: object, name: str | None) -> None:
    assert name_of(user) == name
