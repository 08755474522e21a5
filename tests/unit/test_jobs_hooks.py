"""Webhooks on both databases: who knows the token makes runs, each once, and nobody learns anything else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
from databases import empty, hurry
from runs import notebook
from sqlalchemy import text

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import JSON, Conflict, NotFound, UsageError
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.jobs.hooks import Hooks, Stranger
from jupyter_cloudml.store import Store

DEFINITION: dict[str, JSON] = {"name": "hooked", "notebook": "a.ipynb", "overlap": "queue"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("hooks")
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database(server, "hooks"))
        store = Store.open(Config(home=home, database=url))
        stack.callback(store.close)
        hurry(store)
        yield store


@pytest.fixture
def desk(opened: Store, tmp_path: Path) -> Desk:
    """A desk with the jobs `hooked`, which a webhook starts, and `plain`."""
    empty(opened)
    (tmp_path / "a.ipynb").write_text(
        json.dumps(notebook("alpha: int = 1", "alpha", tags=[["parameters"]]))
    )
    made = Desk(opened, tmp_path, lambda machine: None, lambda *where: None)
    made.create({**DEFINITION, "triggers": [{"webhook": True}]}, tmp_path)
    made.create({"name": "plain", "notebook": "a.ipynb"}, tmp_path)
    return made


def refused(hooks: Hooks, name: str, token: str) -> str:
    with pytest.raises(Stranger) as caught:
        hooks.fire(name, token, {})
    assert caught.value.status == 401
    return str(caught.value.to_dict())


def test_a_token_is_told_once_and_only_its_digest_is_kept(desk: Desk, opened: Store) -> None:
    hooks = desk.hooks
    assert hooks.has_token("hooked") is False
    token = hooks.new_token("hooked")
    assert hooks.has_token("hooked") is True and len(token) > 40
    with opened.database.engine.connect() as connection:
        rows = connection.execute(text('SELECT * FROM "trigger"')).all()
        told = connection.execute(text("SELECT * FROM event")).all()
    assert token not in str((rows, told)) and token.removeprefix("cml_") not in str(rows)
    assert "token_sha256" not in repr(opened.jobs.triggers(opened.jobs.get("hooked").id))
    with pytest.raises(Conflict, match="has a token already"):
        hooks.new_token("hooked")
    new = hooks.new_token("hooked", rotate=True)
    assert hooks.fire("hooked", new, {}).state == "queued"
    refused(hooks, "hooked", token)
    with pytest.raises(UsageError, match="no webhook"):
        hooks.new_token("plain")
    with pytest.raises(NotFound):
        hooks.new_token("nobody")


def test_a_stranger_learns_nothing_and_makes_nothing(desk: Desk, opened: Store) -> None:
    token = desk.hooks.new_token("hooked")
    said = {
        refused(desk.hooks, "hooked", "cml_wrong"),
        refused(desk.hooks, "hooked", "0" * 64),
        refused(desk.hooks, "plain", token),
        refused(desk.hooks, "nobody", token),
    }
    assert len(said) == 1, "which of job and token is wrong is not told"
    assert opened.runs.page() == []


def test_said_twice_with_one_key_it_runs_once(desk: Desk, opened: Store) -> None:
    token = desk.hooks.new_token("hooked")
    with ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(desk.hooks.fire, "hooked", token, {"alpha": 2}, "k") for _ in "abcd"]
        runs = [each.result() for each in tries]
    assert len({run.id for run in runs}) == 1
    assert len({desk.hooks.fire("hooked", token, {}).id for _ in "ab"}) == 2
    (told,) = desk.lists.runs_told(runs[:1])
    assert (told["trigger"], told["parameters"]) == ("webhook", {"alpha": 2})


def test_only_declared_parameters_get_in(desk: Desk, opened: Store, tmp_path: Path) -> None:
    token = desk.hooks.new_token("hooked")
    wrongs: tuple[dict[str, JSON], ...] = ({"beta": 1}, {"alpha": "x"})
    for wrong in wrongs:
        with pytest.raises(UsageError, match=next(iter(wrong))):
            desk.hooks.fire("hooked", token, wrong)
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook("1")))
    with pytest.raises(UsageError, match="declares no parameters"):
        desk.hooks.fire("hooked", token, {"alpha": 1})
    assert opened.runs.page() == []


def test_what_is_paused_changed_or_deleted_fires_by_its_policy_or_not(
    desk: Desk, opened: Store, tmp_path: Path
) -> None:
    hooks, token = desk.hooks, desk.hooks.new_token("hooked")
    hooked: dict[str, JSON] = {**DEFINITION, "overlap": "skip", "triggers": [{"webhook": True}]}
    desk.create(hooked, tmp_path)
    assert hooks.fire("hooked", token, {}).state == "queued", "a changed job keeps its token"
    run = hooks.fire("hooked", token, {})
    assert (run.state, run.reason) == ("skipped", "overlap: the run before it is not over")
    desk.jobs.pause("hooked")
    assert hooks.fire("hooked", token, {}).reason == "the job is paused"
    desk.create({**DEFINITION, "triggers": []}, tmp_path)
    refused(hooks, "hooked", token)
    desk.create(hooked, tmp_path)
    refused(hooks, "hooked", token)
    assert hooks.has_token("hooked") is False, "a webhook that was taken out has lost its token"
    token = hooks.new_token("hooked")
    desk.jobs.delete("hooked")
    refused(hooks, "hooked", token)
    with pytest.raises(UsageError, match="webhook false"):
        desk.create({**DEFINITION, "triggers": [{"webhook": False}]}, tmp_path)
