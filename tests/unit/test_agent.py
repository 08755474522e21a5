"""The agent in this process: what must not end it, what it must not keep open, and what it must not lose."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.agent import gauges, hosts_program, joined, sockets
from jupyter_cloudml.agent.command import BACKLOG
from jupyter_cloudml.agent.connection import Connection
from jupyter_cloudml.agent.keeper import Keeper
from jupyter_cloudml.agent.loop import Loop
from jupyter_cloudml.agent.process import Process
from jupyter_cloudml.agent.protocol import (
    EOF,
    HELLO,
    RPC,
    STDIN,
    STDOUT,
    Record,
    Stream,
    pack,
    pack_json,
)
from jupyter_cloudml.agent.server import Agent, RPCError

PYTHON = [sys.executable, "-S", "-c"]


@pytest.fixture
def agent() -> Iterator[Agent]:
    """An agent whose loop the test turns."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="a") as folder:  # short enough for a socket
        made = Agent(Path(folder), "digest", -1, Keeper(None))
        yield made
        made.shutdown(stop_processes=True, grace_s=0)
        made.loop.run()
        for connection in list(made.connections):
            connection.close()
        for id in list(made.owned):
            made.forget(id)
        made.listener.close()


def turn(agent: Agent, until: Callable[[], Any], seconds: float = 20.0) -> None:
    """Turn the agent's loop until something is true."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        agent.loop.after(0.01, lambda: None)
        agent.loop.once()


class Client:
    """The other end of a connection to an agent that the test turns."""

    def __init__(self, agent: Agent, name: str) -> None:
        self.agent = agent
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        agent.connections.add(Connection(agent, [theirs.detach()], None))
        self._stream = Stream(self.sock.fileno())
        self._head = b""
        self.records: list[Record] = []
        self.send(*pack_json(HELLO, {"client": name}))

    def send(self, *records: bytes) -> None:
        """Send, the agent's loop turning meanwhile."""
        data = memoryview(b"".join(records))
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.agent.loop.once()

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one question."""
        self.send(*pack_json(RPC, {"id": 1, "method": method, "params": params}))
        turn(self.agent, lambda: [m for m in self.said() if "id" in m])
        answer: dict[str, Any] = [m for m in self.said() if "id" in m][-1]
        return answer

    def said(self) -> list[dict[str, Any]]:
        """All JSON messages so far, without the greeting."""
        self.receive()
        return [json.loads(r.data) for r in self.records if r.channel == RPC]

    def receive(self) -> list[Record]:
        """All records so far."""
        while len(self._head) < 11:
            try:
                self._head += self.sock.recv(11 - len(self._head))
            except BlockingIOError:
                return self.records
        with contextlib.suppress(BlockingIOError):
            self.records += self._stream.read() or []
        return self.records


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def output(agent: Agent, id: str) -> bytes:
    """What a process that has ended wrote to standard output."""
    records = [
        record
        for segment in agent.owned[id].journal.segments
        for record in segment.read(0, segment.size)[0]
    ]
    return b"".join(record.data for record in records if record.channel == STDOUT)


def test_a_command_that_reads_slowly_is_acknowledged_as_it_reads(agent: Agent) -> None:
    code = "import os, time\nwhile os.read(0, 65536): time.sleep(0.001)"
    row = agent.start([*PYTHON, code], stdin=True)
    with contextlib.closing(Client(agent, "slow")) as client:
        client.ask("attach", id=row["id"])
        for seq in range(1, 10):
            client.send(pack(row["number"], STDIN, bytes(1 << 20), seq=seq))
        turn(agent, lambda: max((r.ack for r in client.receive()), default=0) >= 5)


def test_the_last_words_of_a_command_whose_client_is_away_are_kept(agent: Agent) -> None:
    size = BACKLOG + 50_000
    row = agent.start(
        [
            *PYTHON,
            f"import os\nleft = {size}\nwhile left: left -= os.write(1, bytes(min(left, 65536)))",
        ]
    )
    turn(agent, lambda: agent.owned[row["id"]].finished)
    assert len(output(agent, row["id"])) == size


def test_a_start_that_fails_leaves_nothing_open(agent: Agent) -> None:
    before = descriptors()
    for argv in (["no-such-program"], ["echo", "a\0b"]):
        with pytest.raises(RPCError, match=argv[0]):
            agent.start(argv, stdin=True)
    with pytest.raises(ValueError, match="argv is empty"):
        agent.start([])
    assert descriptors() == before
    assert list((agent.base / "p").iterdir()) == []
    assert agent.owned == {}


def test_only_the_child_of_a_process_that_waits_is_joined(agent: Agent) -> None:
    holder = agent.start(["sh", "-c", "sleep 60 & read x"], stdin=True)
    folders = sorted(agent.base.joinpath("p").iterdir())

    def join(pid: int, process: str = holder["id"]) -> str:
        joins = {"process": process, "pid": pid, "connection_file": "/nowhere"}
        with pytest.raises(RPCError) as refused:
            agent.start(["python"], kind="kernel", joins=joins)
        assert refused.value.code == "gone"
        assert sorted(agent.base.joinpath("p").iterdir()) == folders, "nothing is left of it"
        return str(refused.value)

    child = wait_for(lambda: [p for p in pids() if joined.parent_of(p) == holder["pid"]])[0]
    assert "not kept" in join(child) and "not kept" in join(child, "nobody")
    agent.prewarm.offer(holder["id"], "kept:x", 60)
    assert "has ended" in join(os.getpid()) and "/nowhere" in join(child)
    agent.stop(holder["id"], 0)
    assert "not kept" in join(child)


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def wait_for(what: Callable[[], list[int]]) -> list[int]:
    deadline = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < deadline
    return found


def test_a_process_that_has_ended_keeps_no_file_open(agent: Agent) -> None:
    before = descriptors()
    row = agent.start(["cat"], stdin=True)
    with contextlib.closing(Client(agent, "c")) as client:
        client.ask("attach", id=row["id"])
        client.send(pack(row["number"], STDIN, b"in", seq=1), pack(row["number"], EOF, b"", seq=2))
        turn(agent, lambda: agent.owned[row["id"]].finished)
    turn(agent, lambda: not agent.connections)
    assert output(agent, row["id"]) == b"in"
    assert descriptors() == before


def test_a_process_whose_pid_cannot_be_written_down_is_a_start_that_failed(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()
    process = Process(tmp_path, {"id": "a", "number": 1, "kind": "command"})
    with pytest.raises(OSError, match="pid"):
        process.launch(["true"], {}, "/", 0, 1, 2)


def test_a_kernel_that_cannot_be_kept_ready_does_not_end_the_agent(agent: Agent) -> None:
    agent.prewarm.configure("k", ["no-such-program"], count=1)
    row = agent.start(["true"])
    turn(agent, lambda: agent.owned[row["id"]].finished)
    assert list(agent.owned) == [row["id"]]


def test_kernels_that_end_at_once_are_not_started_for_ever(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.prewarm.configure("k", [*PYTHON, "raise SystemExit(1)", "{connection_file}"], count=1)
    turn(agent, lambda: "do not start" in capsys.readouterr().err)
    agent.prewarm.refill()
    assert agent.owned == {}


def test_what_cannot_be_read_of_a_process_is_left_to_the_next_agent(agent: Agent) -> None:
    unreadable, empty = agent.base / "p" / "a", agent.base / "p" / "b"
    (unreadable / "spec.json").mkdir(parents=True)
    empty.mkdir()
    agent._adopt_all()
    assert unreadable.exists()
    assert not empty.exists()


def test_an_upgrade_to_nothing_is_refused(agent: Agent) -> None:
    with pytest.raises(ValueError, match="no agent"):
        agent.upgrade("/nowhere", "agent", "digest")


def test_a_client_that_has_gone_before_it_was_greeted_is_not_counted(agent: Agent) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(agent.base / "ctl"))
        sock.send(b"s")
    before = descriptors()
    turn(agent, lambda: descriptors() > before)
    turn(agent, lambda: descriptors() == before)
    assert agent.connections == set()


def test_another_users_folder_of_tmp_is_not_used_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = 10**9 + os.getpid()
    folder = Path(f"/tmp/cloudml-{user}")
    monkeypatch.setattr(os, "getuid", lambda: user)
    folder.mkdir(mode=0o700)
    try:
        for place in (sockets.control, sockets.of_kernel):
            assert str(place(Path("/home/a"))).startswith("/home/a/")
            with pytest.raises(OSError, match="not a private folder"):
                place(tmp_path / ("x" * 100))
    finally:
        folder.rmdir()


def test_a_full_pipe_is_looked_at_by_one_timer(agent: Agent) -> None:
    down, up = os.pipe()
    other, unused = os.pipe()
    connection = Connection(agent, [other, up], None)
    connection.stream.out.append(bytes(8 << 20))
    waiting = len(agent.loop._timers)
    for _ in range(50):
        connection.pump()
    assert len(agent.loop._timers) <= waiting + 1
    read = 0
    os.set_blocking(down, False)

    def sent() -> bool:
        nonlocal read
        with contextlib.suppress(BlockingIOError):
            read += len(os.read(down, 1 << 20))
        return not connection.stream.out

    turn(agent, sent)
    assert read > 7 << 20
    connection.close()
    os.close(down)
    os.close(unused)


def test_a_client_is_told_at_once_that_another_has_taken_its_process(agent: Agent) -> None:
    row = agent.start(["sleep", "60"])
    closing = contextlib.closing
    with closing(Client(agent, "first")) as first, closing(Client(agent, "second")) as second:
        first.ask("attach", id=row["id"])
        second.ask("attach", id=row["id"])
        turn(agent, lambda: [m for m in first.said() if m.get("detached") == row["id"]], seconds=2)


def test_a_search_that_cannot_be_started_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    answers: list[Any] = []
    loop, before = Loop(), descriptors()
    hosts_program.run(loop, answers.append)
    assert answers[0]["error"]["code"] == "os_error"
    assert descriptors() == before


def test_a_process_that_this_user_may_not_end_is_logged_and_the_agent_lives(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = agent.start(["sleep", "60"])

    def refuse(
        pid: int, number: int
    ) -> None:  # to root, under whom tests may run, nothing is refused
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", refuse)
        agent.owned[row["id"]].stop(5)
    assert "may not be ended" in capsys.readouterr().err


def test_what_a_process_has_started_in_a_session_of_its_own_counts_for_it() -> None:
    rows = [
        (1, 0, 1, 1.0, 10),  # init
        (5, 1, 5, 1.0, 10),  # the agent
        (7, 5, 7, 2.0, 100),  # a run's runner, and a child of it
        (8, 7, 7, 1.0, 50),
        (9, 7, 9, 4.0, 1000),  # its kernel, with a child
        (10, 9, 9, 8.0, 2000),
        (11, 5, 11, 3.0, 7),  # another run
        (20, 21, 20, 1.0, 1),  # two that cannot be: each has started the other
        (21, 20, 21, 1.0, 1),
    ]
    found = gauges.gather(rows)
    assert (found[7].seconds, found[7].memory, sorted(found[7].pids)) == (15.0, 3150, [7, 8, 9, 10])
    assert (found[9].seconds, found[11].seconds) == (12.0, 3.0)
    assert found[20].seconds == 2.0
