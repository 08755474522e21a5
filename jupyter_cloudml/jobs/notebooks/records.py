"""What a run says, read from its bytes: JSON lines, and after each the place from which another reader goes on. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ProtocolError

MAX_LINE = 256 << 20  # one output; the runner's own limit on all of a run's outputs is as large

Record = Mapping[str, Any]
"""One thing that a run said; `record` names its kind."""


@dataclass(frozen=True)
class Cursor:
    """A place in a run's journal: behind record `since` and `skip` bytes of the one that follows it."""

    since: int = 0
    skip: int = 0


START = Cursor()


class Reader:
    """Turns the pieces of a run's standard output into records, from a cursor on."""

    def __init__(self, cursor: Cursor = START) -> None:
        self._cursor = cursor
        self._line: list[bytes] = []
        self._size = 0

    def feed(self, seq: int, data: bytes) -> Iterator[tuple[Record, Cursor]]:
        """Yield each record that ends in piece `seq`, with the place behind it. Raises ProtocolError."""
        at = self._cursor.skip if seq == self._cursor.since + 1 else 0
        while (end := data.find(b"\n", at)) >= 0:
            self._line.append(data[at:end])
            line = b"".join(self._line)
            self._line, self._size = [], 0
            at = end + 1
            yield _parsed(line), Cursor(seq, 0) if at == len(data) else Cursor(seq - 1, at)
        self._line.append(data[at:])
        self._size += len(data) - at
        if self._size > MAX_LINE:
            raise ProtocolError("the run says a record that is too large")


def _parsed(line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"the run says what is no record: {line[:80]!r}") from exc
    if not isinstance(record, dict) or not isinstance(record.get("record"), str):
        raise ProtocolError(f"the run says what is no record: {line[:80]!r}")
    return record
