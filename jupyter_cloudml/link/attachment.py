"""A process on a machine as this end sees it: what it says comes in order and once, also across cuts; what is sent arrives once."""

from __future__ import annotations

import collections
import json
import threading
from typing import TYPE_CHECKING, Any, Protocol

from ..agent.protocol import ACK, BEGINS, ENDS, EXITED, WHOLE, Record, pack

if TYPE_CHECKING:
    from .link import Link

ACK_RECORDS, ACK_BYTES = 256, 4 << 20  # a lone acknowledgement is a message of its own, so rare
UPSTREAM_WINDOW = 8 << 20  # bytes sent and not acknowledged before `send_soon` waits
PIECE = 1 << 20  # below protocol.MAX_RECORD


class Sink(Protocol):
    """Where a process's records go. Called on the link's thread; must not block."""

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """One record, in order, each once."""

    def attached(self, info: dict[str, Any]) -> None:
        """The agent sends from here on; ``info`` is the process's row."""

    def lost(self) -> None:
        """The link is down; the process goes on."""

    def gone(self, exit: dict[str, Any] | None) -> None:
        """The process has ended; None when the agent no longer knows it."""


class Attachment:
    """Made by Link.attach. ``taken`` is the newest record that was handed to the sink."""

    def __init__(self, link: Link, process: str, since: int, sink: Sink) -> None:
        self.link, self.process, self.sink = link, process, sink
        self.taken = self.acked = since
        self.number: int | None = None
        self.live = False
        self.ended = False
        self.auto_ack = self.ack_end = True
        # seq, channel, flags, data
        self.unsent: collections.deque[tuple[int, int, int, bytes]] = collections.deque()
        self._seq: int | None = None  # known from the agent's first answer on
        self._early: list[tuple[int, int, bytes]] = []
        self._bytes = 0
        self._upstream_bytes = 0
        self.room = threading.Event()
        self.room.set()

    # -- out: on the link's thread ------------------------------------------------------------------------------------------------
    def send(self, channel: int, data: bytes) -> None:
        """Send one message to the process: now, or when the link is up again. Cut into pieces where it is large."""
        if len(data) <= PIECE:
            self._send(channel, WHOLE, data)
            return
        for at in range(0, len(data), PIECE):
            flags = (BEGINS if at == 0 else 0) | (ENDS if at + PIECE >= len(data) else 0)
            self._send(channel, flags, data[at : at + PIECE])

    def _send(self, channel: int, flags: int, data: bytes) -> None:
        self._upstream_bytes += len(data)
        if self._upstream_bytes > UPSTREAM_WINDOW:
            self.room.clear()
        if self._seq is None:
            self._early.append((channel, flags, data))
            return
        self._seq += 1
        self.unsent.append((self._seq, channel, flags, data))
        if self.live:
            self._write(channel, flags, self._seq, data)

    def _write(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        if self.number is None:
            return
        upto = self.taken if self.auto_ack else self.acked
        if self.auto_ack:
            self.acked, self._bytes = self.taken, 0
        self.link.write(pack(self.number, channel, data, flags, seq, upto))

    def send_soon(self, channel: int, data: bytes, timeout: float = 60.0) -> bool:
        """From any other thread: send, and wait while much is under way. False when that takes too long."""
        if not self.room.wait(timeout):
            return False
        self.link.call_soon(lambda: self.send(channel, data))
        return True

    def ack(self, seq: int) -> None:
        """Everything up to ``seq`` is safe here: the agent may drop it."""
        if seq > self.acked:
            self.acked = seq
            if self.live:
                self._write(ACK, WHOLE, 0, b"")

    def detach(self) -> None:
        """Hear no more of the process, which lives on."""
        self.link.forget(self)

    # -- in: on the link's thread ---------------------------------------------------------------------------------------------------
    def on_attached(self, info: dict[str, Any]) -> None:
        """The agent's answer to attach."""
        self.number = int(info["number"])
        taken = int(info["taken"])
        if self._seq is None:
            # Behind all that a client before this one has sent, also what still waits there for a kernel that starts.
            received = int(info.get("received", taken))
            self._seq = received + len(self._early)
            self.unsent.extend((seq, *said) for seq, said in enumerate(self._early, received + 1))
            self._early.clear()
        self._drop_taken(taken)
        self.live = True
        for seq, channel, flags, data in list(self.unsent):
            self._write(channel, flags, seq, data)
        if info.get("finished") and int(info["acked"]) >= int(info["seq"]) and not self.ended:
            # A client before this one has acknowledged the end as well, so its record does not come again.
            self.ended = True
            self.sink.gone(info["exit"])
        else:
            self.sink.attached(info)

    def on_record(self, record: Record) -> None:
        """A record of this process."""
        self._drop_taken(record.ack)
        if record.channel == ACK or record.seq <= self.taken:
            return
        self.taken = record.seq
        self._bytes += len(record.data)
        if record.channel == EXITED:
            self.ended = True
            if self.ack_end:
                self.ack(record.seq)
            self.sink.gone(json.loads(record.data))
            return
        self.sink.record(record.channel, record.flags, record.seq, record.data)

    def ack_if_due(self, idle: bool = False) -> None:
        """Acknowledge what has gathered; when ``idle``, whatever there is."""
        due = self.taken - self.acked
        if (
            self.auto_ack
            and self.live
            and due
            and (idle or due >= ACK_RECORDS or self._bytes >= ACK_BYTES)
        ):
            self._bytes = 0
            self.ack(self.taken)

    def _drop_taken(self, seq: int) -> None:
        while self.unsent and self.unsent[0][0] <= seq:
            self._upstream_bytes -= len(self.unsent.popleft()[3])
        if self._upstream_bytes <= UPSTREAM_WINDOW // 2:
            self.room.set()

    def on_lost(self) -> None:
        """The link is down."""
        if self.live:
            self.live = False
        self.sink.lost()
