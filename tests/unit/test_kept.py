"""A kept connection: an agent may die between any two steps, and the next one goes on without a gap and without a repetition."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.journal import Journal
from jupyter_cloudml.agent.kept import LOW, KeptPeer, supported
from jupyter_cloudml.agent.protocol import IOPUB, ProtocolError

PARTS = st.binary(max_size=300) | st.integers(1, 200_000).map(lambda size: b"\0" * size)
MESSAGES = st.lists(st.lists(PARTS, min_size=1, max_size=4), min_size=1, max_size=8)
MOST_DEATHS = 30
DEATHS = st.lists(
    st.sampled_from(["never", "after the read", "in the journalling", "before the note"]),
    max_size=MOST_DEATHS,
)


class Agents:
    """One agent after another on one connection, with one journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sock, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.journal = Journal(folder, 1)
        self.peer = KeptPeer(self.sock, b"SUB", merge=True)
        self.theirs.send(zmtp.GREETING + zmtp.ready_command(b"PUB"))
        self.peer.read()
        self.peer.settle(self.journal.seq)

    def read(self, death: str) -> None:
        """Read once, and perhaps die on the way."""
        items = self.peer.read() or []
        if death == "after the read":
            return self.succeed()
        upto = len(items) // 2 if death == "in the journalling" else len(items)
        for flags, data in items[:upto]:
            self.journal.append(IOPUB, flags, data, 0)
        if death != "never":
            return self.succeed()
        self.peer.settle(self.journal.seq)
        return None

    def succeed(self) -> None:
        """The next agent, as it finds things."""
        self.journal.close()
        self.journal = Journal(self.folder, 1)
        memory = os.dup(self.peer.memory)
        sock = self.peer.sock.dup()
        self.peer.close()
        self.peer = KeptPeer.restored_from(
            sock, memory, True, lambda seq: self.journal.bytes_since(seq, IOPUB)
        )
        for flags, data in self.peer.take():
            self.journal.append(IOPUB, flags, data, 0)
        self.peer.settle(self.journal.seq)

    def journalled(self) -> bytes:
        """All that is in the journal."""
        records = [r for s in self.journal.segments for r in s.read(0, s.size)[0]]
        return b"".join(record.data for record in records)

    def close(self) -> None:
        self.journal.close()
        self.peer.close()
        self.theirs.close()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    made = Agents(tmp_path)
    yield made
    made.close()


def test_this_system_can_keep_connections() -> None:
    assert supported()


@settings(max_examples=150, deadline=None)
@given(MESSAGES, DEATHS, st.lists(st.integers(1, 90_000), max_size=20))
def test_nothing_is_lost_or_doubled_wherever_agents_die(
    tmp_path_factory: pytest.TempPathFactory,
    messages: list[list[bytes]],
    deaths: list[str],
    sizes: list[int],
) -> None:
    agents = Agents(tmp_path_factory.mktemp("kept"))
    stream = b"".join(map(zmtp.message, messages))
    at = turn = 0
    while at < len(stream) or len(agents.journalled()) < len(stream):
        size = sizes[turn % len(sizes)] if sizes else len(stream)
        if turn > 2 * MOST_DEATHS:  # what is left comes in bigger pieces: nobody dies any more
            size = max(size, len(stream) // 100)
        try:
            at += agents.theirs.send(stream[at : at + size]) if at < len(stream) else 0
        except BlockingIOError:
            pass
        agents.read(deaths[turn] if turn < len(deaths) else "never")
        turn += 1
    assert agents.journalled() == stream
    assert not agents.peer.inside
    agents.close()


def test_a_message_that_is_not_yet_whole_waits_for_its_end_in_the_next_agent(
    agents: Agents,
) -> None:
    data = zmtp.message([b"one", b"two"])
    agents.theirs.send(data[:6])
    agents.read("never")
    agents.succeed()
    assert agents.journalled() == b""
    agents.theirs.send(data[6:])
    agents.read("never")
    assert agents.journalled() == data


def test_the_count_of_what_was_read_is_set_anew_before_it_runs_out(agents: Agents) -> None:
    agents.peer._offset = LOW
    agents.sock.setsockopt(socket.SOL_SOCKET, 42, LOW)
    data = zmtp.message([b"x" * 50_000])
    for _ in range(3):
        agents.theirs.send(data)
        agents.read("never")
        agents.succeed()
    assert agents.journalled() == 3 * data
    assert agents.peer._offset > LOW


def test_a_message_that_broke_off_on_the_way_to_the_kernel_is_known(agents: Agents) -> None:
    seen = [agents.peer.half_sent]
    for half in (True, False):
        agents.peer.mark_half(half)
        agents.succeed()
        seen.append(agents.peer.half_sent)
    assert seen == [False, True, False]


def test_a_journal_that_has_more_than_was_read_is_refused(agents: Agents) -> None:
    with pytest.raises(ProtocolError, match="more than was read"):
        KeptPeer.restored_from(agents.sock.dup(), os.dup(agents.peer.memory), True, lambda seq: 99)
