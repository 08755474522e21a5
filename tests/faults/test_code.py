"""A sync whose client is killed at any stage, or whose disk here is full: nothing is lost on either side, and the next one finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.code_place import Place
from integration.links import CutLink, link_at

from jupyter_cloudml.errors import Cancelled
from jupyter_cloudml.jobs.runner.copy import Copy, remove_all
from jupyter_cloudml.workspaces.copies import Copies

TESTS = Path(__file__).parents[1]

# Kills itself after (or before) one call, or syncs to the end.
CLIENT = """
import os, signal, sys
from pathlib import Path
from integration.links import make_link
from jupyter_cloudml.workspaces import applied, keeping, local, remote, snapshot, sync

def killing(cls, name, before=False):
    real = getattr(cls, name)
    def act(*words, **more):
        done = None if before else real(*words, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(cls, name, act)

state, here, there, workspace, verb, stage = sys.argv[1:7]
owner, _, call = stage.partition(".")
if owner:
    name, _, when = call.partition(":")
    module = next(each for each in (snapshot, keeping, remote, applied, local) if hasattr(each, owner))
    killing(getattr(module, owner), name, when == "before")
if owner == "Pack":
    keeping.LOOSE = 0
link = make_link("local")
snapshots = snapshot.Snapshots(Path(state), Path(here))
now = sync.Sync(snapshots, remote.RemoteFolder(link, workspace, there))
if verb == "push":
    now.push(snapshots.take(), 9)
else:
    now.pull(9)
link.close()
"""

PUSH = ["Keeper._write:before", "Keeper._write", "Pack.finish:before", "Pack.finish", "Snapshots.take", "RemoteProcess.start", "RemoteProcess.write", "RemoteProcess.close_stdin",
        "RemoteFolder.apply", "Applied.write:before", "Applied.write"]  # fmt: skip
PULL = ["RemoteFolder.changes", "RemoteFolder.get", "Objects.put_file", "LocalFolder.write", "LocalFolder.delete",
        "RemoteFolder.apply", "Applied.write:before", "Applied.write"]  # fmt: skip


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLink]:
    with link_at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, link: CutLink) -> Place:
    made = Place(tmp_path, link)
    made.push()
    return made


def client(place: Place, verb: str, stage: str, *wrap: str) -> subprocess.CompletedProcess[str]:
    argv = [
        sys.executable,
        "-c",
        CLIENT,
        place.state,
        place.here,
        place.there,
        place.id,
        verb,
        stage,
    ]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    words = [*wrap, *map(str, argv)]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("stage", PUSH)
def test_a_push_that_is_killed_is_finished_by_the_next(place: Place, stage: str) -> None:
    (place.here / "train.py").write_text("changed\n")
    (place.here / "new.bin").write_bytes(os.urandom(1 << 20))
    (place.here / "data.csv").unlink()
    (place.there / "made.json").write_text("{}")
    killed = client(place, "push", stage)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name, text in (("train.py", "one\ntwo\nthree\nfour\nfive\n"), ("data.csv", "a,b\n")):
        found = place.there / name
        assert not found.exists() or found.read_text() in (text, "changed\n")
    assert place.push().applied.conflicts == {}
    assert (place.there / "made.json").read_text() == "{}"
    (place.there / "made.json").unlink()
    place.assert_same()


@pytest.mark.parametrize("stage", PULL)
def test_a_pull_that_is_killed_is_finished_by_the_next(place: Place, stage: str) -> None:
    (place.there / "train.py").write_text("one\ntwo\nthree\nfour\nFIVE\n")
    (place.there / "made.json").write_text("{}")
    (place.there / "data.csv").unlink()
    (place.here / "train.py").write_text("ONE\ntwo\nthree\nfour\nfive\n")
    (place.here / "more.py").write_text("more\n")
    killed = client(place, "pull", stage)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert place.pull().applied.conflicts == {}
    assert (place.here / "train.py").read_text() == "ONE\ntwo\nthree\nfour\nFIVE\n"
    assert (place.here / "made.json").read_text() == "{}"
    assert not (place.here / "data.csv").exists()
    place.assert_same()


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_full_disk_here_changes_nothing_and_is_named(place: Place, verb: str) -> None:
    """The disk of the snapshots, a file system of its own, is full; so the sync has nothing to send or to merge with."""
    side = place.here if verb == "push" else place.there
    (side / "big.bin").write_bytes(os.urandom(3 << 20))
    here, there = place.contents(place.here), place.contents(place.there)
    full = 'mount -t tmpfs -o size=1m tmpfs "$0" && cp -a "$1"/. "$0" && shift && exec "$@"'
    copy = place.state.with_name("copy")
    place.state.rename(copy)
    place.state.mkdir()
    failed = client(
        place, verb, "", "unshare", "--mount", "sh", "-c", full, str(place.state), str(copy)
    )
    assert failed.returncode == 1 and "NoSpace" in failed.stderr, failed.stderr
    assert (place.contents(place.here), place.contents(place.there)) == (here, there)
    place.state.rmdir()
    copy.rename(place.state)
    assert place.pull().applied.conflicts == {}
    place.assert_same()


def test_the_code_of_a_run_comes_whole_through_cuts_or_not_at_all(
    link: CutLink, tmp_path: Path
) -> None:
    root = tmp_path / "digits"
    root.mkdir()
    data = os.urandom(3 << 20)
    (root / "model.bin").write_bytes(data)
    (root / "train.py").write_text("x = 1\n")
    copies = Copies(tmp_path / "home")
    code = copies.take(root, "box")
    asked: list[int] = []

    def cut_off_twice() -> bool:
        asked.append(1)
        if len(asked) in (4, 8):
            link.cut()
        return True

    def not_for_long() -> bool:
        asked.append(1)
        return len(asked) < 6

    with pytest.raises(Cancelled):
        copies.lend(code, link, not_for_long)
    asked.clear()
    lent = copies.lend(code, link, cut_off_twice)
    assert len(asked) > 12, "all of it was sent: nothing was kept of what was called off"
    copy = Copy(lent.to_dict(), f"cut-{root.parent.name}", 1)
    try:
        copy.make()
        assert Path(copy.folder, "model.bin").read_bytes() == data
    finally:
        remove_all()
    assert not Path(copy.folder).exists()
