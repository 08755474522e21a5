"""What is kept of a server's kernels, and what a machine is asked to start."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.agent import messages, zmtp
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.locks import FileLock
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import launching, leftovers, machines, records
from jupyter_cloudml_kernels.messages import asks_for_restart
from jupyter_cloudml_kernels.records import KernelRecord, Slot
from jupyter_cloudml_kernels.running import Kernels, KernelView, exit_code, reason_of

RECORD = KernelRecord(
    "k1", "cloudml-box", "box", "run", "token", process="p1", key="secret", path="/x/é.ipynb"
)


@pytest.fixture
def slot(tmp_path: Path) -> Any:
    slot = Slot.take("/home/ada", tmp_path)
    yield slot
    slot.release()


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- records ---------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was(slot: Slot, tmp_path: Path) -> None:
    slot.begin(RECORD)
    slot.write(RECORD.but(intent="restart"))
    slot.begin(RECORD.but(kernel_id="../../k2", intent="start"))
    assert sorted(r.kernel_id for r in slot.records()) == ["../../k2", "k1"]
    slot.release()
    again = Slot.take("/home/ada", tmp_path)
    assert RECORD.but(intent="restart") in again.records()
    assert records.recorded_kernels(tmp_path) == {"k1", "../../k2"}
    again.forget("k1")
    assert [r.kernel_id for r in again.records()] == ["../../k2"]
    again.release()


def test_a_kernel_that_was_forgotten_stays_so_until_it_is_started_again(slot: Slot) -> None:
    slot.begin(RECORD)
    slot.forget("k1")
    slot.write(RECORD)  # of a thread that comes late
    assert slot.records() == []
    slot.begin(RECORD)
    assert slot.records() == [RECORD]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kernel_id": 1}',
        RECORD.to_bytes().replace(b'"run"', b'"walk"'),
        RECORD.to_bytes().replace(b'"k1"', b'""'),
    ],
)
def test_a_file_that_is_no_record_is_left_alone(
    slot: Slot, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    slot.begin(RECORD)
    (slot.folder / "k" / "other.json").write_bytes(content)
    assert slot.records() == [RECORD] and "other.json" in caplog.text
    assert (slot.folder / "k" / "other.json").read_bytes() == content


def test_fields_of_another_version_do_not_matter(slot: Slot) -> None:
    raw = {**json.loads(RECORD.to_bytes()), "later": 1}
    del raw["reason"], raw["cwd"]
    assert KernelRecord.from_bytes(json.dumps(raw).encode()) == RECORD


def test_only_their_owner_may_read_them(slot: Slot, tmp_path: Path) -> None:
    slot.begin(RECORD)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_servers_on_one_folder_have_slots_of_their_own(tmp_path: Path) -> None:
    first, second = Slot.take("/home/ada", tmp_path), Slot.take("/home/ada/.", tmp_path)
    other = Slot.take("/home/ada/work", tmp_path)
    assert first.folder.parent == second.folder.parent != other.folder.parent
    assert (first.folder.name, second.folder.name) == ("0", "1")
    assert len({first.database, second.database, other.database}) == 3
    first.release()
    again = Slot.take("/home/ada", tmp_path)
    assert again.folder == first.folder
    for each in (second, other, again):
        each.release()


def test_a_killed_server_leaves_its_slot_and_its_children_do_not_hold_it(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from pathlib import Path
from jupyter_cloudml_kernels.records import Slot
slot = Slot.take("/home/ada", Path(sys.argv[1]))
print(subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL).pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, timeout=60
    )
    child = int(done.stdout.split()[0])
    try:
        slot = Slot.take("/home/ada", tmp_path)
        assert slot.folder.name == "0"
        slot.release()
    finally:
        os.kill(child, 9)


def test_no_slot_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SLOTS", 1)
    slot = Slot.take("/home/ada", tmp_path)
    with pytest.raises(CloudMLError, match="1 servers run on /home/ada"):
        Slot.take("/home/ada", tmp_path)
    slot.release()


def test_a_record_that_cannot_be_forgotten_does_not_keep_others_from_it(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    store = Store.open(Config.from_environ())
    known = Machines(store, tmp_path / "home", keep=False)
    machines.use(known)
    left = leftovers.Leftovers(pause_s=0.01)
    try:
        stuck, other = RECORD.but(kernel_id="stuck"), RECORD.but(kernel_id="other")
        slot.write(stuck)
        (file,) = slot.folder.glob("k/*.json")
        file.unlink()
        file.mkdir()  # nothing that can be deleted as a file
        slot.write(other)
        left.end(stuck.but(machine="removed"), slot)
        left.end(other.but(machine="removed"), slot)
        wait_until(lambda: list(slot.folder.glob("k/*.json")) == [file])
        file.rmdir()
        wait_until(lambda: not any(t.name == "cloudml-leftovers" for t in threading.enumerate()))
    finally:
        machines.use(None)
        known.close()
        store.close()


def test_a_lock_is_one_holders(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.take() and first.take() and first.held
    assert not second.take() and not second.held
    first.release()
    first.release()
    assert second.take()
    second.release()


class Node:
    """What has a parent, as traitlets' configurables do."""

    def __init__(self, parent: object = None) -> None:
        self.parent = parent


def test_a_kernels_slot_is_that_of_its_server(slot: Slot) -> None:
    server = Node()
    records.assign(server, slot)
    assert records.slot_of(Node(Node(Node(server)))) is slot
    assert records.slot_of(Node(Node())) is None


# -- what is started -------------------------------------------------------------------------------

CONNECTION = "{connection_file}"


@pytest.mark.parametrize(
    ("argv", "python", "expected"),
    [
        (["python", "-f", CONNECTION], "/opt/py", ["/opt/py", "-f", CONNECTION]),
        (["python3.11", "-f", CONNECTION], "/opt/py", ["/opt/py", "-f", CONNECTION]),
        (["python", "-f", CONNECTION], None, ["python", "-f", CONNECTION]),
        (["R", "--slave", CONNECTION], "/opt/py", ["R", "--slave", CONNECTION]),
        (["pythonic", CONNECTION], "/opt/py", ["pythonic", CONNECTION]),
        (["{resource_dir}/k", "{prefix}", "{other}"], None, ["/spec/k", sys.prefix, "{other}"]),
    ],
)
def test_command(argv: list[str], python: str | None, expected: list[str]) -> None:
    assert launching.command(argv, python, "/spec") == expected


@pytest.mark.parametrize(
    ("cwd", "there", "expected"),
    [
        ("/home/ada/nb", None, ["/home/ada/nb"]),
        ("/home/ada/nb/x", "/users/ada", ["/home/ada/nb/x", "/users/ada/nb/x", "/users/ada"]),
        ("/home/ada", "/users/ada", ["/home/ada", "/users/ada"]),
        ("/srv/data", "/users/ada", ["/srv/data", "/users/ada"]),
        ("/home/adam", "/users/ada", ["/home/adam", "/users/ada"]),
    ],
)
def test_folders(cwd: str, there: str | None, expected: list[str]) -> None:
    assert launching.folders(cwd, "/home/ada", there) == expected


def test_the_folder_of_synced_code_comes_first() -> None:
    found = launching.folders("/home/ada/nb", "/home/ada", "/users/ada", "/srv/code/nb")
    assert found == ["/srv/code/nb", "/home/ada/nb", "/users/ada/nb", "/users/ada"]
    assert launching.folders("/home/ada/nb", "/home/ada", None, "/srv/code/nb") == ["/home/ada/nb"]


@pytest.mark.parametrize(
    ("code", "told"),
    [('{"tree": "ab"}', {"tree": "ab"}), ("", None), ("{", None), ("[]", None)],
)
def test_the_code_of_a_record_is_told_where_it_can_be_read(code: str, told: object) -> None:
    record = KernelRecord("k", "n", "box", "run", "t", code=code)
    assert KernelRecord.from_bytes(record.to_bytes()).code_started == told


def test_another_computer_is_told_little_of_this_ones_environment() -> None:
    here = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "HOME": "/home/ada",
        "LANG": "C",
        "JPY_SESSION_NAME": "/a",
        "PATH": "/bin",
    }
    spec = {"DATA": "${HOME}/data", "TOKEN": "$AWS_SECRET_ACCESS_KEY", "LANG": "de"}
    assert launching.remote_environment(here, spec, "/users/ada", "ada") == {
        "JPY_SESSION_NAME": "/a",
        "LANG": "de",
        "DATA": "/users/ada/data",
        "TOKEN": "$AWS_SECRET_ACCESS_KEY",
    }
    assert launching.local_environment({**here, "JPY_PARENT_PID": "1"}) == here


# -- how it ended ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit", "code", "reason"),
    [
        ({"code": 0}, 0, "ended with exit code 0"),
        ({"code": 3, "signal": None}, 3, "ended with exit code 3"),
        ({"code": None, "signal": 9}, -9, "ended by signal 9"),
        (
            {"code": None, "signal": 9, "oom": True, "peak_bytes": 3_100_000_000, "reason": "x"},
            -9,
            "ended for memory (peak 3.1 GB)",
        ),
        ({"code": None, "signal": None, "reason": "it was idle"}, 1, "it was idle"),
        ({}, 1, "ended with exit code None"),
    ],
)
def test_an_end_in_words_and_as_a_code(exit: dict[str, Any], code: int, reason: str) -> None:
    assert (exit_code(exit), reason_of(exit)) == (code, reason)


def test_a_listener_that_fails_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    kernels = Kernels()
    seen: list[KernelView] = []
    view = KernelView("k1", "box", None, "", "", "starting", 0)

    def broken(view: KernelView) -> None:
        raise RuntimeError("broken listener")

    unsubscribe = kernels.subscribe(broken)
    kernels.subscribe(seen.append)
    kernels.changed(view)
    unsubscribe()
    kernels.changed(view)
    assert seen == [view, view] and len(caplog.records) == 1
    assert view.to_dict()["exit"] is None


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("shutdown_request", {"restart": True}, True),
        ("shutdown_request", {"restart": False}, False),
        ("shutdown_request", {}, False),
        ("debug_request", {"say": "shutdown_request", "restart": True}, False),
    ],
)
def test_a_request_for_a_restart_is_told_from_others(
    kind: str, content: dict[str, Any], expected: bool
) -> None:
    request = messages.build(b"key", kind, content, [b"page"])
    assert asks_for_restart(request) is expected


@pytest.mark.parametrize("header", [b"{}", b"[]", b"}", b'{"msg_type": "shutdown_request"}'])
def test_what_is_no_message_asks_for_no_restart(header: bytes) -> None:
    parts = [messages.DELIMITER, b"", header, b"{}", b"{}", b'"shutdown_request"']
    for length in range(1, len(parts) + 1):
        assert not asks_for_restart(zmtp.message(parts[-1:] + parts[:length]))
