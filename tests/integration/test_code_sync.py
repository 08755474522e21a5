"""Code on a machine and back: exact, both ways, and no side loses anything."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cloudbox.commands import wait_until

from jupyter_cloudml.errors import Cancelled, Conflict, ProtocolError
from jupyter_cloudml.workspaces.coming import Came, Coming
from jupyter_cloudml.workspaces.guard import LargeFiles
from jupyter_cloudml.workspaces.onhost.tree import Tree, blob_of
from jupyter_cloudml.workspaces.remote import RemoteFolder
from jupyter_cloudml.workspaces.sync import Sync

from .code_place import Place
from .links import CutLink, link_at
from .repositories import git


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLink]:
    with link_at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, link: CutLink) -> Place:
    return Place(tmp_path, link)


def test_what_is_here_is_there_and_goes_on_being_so(place: Place) -> None:
    odd = ["a b", "é.py", "new\nline", "-dash", "pkg/deep/er/x.py"]
    for name in odd:
        path = place.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (place.here / "run.sh").write_text("#!/bin/sh\n")
    (place.here / "run.sh").chmod(0o755)
    (place.here / "link").symlink_to("train.py")
    (place.here / "noise.log").write_text("no")
    first = place.push()
    assert (first.sent, first.dropped, first.applied.conflicts) == (len(odd) + 5, 0, {})
    place.assert_same()
    assert not (place.there / "noise.log").exists()

    (place.here / "train.py").write_text("changed\n")
    (place.here / "data.csv").unlink()
    (place.here / "pkg/deep/er/x.py").unlink()
    (place.here / "pkg/deep/er").rmdir()
    (place.here / "pkg/deep/er").write_text("a file now")
    (place.here / "run.sh").chmod(0o644)
    (place.here / "link").unlink()
    (place.here / "link").mkdir()
    (place.here / "link" / "inside").write_text("x")
    second = place.push()
    assert (second.sent, second.dropped) == (4, 3)
    place.assert_same()


def test_a_program_that_waits_for_a_first_push_is_used_or_ended(place: Place) -> None:
    def programs() -> list[Any]:
        rows = place.link.call("list")
        return [row for row in rows if row["labels"].get("purpose") == "code"]

    (place.here / "big.bin").write_bytes(b"x" * 5000)
    sync = place.sync()
    with pytest.raises(LargeFiles), sync.expected():
        place.snapshots().take(limit=2000)
    wait_until(lambda: not programs(), "its end", 30)
    with sync.expected():
        assert sync.push(place.snapshots().take(), 1).sent == 4
    with sync.expected():
        assert programs() == [], "nothing is expected of a machine that has the code"
    place.assert_same()


def test_an_unchanged_tree_asks_nothing_of_the_machine(place: Place) -> None:
    first = place.push()
    place.link.hold()
    place.link.cut()
    again = place.push()
    assert (again.sent, again.snapshot, again.applied) == (0, first.snapshot, first.applied)
    place.link.let_go()


def test_what_was_made_and_changed_on_the_machine_comes_back(place: Place) -> None:
    place.push()
    (place.there / "results").mkdir()
    (place.there / "results" / "metrics.json").write_text("{}")
    (place.there / "plot.sh").write_text("#!/bin/sh\n")
    (place.there / "plot.sh").chmod(0o755)
    (place.there / "data.csv").unlink()
    (place.there / "noise.log").write_text("ignored")
    (place.there / "__pycache__").mkdir()
    (place.there / "__pycache__" / "x.pyc").write_text("ignored")
    (place.there / "train.py").write_text("one\ntwo\nthree\nfour\nFIVE\n")
    (place.here / "train.py").write_text("ONE\ntwo\nthree\nfour\nfive\n")
    (place.here / "more.py").write_text("more")
    done = place.pull()
    assert sorted(done.pulled.taken) == ["plot.sh", "results/metrics.json", "train.py"]
    assert (list(done.pulled.deleted), done.applied.conflicts) == (["data.csv"], {})
    assert (place.here / "train.py").read_text() == "ONE\ntwo\nthree\nfour\nFIVE\n"
    assert not (place.here / "noise.log").exists() and not (place.here / "__pycache__").exists()
    (place.there / "noise.log").unlink()
    (place.there / "__pycache__" / "x.pyc").unlink()
    place.assert_same()
    assert place.pull().pulled.taken == []
    assert place.push().sent == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_merged_may_be_run_if_either_side_says_so(place: Place, there: bool) -> None:
    place.push()
    (place.there / "train.py").write_text("one\ntwo\nthree\nfour\nFIVE\n")
    (place.here / "train.py").write_text("ONE\ntwo\nthree\nfour\nfive\n")
    ((place.there if there else place.here) / "train.py").chmod(0o755)
    assert place.pull().applied.conflicts == {}
    assert os.access(place.here / "train.py", os.X_OK)
    assert (place.here / "train.py").read_text() == "ONE\ntwo\nthree\nfour\nFIVE\n"
    place.assert_same()


def test_a_conflict_leaves_both_sides_and_is_named_until_they_agree(place: Place) -> None:
    (place.here / "gone.py").write_text("x")
    place.push()
    (place.there / "train.py").write_text("theirs\n")
    (place.here / "train.py").write_text("ours\n")
    (place.there / "both.py").write_text("theirs\n")
    (place.here / "both.py").write_text("ours\n")
    (place.there / "gone.py").unlink()
    (place.here / "gone.py").write_text("still wanted")
    for _ in range(2):
        done = place.pull()
        assert sorted(done.applied.conflicts) == ["both.py", "gone.py", "train.py"]
        assert (
            (place.here / "train.py").read_text()
            == (place.here / "both.py").read_text()
            == "ours\n"
        )
        assert (place.there / "train.py").read_text() == "theirs\n"
        assert not (place.there / "gone.py").exists()
    assert sorted(place.push().applied.conflicts) == ["both.py", "gone.py", "train.py"]
    (place.here / "train.py").write_text("theirs\n")
    (place.there / "both.py").write_text("ours\n")
    (place.here / "gone.py").unlink()
    assert place.push().applied.conflicts == {}
    place.assert_same()


def test_a_change_on_the_machine_is_never_overwritten_by_a_push(place: Place) -> None:
    place.push()
    (place.there / "train.py").write_text("made there\n")
    (place.there / "data.csv").write_text("made there too\n")
    (place.there / "new.py").write_text("and this\n")
    (place.here / "train.py").write_text("made here\n")
    (place.here / "data.csv").unlink()
    (place.here / "new.py").mkdir()
    (place.here / "new.py" / "x").write_text("a folder here")
    done = place.push()
    assert sorted(done.applied.conflicts) == ["data.csv", "new.py/x", "train.py"]
    assert (place.there / "train.py").read_text() == "made there\n"
    assert (place.there / "data.csv").read_text() == "made there too\n"
    assert (place.there / "new.py").read_text() == "and this\n"


def test_a_change_of_the_same_size_is_seen_although_its_time_was_put_back(place: Place) -> None:
    place.push()
    (place.here / "more.py").write_text("x")
    wait_until(lambda: time.time() > place.there.stat().st_mtime + 0.1, "another time", 30)
    place.push()
    changed = place.there / "data.csv"
    before = changed.stat().st_mtime_ns
    changed.write_text("A,B\n")
    os.utime(changed, ns=(before, before))
    (place.here / "data.csv").write_text("longer\n")
    assert list(place.push().applied.conflicts) == ["data.csv"]
    assert changed.read_text() == "A,B\n"


def test_links_on_the_machine_lead_nowhere_else(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.py").write_text("keep")
    (place.here / "pkg").mkdir()
    (place.here / "pkg" / "x.py").write_text("one")
    place.push()
    (place.there / "pkg" / "x.py").unlink()
    (place.there / "pkg").rmdir()
    (place.there / "pkg").symlink_to(outside)
    (place.here / "pkg" / "x.py").write_text("two")
    (place.here / "pkg" / "y.py").write_text("new")
    assert sorted(place.push().applied.conflicts) == ["pkg/x.py", "pkg/y.py"]
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("x.py", "keep")]


@pytest.mark.parametrize(
    "path",
    ["../out", "/tmp/out", ".git/hooks/post-checkout", "a/../../out", "x/.GIT/config", "a\0b", ""],
)
def test_a_machine_that_lies_writes_nothing_outside(
    place: Place, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    place.push()
    before = place.contents(place.here.parent)
    real = RemoteFolder._call
    lies: dict[str, Any] = {}

    def call(self: RemoteFolder, verb: str, *rest: Any) -> Any:
        answer: dict[str, Any] = real(self, verb, *rest)
        return answer if verb == "get" else {**answer, **lies.get(verb, {})}

    class Lying(Coming):
        def close(self) -> None:
            super().close()
            self.files += lies.get("get", [])

    monkeypatch.setattr(RemoteFolder, "_call", call)
    monkeypatch.setattr("jupyter_cloudml.workspaces.remote.Coming", Lying)
    one = {"changed": [["x", "100644", 1]]}
    lying: list[dict[str, Any]] = [
        {"changes": {"changed": [[path, "100755", 4]]}},
        {"changes": {"gone": [path]}},
        {"changes": one, "get": [Came(path, "100644", "0" * 40, place.here / "train.py")]},
        {"changes": one, "get": [Came("train.py", "100644", "0" * 40, place.here / "train.py")]},
    ]
    for told in lying:
        lies.update(told)
        with pytest.raises(ProtocolError, match="not in its folder"):
            place.pull()
    assert place.contents(place.here.parent).keys() >= before.keys()
    assert place.contents(place.here) == {
        name.removeprefix("code/"): found
        for name, found in before.items()
        if name.startswith("code/") and "/.git/" not in name
    }


@pytest.mark.parametrize("there", [True, False])
def test_conflicts_are_settled_by_taking_one_side(place: Place, there: bool) -> None:
    (place.here / "gone.py").write_text("x")
    place.push()
    (place.there / "train.py").write_text("theirs\n")
    (place.here / "train.py").write_text("ours\n")
    (place.there / "gone.py").unlink()
    (place.here / "gone.py").write_text("still wanted")
    assert sorted(place.pull().applied.conflicts) == ["gone.py", "train.py"]
    done = place.sync().settle(["gone.py", "train.py"], there=there, now_ms=9)
    assert done.applied.conflicts == {}
    assert (place.here / "train.py").read_text() == ("theirs\n" if there else "ours\n")
    assert (place.here / "gone.py").exists() is not there
    place.assert_same()


def test_a_file_that_cannot_be_taken_stays_on_the_machine(place: Place) -> None:
    place.push()
    (place.there / "data.csv").write_text("theirs\n")
    git(place.here, "rm", "-q", "--cached", "data.csv")
    (place.here / ".gitignore").write_text("*.log\ndata.csv\n")
    (place.here / "big.bin").write_bytes(b"x" * 5000)
    place.sync().push(place.snapshots().take(leave=["big.bin"]), 2)
    done = place.sync().settle(["data.csv"], there=True, now_ms=9, leave=["big.bin"])
    assert list(done.applied.conflicts) == ["data.csv"] and not done.pulled.taken
    assert (place.there / "data.csv").read_text() == "theirs\n"
    assert (place.here / "data.csv").read_text() == "a,b\n"
    assert not (place.there / "big.bin").exists(), "what was decided holds"


def test_two_computers_that_send_to_one_folder_wait_for_each_other(place: Place) -> None:
    first, second = os.urandom(600_000), b"second"
    begun = place.there / ".cloudml-new" / "0"
    go_on = threading.Event()

    def row(path: str, data: bytes) -> list[Any]:
        return [path, "100644", blob_of(data), len(data), None, None]

    def contents() -> Iterator[bytes]:
        yield zlib.compress(first)
        go_on.wait(60)
        yield zlib.compress(second)

    def send(remote: RemoteFolder, put: list[list[Any]], data: Iterable[bytes]) -> None:
        done.append(remote.apply(None, "0" * 40, put, [], data)["conflicts"])

    done: list[list[str]] = []
    one, other = (RemoteFolder(place.link, place.id + n, str(place.there)) for n in "ab")
    put = [row("a0", first), row("a1", second)]
    threads = [threading.Thread(target=send, args=(one, put, contents()))]
    threads.append(
        threading.Thread(target=send, args=(other, [row("b0", b"b")], [zlib.compress(b"b")]))
    )
    threads[0].start()
    wait_until(begun.exists, "the first file of one", 30)
    threads[1].start()
    threads[1].join(1.0)
    assert begun.exists() and not (place.there / "b0").exists()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert done == [[], []]
    found = {name: (place.there / name).read_bytes() for name in ("a0", "a1", "b0")}
    assert found == {"a0": first, "a1": second, "b0": b"b"}


def test_files_that_go_while_they_are_listed_are_no_error(tmp_path: Path) -> None:
    for name in ("stays", "goes", "gone/inside"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with closing(Tree(str(tmp_path))) as tree:
        listed = tree.walk()
        first, _ = next(listed)
        for name in {"stays", "goes"} - {first}:
            (tmp_path / name).unlink()
        shutil.rmtree(tmp_path / "gone")
        assert list(listed) == []


def test_a_cut_in_the_middle_costs_nothing(place: Place) -> None:
    for number in range(40):
        (place.here / f"f{number}.bin").write_bytes(os.urandom(200_000))
    drops = place.link.drops
    cutter = threading.Timer(0.15, place.link.cut)
    cutter.start()
    done = place.push()
    cutter.join()
    assert done.applied.conflicts == {} and place.link.drops > drops
    place.assert_same()


def test_a_push_that_is_called_off_leaves_the_folder_as_it_was(place: Place) -> None:
    place.push()
    before = place.contents(place.there)
    (place.here / "train.py").write_text("changed\n")
    (place.here / "big.bin").write_bytes(os.urandom(3_000_000))
    cancelled = threading.Event()
    cancelled.set()
    remote = RemoteFolder(place.link, place.id, str(place.there), cancelled)
    with pytest.raises(Cancelled):
        Sync(place.snapshots(), remote).push(place.snapshots().take(), 2)
    assert place.contents(place.there) == before
    assert place.push().sent == 2
    place.assert_same()


def test_a_machine_that_has_forgotten_is_told_anew_and_keeps_its_changes(
    place: Place,
) -> None:
    place.push()
    code = Path(place.link.info["home"], ".cache/jupyter-cloudml/code")
    state = code / place.id / "state.json"
    assert code.stat().st_mode & 0o777 == state.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(state.read_text())["tree"] == place.sync().applied.tree
    state.unlink()
    (place.there / "data.csv").write_text("made there\n")
    (place.here / "train.py").write_text("changed\n")
    done = place.push()
    assert list(done.applied.conflicts) == []
    assert (place.there / "train.py").read_text() == "changed\n"
    assert (place.there / "data.csv").read_text() == "made there\n", "nobody changed it here"
    assert place.pull().pulled.taken == ["data.csv"]
    place.assert_same()


@pytest.mark.parametrize(
    "lost", ["snapshot.json", "applied-*", "known.json", "code.git/objects/??"]
)
def test_what_a_failing_computer_has_lost_stops_no_sync(place: Place, lost: str) -> None:
    place.push()
    (place.there / "made.csv").write_text("made there\n")
    for path in place.state.glob(lost):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.write_bytes(b"")
    (place.here / "new.py").write_text("new\n")
    assert place.push().applied.conflicts == {}
    assert (place.there / "made.csv").read_text() == "made there\n"
    assert place.pull().pulled.taken == ["made.csv"]
    place.assert_same()


def test_a_folder_that_was_deleted_on_the_machine_is_made_again(place: Place) -> None:
    place.push()
    shutil.rmtree(place.there)
    (place.here / "train.py").write_text("changed\n")
    assert place.push().applied.conflicts == {}
    place.assert_same()


def test_a_folder_that_was_emptied_on_the_machine_deletes_nothing_here(place: Place) -> None:
    place.push()
    before = place.contents(place.here)
    for path in place.there.iterdir():
        path.unlink()
    with pytest.raises(Conflict, match="all 3 files of the code are gone") as caught:
        place.pull()
    assert caught.value.code == "emptied" and place.contents(place.here) == before
    place.there.rmdir()  # what the hint says
    place.pull()
    assert place.contents(place.here) == before
    place.assert_same()


def test_large_files_on_the_machine_stay_there_and_are_named(place: Place) -> None:
    place.push()
    (place.there / "model.bin").write_bytes(b"x" * 5000)
    (place.there / "small.bin").write_bytes(b"x")
    done = place.pull(limit=2000)
    assert (list(done.pulled.taken), list(done.pulled.large)) == (["small.bin"], ["model.bin"])
    assert not (place.here / "model.bin").exists() and (place.there / "model.bin").exists()


def memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_a_large_file_comes_back_in_little_memory_on_both_sides(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 256 << 20
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nulimit -v 262144\nexec {place.link.info["python"]} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setitem(place.link.info, "python", str(wrapper))
    place.push()
    with (place.there / "big.bin").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(size)
    (place.there / "train.py").write_text("one\ntwo\nthree\nfour\nFIVE\n")
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_kb("VmRSS")
    done = place.pull(limit=2 * size)
    assert sorted(done.pulled.taken) == ["big.bin", "train.py"] and done.sent == 0
    assert memory_kb("VmHWM") - before < 150_000
    assert (place.here / "big.bin").stat().st_size == size
    assert (place.here / "big.bin").read_bytes()[: 1 << 20] == (
        place.there / "big.bin"
    ).read_bytes()[: 1 << 20]
    assert not (place.state / "incoming").exists()
    assert place.pull(limit=2 * size).pulled.taken == []
    (place.here / "big.bin").unlink()
    (place.there / "big.bin").unlink()
    shutil.rmtree(place.state)


def test_a_machine_that_sends_without_end_is_stopped_and_nothing_is_taken(place: Place) -> None:
    place.push()
    (place.there / "new.txt").write_text("n\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_cloudml.workspaces.remote.MAX_CONTENTS", 0)
        with pytest.raises(Cancelled):
            place.pull()
    assert not (place.here / "new.txt").exists() and not (place.state / "incoming").exists()
    assert place.pull().pulled.taken == ["new.txt"]
