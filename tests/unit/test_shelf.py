"""The folder of environments on a machine: names, what is in use, what goes when it is full, what killed builds have left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_cloudml.environments import containers, sources
from jupyter_cloudml.environments.host import image, removal, shelf
from jupyter_cloudml.environments.host.say import Failed, InUse
from jupyter_cloudml.errors import NoEnvironment

OLD, MIDDLE, NEW, PLAIN = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache/jupyter-cloudml/env"
    folder.mkdir(parents=True)
    return folder


def environment(
    root: Path, key: str, used: int, *, locked: bool = True, size: int = 100_000
) -> Path:
    folder = root / key
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "data").write_bytes(b"x" * size)
    for name in ("pyvenv.cfg", "READY", "USED"):
        (folder / name).write_text(f"home = {sys.base_prefix}/bin\n")
        os.utime(folder / name, (used, used))
    if locked:
        (folder / "environment.json").write_text(json.dumps({"source": "x", "packages": 3}))
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    last: dict[str, Any] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return last


@pytest.fixture
def running(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the oldest environment."""
    environment(root, OLD, 1000)
    code = "print(flush=True); input()"
    argv = [str(root / OLD / "bin" / "python"), "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_name_means_another_environment_by_one_rename(root: Path) -> None:
    environment(root, OLD, 1000)
    environment(root, NEW, 2000)
    assert shelf.give_name("digits", OLD)
    assert not shelf.give_name("digits", OLD)
    assert (root / "names/digits/READY").exists()
    assert shelf.give_name("digits", NEW)
    assert shelf.names() == {"digits": NEW}
    assert {path.name for path in root.iterdir()} == {OLD, NEW, "names"}
    for odd in ("../x", "", "a b"):
        with pytest.raises(Failed):
            shelf.give_name(odd, OLD)
        with pytest.raises(Failed):
            shelf.put(odd, 0)


def test_only_a_whole_environment_is_used(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = environment(root, OLD, 1000)
    shelf.use(OLD, "digits")
    assert said(capsys) == {"ready": str(folder / "bin/python"), "renamed": True}
    assert shelf.used_at(OLD) > 1000
    shelf.use(OLD, "digits")
    assert said(capsys)["renamed"] is False
    (folder / "READY").rename(folder / "NOT")
    shelf.use(OLD, None)
    assert said(capsys) == {"missing": OLD}
    (folder / "NOT").rename(folder / "READY")
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to("/no/such/python")
    shelf.use(OLD, None)
    assert said(capsys) == {"missing": OLD}, "the system has another Python by now"


def test_the_least_used_go_first_and_never_what_is_in_use(
    root: Path, running: subprocess.Popen[bytes]
) -> None:
    for key, used in ((MIDDLE, 2000), (NEW, 3000)):
        environment(root, key, used)
    environment(root, PLAIN, 500, locked=False)
    shelf.give_name("digits", MIDDLE)
    assert removal.make_room(1 << 30, NEW) == []
    assert removal.make_room(250_000, NEW) == [MIDDLE], "OLD is in use"
    assert shelf.names() == {}
    assert removal.make_room(0, NEW) == []
    running.kill()
    running.wait()
    assert removal.make_room(0, NEW) == [OLD]
    assert shelf.whole() == [NEW, PLAIN], "the one just built, and the machine's own, stay"
    assert not list(root.glob("*.gone-*"))


def test_what_something_runs_in_is_not_removed(
    root: Path, running: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.give_name("digits", OLD)
    with pytest.raises(InUse) as told:
        removal.remove("digits")
    assert told.value.args[0] == [running.pid]
    running.kill()
    running.wait()
    shelf.give_name("second", OLD)
    removal.remove("second")
    assert said(capsys) == {"removed": "second"}
    assert shelf.names() == {"digits": OLD} and shelf.whole() == [OLD]
    removal.remove("digits")
    assert said(capsys) == {"removed": OLD}
    assert shelf.names() == {} and shelf.whole() == []
    removal.remove("digits")
    assert said(capsys) == {"missing": "digits"}


def test_what_killed_builds_have_left_goes_and_what_is_being_built_stays(root: Path) -> None:
    environment(root, NEW, 3000)
    left = [f"{OLD}.new-0a", f"{MIDDLE}.gone-0b", OLD]
    for name in [*left, f"{PLAIN}.new-0c"]:
        (root / name / "bin").mkdir(parents=True)
    fresh, stale = root / f"{OLD}.packages-01", root / f"{MIDDLE}.packages-02"
    for file in (fresh, stale):
        file.write_text("")
    os.utime(stale, (1000, 1000))
    with shelf.locked(PLAIN) or pytest.fail("free"):
        removal.clear_up(NEW)
    kept = {path.name for path in root.iterdir() if path.suffix != ".lock"}
    assert kept == {NEW, f"{PLAIN}.new-0c", fresh.name}


def test_the_versions_of_a_lock_are_told_without_its_digests(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = environment(root, OLD, 1000)
    (folder / "lock.txt").write_text("a==1 \\\n    --hash=sha256:00\nb-c==2.0+cpu\n")
    shelf.locked_in(OLD)
    assert said(capsys) == {"locked": {"a": "1", "b-c": "2.0+cpu"}}
    shelf.locked_in(NEW)
    assert said(capsys) == {"locked": {}}


def test_the_list_says_what_there_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.list_all()
    assert said(capsys) == {"environments": []}
    environment(root, OLD, 1000)
    environment(root, PLAIN, 500, locked=False)
    shelf.give_name("b", OLD)
    shelf.give_name("a", OLD)
    shelf.list_all()
    first, second = said(capsys)["environments"]
    assert (first["names"], first["packages"], first["in_use"]) == (["a", "b"], 3, False)
    assert first["bytes"] >= 100_000
    assert (second["names"], second.get("packages")) == ([], None)


def test_a_machine_without_a_container_engine_says_so(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(root))
    image.find("docker.io/x", False)
    assert said(capsys) == {"no_engine": True}
    work: Any = SimpleNamespace(
        run=lambda *asked: {"no_engine": True}, link=SimpleNamespace(machine="box")
    )
    with pytest.raises(NoEnvironment, match="box has neither podman nor docker") as told:
        containers.image_of(work, sources.container("docker.io/x"), False)
    assert told.value.code == "no_engine" and "install podman there" in told.value.hint
