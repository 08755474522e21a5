"""The code of notebooks over REST, on a real host: compared, sent, brought back, settled, called off; and what a kernel has of it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from liveserver import Reply, ThreadServer, places, thread_server, wait_for

from jupyter_cloudml.workspaces.guard import SETTING

from .repositories import git
from .test_server_kernels import Page, connected, notebook, text_of

OPERATION_S = 90.0


@pytest.fixture(scope="module")
def config(box: Box, tmp_path_factory: pytest.TempPathFactory) -> SSHConfig:
    made = SSHConfig(tmp_path_factory.mktemp("ssh"), box.identity)
    made.folder.chmod(0o700)
    return made


@pytest.fixture(scope="module")
def host(box: Box, config: SSHConfig) -> Iterator[Host]:
    made = box.host()
    config.add(made, "box")
    yield made
    box.destroy(made)


@pytest.fixture(scope="module")
def server(
    host: Host, config: SSHConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ThreadServer]:
    """A server with the machine `box`."""
    root = tmp_path_factory.mktemp("workspaces")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(root).items():
            patch.setenv(name, value)
        patch.setenv("JUPYTER_CLOUDML_SSH_CONFIG", str(config.path))
        with thread_server(root) as made:
            body = {"name": "box", "host": "box", "host_key": host.fingerprint}
            added = made.operation(made.api("POST", "machines", body, timeout=60), OPERATION_S)
            assert added["state"] == "done", added
            yield made
            made.operation(made.api("DELETE", "machines/box?stop_processes=true"), OPERATION_S)
            made.operation(made.api("POST", "machines/local/stop"), OPERATION_S)


@dataclass
class Project:
    """A repository with a notebook in a folder of it, under the root of the server."""

    server: ThreadServer
    host: Host
    here: Path

    @property
    def path(self) -> str:
        return f"{self.here.name}/nb/train.ipynb"

    @property
    def there(self) -> Path:
        return self.host.root / "home/ada" / self.here.name

    def status(self) -> Any:
        return self.server.get("workspaces?" + urlencode({"path": self.path, "machine": "box"}))

    def changes(self) -> Any:
        query = urlencode({"path": self.path, "machine": "box"})
        return self.server.get(f"workspaces/changes?{query}")

    def post(self, verb: str, **more: Any) -> Reply:
        body = {"path": self.path, "machine": "box", **more}
        return self.server.api("POST", f"workspaces/{verb}", body)

    def ended(self, verb: str, **more: Any) -> Any:
        return self.server.operation(self.post(verb, **more), OPERATION_S)

    def done(self, verb: str, **more: Any) -> Any:
        operation = self.ended(verb, **more)
        assert operation["state"] == "done", operation
        return operation["result"]

    def write_there(self, name: str, text: str) -> None:
        self.host.run(["sh", "-c", f"cat > {self.here.name}/{name}"], stdin=text)


@pytest.fixture
def project(server: ThreadServer, host: Host, request: pytest.FixtureRequest) -> Project:
    folder = Path(server.app.root_dir, f"digits-{abs(hash(request.node.name)) % 10**8}")
    (folder / "nb").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "model.py").write_text("x = 1\n")
    (folder / "nb" / "train.ipynb").write_text("{}\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    git(folder, "remote", "add", "origin", "https://ada:hunter2@example.org/digits.git")
    return Project(server, host, folder)


def test_code_is_compared_sent_and_brought_back(project: Project) -> None:
    commit = git(project.here, "rev-parse", "HEAD")
    new = project.status()
    assert (new["snapshot"], new["synced_ms"], new["synced"], new["unsent"]) == (
        None,
        None,
        False,
        None,
    )
    assert (new["branch"], new["short_commit"], new["folder"]) == (
        "main",
        commit[:7],
        str(project.here),
    )
    assert (new["machine_path"], new["url"]) == (
        f"~/{project.here.name}",
        "https://example.org/digits.git",
    )
    assert project.changes() == {"changed": [], "gone": [], "more": False}

    with project.server.events() as events:
        assert project.done("sync")["sent"] == 3
        told = events.until(lambda e: e["noun"] == "workspace")
        assert (told["machine"], told["folder"]) == ("box", str(project.here))
        begun = next(e for e in events.seen if e["noun"] == "operation")
        assert (begun["kind"], begun["target"]) == ("sync", "box")
    sent = project.status()
    assert (sent["synced"], sent["unsent"], sent["changed"], sent["dirty"]) == (True, 0, 0, False)
    assert sent["synced_ms"] > 0 and sent["operation"] is None
    assert (project.there / "nb/train.ipynb").read_text() == "{}\n"

    (project.here / "model.py").write_text("x = 1\ny = 2\n")
    dirty = project.status()
    assert (dirty["synced"], dirty["unsent"], dirty["changed"]) == (False, 1, 1)
    assert dirty["diffstat"] == {"files": 1, "insertions": 1, "deletions": 0}
    project.write_there("out.json", "{}")
    project.write_there("noise.log", "ignored")
    assert project.changes() == {"changed": ["out.json"], "gone": [], "more": False}
    pulled = project.done("pull")
    assert (pulled["taken"], pulled["sent"]) == (["out.json"], 1)
    assert (project.here / "out.json").read_text() == "{}"
    query = urlencode({"path": project.path, "count": 2})
    entries = project.server.get(f"workspaces/snapshots?{query}")["snapshots"]
    assert len(entries) == 2 and entries[0]["base_commit"] == commit and entries[0]["dirty"]


def test_conflicts_are_named_and_settled_one_by_one(project: Project) -> None:
    odd = os.fsdecode(b"odd\xff.py")
    (project.here / odd).write_text("one\n")
    project.done("sync")
    for name in ("model.py", "nb/train.ipynb"):
        (project.here / name).write_text("here\n")
        project.write_there(name, "there\n")
    (project.here / odd).write_text("here\n")
    (project.there / odd).write_text("there\n")
    assert project.done("pull")["conflicts"] == ["model.py", "nb/train.ipynb", "odd?.py"]
    assert project.status()["conflicts"] == ["model.py", "nb/train.ipynb", "odd?.py"]
    project.done("settle", take=["model.py"], keep=["nb/train.ipynb"])
    assert (project.here / "model.py").read_text() == "there\n"
    assert (project.there / "nb/train.ipynb").read_text() == "here\n"
    assert project.status()["conflicts"] == ["odd?.py"], "it is not UTF-8, and named all the same"
    failed = project.ended("settle", take=["model.py"])
    assert (failed["state"], failed["error"]["code"]) == ("failed", "not_found")


def test_large_files_wait_for_a_decision(project: Project) -> None:
    for name in ("big.bin", "huge.bin"):
        with open(project.here / name, "wb") as file:
            file.truncate(51 << 20)
    failed = project.ended("sync")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "large_files")
    files = [{"path": name, "size": 51 << 20} for name in ("big.bin", "huge.bin")]
    assert failed["error"]["details"]["files"] == files
    assert not project.there.exists()
    project.done("sync", send=["big.bin"], leave=["huge.bin"])
    assert (project.there / "big.bin").stat().st_size == 51 << 20
    assert not (project.there / "huge.bin").exists()
    assert project.status()["synced"] is True
    with open(project.here / "more.bin", "wb") as file:
        file.truncate(51 << 20)
    assert project.status()["large"] == [{"path": "more.bin", "size": 51 << 20}]


def test_a_large_folder_waits_for_a_decision(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.bin", "b.bin"):
        with open(project.here / "nb" / name, "wb") as file:
            file.truncate(30 << 20)
    monkeypatch.setenv(SETTING, "50MB")
    failed = project.ended("sync")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "large_folder")
    details = failed["error"]["details"]
    assert (details["files"], details["folders"][0]["path"]) == (5, "nb")
    assert not project.there.exists()
    assert project.done("sync", everything=True)["sent"] == 5
    (project.here / "more.py").write_text("more\n")
    assert project.done("sync")["sent"] == 1, "it is asked once"


def test_a_sync_shows_its_steps_is_joined_and_called_off(project: Project) -> None:
    project.host.freeze()
    try:
        first = project.post("sync").json()["operation"]["id"]
        assert project.post("sync").json()["operation"]["id"] == first, "it is under way already"
        assert project.status()["operation"] == first

        def sending() -> Any:
            step = project.server.get(f"operations/{quote(first)}")["step"]
            return step if step and step["text"].startswith("sending 3 files") else None

        step = wait_for(sending, 30, "the files to be on their way")
        assert (step["n"], step["of"]) == (2, 2)
        assert project.server.api("DELETE", f"operations/{quote(first)}").status == 202
    finally:
        project.host.thaw()

    def cancelled() -> Any:
        operation = project.server.get(f"operations/{quote(first)}")
        return operation if operation["state"] != "running" else None

    assert wait_for(cancelled, OPERATION_S, "the end")["state"] == "cancelled"
    assert project.status()["operation"] is None
    project.done("sync")
    assert (project.there / "model.py").read_text() == "x = 1\n"


def test_what_cannot_be_synced_says_why(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    server = project.server
    for path, machine, status, code in (
        ("../secret", "box", 400, "usage"),
        ("a/../../secret", "box", 400, "usage"),
        ("no/such.ipynb", "box", 404, "not_found"),
        (project.path, "nobody", 404, "not_found"),
        (project.path, "local", 400, "usage"),
        (project.path, "-x", 400, "bad_name"),
    ):
        query = urlencode({"path": path, "machine": machine})
        reply = server.api("GET", f"workspaces?{query}")
        assert (reply.status, reply.code) == (status, code), (path, machine)
        posted = server.api("POST", "workspaces/sync", {"path": path, "machine": machine})
        assert posted.status == status, (path, machine, posted.body)
    for count in ("0", "x", "1001", "²"):
        query = urlencode({"path": project.path, "count": count})
        assert server.api("GET", f"workspaces/snapshots?{query}").status == 400, count
    monkeypatch.setenv("HOME", server.app.root_dir)
    reply = server.api("GET", "workspaces?" + urlencode({"path": "", "machine": "box"}))
    assert (reply.status, reply.code) == (400, "not_code")


def test_a_git_url_is_cloned_below_the_root_and_sent(project: Project) -> None:
    first = git(project.here, "rev-parse", "HEAD")
    git(project.here, "checkout", "-q", "-b", "feature")
    (project.here / "model.py").write_text("x = 2\n")
    git(project.here, "commit", "-qam", "Second")
    server, name = project.server, project.here.name
    clones = Path(server.app.root_dir, "clones")
    clones.mkdir(exist_ok=True)
    body = {"url": f"file://{project.here}", "machine": "box", "path": "clones"}

    def cloned(**more: str) -> Any:
        ended = server.operation(
            server.api("POST", "workspaces/clone", {**body, **more}), OPERATION_S
        )
        assert ended["state"] == "done", ended
        return ended["result"]

    def refs(url: str) -> Reply:
        return server.api("POST", "workspaces/refs", {"path": "clones", "url": url})

    told = refs(body["url"]).json()
    assert (told["branches"], told["tags"], told["commits"]) == (["feature", "main"], [], [])
    assert refs("ext::sh").code == "bad_url" and refs("--upload-pack=x").status in (400, 404)
    assert refs(f"file://{server.app.root_dir}/clones").code == "git"

    done = cloned(ref="main")
    assert [each["commit"] for each in refs(body["url"]).json()["commits"]] == [first]
    assert (done["branch"], done["base_commit"], done["name"]) == ("main", first, name)
    assert (project.there / "model.py").read_text() == "x = 1\n"
    assert cloned(ref="feature")["sent"] == 1
    assert (project.there / "model.py").read_text() == "x = 2\n"
    query = urlencode({"path": f"clones/{name}/nb/train.ipynb", "machine": "box"})
    status = server.get(f"workspaces?{query}")
    assert (status["branch"], status["changed"], status["synced"]) == ("feature", 0, True)
    assert cloned(ref=first)["branch"] is None

    for more, code in (
        ({"url": "ext::sh"}, "bad_url"),
        ({"ref": "nowhere"}, "not_found"),
        ({"path": ""}, "exists"),
    ):
        ended = server.operation(
            server.api("POST", "workspaces/clone", {**body, **more}), OPERATION_S
        )
        assert ended["error"]["code"] == code, ended


def test_kernel_starts_in_the_notebooks_folder_and_says_which_code_it_has(project: Project) -> None:
    """The workspace lies outside the home folder there."""
    (project.here / "model.py").write_text("x = 3\n")
    to = f"/var/tmp/{project.here.name}"
    project.done("sync", to=to)
    with notebook(project.server, project.path, "cloudml-box") as (kernel_id, _):
        row = connected(project.server, kernel_id)
        commit = git(project.here, "rev-parse", "HEAD")
        code = row["code"]
        assert (code["url"], code["base_commit"]) == ("https://example.org/digits.git", commit)
        assert (code["branch"], code["dirty"]) == ("main", True)
        assert code["diffstat"] == {"files": 1, "insertions": 1, "deletions": 1}
        assert code["tree"] == project.status()["tree"]
        with contextlib.closing(Page(project.server, kernel_id)) as page:
            page.run("import os, sys; sys.path.insert(0, '..'); import model", "c1")
            page.run("print(os.getcwd(), model.x)", "c2")
        seen = project.server.get(f"kernels/{kernel_id}/executions")["executions"]
        assert text_of(seen[-1]).split() == [f"{to}/nb", "3"]
        rows = project.server.get("machines/box/processes")["processes"]
        assert next(each for each in rows if each["id"] == row["process"])["labels"]["code"] == code
    (project.here / "model.py").write_text("x = 1\n")
    project.done("sync")
    with notebook(project.server, project.path, "cloudml-box") as (kernel_id, _):
        assert connected(project.server, kernel_id)["code"]["dirty"] is False
    assert "hunter2" not in json.dumps(project.server.get("kernels"))
