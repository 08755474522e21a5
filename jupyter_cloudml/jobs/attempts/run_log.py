"""The records of one attempt, kept in a file: each line has a batch and the place behind it, so that both are there or neither."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import UsageError
from ...store.jobs.files import PIECE, FileRepository, SharedFile
from ..notebooks.records import START, Cursor, Record
from ..notebooks.snapshots import write

OF = ".of"  # in the folder of a run: the id of the database that has it, where computers share that
SIZE_S = 1.0  # between two questions to the database how far an attempt has come


class RunLog:
    """One file, with one writer at a time; what a killed writer has left half-written is dropped.

    Where several computers share the database, `shared` there is the file, byte for byte, and this one follows it.
    """

    def __init__(self, folder: Path, attempt: int, shared: SharedFile | None = None) -> None:
        self.path = folder / f"{attempt}.jsonl"
        self._shared = shared
        self._end, self._asked = 0, -SIZE_S
        self.cursor = START
        self._fd = -1
        self._told = 0

    def open(self) -> RunLog:
        """Go on behind the last whole line. Raises OSError."""
        self._folder()
        self._bring()
        end = 0
        for line in self._lines():
            self.cursor = Cursor(*json.loads(line)["cursor"])
            end += len(line)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._fd, end)
        self._end = end
        self._share()
        return self

    def _bring(self) -> None:
        """Have the file here have all that others have written. Several may do so at once: a byte is the same whoever writes it."""
        if self._shared is None:
            return
        here = self._here()
        if self._shared.end() <= here:
            return
        self._folder()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for at, data in self._shared.pieces(here):
                _write_at(fd, data, at, self.path)
        finally:
            os.close(fd)

    def _folder(self) -> None:
        make_folder(self.path.parent, None if self._shared is None else self._shared.files)

    def _share(self) -> None:
        """Give the others what was written before there were any."""
        if self._shared is None:
            return
        at = self._shared.end()
        with self.path.open("rb") as file:
            file.seek(at)
            while at < self._end and (piece := file.read(min(PIECE, self._end - at))):
                self._shared.append(at, piece)
                at += len(piece)

    def _here(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def exists(self) -> bool:
        """Whether the attempt has said anything, to whomever."""
        return self.path.exists() or (self._shared is not None and self._shared.end() > 0)

    def size(self) -> int:
        """Return how far it has come, in bytes; what another computer has written counts once it was asked for, each second."""
        here = self._here()
        if self._shared is None or time.monotonic() - self._asked < SIZE_S:
            return here
        self._asked = time.monotonic()
        return max(here, self._shared.end())

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))
        except FileNotFoundError:
            return

    def append(self, batch: Sequence[Record], cursor: Cursor) -> None:
        """Add what was said. Raises OSError, StoreError, Conflict (code "stale"): it is to be opened again then, to find what it has."""
        line = {"cursor": [cursor.since, cursor.skip], "records": list(batch)}
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self._shared is not None:
            self._shared.append(self._end, data)
        _write_at(self._fd, data, self._end, self.path)
        self._end += len(data)
        self.cursor = cursor

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> Iterator[Record]:
        """Yield the records so far; also while another writes."""
        self._bring()
        for line in self._lines():
            yield from json.loads(line)["records"]

    def read_on(self) -> Iterator[Record]:
        """Yield the records that were added since it was asked the last time."""
        self._bring()
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

    def page(self, offset: int, limit: int, most: int = 1 << 20) -> tuple[list[Record], int]:
        """Return records from an offset of the file on, about `limit` of them or `most` bytes, and the offset behind them.

        An offset is 0 or what was returned before; raises UsageError for another one. A record larger than `most` is told in short.
        """
        found: list[Record] = []
        self._bring()
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return found, 0
        with file:
            file.seek(max(offset - 1, 0))
            if offset > os.fstat(file.fileno()).st_size or (offset and file.read(1) != b"\n"):
                raise UsageError(f"no record begins at {offset}", hint="begin at 0 again")
            began = offset
            for line in file:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                records = json.loads(line)["records"]
                found += records if len(line) <= most else [_shortened(r, most) for r in records]
                if len(found) >= limit or offset - began >= most:
                    break
        return found, offset

    def printed(self) -> Iterator[bytes]:
        """Yield what the cells have printed, in UTF-8."""
        for record in self.read():
            text = printed(record)
            if text:
                yield text[1].encode(errors="replace")


def make_folder(folder: Path, shared: FileRepository | None) -> None:
    """Make the folder of a run; a new one says of which database it is, so that no other one lets go of it. Raises OSError, StoreError."""
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_new and shared is not None:
        write(folder / OF, shared.database_id.encode())


def is_of(folder: Path, database_id: str) -> bool:
    """Whether the folder of a run is known to be of this database."""
    try:
        return (folder / OF).read_text() == database_id
    except (OSError, ValueError):
        return False


def _write_at(fd: int, data: bytes, at: int, path: Path) -> None:
    """Write all of it, or leave a line that is not whole. Raises OSError."""
    done = os.pwrite(fd, data, at)
    if done < len(data):
        os.ftruncate(fd, at)
        raise OSError(28, "no space left", str(path))


def printed(record: Record) -> tuple[str, str] | None:
    """Return (stdout or stderr, text) of a record that shows something; None of the others. Pure."""
    if record["record"] != "output":
        return None
    output = record["output"]
    if output["output_type"] == "stream":
        return str(output["name"]), str(output["text"])
    if output["output_type"] == "error":
        return "stderr", f"{output['ename']}: {output['evalue']}\n"
    text = output.get("data", {}).get("text/plain", "")
    return "stdout", (text if isinstance(text, str) else "".join(text)) + "\n"


def _shortened(record: Record, most: int) -> Record:
    """Return a record without its output where that is large; the notebook has it. Pure."""
    size = len(json.dumps(record))
    if size <= most:
        return record
    short = {name: value for name, value in record.items() if len(json.dumps(value)) <= 1000}
    if "output" in record:
        text = f"[an output of {size / 1e6:.0f} MB: it is in the notebook of the run]\n"
        short["output"] = {"output_type": "stream", "name": "stderr", "text": text}
    return {**short, "shortened": True}
