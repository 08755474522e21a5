"""Jupyter messages out of recorded frames (https://jupyter-client.readthedocs.io/en/stable/messaging.html#wire-protocol).

Nothing here checks signatures: the frames were recorded on their way between a kernel and clients that do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, NamedTuple

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.protocol import ABORT, BEGINS, ENDS

DELIMITER = b"<IDS|MSG>"
MAX_PARTIAL = 256 << 20  # bytes of one message in pieces; a larger one is not kept
HIDDEN = "········"  # what stands for a password, as in JupyterLab


class Record(NamedTuple):
    """One record of a log. `at` is its position, `end` the position behind it."""

    at: int
    end: int
    channel: int
    client: bool
    flags: int
    seq: int
    data: bytes


class Message:
    """One message; its parts are parsed when asked for.

    `end` is its address, unique and rising within a log; its bytes lie in the records that hold (start, end]. `whole` says whether that is
    one record. The parsed parts raise ValueError for what is no JSON object.
    """

    def __init__(
        self, start: int, end: int, channel: int, client: bool, whole: bool, parts: list[bytes]
    ) -> None:
        self.start, self.end, self.channel, self.client = start, end, channel, client
        self.whole = whole
        self._parts = parts

    @property
    def size(self) -> int:
        """Bytes of content, metadata and buffers."""
        return sum(map(len, self._parts[2:]))

    @property
    def raw_parent(self) -> bytes:
        """The parent header as it came: outputs of one execution carry the same bytes."""
        return self._parts[1]

    @property
    def buffers(self) -> list[bytes]:
        """The binary parts behind the content."""
        return self._parts[4:]

    @cached_property
    def header(self) -> dict[str, Any]:
        """The header."""
        return _load(self._parts[0])

    @cached_property
    def parent(self) -> dict[str, Any]:
        """The parent header, empty for requests."""
        return _load(self._parts[1])

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata."""
        return _load(self._parts[2])

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content."""
        return _load(self._parts[3])

    @property
    def type(self) -> str:
        """The message type."""
        return str(self.header.get("msg_type", ""))

    @property
    def date_ms(self) -> int | None:
        """When it was made, in UTC epoch milliseconds, as far as its header tells."""
        try:
            date = datetime.fromisoformat(str(self.header["date"]).replace("Z", "+00:00"))
            if date.tzinfo is None:
                date = date.replace(tzinfo=timezone.utc)
            return int(date.timestamp() * 1000)
        except (KeyError, ValueError, OverflowError):
            return None


def asks_for_restart(request: bytes) -> bool:
    """Say whether a whole message, as frames, asks a kernel to end so that another can take its place."""
    if b'"shutdown_request"' not in request:
        return False
    try:
        parts = next(zmtp.messages(request))[2]
        at = parts.index(DELIMITER)
        kind, content = _load(parts[at + 2]).get("msg_type"), _load(parts[at + 5])
        return kind == "shutdown_request" and content.get("restart") is True
    except (ValueError, LookupError):
        return False


class Assembler:
    """Joins the records of a log, given in their order, to messages.

    A hole in the positions voids what had begun before it.
    """

    def __init__(self) -> None:
        self._partial: dict[tuple[int, bool], tuple[int, list[bytes]]] = {}
        self._position: int | None = None

    @property
    def open_since(self) -> int | None:
        """The position at which the oldest unfinished message begins."""
        return min((start for start, _ in self._partial.values()), default=None)

    def reset(self) -> None:
        """Forget what has begun: it will not be finished."""
        self._partial.clear()

    def feed(self, record: Record) -> Iterator[Message]:
        """Yield the messages that this record completes."""
        if record.at != self._position:
            self.reset()
        self._position = record.end
        key = (record.channel, record.client)
        if record.flags & ABORT:
            self._partial.pop(key, None)
            return
        if record.flags & BEGINS:
            if record.flags & ENDS:
                yield from _messages(record, record.data)
                return
            self._partial[key] = (record.at, [record.data])
        elif key in self._partial:
            start, pieces = self._partial[key]
            pieces.append(record.data)
            if record.flags & ENDS:
                del self._partial[key]
                yield from _joined(start, record, b"".join(pieces))
            elif sum(map(len, pieces)) > MAX_PARTIAL:
                del self._partial[key]


def without_value(data: bytes) -> bytes:
    """Return an input_reply with its value replaced by dots; its signature is no longer right, and nobody looks at it."""
    for _, _, parts in zmtp.messages(data):
        if DELIMITER in parts and len(parts) > parts.index(DELIMITER) + 5:
            at = parts.index(DELIMITER)
            value = json.dumps({"value": HIDDEN}).encode()
            return zmtp.message([*parts[: at + 5], value, *parts[at + 6 :]])
    return b""


def _messages(record: Record, data: bytes) -> Iterator[Message]:
    for _, stop, parts in zmtp.messages(data):
        message = _message(record.at, record.at + stop, record, parts)
        if message is not None:
            yield message


def _joined(start: int, record: Record, data: bytes) -> Iterator[Message]:
    """Yield what lies in joined pieces: one message, the last that the record holds."""
    for _, stop, parts in zmtp.messages(data):
        message = _message(start, record.at + len(record.data) - (len(data) - stop), record, parts)
        if message is not None:
            yield message


def _message(start: int, end: int, record: Record, parts: list[bytes]) -> Message | None:
    try:
        at = parts.index(DELIMITER)
    except ValueError:
        return None
    if len(parts) < at + 6:
        return None
    whole = start == record.at and bool(record.flags & BEGINS)
    return Message(start, end, record.channel, record.client, whole, parts[at + 2 :])


def _load(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except RecursionError as exc:
        raise ValueError("a message part that is nested too deeply") from exc
    if not isinstance(value, dict):
        raise ValueError("a message part that is no object")
    return value
