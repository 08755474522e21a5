"""The byte stream of one connection to an agent, on the link's thread: records in, records out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..agent import protocol
from ..agent.loop import Loop
from ..agent.protocol import Record, Stream
from ..errors import CloudMLError, ProtocolError
from .bootstrap import Opened

READ, WRITE = 1, 2
LOOK_AGAIN = 0.005  # seconds, for a carrier that cannot say when it takes more


class AgentStream:
    """One carrier for as long as it holds. ``on_lost`` is called when it ends, at most once."""

    def __init__(
        self,
        machine: str,
        loop: Loop,
        opened: Opened,
        on_records: Callable[[list[Record]], None],
        on_lost: Callable[[CloudMLError | None], None],
    ) -> None:
        self.machine, self.loop, self.opened = machine, loop, opened
        self.on_records, self.on_lost = on_records, on_lost
        self.closed = False
        self._waits = False  # to look again, by timer
        carrier = opened.carrier
        self._stream = Stream(carrier.fileno())
        self._stream.readv, self._stream.writev = carrier.readv, carrier.writev  # type: ignore[method-assign]
        self._preamble: bytes | None = b""  # what came before the magic
        self._json = protocol.JSONReader()
        loop.register(carrier.fileno(), READ, self._ready)

    def begin(self) -> None:
        """Take what had come before this object was made."""
        self.on_records(self._after_magic(self.opened.received))

    def message(self, record: Record) -> dict[str, Any] | None:
        """The JSON message that this record completes. Raises ProtocolError."""
        message = self._json.feed(record.flags, record.data)
        if message is not None and not isinstance(message, dict):
            raise ProtocolError(f"{self.machine} sent a message that is no object")
        return message

    def write(self, *records: bytes) -> None:
        """Append records and send what the carrier takes."""
        self._stream.out.extend(records)
        self._flush()

    def _flush(self) -> None:
        stream, was = self._stream, self._stream.blocked
        try:
            stream.flush()
        except OSError:
            self._end(None)
            return
        if stream.blocked and not self.opened.carrier.writable_by_poll:
            if not self._waits:
                self._waits = True
                self.loop.after(LOOK_AGAIN, self._look_again)
        elif stream.blocked != was:
            self.loop.modify(stream.fd, READ | (WRITE if stream.blocked else 0))

    def _look_again(self) -> None:
        self._waits = False
        if not self.closed and self._stream.blocked:
            self._flush()

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self._flush()
        if self.closed or not mask & READ:
            return
        try:
            records = self._stream.read() if self._preamble is None else self._read_preamble()
        except OSError:
            records = None
        if records is None:
            self._end(None)
        else:
            self.on_records(records)

    def _read_preamble(self) -> list[Record] | None:
        chunk = bytearray(protocol.READ_SIZE)
        try:
            count = self._stream.readv([chunk])
        except BlockingIOError:
            return []
        return self._after_magic(bytes(chunk[:count])) if count else None

    def _after_magic(self, data: bytes) -> list[Record]:
        """The records in what came, once the magic is seen: a login shell may have printed before."""
        found, rest = protocol.find_magic((self._preamble or b"") + data)
        if not found:
            self._preamble = rest
            return []
        self._preamble = None
        return self._stream.feed(rest)

    def _end(self, error: CloudMLError | None) -> None:
        if self.release():
            self.on_lost(error)

    def release(self) -> bool:
        """Stop watching the carrier; False when that was done before. Whoever calls it ends the carrier."""
        if self.closed:
            return False
        self.closed = True
        self.loop.unregister(self._stream.fd)
        return True
