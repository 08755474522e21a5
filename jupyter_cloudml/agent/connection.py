"""One client's byte stream: what it asks, and the journals that are sent to it."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import stat
import struct
import termios
import time
from typing import TYPE_CHECKING, Any

from . import protocol
from .protocol import ACK, HELLO, MAGIC, RPC, ProtocolError, Record

if TYPE_CHECKING:
    from .owned import Owned
    from .server import Agent

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
PIPE_SIZE = 1 << 20
WINDOW = 16 << 20  # bytes of one process that may be under way unacknowledged
TURN = 16  # records of one process before another has its turn


class Connection:
    """A client of the agent. Its descriptors came over the agent's socket, or are that socket."""

    def __init__(self, agent: Agent, fds: list[int], attacher: socket.socket | None) -> None:
        """``attacher`` is the socket of an attach process that stays for as long as the connection does."""
        self.agent, self.loop, self.attacher, self.fds = agent, agent.loop, attacher, fds
        for fd in fds:
            os.set_blocking(fd, False)
        self.is_pipe = stat.S_ISFIFO(os.fstat(fds[-1]).st_mode)
        if self.is_pipe and hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(fds[-1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)  # sshd's pipes have 64 KB
            except OSError:
                pass
        self.pipe_size = (
            fcntl.fcntl(fds[-1], fcntl.F_GETPIPE_SZ)
            if self.is_pipe and hasattr(fcntl, "F_GETPIPE_SZ")
            else 1 << 16
        )
        self.stream = protocol.Stream(fds[0], fds[-1])
        self.client = ""
        self.attached: dict[int, Owned] = {}
        self.closed = False
        self._json = protocol.JSONReader()
        self._pause = 0.0
        self._waits = False  # for a full pipe, by timer
        self.loop.register(fds[0], READ, self._ready)
        self.stream.out.append(MAGIC)
        self.tell(HELLO, agent.hello())
        self.flush()

    def tell(self, channel: int, message: Any) -> None:
        """Send a JSON message."""
        self.stream.out.extend(protocol.pack_json(channel, message))

    # -- in -----------------------------------------------------------------------------------------------------------------------
    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self.flush()
            self.pump()
        if not mask & READ or self.closed:
            return
        try:
            records = self.stream.read()
            if records is None:
                self.close()
                return
            for record in records:
                self._take(record)
        except OSError:
            self.close()
        except ProtocolError as exc:
            self.agent.log(f"client let go: {exc}")
            self.close()
            return
        self.pump()

    def _take(self, record: Record) -> None:
        if self.closed:
            return
        owned = self.attached.get(record.stream)
        if owned is not None:
            if record.ack:
                owned.journal.take_ack(record.ack)
                owned.acked()
            if record.channel < ACK:
                owned.upstream(record.channel, record.flags, record.seq, record.data)
        elif record.channel in (HELLO, RPC):
            message = self._json.feed(record.flags, record.data)
            if message is None:
                return
            if not isinstance(message, dict):
                raise ProtocolError("a message that is no object")
            if record.channel == HELLO:
                self.client = str(message.get("client", ""))
            else:
                self.agent.answer(self, message)

    # -- out ------------------------------------------------------------------------------------------------------------------------
    def attach(self, owned: Owned, since: int) -> None:
        """Send this process's journal from ``since`` on; whoever had it before is told so."""
        before = owned.connection
        if before is not None and before is not self:
            before.detach(owned, "another client has attached")
            before.pump()
        if owned.client != self.client:
            owned.client_changed(self.client)
        owned.connection = self
        owned.journal.rewind(since)
        self.attached[owned.process.number] = owned

    def detach(self, owned: Owned, why: str = "") -> None:
        """Send no more of this process."""
        if self.attached.pop(owned.process.number, None) is not None and why:
            self.tell(RPC, {"detached": owned.process.id, "why": why})
        if owned.connection is self:
            owned.connection = None
            owned.alone_since = time.monotonic()
            self.agent.policy.expect(owned)

    def pump(self) -> None:
        """Send what waits, each process in turn, as far as the descriptor and the windows take it."""
        stream = self.stream
        while not self.closed:
            moved = False
            if not stream.blocked:
                for owned in self.attached.values():
                    journal = owned.journal
                    for _ in range(TURN):
                        record = journal.next() if journal.unacked_bytes < WINDOW else None
                        if record is None:
                            break
                        stream.out.append(record)
                        moved = True
            if not stream.out:
                return
            self.flush()
            if stream.blocked or not moved:
                return

    def flush(self) -> None:
        """Write what the descriptor takes; a full one is looked at again."""
        if self._waits:
            return
        stream, was = self.stream, self.stream.blocked
        try:
            stream.flush()
        except OSError:
            self.close()
            return
        if self.is_pipe:
            if stream.blocked:
                self._waits, self._pause = True, 0.001
                self.loop.after(self._pause, self._look_again)
        elif stream.blocked != was and self.fds[0] == self.fds[-1]:
            self.loop.modify(self.fds[0], READ | (WRITE if stream.blocked else 0))
        elif stream.blocked and not was:
            self.loop.register(self.fds[-1], WRITE, self._ready)
        elif was and not stream.blocked:
            self.loop.unregister(self.fds[-1])

    def _look_again(self) -> None:
        """A full pipe counts as writable again page by page: wait until it is half empty instead."""
        if self.closed:
            return
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self.fds[-1], termios.FIONREAD, bytes(4)))
        except OSError:
            self.close()
            return
        if waiting > self.pipe_size // 2:
            self._pause = min(2 * self._pause, 0.05)
            self.loop.after(self._pause, self._look_again)
            return
        self._waits = self.stream.blocked = False
        self.pump()

    def close(self) -> None:
        """Let the client go; its processes live on."""
        if self.closed:
            return
        self.closed = True
        for owned in list(self.attached.values()):
            self.detach(owned)
        for fd in set(self.fds):
            self.loop.unregister(fd)
            os.close(fd)
        if self.attacher is not None:
            self.attacher.close()  # lets the attach process, and so the channel of its sshd, end
        self.agent.connections.discard(self)
