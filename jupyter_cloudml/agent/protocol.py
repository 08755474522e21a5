"""The records that an agent and a link exchange over one byte stream.

A record is ``HEAD`` and up to ``MAX_RECORD`` bytes. ``stream`` is the number of a process (0: the connection itself), ``channel`` says
what the bytes are, ``seq`` numbers the journalled records of one direction of one process, and ``ack`` is the highest number of the other
direction that the sender has taken: acknowledgements ride for free on the traffic the other way.
"""

from __future__ import annotations

import collections
import json
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

VERSION = 1  # of the records: both ends must agree
RELEASE = 2  # of the agent's code: a client with a newer one replaces the agent in place
MAGIC = b"\0cloudml/1\n"  # whatever a login shell prints before it is skipped
HEAD = struct.Struct(">IIBBxxQQ")  # size, stream, channel, flags, seq, ack
MAX_RECORD = 4 << 20
MAX_MESSAGE = 8 << 20  # of one JSON message, in records; read, it may take 20 times as much

# Channels. A kernel's are journalled both ways; those from ACK on belong to the connection.
SHELL, CONTROL, STDIN, IOPUB, STDOUT, STDERR, EXITED, EOF = range(8)
ACK, RPC, HELLO = 16, 17, 18
KERNEL_CHANNELS = (SHELL, CONTROL, STDIN, IOPUB)

# Flags: the record starts, ends or breaks off a message. ABORT: what came since BEGINS is void.
BEGINS, ENDS, ABORT = 1, 2, 4
WHOLE = BEGINS | ENDS

READ_SIZE = 1 << 18
GATHER = 64  # buffers in one gathered write

Buffer = Union[bytes, bytearray, memoryview]


class ProtocolError(Exception):
    """The other end sent what this protocol does not allow."""


class Record(NamedTuple):
    """One record as received; ``data`` is a copy."""

    stream: int
    channel: int
    flags: int
    seq: int
    ack: int
    data: bytes


def pack(
    stream: int, channel: int, data: bytes, flags: int = WHOLE, seq: int = 0, ack: int = 0
) -> bytes:
    """One record as bytes."""
    return HEAD.pack(len(data), stream, channel, flags, seq, ack) + data


def pack_json(channel: int, message: Any) -> list[bytes]:
    """A JSON message as records of the connection, cut at ``MAX_RECORD``."""
    data = json.dumps(message, separators=(",", ":")).encode()
    pieces = [data[at : at + MAX_RECORD] for at in range(0, len(data), MAX_RECORD)] or [b""]
    last = len(pieces) - 1
    return [
        pack(0, channel, piece, (BEGINS if i == 0 else 0) | (ENDS if i == last else 0))
        for i, piece in enumerate(pieces)
    ]


class JSONReader:
    """Joins the records of one JSON channel to messages; bounded."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, flags: int, data: bytes) -> Any | None:
        """Return the message that this record completes, or None.

        Raises ProtocolError for a message that is too large or is no JSON.
        """
        self._size += len(data)
        if self._size > MAX_MESSAGE:
            raise ProtocolError(f"a message of over {MAX_MESSAGE >> 20} MB")
        if data:  # records of nothing must not add up
            self._parts.append(data)
        if not flags & ENDS:
            return None
        whole, self._parts, self._size = b"".join(self._parts), [], 0
        try:
            return json.loads(whole)
        except (ValueError, RecursionError) as exc:
            raise ProtocolError(f"a message that is not JSON: {type(exc).__name__}") from exc


class Pipe:
    """A non-blocking descriptor (or two) with a read buffer and an outbox. Subclasses say how bytes are cut into items."""

    read_size = READ_SIZE  # of the buffer while nothing larger is under way

    def __init__(self, fd: int, out_fd: int | None = None) -> None:
        self.fd = fd
        self.out_fd = fd if out_fd is None else out_fd
        self.buf: Any = bytearray(self.read_size)  # of a subclass: memory of a fixed size
        self.start = self.scan = self.end = 0
        self.out: collections.deque[Buffer] = collections.deque()
        self.blocked = False

    def readv(self, bufs: Sequence[Any]) -> int:
        """Read into the buffers; a carrier that is no plain descriptor puts its own here."""
        return os.readv(self.fd, bufs)

    def writev(self, bufs: Sequence[Any]) -> int:
        """Write from the buffers; see readv."""
        return os.writev(self.out_fd, bufs)

    def flush(self) -> None:
        """Write what the descriptor takes; afterwards ``blocked`` says whether some is left."""
        out = self.out
        while out:
            batch = list(out) if len(out) <= GATHER else [out[i] for i in range(GATHER)]
            try:
                count = self.writev(batch)
            except BlockingIOError:
                self.blocked = True
                return
            for buffer in batch:
                if count < len(buffer):
                    out[0] = memoryview(buffer)[count:]
                    break
                count -= len(buffer)
                out.popleft()
        self.blocked = False

    def read(self) -> list[Any] | None:
        """One read; the items that it completes, or None at the end of the stream."""
        try:
            count = self.readv([memoryview(self.buf)[self.end :]])
        except BlockingIOError:
            return []
        if not count:
            return None
        self.end += count
        return self.take()

    def feed(self, data: bytes) -> list[Any]:
        """The items completed by bytes that came another way."""
        while len(self.buf) - self.end < len(data):
            self.buf += bytes(len(self.buf))
        self.buf[self.end : self.end + len(data)] = data
        self.end += len(data)
        return self.take()

    def take(self) -> list[Any]:
        items = self.cut()
        if self.start:  # the unfinished tail goes to the front
            tail = self.buf[self.start : self.end]
            self.buf[: len(tail)] = tail
            self.scan -= self.start
            self.start, self.end = 0, len(tail)
        if self.end == len(self.buf):
            self.buf += bytes(len(self.buf))
        elif not self.end and len(self.buf) > self.read_size:
            self.buf = bytearray(self.read_size)
        return items

    def cut(self) -> list[Any]:
        """Cut ``buf[start:end]`` into items and move ``start`` and ``scan`` past them."""
        raise NotImplementedError


class Stream(Pipe):
    """Records."""

    def cut(self) -> list[Record]:
        items, buf, at, end = [], self.buf, self.start, self.end
        while end - at >= HEAD.size:
            size, stream, channel, flags, seq, ack = HEAD.unpack_from(buf, at)
            if size > MAX_RECORD:
                raise ProtocolError(f"a record of {size} bytes (at most {MAX_RECORD})")
            if end - at - HEAD.size < size:
                break
            at += HEAD.size
            items.append(
                Record(stream, channel, flags, seq, ack, bytes(memoryview(buf)[at : at + size]))
            )
            at += size
        self.start = self.scan = at
        return items


def find_magic(seen: bytes) -> tuple[bool, bytes]:
    """Whether the magic is in what was received, and what follows it (or the tail that may be its beginning)."""
    at = seen.find(MAGIC)
    if at >= 0:
        return True, seen[at + len(MAGIC) :]
    return False, seen[-len(MAGIC) :]
