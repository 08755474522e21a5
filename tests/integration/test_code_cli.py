"""`jupyter cloudml code …` with a real host that has no git."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig

from .repositories import git
from .test_cli import Home, home  # noqa: F401 - the fixture


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("import model\n")
    (folder / "model.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    (folder / "sub").mkdir()
    return folder


def test_code_goes_to_a_host_without_git_and_comes_back(
    home: Home,  # noqa: F811
    project: Path,
    host: Host,
    ssh_config: SSHConfig,
) -> None:
    (host.root / "usr/bin/git").unlink()
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    assert "code sync --on NAME" in home.run("code", "status", str(project), check=1).stderr
    assert "no machine" in home.run("code", "sync", str(project), "--on", "nobody", check=1).stderr

    first = home.json("code", "sync", str(project / "sub"), "--on", "box")
    assert (first["sent"], first["conflicts"]) == (3, [])
    there = host.root / "home/ada/digits"
    assert (there / "train.py").read_text() == "import model\n"
    assert first["machine_path"] == "/home/ada/digits"
    seen = home.json("code", "status", str(project))
    assert seen["base_commit"] == git(project, "rev-parse", "HEAD")
    assert (seen["machine"], seen["machine_path"], seen["dirty"], seen["synced"]) == (
        "box",
        "~/digits",
        False,
        True,
    )
    assert "nothing has changed" in home.run("code", "sync", str(project)).stdout

    (project / "model.py").write_text("x = 2\n")
    assert home.json("code", "status", str(project))["synced"] is False
    assert "1 file sent" in home.run("code", "sync", str(project)).stdout
    script = "import model, json; json.dump(model.x, open('out.json', 'w'))"
    home.run("run", "--on", "box", "--cwd", "digits", "--", "python3", "-c", script)
    assert "1 file came back" in home.run("code", "pull", str(project)).stdout
    assert json.loads((project / "out.json").read_text()) == 2

    (project / "train.py").write_text("here\n")
    home.run("run", "--on", "box", "--cwd", "digits", "--", "sh", "-c", "echo there > train.py")
    refused = home.run("code", "pull", str(project), check=1)
    assert "changed on both sides, left as it is: train.py" in refused.stderr
    assert home.run("code", "status", str(project), check=1).returncode == 1
    home.run("code", "pull", str(project), "--take", "train.py")
    assert (project / "train.py").read_text() == "there\n"
    entries = home.json("code", "log", str(project))["snapshots"]
    assert len(entries) >= 4 and entries[-1]["base_commit"] == seen["base_commit"]
    assert not list(there.parent.rglob(".git*/config")), "no repository is needed there"


def test_large_files_are_asked_about(
    home: Home,  # noqa: F811
    project: Path,
    host: Host,
    ssh_config: SSHConfig,
) -> None:
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    with open(project / "big.bin", "wb") as file:
        file.truncate(60 << 20)
    asked = home.run("code", "sync", str(project), "--on", "box", check=1)
    assert "big.bin (60 MB)" in asked.stderr and "--send" in asked.stderr
    home.run("code", "sync", str(project), "--on", "box", "--leave", "big.bin")
    assert not (host.root / "home/ada/digits/big.bin").exists()
    home.run("code", "sync", str(project), "--send", "big.bin")
    assert (host.root / "home/ada/digits/big.bin").stat().st_size == 60 << 20
    (project / "model.py").write_text("x = 3\n")
    assert "1 file sent" in home.run("code", "sync", str(project)).stdout, "it is asked once"
    with open(project / "other.bin", "wb") as file:
        file.truncate(60 << 20)
    assert home.json("code", "status", str(project))["conflicts"] == []


def test_a_full_disk_on_the_host_leaves_the_folder_as_it_was(
    home: Home,  # noqa: F811
    project: Path,
    host: Host,
    ssh_config: SSHConfig,
) -> None:
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    home.run("code", "sync", str(project), "--on", "box")
    (project / "model.py").write_text("x = 2\n")
    (project / "data.bin").write_bytes(b"x" * (8 << 20))
    host.fill_disk(leave=2 << 20)
    refused = home.run("code", "sync", str(project), check=1)
    assert "no space left on box" in refused.stderr
    there = host.root / "home/ada/digits"
    assert sorted(path.name for path in there.iterdir()) == [".gitignore", "model.py", "train.py"]
    assert (there / "model.py").read_text() == "x = 1\n"
    host.free_disk()
    home.run("code", "sync", str(project))
    assert (there / "model.py").read_text() == "x = 2\n"


def test_what_cannot_be_synced_says_why(home: Home, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "plain").mkdir()
    for words, cause in (
        (["sync", str(tmp_path / "plain"), "--on", "local"], "on this computer already"),
        (["sync", str(Path.home()), "--on", "local"], "more than code"),
        (["pull", str(tmp_path / "plain")], "is on no machine"),
    ):
        assert cause in home.run("code", *words, check=None).stderr


def test_another_computer_or_folder_under_the_same_name_is_sent_everything(
    home: Home,  # noqa: F811
    project: Path,
    box: Box,
    ssh_config: SSHConfig,
) -> None:
    first, second = box.host(), box.host()
    try:
        home.run("machine", "add", "box", "--ssh", ssh_config.add(first))
        assert home.json("code", "sync", str(project), "--on", "box")["sent"] == 3
        assert home.json("code", "sync", str(project), "--to", "elsewhere")["sent"] == 3
        assert (first.root / "home/ada/elsewhere/train.py").exists()
        assert home.json("code", "sync", str(project))["sent"] == 0
        home.run("machine", "remove", "box", "--stop-processes")
        home.run("machine", "add", "box", "--ssh", ssh_config.add(second))
        assert home.json("code", "status", str(project))["synced"] is False
        assert home.json("code", "sync", str(project))["sent"] == 3
        assert (second.root / "home/ada/elsewhere/train.py").exists()
    finally:
        box.destroy(first)
        box.destroy(second)
