"""Files of runs where several computers share a database: all of them read the same, and one at a time writes."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from databases import empty

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import Conflict, NotFound, UsageError
from jupyter_cloudml.jobs.attempts.run_files import RunFiles
from jupyter_cloudml.jobs.attempts.written import Written
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.jobs.notebooks import snapshots
from jupyter_cloudml.jobs.notebooks.records import Cursor, Record
from jupyter_cloudml.jobs.retention import UNUSED_MS, Keeper
from jupyter_cloudml.jobs.scheduler import runs_folder
from jupyter_cloudml.jobs.scheduling.executor import Order
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.computer import own_name
from jupyter_cloudml.store.jobs.files import PIECE, FileRepository
from jupyter_cloudml.store.jobs.runs import RunRepository

NB = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


class Computer:
    """A home of its own on the database of all."""

    def __init__(self, url: str, home: Path) -> None:
        self.home = home
        self.store = Store.open(Config(home=home, database=url))
        self.files = RunFiles(runs_folder(home), self.store.files)
        self.desk = Desk(self.store, home, lambda name: None, lambda folder, machine: None)

    def said(self, run_id: str) -> list[Record]:
        return list(self.files.log(run_id, 1).read())


@pytest.fixture(scope="module")
def url(postgres_server: str) -> Iterator[str]:
    with postgres.database(postgres_server, f"computers_{secrets.token_hex(4)}") as made:
        yield made


@pytest.fixture
def computers(url: str, tmp_path: Path) -> Iterator[tuple[Computer, Computer]]:
    one, other = (Computer(url, tmp_path / name) for name in ("one", "other"))
    empty(one.store)
    yield one, other
    one.store.close()
    other.store.close()


def a_run(computer: Computer) -> str:
    jobs = Jobs(computer.store)
    jobs.apply({"name": "nightly", "notebook": "a.ipynb", "machine": "box-2"})
    return jobs.run("nightly").id


def record(n: int) -> Record:
    return {"record": "output", "n": n}


def test_a_computer_with_a_home_is_the_same_each_time_and_another_with_another(
    tmp_path: Path, computers: tuple[Computer, Computer]
) -> None:
    names = {each.store.computer for each in computers}
    assert len(names) == 2
    assert own_name(tmp_path / "one") == computers[0].store.computer
    alone = Store.open(Config(home=tmp_path))
    assert alone.computer == "" and alone.files is None
    alone.close()


def test_records_go_on_on_another_computer_where_they_ended(
    computers: tuple[Computer, Computer],
) -> None:
    one, other = computers
    run_id = a_run(one)
    first = one.files.log(run_id, 1).open()
    first.append([record(1)], Cursor(1, 0))
    first.append([record(2)], Cursor(2, 0))
    assert other.said(run_id) == [record(1), record(2)]
    second = other.files.log(run_id, 1).open()
    assert second.cursor == Cursor(2, 0)
    second.append([record(3)], Cursor(3, 0))
    with pytest.raises(Conflict):  # it was taken for dead, and was not
        first.append([record(3)], Cursor(3, 0))
    first.close()
    assert first.open().cursor == Cursor(3, 0)
    first.append([record(4)], Cursor(4, 0))
    assert one.said(run_id) == other.said(run_id) == [record(n) for n in (1, 2, 3, 4)]
    files = [each.files.path(run_id, "1.jsonl").read_bytes() for each in computers]
    assert files[0] == files[1], "an offset means the same on each"
    reader = other.files.log(run_id, 1)
    assert reader.page(0, 2)[1] and reader.exists() and reader.size() == len(files[0])
    first.close()
    second.close()


def test_what_is_half_written_or_read_meanwhile_is_made_good(
    computers: tuple[Computer, Computer],
) -> None:
    one, _ = computers
    run_id = a_run(one)
    log = one.files.log(run_id, 1).open()
    log.append([record(1)], Cursor(1, 0))
    assert one.said(run_id) == [record(1)], "also another reader of this home"
    log.append([record(2)], Cursor(2, 0))
    log.close()
    path = one.files.path(run_id, "1.jsonl")
    path.write_bytes(path.read_bytes()[:-5])  # killed, or no room left
    assert one.said(run_id) == [record(1), record(2)]
    path.unlink()
    assert one.files.log(run_id, 1).open().cursor == Cursor(2, 0)


def test_what_was_written_before_there_were_others_is_given_to_them(
    computers: tuple[Computer, Computer],
) -> None:
    one, other = computers
    run_id = a_run(one)
    alone = RunFiles(one.files.folder, None).log(run_id, 1).open()
    alone.append([record(1)], Cursor(1, 0))
    alone.close()
    one.files.log(run_id, 1).open().close()
    assert other.said(run_id) == [record(1)]


def test_a_file_is_read_as_its_last_owner_wrote_it(computers: tuple[Computer, Computer]) -> None:
    one, other = computers
    run_id = a_run(one)
    one.files.write(run_id, "1.sent.json", b"first", 0)
    other.files.write(run_id, "1.sent.json", b"x" * (3 << 20), 0)
    assert one.files.read(run_id, "1.sent.json") == b"x" * (3 << 20)
    with pytest.raises(Conflict):
        one.files.write(run_id, "1.sent.json", b"late", 7)
    path = one.files.bring(run_id, "1.sent.json")
    assert path is not None and path.stat().st_size == 3 << 20
    other.files.remove(run_id, "1.sent.json")
    assert other.files.read(run_id, "1.sent.json") is None


def test_what_a_run_has_written_is_there_for_all(computers: tuple[Computer, Computer]) -> None:
    one, other = computers
    run_id = a_run(one)
    written = Written(one.files.path(run_id, "."), 1)
    data = base64.b64encode(b"made").decode()
    told = {"path": "nb/out", "bytes": 4, "sha256": hashlib.sha256(b"made").hexdigest()}
    pieces: list[Record] = [
        {"record": "file", "path": "nb/out", "at": 0, "data": data},
        {"record": "files", "files": [told], "left": [], "more": 0},
    ]
    records = written.without(pieces)
    order = Order(f"run-{run_id}-1", run_id, 1, 0, "box-2", "nightly", {})
    one.desk.results._written.keep(order, records)
    one.desk.results._written.keep(order, records)
    (row,) = one.store.results.artifacts(run_id)
    assert (row.kind, row.bytes) == ("file", 4)
    files = other.desk.results._written
    seen = files.told(run_id, 1)
    assert seen is not None and seen["files"] == [told]
    files.bring(run_id, 1)
    assert (Path(seen["folder"]) / "nb" / "out").read_bytes() == b"made"
    # One that goes on where the first pieces have come elsewhere has not got the file.
    late = Written(other.files.path(run_id, "."), 2).without([{**pieces[0], "at": 2}, pieces[1]])
    assert (late[0]["files"], late[0]["left"]) == ([], [told])


def test_files_whose_computer_was_killed_before_they_were_there_for_all_are_named(
    computers: tuple[Computer, Computer],
) -> None:
    one, other = computers
    run_id = a_run(one)
    data = {name: name.encode() * 4 for name in ("early", "late")}
    pieces: list[Record] = [
        {"record": "file", "path": name, "at": 0, "data": base64.b64encode(each).decode()}
        for name, each in data.items()
    ]
    told = [
        {"path": name, "bytes": len(each), "sha256": hashlib.sha256(each).hexdigest()}
        for name, each in data.items()
    ]
    last: Record = {"record": "files", "files": told, "left": [], "more": 0}
    records = Written(one.files.path(run_id, "."), 1).without([*pieces, last])
    one.files.write(run_id, "1.files/early", data["early"], 0)  # and then it is killed
    order = Order(f"run-{run_id}-1", run_id, 1, 0, "box-2", "nightly", {})
    files = other.desk.results._written
    with pytest.raises(NotFound):  # nothing is known to be whole
        one.desk.results._written.path(run_id, 1, "late")
    files.keep(order, records)
    seen = files.told(run_id, 1)
    assert seen is not None and (seen["files"], seen["left"]) == ([told[0]], [told[1]])
    assert [row.bytes for row in other.store.results.artifacts(run_id)] == [20]
    assert files.path(run_id, 1, "early").read_bytes() == data["early"]


def test_notebooks_are_there_for_all_and_go_with_their_last_run(
    computers: tuple[Computer, Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = computers
    path = one.home / "a.ipynb"
    path.write_text(json.dumps(NB))
    job = one.desk.create({"name": "weekly", "notebook": str(path), "machine": "box-2"})
    run = one.desk.run_notebook(path, {}, {"machine": "box-2"})
    assert run.snapshot_id is not None
    assert json.loads(other.desk.snapshots.of(run.snapshot_id)[1]) == NB
    kept = one.store.jobs.get("weekly").snapshot_id
    assert kept is not None and json.loads(other.desk.snapshots.of(kept)[1]) == NB
    brought = other.files.write_here("gone", "1.ipynb", b"{}")  # its run is deleted elsewhere

    class Later:
        def now_ms(self) -> int:
            return run.created_ms + 10 * UNUSED_MS

        def monotonic(self) -> float:
            return 0.0

    keeper = Keeper(other.store, other.home, Later())
    keeper.clean()
    assert not brought.parent.exists()
    assert other.desk.snapshots.of(kept), "its job is there"
    one.store.jobs.delete(job.name, 1)
    run_job = one.store.jobs.by_id(run.job_id)
    one.store.jobs.delete(run_job.name, 1)
    one.store.keeping.delete_runs([run.id], run.created_ms + 10 * UNUSED_MS)
    keeper.clean()
    assert other.store.files is not None
    ref = f"sha256:{next((one.home / 'jobs' / 'notebooks').iterdir()).stem}"
    assert other.store.files.notebook(ref) is None


def test_what_is_here_already_is_not_brought_again(
    computers: tuple[Computer, Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = computers
    run_id = a_run(one)
    data = b"x" * (PIECE + 1)
    one.files.write(run_id, "1.ipynb", data)
    one.files.write(run_id, "1.empty", b"")
    assert other.files.exists(run_id, "1.ipynb") and not other.files.exists(run_id, "2.ipynb")
    assert other.files.bring(run_id, "2.ipynb") is None
    brought = other.files.bring(run_id, "1.ipynb")
    empty_one = other.files.bring(run_id, "1.empty")
    assert brought is not None and brought.read_bytes() == data
    assert empty_one is not None and empty_one.read_bytes() == b""
    made = brought.stat().st_ino

    with monkeypatch.context() as patch:

        def read(*_: object) -> bytes:
            raise AssertionError("it is here")

        patch.setattr(FileRepository, "get", read)
        assert other.files.bring(run_id, "1.ipynb") == brought
        assert brought.stat().st_ino == made
    one.files.write(run_id, "1.ipynb", data + b"y")  # another attempt to keep it had more
    assert other.files.bring(run_id, "1.ipynb") == brought
    assert brought.read_bytes() == data + b"y"


def test_an_earlier_attempt_is_read_as_it_lies_here(
    computers: tuple[Computer, Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = computers
    run_id = a_run(one)
    first = one.files.write(run_id, "1.ipynb", b"{}")
    made = first.stat().st_ino
    monkeypatch.setattr(RunRepository, "attempts", lambda self, run: [None, None])
    assert one.desk.results.notebook(run_id, 1) == first
    assert first.stat().st_ino == made


def test_no_job_is_made_whose_notebook_cannot_be_kept(
    computers: tuple[Computer, Computer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = computers
    path = one.home / "a.ipynb"
    path.write_text(json.dumps(NB))
    monkeypatch.setattr(snapshots, "MAX_FILE", 1)
    with pytest.raises(UsageError) as caught:
        one.desk.create({"name": "weekly", "notebook": str(path), "machine": "box-2"})
    assert caught.value.code == "too_large"
    assert one.store.jobs.page() == []
