"""A link by itself: it goes on trying whatever fails, answers whoever asks, and leaves nothing open."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from jupyter_cloudml.agent.loop import Loop
from jupyter_cloudml.agent.protocol import HELLO, MAGIC, STDIN, VERSION, pack_json
from jupyter_cloudml.errors import AgentError, LinkDown, Unreachable
from jupyter_cloudml.link.agent_stream import AgentStream
from jupyter_cloudml.link.attachment import UPSTREAM_WINDOW, Attachment
from jupyter_cloudml.link.attachments import Attachments
from jupyter_cloudml.link.bootstrap import Connect, Opened, local_connect
from jupyter_cloudml.link.calls import Calls
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.completed import Collector
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.link.paramiko_dial import Way, attempt
from jupyter_cloudml.link.state import LinkState
from jupyter_cloudml.link.unix import UnixCarrier


def refuse(cancelled: threading.Event) -> Opened:
    """A machine that is switched off."""
    raise Unreachable("it is switched off")


@contextmanager
def started(connect: Connect, **options: Any) -> Iterator[Link]:
    """A link that is closed in the end."""
    link = Link("m", connect, **options)
    link.start()
    try:
        yield link
    finally:
        link.close()


def wait_for_attempt(link: Link, number: int) -> None:
    """Wait until a link has failed so often."""
    with link._changed:
        assert link._changed.wait_for(lambda: link.state.attempt >= number, 10)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_link_tries_again_after_an_error_that_nobody_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(cancelled: threading.Event) -> Opened:
        raise ValueError("no error of ours")

    with started(broken) as link:
        wait_for_attempt(link, 2)
        assert "no error of ours" in str(link.state.error)
    assert "Traceback" in capsys.readouterr().err


def test_a_link_tries_again_although_whoever_hears_of_it_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(state: LinkState) -> None:
        raise RuntimeError("the event loop is closed")

    with started(refuse, on_state=fail) as link:
        wait_for_attempt(link, 3)
    assert link.state.phase == "closed"
    assert "the event loop is closed" in capsys.readouterr().err


def test_what_is_to_be_done_after_something_that_fails_is_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gate, done = threading.Event(), threading.Event()

    def fail() -> None:
        raise RuntimeError("this one failed")

    def connect(
        cancelled: threading.Event,
    ) -> Opened:  # for as long as the test takes: nothing else wakes the link
        cancelled.wait(30)
        return refuse(cancelled)

    with started(connect) as link:
        link.call_soon(lambda: cast(None, gate.wait(10)))
        link.call_soon(fail)
        link.call_soon(done.set)
        gate.set()
        assert done.wait(5)
    assert "this one failed" in capsys.readouterr().err


def test_a_sink_that_fails_at_a_loss_does_not_end_the_link(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ends: list[socket.socket] = []

    def connect(cancelled: threading.Event) -> Opened:
        ours, theirs = socket.socketpair()
        theirs.sendall(MAGIC + b"".join(pack_json(HELLO, {"version": VERSION})))
        ends.append(theirs)
        return Opened(UnixCarrier(ours), b"")

    class Failing(Collector):
        def lost(self) -> None:
            raise RuntimeError("this sink failed")

    with started(connect) as link:
        link.wait_up(10)
        link.attach("p", 0, Failing())
        ends[0].sendall(b"\xff" * 64)  # no record
        with link._changed:
            assert link._changed.wait_for(lambda: len(ends) > 1 and link.state.phase == "up", 10)
    for end in ends:
        end.close()
    assert "this sink failed" in capsys.readouterr().err


@pytest.mark.parametrize("is_started", [True, False])
def test_a_link_that_is_closed_leaves_no_descriptor_open(is_started: bool) -> None:
    before = descriptors()
    links = [Link("m", refuse) for _ in range(10)]
    for link in links:
        if is_started:
            link.start()
            wait_for_attempt(link, 1)
        link.close()
        assert link.state.phase == "closed"
        link.retry_now()  # wakes nobody
        with pytest.raises(LinkDown):
            link.call("list")
    assert descriptors() == before


def test_a_run_that_takes_too_long_leaves_nothing_on_the_machine() -> None:
    with started(local_connect()) as link:
        link.wait_up(20)
        try:
            with pytest.raises(AgentError, match="did not end"):
                link.run(["sleep", "60"], timeout=1)
            deadline = time.monotonic() + 20
            while link.call("list"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            link.call("shutdown", stop_processes=True, grace_s=0)


def test_an_unexpected_error_on_the_way_to_a_host_closes_what_was_opened() -> None:
    opened, theirs = socket.socketpair()

    def work(way: Way) -> None:
        way.keep(opened)
        raise ValueError("a number was expected in the configuration")

    with theirs, pytest.raises(ValueError, match="a number"):
        attempt(SSHTarget("m"), 5, threading.Event(), work)
    assert opened.fileno() < 0


def test_a_carrier_that_cannot_say_when_it_takes_more_is_looked_at_by_one_timer() -> None:
    class Mute(UnixCarrier):
        writable_by_poll = False

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = Loop()
    stream = AgentStream(
        "m", loop, Opened(Mute(ours), b""), lambda records: None, lambda error: None
    )
    sent = received = 0
    for _ in range(20):
        stream.write(bytes(1 << 20))
        sent += 1 << 20
        while received < sent - (1 << 16):
            with suppress(BlockingIOError):
                received += len(theirs.recv(1 << 20))
            stream.write()
    assert len(loop._timers) == 1
    stream.release()
    ours.close()
    theirs.close()
    loop.close()


def test_a_process_that_nobody_hears_any_more_is_not_attached_after_a_cut() -> None:
    calls = Calls("m")

    def ask(method: str, params: dict[str, Any], future: Future[Any]) -> None:
        calls.ask(method, params, future)

    attachments = Attachments(Loop(), ask)
    attachment = Attachment(cast(Link, None), "p", 0, Collector())
    attachments.add(attachment, up=True)
    attachments.down()
    attachments.drop(attachment)
    assert list(calls.again()) == []


def test_what_is_sent_before_the_agent_has_answered_is_bounded_too() -> None:
    written: list[bytes] = []

    class Recording:
        def write(self, *records: bytes) -> None:
            written.extend(records)

    attachment = Attachment(cast(Link, Recording()), "p", 0, Collector())
    attachment.send(STDIN, bytes(UPSTREAM_WINDOW))
    assert attachment.room.is_set()
    attachment.send(STDIN, b"x")
    assert not attachment.room.is_set()
    attachment.on_attached({"number": 1, "taken": 5})
    assert [seq for seq, *_ in attachment.unsent] == list(range(6, 15))
    assert len(written) == 9
    attachment.on_attached({"number": 1, "taken": 14})
    assert attachment.room.is_set()
