"""The store of records: by kernel, by notebook once the kernel is gone, and bounded."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from frames import Talk

from jupyter_cloudml.errors import Busy, CloudMLError, NoFolder, NoSpace
from jupyter_cloudml.paths import unusable
from jupyter_cloudml_kernels.executions import WAITING, ExecutionStore
from jupyter_cloudml_kernels.record_log import RecordLog

JSON = dict[str, Any]
NOTEBOOK = "/home/ada/train.ipynb"


class Stores:
    """Stores on one folder, as servers one after the other have them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = self.again()

    def again(self, **limits: Any) -> ExecutionStore:
        if hasattr(self, "store"):
            self.store.close()
        self.store = ExecutionStore(self.folder / "executions", **limits)
        return self.store

    def log(self, kernel_id: str, path: str = NOTEBOOK, process: str = "p1") -> RecordLog:
        log = self.store.open_log(kernel_id, path)
        assert log is not None
        log.begin(process)
        return log

    def play(self, kernel_id: str, *runs: tuple[str, ...], path: str = NOTEBOOK) -> None:
        """Run (msg_id, cell, text...) on a kernel of this process."""
        talk = Talk()
        for run in runs:
            talk.runs(*run)
        talk.into(self.log(kernel_id, path))

    def end(self, kernel_id: str) -> None:
        done = self.store.end(kernel_id)
        assert done is not None
        done.result(10)

    def of(self, kernel_id: str, since: int = 0) -> JSON:
        return asyncio.run(self.store.snapshot(kernel_id, since))

    def at(self, path: str = NOTEBOOK, since: int = 0) -> JSON:
        return asyncio.run(self.store.snapshot_at(path, since))

    def acknowledge(self, kernel_id: str, *ids: str) -> None:
        asyncio.run(self.store.acknowledge(kernel_id, list(ids)))

    def acknowledge_at(self, path: str, *ids: str) -> None:
        asyncio.run(self.store.acknowledge_at(path, list(ids)))

    def folders(self) -> set[str]:
        return {path.name for path in (self.folder / "executions").iterdir()}


@pytest.fixture
def stores(tmp_path: Path) -> Any:
    stores = Stores(tmp_path)
    yield stores
    stores.store.close()


def texts(answer: JSON) -> dict[str, str]:
    return {
        e["msg_id"]: "".join(m["content"]["text"] for m in e["messages"])
        for e in answer["executions"]
    }


def test_an_unknown_kernel_and_notebook_have_an_empty_record(stores: Stores) -> None:
    empty: JSON = {"epoch": "", "notice": None, "seq": 0, "more": False, "executions": []}
    assert stores.of("nobody") == {"kernel_id": "nobody", **empty}
    assert stores.of("../../etc/passwd")["executions"] == []
    assert stores.at() == {"kernel_id": None, **empty}


def test_positions_stay_good_over_a_restart_of_the_server(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"))
    first = stores.of("k1")
    stores.again()
    log = stores.log("k1")
    talk = Talk()
    talk.runs("m2", "c2", "two")
    for channel, flags, seq, data in talk.rows:
        log.append(channel, flags, seq and seq + 100, data)
    second = stores.of("k1", first["seq"])
    assert second["epoch"] == first["epoch"] and texts(second) == {"m2": "two"}
    assert texts(stores.of("k1")) == {"m1": "one", "m2": "two"}


def test_a_page_is_told_of_each_change(stores: Stores) -> None:
    told: list[tuple[str, int]] = []
    unsubscribe = stores.store.subscribe(lambda kernel_id, seq: told.append((kernel_id, seq)))
    stores.play("k1", ("m1", "c1", "one"))
    assert told[-1] == ("k1", stores.of("k1")["seq"])
    unsubscribe()
    count = len(told)
    stores.play("k2", ("m1", "c1", "one"))
    assert len(told) == count


def test_what_a_saved_notebook_holds_is_not_given_again(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"), ("m2", "c2", "two"))
    stores.acknowledge("k1", "m1")
    assert texts(stores.of("k1")) == {"m2": "two"}
    stores.again()
    stores.log("k1")
    assert texts(stores.of("k1")) == {"m2": "two"}


def test_the_record_of_a_kernel_that_is_gone_is_found_by_its_notebook(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"), ("m2", "c2", "two"))
    stores.play("other", ("m9", "c9", "else"), path="/home/ada/other.ipynb")
    assert stores.at()["executions"] == [], "it is not gone"
    stores.end("k1")
    answer = stores.at()
    assert (answer["kernel_id"], texts(answer)) == ("k1", {"m1": "one", "m2": "two"})
    assert texts(stores.of("k1")) == {"m1": "one", "m2": "two"}
    stores.again()
    stores.acknowledge_at(NOTEBOOK, "m1")
    assert texts(stores.at()) == {"m2": "two"}
    stores.acknowledge_at(NOTEBOOK, "m2")
    assert stores.at()["executions"] == [] and stores.folders() == {"other"}


def test_a_server_killed_with_its_kernels_leaves_their_records(stores: Stores) -> None:
    code = """
import os, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_executions import Stores
stores = Stores(Path(sys.argv[1]))
stores.play("k1", ("m1", "c1", "one"))
os.kill(os.getpid(), 9)
"""
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", code, stores.folder, here.parent, here.parent.parent], timeout=60
    )
    assert done.returncode == -9
    assert texts(stores.at()) == {"m1": "one"}


def test_a_renamed_notebook_is_found_under_its_new_name(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"))
    stores.store.note_path("k1", "/home/ada/renamed.ipynb")
    stores.end("k1")
    assert (
        texts(stores.at("/home/ada/renamed.ipynb")) == {"m1": "one"}
        and not stores.at()["executions"]
    )


@pytest.mark.parametrize("after", ["running", "saved", "gone"])
def test_a_cell_that_ran_again_on_another_kernel_is_not_given_from_the_old_one(
    stores: Stores, after: str
) -> None:
    stores.play("k1", ("m1", "c1", "old"), ("m2", "c2", "only here"))
    stores.end("k1")
    stores.play("k2", ("m3", "c1", "new"))
    if after == "saved":
        stores.acknowledge("k2", "m3")
    if after == "gone":
        stores.end("k2")
        assert texts(stores.at()) == {"m3": "new"}
        stores.acknowledge_at(NOTEBOOK, "m3")
    assert texts(stores.at()) == {"m2": "only here"}


def test_two_processes_do_not_record_one_kernel(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"))
    other = ExecutionStore(stores.folder / "executions")
    assert other.open_log("k1", NOTEBOOK) is None
    assert asyncio.run(other.snapshot_at(NOTEBOOK))["executions"] == []
    stores.store.close_log("k1")
    deadline = time.monotonic() + 10
    while (log := other.open_log("k1", NOTEBOOK)) is None and time.monotonic() < deadline:
        os.sched_yield()
    assert log is not None and texts(asyncio.run(other.snapshot("k1"))) == {"m1": "one"}
    other.close()


def test_compaction_frees_what_was_overwritten_and_bounds_the_rest(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    stores.again(compact_after=200_000, limit=2_000_000)
    log = stores.log("k1")
    log._segment_size = 50_000
    talk = Talk()
    talk.request("m1", "c1")
    for i in range(1000):
        talk.display("m1", "x" * 2000, "bar", update=i > 0)
        talk.into(log)
    talk.stream("m1", "kept")
    talk.into(log)
    assert stores.of("k1")["executions"][0]["messages"][-1]["content"]["text"] == "kept"
    stores.store._worker.submit(lambda: None).result(20)
    assert log.size < 1_000_000, "999 of 1000 updates are of no use"

    for i in range(3000):
        talk.stream("m1", f"{i:06d}" + "y" * 1500)
        if i % 50 == 49:
            talk.into(log)
    talk.ends("m1")
    talk.into(log)
    stores.store._worker.submit(lambda: None).result(20)
    assert log.size < 2_500_000
    messages = answer_messages(stores)
    text = "".join(m["content"]["text"] for m in messages if m["type"] == "stream")
    assert "older output dropped" in text and text.endswith("2999" + "y" * 1500)
    numbers = [
        int(part[:6])
        for part in text.split("]\n", 1)[1].replace("kept", "").split("y" * 1500)
        if part
    ]
    assert numbers == list(range(numbers[0], 3000)) and len(numbers) > 500
    stores.store.close()


def answer_messages(stores: Stores) -> list[JSON]:
    since = 0
    messages: list[JSON] = []
    while True:
        answer = stores.of("k1", since)
        messages += answer["executions"][0]["messages"] if answer["executions"] else []
        since = answer["seq"]
        if not answer["more"]:
            return messages


def test_old_records_go_and_the_oldest_first(stores: Stores) -> None:
    for n in range(4):
        stores.play(f"k{n}", (f"m{n}", "c", "x" * 100_000), path=f"/home/ada/{n}.ipynb")
        stores.end(f"k{n}")
        for file in (stores.folder / "executions" / f"k{n}").glob("log-*"):
            os.utime(file, times=(time.time() - 1000 + n, time.time() - 1000 + n))
    stores.play("here", ("m", "c", "x" * 500_000))
    store = stores.again(keep_bytes=250_000, in_use=lambda: {"here"})
    asyncio.run(store.sweep())
    assert stores.folders() == {"k2", "k3", "here"}
    asyncio.run(stores.again(keep_s=999.5 - 2.0, in_use=lambda: {"here"}).sweep())
    assert stores.folders() == {"k3", "here"}
    asyncio.run(stores.again(keep_s=1, in_use=set).sweep())
    assert stores.folders() == {"here"}, "it is recent"


def test_an_index_that_is_ahead_of_the_log_begins_another_epoch(stores: Stores) -> None:
    stores.play("k1", ("m1", "c1", "one"), ("m2", "c2", "two"))
    before = stores.of("k1")
    stores.store.close()
    (segment,) = (stores.folder / "executions" / "k1").glob("log-*")
    os.truncate(segment, segment.stat().st_size // 2)
    stores.again()
    stores.log("k1")
    after = stores.of("k1")
    assert after["epoch"] != before["epoch"] and texts(after)["m1"] == "one"
    stores.again()
    stores.log("k1")
    assert stores.of("k1")["epoch"] == after["epoch"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"epoch": "x", "recorder": {}}', b"\xff"])
def test_an_index_that_cannot_be_read_is_made_again(stores: Stores, content: bytes) -> None:
    stores.play("k1", ("m1", "c1", "one"))
    stores.store.close()
    (stores.folder / "executions" / "k1" / "index.json").write_bytes(content)
    stores.again()
    stores.log("k1")
    assert texts(stores.of("k1")) == {"m1": "one"}


# -- a disk that fails, pages that ask too much ------------------------------------------------------


def test_a_record_that_cannot_be_written_is_no_defect(stores: Stores) -> None:
    stores.play("k1", ("m1", "cell-1", "one\n"))
    (stores.folder / "executions" / "k1" / "index.json").mkdir()  # nothing that can be replaced
    with pytest.raises(NoFolder, match="cannot be used") as caught:
        stores.acknowledge("k1", "m1")
    assert caught.value.status == 503 and caught.value.hint


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EROFS, NoFolder)],
)
def test_a_full_disk_is_told_from_a_folder_that_cannot_be_used(
    number: int, kind: type[CloudMLError], tmp_path: Path
) -> None:
    error = unusable(tmp_path, OSError(number, os.strerror(number)))
    assert type(error) is kind and str(tmp_path) in error.message and error.hint


def test_questions_beyond_a_number_are_refused(stores: Stores) -> None:
    stores.play("k1", ("m1", "cell-1", "one\n"))
    release = threading.Event()
    stores.store._worker.submit(release.wait, 30)

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(stores.store.snapshot("k1")) for _ in range(WAITING + 1)]
        await asyncio.sleep(0)  # all of them have been put
        release.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    *answers, refused = asyncio.run(ask())
    assert isinstance(refused, Busy) and refused.hint
    assert all(texts(answer) == {"m1": "one\n"} for answer in answers)
    assert texts(stores.of("k1")) == {"m1": "one\n"}, "there is room again"
