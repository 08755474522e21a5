"""`code clone` with submodules, from real remotes: exact and updated; what a stranger's .gitmodules would have git do takes no effect."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from cloudbox.commands import wait_until

from jupyter_cloudml.errors import Cancelled
from jupyter_cloudml.workspaces.clone import Clone
from jupyter_cloudml.workspaces.progress import Steps
from jupyter_cloudml.workspaces.snapshot import Snapshots
from jupyter_cloudml.workspaces.source import Source

from .repositories import git
from .test_code_clone import (  # noqa: F401 - the fixtures
    GitHub,
    Remote,
    files,
    github,
    gone,
    remote,
)


def cloned(folder: Path, source: str) -> list[str]:
    """Clone, or bring up to date; returns the warnings."""
    clone = Clone(folder, Source.parse(source), Steps(of=4))
    clone.update(None)
    return clone.report.warnings


def served(remote: Remote, name: str) -> Remote:  # noqa: F811
    """Return another repository, beside the remote."""
    bare, work = remote.bare.with_name(f"{name}.git"), remote.work.with_name(f"{name}-work")
    bare.mkdir()
    git(bare, "init", "-q", "--bare")
    git(work.parent, "clone", "-q", str(bare), work.name)
    made = Remote(bare, work)
    made.commit("First", **{f"{name}_py": f"{name}\n"})
    return made


def add(outer: Remote, inner: Remote, path: str, url: str) -> str:
    """Name a repository in another, at its commit."""
    commit = git(inner.work, "rev-parse", "HEAD")
    git(outer.work, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    (outer.work / path).mkdir(parents=True, exist_ok=True)
    for key, value in (("path", path), ("url", url)):
        git(outer.work, "config", "-f", ".gitmodules", f"submodule.{path}.{key}", value)
    git(outer.work, "add", ".gitmodules")
    git(outer.work, "commit", "-qm", f"With {path}")
    git(outer.work, "push", "-q", "origin", "HEAD")
    return commit


def test_submodules_come_with_their_own_at_the_commit_that_is_named(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
) -> None:
    inner, innermost = served(remote, "inner"), served(remote, "innermost")
    add(inner, innermost, "deep/er", "../innermost.git")
    named = add(remote, inner, "libs/inner", "../inner.git")
    inner.commit("Newer", inner_py="newer\n")
    there = tmp_path / "clone"
    assert cloned(there, f"file://{remote.bare}") == []
    assert files(there).keys() == {
        *("model.py", "pkg/a.py", ".gitmodules", "libs/inner/.gitmodules"),
        *("libs/inner/inner.py", "libs/inner/deep/er/innermost.py"),
    }
    assert files(there)["libs/inner/inner.py"] == "inner\n"
    assert git(there / "libs/inner", "rev-parse", "HEAD") == named
    assert git(there, "status", "--porcelain") == ""
    taken = Snapshots(tmp_path / "state", there)
    assert set(taken.objects.listed(taken.take().tree)) == set(files(there)), "the machine's"

    # An update: to its newer commit, with a change of the user's kept; then it is none any more.
    (there / "libs/inner/mine.py").write_text("mine\n")
    add(remote, inner, "libs/inner", "../inner.git")
    assert cloned(there, f"file://{remote.bare}") == []
    assert files(there)["libs/inner/inner.py"] == "newer\n"
    git(remote.work, "rm", "-q", "--cached", "libs/inner")
    (remote.work / ".gitmodules").unlink()
    remote.commit("Without", new_py="n\n")
    assert cloned(there, f"file://{remote.bare}") == []
    assert files(there).keys() == {"model.py", "pkg/a.py", "new.py", "libs/inner/mine.py"}
    assert not (there / "libs/inner/.git").exists()


def test_changes_in_a_submodule_are_kept_and_named(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
) -> None:
    inner, there = served(remote, "inner"), tmp_path / "clone"
    add(remote, inner, "inner", "../inner.git")
    cloned(there, str(remote.bare))
    (there / "inner/inner.py").write_text("mine\n")
    inner.commit("Newer", inner_py="newer\n")
    add(remote, inner, "inner", "../inner.git")
    remote.commit("Third", model_py="new\n")
    (warning,) = cloned(there, str(remote.bare))
    assert "'inner'" in warning and "inner.py" in warning and "nothing was overwritten" in warning
    assert files(there)["inner/inner.py"] == "mine\n" and files(there)["model.py"] == "new\n"


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch MARK",
        "-oProxyCommand=touch MARK",
        "ext::sh -c 'touch MARK'",
        "ssh://-oProxyCommand=touch MARK/x",
        "git@-oProxyCommand=x:y",
        "http://h.example/x.git",
        "inner.git",
        "../../../../../../../../../../..",
        "../no-such.git",
    ],
)
def test_a_strangers_url_takes_no_effect_and_the_rest_goes_on(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
    url: str,
) -> None:
    mark = tmp_path / "ran"
    inner = served(remote, "inner")
    add(remote, inner, "good", "../inner.git")
    add(remote, inner, "evil", url.replace("MARK", str(mark)))
    git(remote.work, "config", "-f", ".gitmodules", "submodule.good.update", f"!touch {mark}")
    remote.commit("Evil", evil_py="e\n")
    there = tmp_path / "clone"
    (warning,) = cloned(there, str(remote.bare))
    assert "submodule 'evil' of clone is left out" in warning
    assert not mark.exists() and not list((there / "evil").iterdir())
    assert files(there)["good/inner.py"] == "inner\n" and files(there)["evil.py"] == "e\n"


def test_a_submodule_behind_a_link_writes_nothing(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
) -> None:
    inner, there, outside = served(remote, "inner"), tmp_path / "clone", tmp_path / "outside"
    outside.mkdir()
    add(remote, inner, "libs/inner", "../inner.git")
    cloned(there, str(remote.bare))
    # The folder on the way to it becomes a link, by whom ever.
    (there / "libs").rename(tmp_path / "away")
    (there / "libs").symlink_to(outside)
    inner.commit("Newer", inner_py="newer\n")
    add(remote, inner, "libs/inner", "../inner.git")
    (warning,) = cloned(there, str(remote.bare))
    assert "a link or a file is in its place" in warning
    assert list(outside.iterdir()) == []


def test_a_remote_names_no_folder_here_and_a_password_goes_to_its_host_alone(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
    github: GitHub,  # noqa: F811
) -> None:
    inner, secret = served(remote, "inner"), served(remote, "secret")
    add(remote, inner, "inner", "../inner.git")
    add(remote, secret, "secret", f"file://{secret.bare}")
    add(remote, secret, "plain", str(secret.bare))
    add(remote, secret, "absent", "/no/such/folder")
    other = github.url.replace("127.0.0.1", "localhost").replace("digits", "inner")
    add(remote, inner, "other", other)
    there = tmp_path / "clone"
    warnings = cloned(there, github.url.replace("https://", f"https://ada:{github.password}@"))
    assert files(there).keys() == {".gitmodules", "model.py", "pkg/a.py", "inner/inner.py"}
    assert len(warnings) == 4
    for warning in warnings:
        if "'other'" in warning:
            assert "SSL" in warning or "does not let you in" in warning
        else:
            assert "may not name a folder of this computer" in warning
    assert github.password not in " ".join(warnings)
    config = (there / "inner/.git/config").read_text()
    assert github.password not in config and "127.0.0.1" in config


def test_submodules_in_submodules_come_to_an_end(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jupyter_cloudml.workspaces.submodules.DEPTH", 2)
    chain = [served(remote, f"m{n}") for n in range(3)]
    add(chain[1], chain[2], "m2", "../m2.git")
    add(chain[0], chain[1], "m1", "../m1.git")
    add(remote, chain[0], "m0", "../m0.git")
    (warning,) = cloned(tmp_path / "clone", str(remote.bare))
    assert "'m2' of m1 is left out: more than 2 submodules deep" in warning
    assert "m0/m1/m1.py" in files(tmp_path / "clone")


def test_a_submodule_that_is_called_off_ends_all_of_git(
    tmp_path: Path,
    remote: Remote,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, started = tmp_path / "stuck.sh", tmp_path / "pid"
    stuck.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 600\n")
    stuck.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(stuck))
    inner = served(remote, "inner")
    add(remote, inner, "inner", "git@h.example:inner.git")
    cancelled, said, caught = threading.Event(), [], []

    def work() -> None:
        steps = Steps(lambda step: said.append(step.text), cancelled, of=4)
        try:
            Clone(tmp_path / "clone", Source.parse(str(remote.bare)), steps).update(None)
        except Cancelled as exc:
            caught.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: started.exists() and started.read_text() != "", "git", 30)
    cancelled.set()
    thread.join(30)
    assert len(caught) == 1 and "fetching submodule inner" in said
    wait_until(lambda: gone(int(started.read_text())), "the end of what git had started")
    # The next brings it to its end.
    command = tmp_path / "ssh.sh"
    command.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\ncd {inner.bare.parent} && exec sh -c "$1"\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(command))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    assert cloned(tmp_path / "clone", str(remote.bare)) == []
    assert files(tmp_path / "clone")["inner/inner.py"] == "inner\n"
    assert os.path.isdir(tmp_path / "clone/inner/.git")
