"""ZMTP framing: whatever the pieces in which bytes arrive, the messages are the same."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.protocol import BEGINS, ENDS, ProtocolError

MESSAGES = st.lists(
    st.lists(st.binary(max_size=300) | st.just(b"x" * 70_000), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def pair() -> Iterator[tuple[zmtp.Peer, socket.socket]]:
    """A peer that has the other side's greeting, and the raw other side."""
    ours, theirs = socket.socketpair()
    peer = zmtp.Peer(ours, b"SUB", through=True)
    peer.feed(zmtp.GREETING + zmtp.ready_command(b"PUB", b"me"))
    yield peer, theirs
    ours.close()
    theirs.close()


def whole(items: list[tuple[int, bytes]]) -> list[bytes]:
    """The messages that the items make up."""
    found: list[bytes] = []
    for flags, data in items:
        if flags & BEGINS:
            found.append(b"")
        found[-1] += data
    return found


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.lists(st.integers(1, 90_000), max_size=20), st.booleans())
def test_messages_survive_any_cutting(
    messages: list[list[bytes]], cuts: list[int], merge: bool
) -> None:
    ours, theirs = socket.socketpair()
    peer = zmtp.Peer(ours, b"SUB", through=True, merge=merge)
    stream = zmtp.GREETING + zmtp.ready_command(b"PUB")
    stream += b"".join(zmtp.message(parts) for parts in messages)
    items, at = [], 0
    for size in [*cuts, len(stream)]:
        items += peer.feed(stream[at : at + size])
        at += size
    ours.close()
    theirs.close()
    assert b"".join(data for _, data in items) == b"".join(map(zmtp.message, messages))
    assert items[-1][0] & ENDS
    if not merge:
        assert whole(items) == [zmtp.message(parts) for parts in messages]


def test_a_large_message_is_passed_on_before_its_end(
    pair: tuple[zmtp.Peer, socket.socket],
) -> None:
    peer, _ = pair
    data = zmtp.message([b"topic", b"z" * 500_000])
    items = peer.feed(data[:200_000])
    assert [flags for flags, _ in items] == [BEGINS]
    assert peer.inside
    items += peer.feed(data[200_000:])
    assert items[-1][0] == ENDS
    assert not peer.inside


def test_the_name_that_a_peer_gives_itself_is_known(pair: tuple[zmtp.Peer, socket.socket]) -> None:
    assert (pair[0].ready, pair[0].identity) == (True, b"me")


def test_frames_come_back_as_they_were_put() -> None:
    parts = [b"", b"a" * 255, b"b" * 256, os.urandom(1000)]
    ((begin, end, found),) = list(zmtp.messages(zmtp.message(parts)))
    assert (begin, end, found) == (0, len(zmtp.message(parts)), parts)


def test_what_is_not_zmtp_is_refused(pair: tuple[zmtp.Peer, socket.socket]) -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(ProtocolError):
        zmtp.Peer(ours, b"SUB").feed(b"GET / HTTP/1.1\r\n" + b" " * 64)
    ours.close()
    theirs.close()
    huge = bytes([zmtp.LONG]) + (1 << 40).to_bytes(8, "big")
    with pytest.raises(ProtocolError):
        pair[0].feed(huge)
