"""The code of runs: what a machine keeps of it, the copy that a run works in, and what comes back from there."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cloudbox.commands import wait_until
from disks import small_disk
from integration.repositories import git

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import NotFound
from jupyter_cloudml.jobs.attempts.written import Written
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.notebooks.snapshots import Snapshots
from jupyter_cloudml.jobs.runner import copy as runs
from jupyter_cloudml.jobs.runner.copy import Copy, NoCode
from jupyter_cloudml.jobs.runner.records import Records
from jupyter_cloudml.jobs.runner.starting import placed
from jupyter_cloudml.onhost.folder import Failed
from jupyter_cloudml.store import Store
from jupyter_cloudml.workspaces.copies import PROGRAM, Copies, _Lending
from jupyter_cloudml.workspaces.guard import LargeFiles, LargeFolder
from jupyter_cloudml.workspaces.onhost import shelf as shelves
from jupyter_cloudml.workspaces.onhost.shelf import Shelf
from jupyter_cloudml.workspaces.onhost.tree import blob_of

FILES = {"lib.py": b"x = 1\n", "nb/a.ipynb": b"{}", "bin/go": b"#!/bin/sh\n", "link": b"lib.py"}
MODES = {"bin/go": "100755", "link": "120000"}


def rows(files: dict[str, bytes]) -> list[list[Any]]:
    return [[p, MODES.get(p, "100644"), blob_of(d), len(d)] for p, d in files.items()]


class Here:
    """This computer as a machine: its home folder is one of the test's."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def lend(self, tree: str, files: dict[str, bytes], live: Path | None = None) -> dict[str, Any]:
        """Talk to the program as Copies does; `asked` is all that it asks for."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM.loader, "lend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(self.home)},
        )
        assert process.stdin and process.stdout
        wanted = {"tree": tree, "live": live and str(live)}
        process.stdin.write(PROGRAM.source + json.dumps(wanted).encode() + b"\n")
        asked = []
        with suppress(BrokenPipeError), process:
            while True:
                with suppress(BrokenPipeError):
                    process.stdin.flush()
                said = json.loads(process.stdout.readline())
                if "need" not in said:
                    break
                asked.append(said["need"])
                if said["need"] == "files":
                    process.stdin.write(json.dumps({"files": rows(files)}).encode() + b"\n")
                    continue
                with suppress(BrokenPipeError):  # why is what it says last
                    for n in said["need"]:
                        process.stdin.write(zlib.compress([*files.values()][n]))
                        process.stdin.flush()
        return {**said, "asked": asked}

    @property
    def copies(self) -> Path:
        return self.home / ".cache" / "jupyter-cloudml" / "copies"

    def left(self) -> list[str]:
        return sorted(os.listdir(self.copies / "runs"))

    def copy(self, tree: str, run: str = "r1", links: list[list[str]] | None = None) -> Copy:
        said = {"place": str(self.copies), "tree": tree, "name": "digits", "inside": "nb"}
        return Copy({**said, "links": links or []}, run, 1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    home = tmp_path / "machine"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    yield Here(home)
    runs.remove_all()


def test_a_tree_is_sent_once_and_of_the_next_one_only_what_differs(
    here: Here, tmp_path: Path
) -> None:
    live = tmp_path / "live"
    for name in ("data", "nb", "pkg/__pycache__"):
        (live / name).mkdir(parents=True)
    (live / "nb" / "notes.txt").touch()
    (live / "lib.py").touch()
    first = here.lend("a" * 40, FILES, live)
    assert first["asked"] == ["files", [0, 1, 2, 3]]
    assert first["beside"] == ["data/", "nb/notes.txt", "pkg/"], "no code, topmost"
    assert here.lend("a" * 40, FILES)["asked"] == []
    changed = {**FILES, "lib.py": b"x = 2\n"}
    assert here.lend("b" * 40, changed)["asked"] == ["files", [0]]
    # Somebody has deleted one: it is sent again.
    blob = blob_of(b"x = 1\n")
    (here.copies / "objects" / blob[:2] / blob[2:]).unlink()
    assert here.lend("a" * 40, FILES)["asked"] == ["files", [0]]
    refused = here.lend("c" * 40, {"../out": b""})
    assert refused["failed"] == "bad_path"


def test_a_copy_is_the_tree_and_what_is_written_in_it_is_told_and_gone(
    here: Here, tmp_path: Path
) -> None:
    here.lend("a" * 40, FILES)
    data = tmp_path / "data"
    data.mkdir()
    copy = here.copy("a" * 40, links=[["data", str(data)]])
    copy.make()
    folder = Path(copy.folder)
    assert (folder / "lib.py").read_bytes() == b"x = 1\n" and os.readlink(
        folder / "link"
    ) == "lib.py"
    assert os.access(folder / "bin" / "go", os.X_OK) and copy.cwd == str(folder / "nb")
    assert list(copy.written()) == []

    (folder / "lib.py").write_text("x = 9\n")
    os.utime(folder / "nb" / "a.ipynb")  # touched, and the same
    (folder / "data" / "big").write_text("stays there")
    (folder / "nb" / "out.bin").write_bytes(b"o" * 500_000)
    (folder / "empty").touch()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "lib.pyc").touch()
    os.mkfifo(folder / "pipe")
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    said = tmp_path / "said"
    records = Records(os.open(said, os.O_WRONLY | os.O_CREAT))
    copy.tell(records)
    written = Written(tmp_path / "run", 1)
    (told,) = written.without([json.loads(line) for line in said.read_text().splitlines()])
    assert [(row["path"], row["bytes"], row["new"]) for row in told["files"]] == [
        ("empty", 0, True),
        ("lib.py", 6, False),
        ("nb/out.bin", 500_000, True),
    ]
    assert (written.folder / "nb" / "out.bin").read_bytes() == b"o" * 500_000
    assert here.copy("a" * 40, "r2").cwd != copy.cwd
    runs.remove_all()
    assert here.left() == [] and (data / "big").exists()
    again = here.copy("a" * 40, "r2")
    again.make()
    assert (Path(again.folder) / "lib.py").read_text() == "x = 1\n", "what is kept has not changed"


def test_a_notebook_in_an_ignored_folder_runs_in_that_folder(here: Here, tmp_path: Path) -> None:
    here.lend("a" * 40, {"lib.py": b"x = 1\n"})
    (tmp_path / "nb").mkdir()
    copy = here.copy("a" * 40, links=[["nb", str(tmp_path / "nb")]])
    copy.make()
    assert os.path.realpath(copy.cwd) == str(tmp_path / "nb") and list(copy.written()) == []
    runs.remove_all()
    assert (tmp_path / "nb").is_dir() and here.left() == []


def test_code_that_is_cut_off_or_whose_receiver_is_killed_comes_the_next_time(here: Here) -> None:
    files = {f"f{n}": os.urandom(2000) for n in range(3)}
    head = {"tree": "a" * 40, "live": None}
    lines = [json.dumps(each).encode() + b"\n" for each in (head, {"files": rows(files)})]
    half = zlib.compress(files["f0"]) + zlib.compress(files["f1"])[:900]
    for kills in (False, True):
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM.loader, "lend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(here.home)},
        )
        with process:
            assert process.stdin and process.stdout
            process.stdin.write(PROGRAM.source + b"".join(lines) + half)
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"need": "files"}
            assert json.loads(process.stdout.readline()) == {"need": [0, 1, 2]}
            if kills:
                objects = here.copies / "objects"
                wait_until(lambda p=objects: any(p.glob("*/*.*")), "the second file", 30)  # type: ignore[misc]
                process.kill()
                continue
            process.stdin.close()
            assert json.loads(process.stdout.readline())["failed"] == "cut_off"
        assert [path for path in here.copies.rglob("*") if path.is_file()] == [here.copies / "lock"]
    assert here.lend("a" * 40, files)["asked"] == ["files", [1, 2]]
    here.copy("a" * 40).make()


def test_more_than_comes_back_is_named(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "FILES", 2)
    monkeypatch.setattr(runs, "NAMED", 1)
    here.lend("a" * 40, FILES)
    copy = here.copy("a" * 40)
    copy.make()
    for n in range(5):
        (Path(copy.folder) / f"out{n}").write_text("x")
    said = tmp_path / "said"
    copy.tell(Records(os.open(said, os.O_WRONLY | os.O_CREAT)))
    last = json.loads(said.read_text().splitlines()[-1])
    assert [row["path"] for row in last["files"]] == ["out0", "out1"]
    assert (last["left"], last["more"]) == ([{"path": "out2", "bytes": 1}], 2)
    copy.until = 0.0  # the time is over
    copy.tell(Records(os.open(said, os.O_WRONLY | os.O_TRUNC)))
    (last,) = map(json.loads, said.read_text().splitlines())
    assert (last["files"], len(last["left"]), last["more"]) == ([], 1, 4)


def test_what_a_killed_runner_has_left_is_deleted_and_nothing_of_one_that_lives(here: Here) -> None:
    here.lend("a" * 40, FILES)
    program = (
        "import json, sys, time\nfrom jupyter_cloudml.jobs.runner.copy import Copy\n"
        "Copy(json.loads(sys.argv[1]), 'dead', 1).make()\nprint('made', flush=True)\ntime.sleep(600)"
    )
    said = {
        "place": str(here.copies),
        "tree": "a" * 40,
        "name": "digits",
        "inside": ".",
        "links": [],
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(said)], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout and process.stdout.readline() == b"made\n"
        assert Shelf().sweep() == 0 and here.left() == ["dead-1", "dead-1.lock"]
        process.send_signal(signal.SIGKILL)
    lives = here.copy("a" * 40, "lives")
    lives.make()
    assert Shelf().sweep() == 1
    assert here.left() == ["lives-1", "lives-1.lock"]


REMOVE = """
import os, sys
from pathlib import Path
from jupyter_cloudml.jobs.runner.copy import Copy
from jupyter_cloudml.workspaces.onhost.shelf import removed
os.chdir(sys.argv[1])
os.setgid(12345)
os.setuid(12345)
removed("swept")
said = {"place": ".", "tree": "a", "links": [], "name": "digits", "inside": "."}
Copy(said, "removed", 1).remove()
"""


def test_what_belongs_to_somebody_else_stays_and_keeps_nothing_else_from_going(
    tmp_path: Path,
) -> None:
    outer = [tmp_path / "swept", tmp_path / "runs" / "removed-1"]
    for each in outer:
        for name in ("a", "b/locked", "c"):
            (each / "digits" / name).mkdir(parents=True)
            (each / "digits" / name / "file").touch()
        (each / "digits" / "b" / "locked").chmod(0o500)
        (each / "digits" / "c").chmod(0o500)
        for path in (each, *each.rglob("*")):
            os.chown(path, 12345, 12345)
        os.chown(each / "digits" / "a", 0, 0)  # what a container has made
        os.chmod(each / "digits" / "a", 0o700)
    for folder in (tmp_path, tmp_path / "runs"):
        folder.chmod(0o777)
    subprocess.run([sys.executable, "-c", REMOVE, str(tmp_path)], check=True)
    for each in outer:
        assert [path.name for path in each.rglob("*")] == ["digits", "a", "file"]


def test_no_leftover_keeps_a_machine_from_having_the_code_of_runs(here: Here) -> None:
    here.lend("a" * 40, FILES)
    dead = here.copies / "runs" / "dead-1"
    dead.mkdir()
    (dead.with_name("dead-1.lock")).touch()
    fd = os.open(dead, os.O_RDONLY)
    for _ in range(1500):  # more than there are levels of recursion, or descriptors
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        assert here.lend("a" * 40, FILES).get("asked") == []
    finally:
        subprocess.run(["rm", "-rf", str(dead)], check=True)


def test_a_copy_whose_runner_ends_meanwhile_is_swept_without_a_complaint(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.lend("a" * 40, FILES)
    path = here.copies / "runs" / "dead-1.lock"
    path.touch()
    monkeypatch.setattr(shelves, "removed", lambda _: os.unlink(path))
    assert Shelf().sweep() == 1 and here.left() == []


def test_a_file_that_vanishes_while_a_folder_is_looked_at_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").touch()
    (tmp_path / "stays").touch()
    scan = os.scandir

    def scanned_before(path: str) -> Any:
        found = scan(path)
        listed = sorted(found, key=lambda each: each.name)
        (tmp_path / "gone").unlink(missing_ok=True)
        return Listing(listed)

    monkeypatch.setattr(os, "scandir", scanned_before)
    assert "stays" in shelves.beside([], str(tmp_path))


class Listing(list[Any]):
    """What scandir returns, as a list."""

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *raised: object) -> None: ...


def test_contents_that_do_not_all_come_take_none_away_from_another_run(here: Here) -> None:
    new = os.urandom(2000)
    files = rows({**FILES, "new": new, "late": b"late"})
    here.lend("a" * 40, FILES)  # while the other one is sent the same
    shelf = Shelf()
    source = io.BytesIO(b"".join(zlib.compress(data) for data in (b"x = 1\n", new)))
    with pytest.raises(Failed) as caught:
        shelf.receive(files, [0, 4, 5], cast("Any", source))
    assert caught.value.code == "cut_off"
    assert shelf.missing(files) == [4, 5]
    assert not list(here.copies.rglob("*.*[0-9]"))


def test_a_tree_is_kept_once_no_copy_is_made_and_stays_until_it_can_be_copied(here: Here) -> None:
    for tree in ("a" * 40, "b" * 40):
        here.lend(tree, {"big": tree.encode() * 100})
    tree, files = "c" * 40, rows({"big": b"a" * 4000})
    waited: list[int] = []
    with open(here.copies / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as a copy that is being made

        def wait() -> None:
            waited.append(1)
            if len(waited) == 3:
                fcntl.flock(lock, fcntl.LOCK_UN)

        assert Shelf(limit=1).keep(tree, files, wait)
    assert len(waited) == 3
    assert len(os.listdir(here.copies / "trees")) == 3, "two were lent a moment ago"


def test_a_machine_that_waits_with_the_code_is_not_taken_for_dead() -> None:
    said: Iterator[dict[str, Any]] = iter(
        [{"waiting": True}, {"waiting": True}, {"place": "/p", "beside": []}]
    )
    lending = object.__new__(_Lending)
    told: Any = lending
    told._write, told._said = lambda data: None, lambda: next(said)
    told._link = SimpleNamespace(machine="box")
    assert lending.run(lambda: told, "a" * 40, None)["place"] == "/p"


def test_trees_that_were_used_longest_ago_go_first(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "YOUNG_S", -1.0)
    for n, tree in enumerate(("a" * 40, "b" * 40, "c" * 40)):
        here.lend(tree, {"big": bytes([n]) * 1000, "same": b"s"})
        os.utime(here.copies / "trees" / f"{tree}.json", ns=(n, n))
    shelf = Shelf(limit=2500)
    files = shelf.files("a" * 40)  # used now
    assert files is not None and shelf.keep("a" * 40, files)
    assert sorted(os.listdir(here.copies / "trees")) == [f"{'a' * 40}.json", f"{'c' * 40}.json"]
    assert shelf.missing(rows({"big": b"\1" * 1000, "same": b"s"})) == [0]


def test_a_full_disk_and_code_that_is_gone_are_named_and_leave_nothing(here: Here) -> None:
    disk = here.home / ".cache"
    disk.mkdir()
    with small_disk(disk, "300k"):
        big = {"a": os.urandom(100_000), "b": os.urandom(400_000)}
        assert here.lend("d" * 40, big)["failed"] == "no_space"
        kept = [path for path in (here.copies / "objects").rglob("*") if path.is_file()]
        assert kept == [] and os.listdir(here.copies / "trees") == []
        here.lend("e" * 40, {"a": os.urandom(200_000)})
        reader, writer = os.pipe()
        said = {"place": str(here.copies), "name": "x", "inside": ".", "links": []}
        spec = {"run": "full", "attempt": 1, "copy": {**said, "tree": "e" * 40}}
        assert not placed(spec, Records(writer))
        end = json.loads(os.read(reader, 10_000))
        assert (end["state"], end["reason"]) == ("failed", "no_space"), end
        os.close(reader)
        os.close(writer)
        with pytest.raises(NoCode):
            here.copy("f" * 40).make()
        runs.remove_all()
        assert here.left() == []


def test_pieces_that_come_twice_or_from_a_stranger_change_nothing_else(tmp_path: Path) -> None:
    written = Written(tmp_path / "run", 1)

    def piece(path: str, data: bytes, at: Any = 0) -> dict[str, Any]:
        return {"record": "file", "path": path, "at": at, "data": base64.b64encode(data).decode()}

    batch = [piece("out", b"abc"), piece("out", b"def", 3)]
    assert written.without(batch) == [] == written.without(batch[1:])
    for odd in ("/etc/x", "../x", "a/../../x", "", "a\0b", "out/below"):
        written.without([piece(odd, b"evil")])
    written.without([piece("far", b"x", 1 << 60), piece("odd", b"x", "0"), piece("nega", b"x", -1)])
    written.without([{"record": "file", "path": "odd", "at": 0, "data": "%%"}, {"record": "file"}])
    digest = hashlib.sha256(b"abcdef").hexdigest()
    told = [{"path": path, "bytes": 6, "sha256": digest} for path in ("out", "../x", "gone")]
    (rest,) = written.without([{"record": "files", "files": told, "left": [7], "more": 0}])
    assert [row["path"] for row in rest["files"]] == ["out"]
    assert [row["path"] for row in rest["left"]] == ["../x", "gone"]
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [written.folder / "out"] and found[0].read_bytes() == b"abcdef"
    assert written.path("../1.files/out") is None and written.path("out") == found[0]
    (written.folder / "full").symlink_to("/dev/full")  # never followed
    written.without([piece("full", b"x")])


def test_a_file_that_came_in_part_is_not_kept(tmp_path: Path) -> None:
    written = Written(tmp_path / "run", 1)
    data = base64.b64encode(b"half of it").decode()
    written.without([{"record": "file", "path": name, "at": 0, "data": data} for name in "ab"])
    left = [{"path": "a", "bytes": 90}]
    cut = [{"path": "b", "bytes": 90, "sha256": "0" * 64}]
    (rest,) = written.without([{"record": "files", "files": cut, "left": left, "more": 0}])
    assert (rest["files"], rest["left"]) == ([], [*left, *cut])
    assert list(written.folder.iterdir()) == []


class Taken:
    """A project in a repository, and the snapshots of runs of its notebook."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root = folder / "home", folder / "digits"
        self.notebook = self.root / "nb" / "a.ipynb"
        self.notebook.parent.mkdir(parents=True)
        self.notebook.write_text(
            json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        )
        self.sent: list[tuple[Path, str]] = []
        self.store = Store.open(Config(home=folder))
        self.snapshots = Snapshots(self.store, self.home, lambda *to: self.sent.append(to))

    def of(self, **more: Any) -> dict[str, Any]:
        spec = JobSpec("n", str(self.notebook), **more)
        return cast("dict[str, Any]", self.snapshots.take(spec, {}).code)


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Taken]:
    made = Taken(tmp_path)
    yield made
    made.store.close()


def test_a_run_has_the_code_as_it_was_when_it_was_made(taken: Taken) -> None:
    assert taken.of() == {}, "a plain folder is run in"
    assert taken.of(code="copy")["tree"], "unless it is asked for"
    git(taken.root, "init", "-q")
    (taken.root / "lib.py").write_text("x = 1\n")
    git(taken.root, "add", "-A")
    git(taken.root, "commit", "-qm", "First")
    commit = git(taken.root, "rev-parse", "HEAD")
    first = taken.of()
    assert (first["copy"], first["inside"], first["base_commit"]) == (True, "nb", commit)
    assert (first["dirty"], first["branch"], first["tree"]) == (
        False,
        "main",
        git(taken.root, "rev-parse", "HEAD^{tree}"),
    )
    (taken.root / "lib.py").write_text("x = 2\n")
    second = taken.of(machine="box")
    assert second["dirty"] and second["tree"] != first["tree"] and second["diffstat"]["files"] == 1
    assert taken.sent == [], "a machine gets it when the run starts"
    live = taken.of(code="live")
    assert (live["copy"], live["tree"], live["dirty"]) == (False, None, True)
    taken.of(code="live", machine="box")
    assert taken.sent == [(taken.notebook.parent, "box")]


def test_too_much_code_is_refused_and_a_large_file_stays_beside_it_here(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(taken.root, "init", "-q")
    with open(taken.root / "model.bin", "wb") as file:
        file.truncate(51 << 20)
    assert taken.of()["left"] == ["model.bin"]
    with pytest.raises(LargeFiles, match=r"model\.bin") as caught:
        taken.of(machine="box")
    assert "--code live" in caught.value.hint and "--leave FILE" in caught.value.hint
    monkeypatch.setenv("JUPYTER_CLOUDML_CODE_LIMIT", "1MB")
    (taken.root / "data.csv").write_bytes(b"1" * 2_000_000)
    with pytest.raises(LargeFolder) as much:
        taken.of()
    assert "--code live" in much.value.hint


def test_code_that_is_not_kept_any_more_is_named(tmp_path: Path) -> None:
    code = {"root": str(tmp_path / "gone"), "tree": "a" * 40, "inside": "."}
    with pytest.raises(NotFound) as caught:
        Copies(tmp_path)._kept(tmp_path / "gone", "a" * 40)
    assert caught.value.code == "no_code" and code["tree"][:12] in caught.value.message
