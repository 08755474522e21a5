"""Triggers by Git and S3, with a real git, a real S3 service and real runs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Bucket
from cloudbox.commands import wait_until

from jupyter_cloudml import Client
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError, NotFound
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.jobs.watching import git_look
from jupyter_cloudml.jobs.watching.git_look import GitLook
from jupyter_cloudml.jobs.watching.s3_look import S3Look
from jupyter_cloudml.jobs.watching.watcher import Watcher
from jupyter_cloudml.store import Store
from jupyter_cloudml.workspaces.git import GitError

from .repositories import git
from .test_cli import Home, home  # noqa: F401 - the fixture
from .test_jobs_cli import put, text_of

NEVER = threading.Event()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "First")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(Config(home=tmp_path))
    yield store
    store.close()


def test_a_commit_runs_the_notebook_which_is_told_of_it(
    home: Home,  # noqa: F811
    repository: Path,
    tmp_path: Path,
) -> None:
    path = put(tmp_path, "seen.ipynb", "import os; print(os.environ['CLOUDML_TRIGGER'])")
    watched = ("--git", str(repository), "--ref", "main", "--every", "1s")
    home.run("job", "create", "seen", str(path), *watched)
    with Client() as client:
        (asked,) = client.jobs.look("seen")
        assert asked.state == "skipped", "the first look sets the mark"
        git(repository, "commit", "-q", "--allow-empty", "-m", "Second")
        commit = git(repository, "rev-parse", "HEAD")
        with client.jobs.serving():
            wait_until(lambda: len(client.jobs.runs("seen")) == 2, "the run of the commit", 60)
            run = client.jobs.wait(client.jobs.runs("seen")[0].id)
        seen: Any = client.jobs.show(run.id)
    told = json.loads(text_of(seen["executed_notebook"]))
    assert (told["commit"], told["ref"], told["kind"]) == (commit, "main", "git")
    assert told["before"] and seen["provenance"]["trigger"] == told
    # A repository that is gone is told of, in the one place where somebody looks for it.
    repository.rename(tmp_path / "moved")
    assert "there is no folder" in home.run("job", "run", "seen", "--if-new", check=1).stderr
    (trigger,) = home.json("job", "show", "seen")["triggers"]
    assert "there is no folder" in trigger["error"]["message"] and trigger["failures"] == 1
    assert trigger["last_key"] == commit


def test_nobody_is_asked_and_a_remote_that_says_nothing_is_left(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = GitLook(tmp_path)
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "One")
    for ref in ("main", "HEAD", "v1", "refs/heads/main"):
        assert look("id", Trigger(git=str(repository), ref=ref), None, NEVER).mark == commit, ref
    with pytest.raises(NotFound, match="no branch or tag 'gone'"):
        look("id", Trigger(git=str(repository), ref="gone"), None, NEVER)
    asked = tmp_path / "asked"
    program = tmp_path / "ask"
    program.write_text(f"#!/bin/sh\ntouch {asked}\n")
    program.chmod(0o700)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(program))
    monkeypatch.setenv("DISPLAY", ":0")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        port = silent.getsockname()[1]
        monkeypatch.setattr(git_look, "LOOK_S", 1.0)
        with pytest.raises(GitError, match="did not answer within 1 s"):
            look("id", Trigger(git=f"ssh://127.0.0.1:{port}/x.git"), None, NEVER)
        with pytest.raises(CloudMLError):
            look("id", Trigger(git="https://127.0.0.1:1/x.git"), None, NEVER)
    assert not asked.exists()


def test_objects_that_are_new_or_changed_make_one_run_and_are_named(
    store: Store, bucket: Bucket, tmp_path: Path
) -> None:
    watcher = Watcher(store, tmp_path)
    jobs = Jobs(store, look=watcher.look_now)
    definition = {"name": "load", "notebook": "a.ipynb", "overlap": "queue"}
    jobs.apply(definition | {"triggers": [{"s3": bucket.url("in")}]})

    def look() -> tuple[str, object, object]:
        (run,) = jobs.look("load")
        return run.state, run.reason, run.cause.get("changed")

    nothing = ("skipped", "no new data", None)
    assert look() == nothing, "an empty prefix is no error"
    bucket.put(**{"in/a.csv": b"1", "in/b.csv": b"2", "elsewhere": b"3"})
    assert look() == ("queued", None, ["in/a.csv", "in/b.csv"])
    assert look() == nothing
    bucket.write("elsewhere", b"4")
    assert look() == nothing
    bucket.client.delete_object(Bucket=bucket.name, Key="in/b.csv")
    assert look() == nothing, "what is gone is no news"
    bucket.write("in/b.csv", b"2")
    assert look() == ("queued", None, ["in/b.csv"]), "what comes back is"
    bucket.client.delete_object(Bucket=bucket.name, Key="in/b.csv")
    bucket.write("in/b.csv", b"2")
    assert look() == ("queued", None, ["in/b.csv"]), "also where nobody has seen it gone"
    bucket.write("in/b.csv", b"22")
    bucket.write("in/č d+e.csv", b"5")
    assert look() == ("queued", None, ["in/b.csv", "in/č d+e.csv"])
    # Another server, with another folder: that something differs is known, and not what.
    other = Watcher(store, tmp_path / "other")
    (tmp_path / "other").mkdir()
    bucket.write("in/z.csv", b"6")
    (run,) = other.look_now(store.jobs.get("load"))
    assert (run.state, run.cause["changed"]) == ("queued", None)
    kept = list((tmp_path / "jobs" / "manifests").iterdir())
    assert len(kept) == 1, "one manifest for each trigger"


def test_a_bucket_that_is_not_there_and_a_key_that_is_refused_are_told(
    store: Store, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = S3Look(tmp_path)
    with pytest.raises(CloudMLError) as raised:
        look("id", Trigger(s3="s3://no-such-bucket-anywhere/x"), None, NEVER)
    assert raised.value.code == "no_such_bucket"
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(CloudMLError) as raised:
            S3Look(tmp_path)("id", Trigger(s3=bucket.url("x")), None, NEVER)
    assert raised.value.code == "refused"
    assert look("id", Trigger(s3=bucket.url("x")), None, NEVER).news is False
