"""Programs that machines are sent as text, and the folder that they share: no link leads out of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jupyter_cloudml
from jupyter_cloudml.datasets import program as data
from jupyter_cloudml.jobs.runner.warm import NO_KERNEL
from jupyter_cloudml.link.sent_program import SentProgram
from jupyter_cloudml.onhost.folder import KEPT, HeldFolder, InTheWay
from jupyter_cloudml.workspaces import copies
from jupyter_cloudml.workspaces import remote as code

ROOT = Path(str(jupyter_cloudml.__file__)).parent
PROGRAMS = {"datasets": data.PROGRAM, "workspaces": code.PROGRAM, "copies": copies.PROGRAM}


def test_all_that_is_written_for_machines_is_sent_by_some_program() -> None:
    for room in ("datasets", "workspaces"):
        written = {path.stem for path in (ROOT / room / "onhost").glob("*.py")} - {"__init__"}
        sent = {name for program in PROGRAMS.values() for name in program.modules}
        assert written == {name.rpartition(".")[2] for name in sent if name.startswith(room)}


@pytest.mark.parametrize("room", PROGRAMS)
def test_a_program_brings_all_that_it_needs_and_parses_on_the_oldest_python(room: str) -> None:
    known = set()
    for name in PROGRAMS[room].modules:
        path = ROOT / f"{name.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9))):
            if isinstance(node, ast.Import):
                wanted = {alias.name.split(".")[0] for alias in node.names}
                assert wanted <= sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom) and node.level:
                outer = name.split(".")[: -node.level]
                assert ".".join([*outer, str(node.module)]) in known, (name, node.module)
            elif isinstance(node, ast.ImportFrom):
                assert str(node.module).split(".")[0] in sys.stdlib_module_names
        known.add(name)


def test_a_program_runs_where_nothing_of_this_is_installed() -> None:
    program = PROGRAMS["workspaces"]
    argv = [sys.executable, "-I", "-S", "-c", program.loader, "changes"]
    args = b'{"workspace": "../x", "folder": "f"}\n'
    done = subprocess.run(argv, input=program.source + args, capture_output=True, check=True)
    assert b"bad_name" in done.stdout and done.stderr == b""


def test_what_is_sent_is_the_same_each_time() -> None:
    program = SentProgram(("onhost.folder",))
    assert program.source == SentProgram(("onhost.folder",)).source
    assert str(len(program.source)) in program.loader


# -- the folder ----------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> HeldFolder:
    (tmp_path / "in").mkdir()
    return HeldFolder(str(tmp_path / "in"), ".new")


def put(held: HeldFolder, path: str, text: str = "x") -> None:
    Path(held.path, "waiting").write_text(text)
    held.place("waiting", path)


def test_no_link_on_the_way_is_followed(held: HeldFolder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("keep")
    Path(held.path, "link").symlink_to(tmp_path / "out")
    Path(held.path, "file").symlink_to(tmp_path / "out" / "x")
    assert held.look("link/x") is None
    for act in (held.delete, held.open, held.make, lambda path: put(held, path)):
        with pytest.raises(InTheWay):
            act("link/x")
    with pytest.raises(OSError, match="symbolic"):
        held.open("file")
    assert {path for path, _ in held.walk()} == {"link", "file", "waiting"}
    assert (tmp_path / "out" / "x").read_text() == "keep"


def test_a_file_finds_its_place_although_folders_come_and_go(held: HeldFolder) -> None:
    put(held, "a/b/x", "one")
    assert held.look("a/b/x") is not None
    Path(held.path, "a/b/x").unlink()
    Path(held.path, "a/b").rmdir()
    assert held.look("a/b/x") is None
    put(held, "a/b/x", "two")
    assert Path(held.path, "a/b/x").read_text() == "two"
    held.delete("a/b/x")
    assert os.listdir(held.path) == [], "the folders that it left empty are gone"
    put(held, "a", "a file now")
    with pytest.raises(InTheWay):
        put(held, "a/b/x")
    held.delete("a")
    held.make("a")
    with pytest.raises(InTheWay):
        put(held, "a")


def test_no_more_folders_are_held_open_than_a_bound(held: HeldFolder) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(KEPT * 3):
        put(held, f"d{number}/e/x")
    assert len(os.listdir("/proc/self/fd")) - before <= KEPT
    held.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_what_is_not_finished_and_what_is_unwanted_is_not_told(held: HeldFolder) -> None:
    for path in (".new/x", "a/.new", ".git/config", "a/.git", "a/y"):
        put(held, path)
    assert {path for path, _ in held.walk(without=".git")} == {"a/.new", "a/y"}


def test_a_runner_builds_no_parser_of_what_no_notebook_has(tmp_path: Path) -> None:
    (tmp_path / "rfc3987_syntax.py").write_text("raise SystemExit('it was imported')")
    code = (
        "import sys; from jupyter_cloudml.jobs.runner.main import main; sys.exit(main(['--warm']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert '"waiting"' in done.stdout and done.returncode == NO_KERNEL, done
