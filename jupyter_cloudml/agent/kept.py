"""A connection to a kernel that the next agent can go on with when this one is killed: nothing lost, nothing twice.

Reads go to memory that a keeper (keeper.py) holds on to together with the socket. ``SO_PEEK_OFF`` of the socket, which this agent has no other
use for, counts down with each byte that is read, inside the very system call: so the next agent knows how many bytes the memory holds.
Which of them had reached the journal is seen from the journal itself.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
from typing import Any, Callable

from . import zmtp
from .protocol import READ_SIZE, ProtocolError

PEEK_OFFSET = 42  # SO_PEEK_OFF, socket(7)
FULL, LOW = (1 << 31) - 1, 1 << 30
HEAD = 4096
# A tail is less than a quarter of it, so moving it to the front overwrites nothing of it.
SIZE = 2 * READ_SIZE
NOTE = struct.Struct("=QQQIIIIBBQ")
SLOTS = (0, 256)  # written in turn: one of them is always whole
HALF_SENT = 512


def supported() -> bool:
    """Whether this system can keep connections: Linux from 3.17 on."""
    if not sys.platform.startswith("linux") or not hasattr(os, "memfd_create"):
        return False
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            ours.setsockopt(socket.SOL_SOCKET, PEEK_OFFSET, FULL)
        except OSError:
            return False
        theirs.send(b"12")
        return len(ours.recv(1)) == 1 and _offset(ours) == FULL - 1


def _offset(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, PEEK_OFFSET)


class KeptPeer(zmtp.Peer):
    """A connection to a kernel whose read buffer and place in the stream outlive the agent. Call settle() after journalling."""

    def __init__(
        self,
        sock: socket.socket,
        kind: bytes,
        identity: bytes = b"",
        merge: bool = False,
        memory: int | None = None,
    ) -> None:
        """``memory`` is the buffer of a killed agent. Raises OSError."""
        super().__init__(sock, kind, identity, through=True, merge=merge)
        if memory is None:
            memory = os.memfd_create("cloudml-kernel")
            os.ftruncate(memory, HEAD + SIZE)
            sock.setsockopt(socket.SOL_SOCKET, PEEK_OFFSET, FULL)
        self.memory = memory
        self._map = mmap.mmap(memory, HEAD + SIZE)
        self.buf = memoryview(self._map)[HEAD:]
        self._offset, self._notes = _offset(sock), 0
        self.kept = False  # a keeper has it

    @classmethod
    def restored_from(
        cls,
        sock: socket.socket,
        memory: int,
        merge: bool,
        journalled_since: Callable[[int], int],
    ) -> KeptPeer:
        """Go on where another agent left this socket.

        ``journalled_since(seq)`` tells how many bytes of this connection are in the journal in records newer than ``seq``.
        Raises OSError, and ProtocolError when memory and journal do not agree.
        """
        peer = cls(sock, b"", merge=merge, memory=memory)
        peer.out.clear()
        peer._greeted = peer.ready = True
        notes = [NOTE.unpack_from(peer._map, at) for at in SLOTS]
        note = max(n for n in notes if n[0] == n[-1])
        peer._notes, offset, seq, start, end, peer._left, _, peer._more, peer._begins, _ = note
        end += max(0, offset - peer._offset)  # more than it was: it had just been set anew
        written = journalled_since(seq)
        try:
            passed, *place = zmtp.walk(
                peer.buf[start:end], written, peer._left, peer._more, peer._begins
            )
        except IndexError as exc:
            peer.close()
            raise ProtocolError("the journal has more than was read") from exc
        peer._left, peer._more, peer._begins = place
        peer.start = peer.scan = start + passed
        peer.end = end
        return peer

    def readv(self, bufs: Any) -> int:
        count = super().readv(bufs)
        self._offset -= count
        return count

    def take(self) -> list[zmtp.Item]:
        return self.cut()

    def _piece(self, upto: int) -> Any:
        return self.buf[self.start : upto]  # no copy: it stays where it is until settle()

    def settle(self, seq: int) -> None:
        """All items so far are in the journal, whose newest record is ``seq``."""
        if self.start == self.end:
            self.start = self.scan = self.end = 0
        elif self.end > SIZE - READ_SIZE:
            size = self.end - self.start
            self.buf[:size] = self.buf[self.start : self.end]
            self.scan -= self.start
            self.start, self.end = 0, size
        self._note(seq)
        if self._offset < LOW:
            self.sock.setsockopt(socket.SOL_SOCKET, PEEK_OFFSET, FULL)
            self._offset = FULL
            self._note(seq)

    def _note(self, seq: int) -> None:
        count = self._notes = self._notes + 1
        NOTE.pack_into(
            self._map, SLOTS[count & 1],
            count, self._offset, seq, self.start, self.end, self._left, 0, self._more, self._begins, count,
        )  # fmt: skip

    @property
    def half_sent(self) -> bool:
        """Whether the kernel has the beginning of a message without its end."""
        return bool(self._map[HALF_SENT])

    def mark_half(self, half: bool) -> None:
        if half != self.half_sent:
            self._map[HALF_SENT] = half

    def state(self) -> dict[str, Any]:
        return {"out": b"".join(bytes(data) for data in self.out).hex()}

    def close(self) -> None:
        super().close()
        os.close(self.memory)
