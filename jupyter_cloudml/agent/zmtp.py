"""ZMTP 3.0 spoken directly on unix sockets (https://rfc.zeromq.org/spec/23/, NULL mechanism).

A Jupyter message is not taken apart: its bytes go from one socket to the other unchanged. Only frame heads are looked at, to know where
messages begin and end, and a large message is passed on in pieces while it arrives.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from .protocol import BEGINS, ENDS, Pipe, ProtocolError

MORE, LONG, COMMAND = 1, 2, 4  # frame flags
PASS_ON = 1 << 16  # a message of which more than this is here, or lacks, is passed on in pieces
MAX_MESSAGE = 1 << 30
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
SUBSCRIBE_ALL = b"\x00\x01\x01"

Item = tuple[int, bytes]


def ready_command(kind: bytes, identity: bytes = b"") -> bytes:
    """The READY command of a socket of this type."""
    body = b"\x05READY"
    for name, value in ((b"Socket-Type", kind), (b"Identity", identity)):
        body += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return bytes([COMMAND, len(body)]) + body


def ready_properties(body: bytes) -> dict[bytes, bytes]:
    """The properties of a READY command, names in lower case."""
    found: dict[bytes, bytes] = {}
    at = 1 + body[0]
    while at < len(body):
        name = body[at + 1 : at + 1 + body[at]]
        at += 1 + body[at]
        (size,) = struct.unpack_from(">I", body, at)
        found[name.lower()] = body[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def frame(data: bytes, more: bool) -> bytes:
    """One frame."""
    flags = MORE if more else 0
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return bytes([flags | LONG]) + len(data).to_bytes(8, "big") + data


def message(frames: list[bytes]) -> bytes:
    """The frames of one message."""
    last = len(frames) - 1
    return b"".join(frame(data, i < last) for i, data in enumerate(frames))


def frames(data: bytes) -> Iterator[tuple[bool, int, int]]:
    """(more, start, end) of each whole frame in ``data``, which starts at a frame."""
    at, end = 0, len(data)
    while end - at >= 2:
        flags = data[at]
        if not flags & LONG:
            start, stop = at + 2, at + 2 + data[at + 1]
        elif end - at >= 9:
            start = at + 9
            stop = start + int.from_bytes(data[at + 1 : at + 9], "big")
        else:
            return
        if stop > end:
            return
        yield bool(flags & MORE), start, stop
        at = stop


def messages(data: bytes) -> Iterator[tuple[int, int, list[bytes]]]:
    """(start, end, frames) of each whole message in ``data``, which starts at a message."""
    parts: list[bytes] = []
    begin = 0
    for more, start, stop in frames(data):
        parts.append(data[start:stop])
        if not more:
            yield begin, stop, parts
            parts, begin = [], stop


def walk(data: Any, size: int, left: int, more: int, begins: int) -> tuple[int, int, int, int]:
    """Pass over ``size`` bytes of messages in ``data``, and over commands between them -> (bytes passed, left, more, begins).

    ``left`` bytes of a frame are still to come, ``more`` says whether another follows it, ``begins`` whether a message does.
    """
    at = 0
    while size > 0:
        if left:
            step = min(left, size)
        else:
            flags = data[at]
            head = 9 if flags & LONG else 2
            left = int.from_bytes(data[at + 1 : at + head], "big")
            if flags & COMMAND:
                at, left = at + head + left, 0
                continue
            more, step = flags & MORE, head
            left += head
        at, size, left = at + step, size - step, left - step
        begins = BEGINS if not left and not more else 0
    return at, left, more, begins


class Peer(Pipe):
    """One ZMTP connection. Items are (flags, bytes): a message, several (``merge``) or, with ``through``, a piece of one."""

    def __init__(
        self,
        sock: socket.socket,
        kind: bytes,
        identity: bytes = b"",
        through: bool = False,
        merge: bool = False,
    ) -> None:
        super().__init__(sock.fileno())
        sock.setblocking(False)
        self.sock, self.through, self.merge = sock, through, merge
        self.out.append(GREETING + ready_command(kind, identity))
        self.ready = (
            False  # the other side's READY has come: libzmq closes on anything that is sent before
        )
        self.identity = b""
        self._greeted = False
        self._left = 0  # of a frame that is being passed on in pieces
        self._more = 0  # whether that frame is followed by another
        self._begins = BEGINS

    if not hasattr(os, "readv"):  # Windows

        def readv(self, bufs: Sequence[Any]) -> int:
            return self.sock.recv_into(bufs[0])

        def writev(self, bufs: Sequence[Any]) -> int:
            return self.sock.send(bufs[0])

    def state(self) -> dict[str, Any]:
        """What restored() needs beside the socket: everything that was read or queued and not dealt with."""
        waiting = bytes(self.buf[self.start : self.end])
        flags = [self.ready, self._left, self._more, self._begins, self.through, self.merge]
        out = b"".join(bytes(data) for data in self.out)
        return {"waiting": waiting.hex(), "out": out.hex(), "flags": flags}

    @classmethod
    def restored(cls, sock: socket.socket, state: dict[str, Any]) -> Peer:
        """A connection that went on while its agent was replaced. It was past its greeting."""
        ready, left, more, begins, through, merge = state["flags"]
        peer = cls(sock, b"", through=through, merge=merge)
        peer.out.clear()
        if state["out"]:
            peer.out.append(bytes.fromhex(state["out"]))
        peer._greeted, peer.ready = True, ready
        peer._left, peer._more, peer._begins = left, more, begins
        waiting = bytes.fromhex(state["waiting"])
        peer.buf[: len(waiting)] = waiting
        peer.end = len(waiting)
        return peer

    @property
    def inside(self) -> bool:
        """Whether a message has been passed on in part."""
        return not self._begins

    def cut(self) -> list[Item]:
        items: list[Item] = []
        buf, at, end = self.buf, self.scan, self.end
        if not self._greeted:
            if end < len(GREETING):
                return items
            if buf[0] != 0xFF or buf[10] < 3:
                raise ProtocolError("a peer that does not speak ZMTP 3")
            self._greeted, at = True, len(GREETING)
            self.start = at
        if self._left:
            at = min(self.start + self._left, end)
            self._left -= at - self.start
            if self._left or not self._more:
                self._emit(items, at, 0 if self._left else ENDS)
        self.scan = self._cut_frames(items, at, end)
        return items

    def _cut_frames(self, items: list[Item], at: int, end: int) -> int:
        buf, done = self.buf, self.start
        while end - at >= 2:
            flags = buf[at]
            if not flags & LONG:
                stop = at + 2 + buf[at + 1]
            elif end - at >= 9:
                stop = at + 9 + int.from_bytes(buf[at + 1 : at + 9], "big")
                if stop - at > MAX_MESSAGE:
                    raise ProtocolError(f"a frame of over {MAX_MESSAGE >> 20} MB")
            else:
                break
            if stop > end:
                if self.through and (stop - end > PASS_ON or end - done > PASS_ON):
                    if done > self.start:
                        self._emit(items, done, ENDS)
                    self._left, self._more, at = stop - end, flags & MORE, end
                    self._emit(items, end, 0)
                    return at
                break
            if flags & COMMAND:  # only between messages
                if done > self.start:
                    self._emit(items, done, ENDS)
                self._command(bytes(buf[at + (9 if flags & LONG else 2) : stop]))
                self.start = done = stop
            at = stop
            if not flags & (MORE | COMMAND):
                done = at
                if not self.merge or not self._begins:
                    self._emit(items, at, ENDS)
        if done > self.start:
            self._emit(items, done, ENDS)
        if self.through and at - done > PASS_ON:
            self._emit(items, at, 0)
        return at

    def _emit(self, items: list[Item], upto: int, ends: int) -> None:
        if upto > self.start:
            items.append((self._begins | ends, self._piece(upto)))
            self._begins = BEGINS if ends else 0
            self.start = upto

    def _piece(self, upto: int) -> bytes:
        return bytes(memoryview(self.buf)[self.start : upto])

    def settle(self, seq: int) -> None:
        """All items so far are in the journal, whose newest record is ``seq``: see kept.py."""

    def mark_half(self, half: bool) -> None:
        """Whether the other side has the beginning of a message without its end: see kept.py."""

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _command(self, body: bytes) -> None:
        if body.startswith(b"\x05READY"):
            try:
                self.identity = bytes(ready_properties(body).get(b"identity", b""))
            except (IndexError, struct.error) as exc:
                raise ProtocolError("a READY command that breaks off") from exc
            self.ready = True
