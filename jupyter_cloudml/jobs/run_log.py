"""The records of one attempt, kept in a file: each line has a batch and the place behind it, so that both are there or neither."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .records import START, Cursor, Record


class RunLog:
    """One file, with one writer at a time; what a killed writer has left half-written is dropped."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.path = folder / f"{attempt}.jsonl"
        self.cursor = START
        self._fd = -1
        self._told = 0

    def open(self) -> RunLog:
        """Go on behind the last whole line. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = 0
        for line in self._lines():
            self.cursor = Cursor(*json.loads(line)["cursor"])
            end += len(line)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._fd, end)
        return self

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))
        except FileNotFoundError:
            return

    def append(self, batch: Sequence[Record], cursor: Cursor) -> None:
        """Add what was said. Raises OSError, and has added nothing then."""
        line = {"cursor": [cursor.since, cursor.skip], "records": list(batch)}
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        done = os.write(self._fd, data)
        if done < len(data):
            os.ftruncate(self._fd, before)
            raise OSError(28, "no space left", str(self.path))
        self.cursor = cursor

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> Iterator[Record]:
        """Yield the records so far; also while another writes."""
        for line in self._lines():
            yield from json.loads(line)["records"]

    def read_on(self) -> Iterator[Record]:
        """Yield the records that were added since it was asked the last time."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._told)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._told += len(line)
                yield from json.loads(line)["records"]
