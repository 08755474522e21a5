"""A command whose output is read as it comes, on the agent of this computer."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudbox.commands import wait_until

from jupyter_cloudml.errors import AgentError, LinkDown
from jupyter_cloudml.link.bootstrap import local_connect
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.link.process import Ended, LinkChange, Output, RemoteProcess


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    made = Link("local", local_connect())
    made.open(20)
    yield made
    made.close()
    last = Link("local", local_connect())
    last.open(20)
    last.call("shutdown", stop_processes=True, grace_s=0)
    last.close()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def read_all(process: RemoteProcess) -> tuple[bytes, bytes, Ended, int]:
    out: list[bytes] = []
    err: list[bytes] = []
    cuts = 0
    while True:
        said = process.read(30)
        assert said is not None, "the command says nothing"
        if isinstance(said, Ended):
            return b"".join(out), b"".join(err), said, cuts
        if isinstance(said, LinkChange):
            cuts += not said.up
        else:
            (err if said.stderr else out).append(said.data)


def test_both_streams_come_unmixed_with_the_exit_code(link: Link) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(7)"
    process = RemoteProcess.start(link, python(code))
    assert read_all(process)[:2] == (b"out\n", b"err\n")
    process.forget()
    assert process.id not in {row["id"] for row in link.call("list")}


def test_output_comes_while_the_command_runs_and_input_goes_to_it(link: Link) -> None:
    code = "import sys\nfor line in sys.stdin: sys.stdout.write(line.upper()); sys.stdout.flush()"
    process = RemoteProcess.start(link, python(code), stdin=True)
    assert process.write(b"one\n", 10)
    assert process.read(30) == Output(False, b"ONE\n")
    assert process.read(0.05) is None
    process.close_stdin()
    assert read_all(process)[2].status == 0


def test_a_signal_ends_it_with_the_status_of_a_shell(link: Link) -> None:
    process = RemoteProcess.start(
        link, python("import os, time; os.write(1, b'1'); time.sleep(60)")
    )
    assert process.read(30) == Output(False, b"1")
    process.signal(signal.SIGINT)
    assert read_all(process)[2].status == 128 + signal.SIGINT


def test_a_command_that_cannot_be_started_is_named(link: Link) -> None:
    with pytest.raises(AgentError, match="no-such-program") as caught:
        RemoteProcess.start(link, ["no-such-program"])
    assert caught.value.code == "cannot_start"


def test_output_is_complete_and_once_when_the_link_is_cut_again_and_again(link: Link) -> None:
    lines, cuts = 200_000, 5
    process = RemoteProcess.start(link, python(f"for i in range({lines}): print(i)"))
    seen, up = b"", 1
    while not isinstance(said := process.read(30), Ended):
        assert said is not None
        if isinstance(said, LinkChange):
            up += said.up
        else:
            seen += said.data
            if up <= cuts and link.drops < up:  # one cut each time that it is up again
                link.call_soon(lambda: link._lost(None))
                wait_until(lambda want=up: link.drops == want, "the cut")  # type: ignore[misc]
    assert seen == b"".join(b"%d\n" % i for i in range(lines))
    assert link.drops == cuts


def test_a_reader_that_lags_makes_the_command_wait_instead_of_filling_memory(link: Link) -> None:
    size = 100 << 20
    code = f"import sys\nfor _ in range(100): sys.stdout.write('x' * {size // 100})"
    process = RemoteProcess.start(link, python(code))
    first = process.read(30)
    assert isinstance(first, Output)
    waits = threading.Event()
    held = []
    while (
        not waits.is_set()
    ):  # until the machine sends no more: everything up to the windows is here
        before = process._said.qsize()
        waits.wait(0.5)
        if process._said.qsize() == before:
            waits.set()
        held.append(process._said.qsize())
    assert process._attachment._bytes < 40 << 20
    (row,) = [row for row in link.call("list") if row["id"] == process.id]
    assert row["state"] == "running"
    out = read_all(process)[0]
    assert len(first.data) + len(out) == size


def test_a_closed_link_is_said_to_a_reader_that_waits(link: Link) -> None:
    process = RemoteProcess.start(link, python("import time; time.sleep(60)"))
    threading.Timer(0.2, link.close).start()
    with pytest.raises(LinkDown, match="closed"):
        read_all(process)
