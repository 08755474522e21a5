"""The raw record of what went between a kernel and its clients: append-only files of frames, written by the link's thread.

A folder (0700) of segments `log-<position>`, each a row of HEAD + frame bytes. A *position* counts the bytes ever recorded, so it names
a message for good: segments are thinned or deleted when nothing in them is needed any more, and the positions of the rest stay as they
are. Nothing is parsed and nothing is synced on the way in: the page cache outlives the process, and that is what the record is for.

Every segment begins with a mark (JSON) that says which process of the agent's is being recorded and how far, so that the newest
segment alone is enough to go on from.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import json
import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_cloudml.agent.protocol import BEGINS, ENDS, SHELL, STDIN, WHOLE
from jupyter_cloudml.paths import private_dir

from .messages import Record, without_value

HEAD = struct.Struct(">IBBxxQQ")  # size, channel, flags, seq, position
CLIENT = 0x80  # flag: from a client to the kernel
MARK = 255  # channel: a mark of the log's own, JSON

SEGMENT = 4 << 20
LIMIT = (
    2 << 30
)  # bytes: far above what compaction keeps, so that one that fails cannot fill the disk

_CELL = b'"cellId"'  # in the metadata of an execute_request that comes from a notebook's cell
_PASSWORD = (b'"password": true', b'"password":true')


@dataclass
class _Segment:
    path: Path
    start: int  # position
    size: int = 0  # bytes of the file


class RecordLog:
    """The log of one kernel, over all its restarts. Thread-safe; `append` never raises and never waits for a reader.

    `changed` is called from the appending thread after each record, and has to be cheap.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment: int = SEGMENT,
        limit: int = LIMIT,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = private_dir(folder)
        self.epoch = secrets.token_hex(8)
        self.process = ""
        self.last_seq = 0  # the newest record of the process that reached the log
        self.end = 0  # the position behind the newest record
        self.recording = False
        self.stopped: str | None = None  # why nothing is recorded at the moment
        self._segment_size, self._limit, self._changed = segment, limit, changed
        self._lock = threading.Lock()
        self._segments: list[_Segment] = []
        self._fd: int | None = None
        self._password = False
        self._recover()
        self._stopped_file = self.folder / "stopped"
        if self._stopped_file.exists():
            self.stopped = f"it was stopped before the server was started ({self.folder})"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return sum(s.size for s in self._segments)

    # -- writing -----------------------------------------------------------------------------------
    def begin(self, process: str) -> int:
        """Say that records of this process of the agent's follow; return the number to attach from.

        Another process than before is a kernel that was started anew: its numbers begin at 1.
        """
        with self._lock:
            if process != self.process:
                self.process, self.last_seq = process, 0
                if self.recording:
                    self._mark({"process": process})
            return self.last_seq

    def mark(self, **what: str) -> None:
        """Put a mark into the log, for the one who folds it; nothing where nothing is recorded."""
        with self._lock:
            if self.recording:
                self._mark(what)
        self._changed()

    def append(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Add what passed: `flags` as in the agent's protocol, and CLIENT for what a client sent.

        The first execute_request that names a cell starts the recording. A record of the process that is there already changes nothing.
        """
        with self._lock:
            if not flags & CLIENT:
                if seq <= self.last_seq:
                    return
                self.last_seq = seq
            if (not self.recording or self.stopped) and not self._starts(channel, flags, data):
                return
            if channel == STDIN:
                data = self._without_password(flags, data)
            self._write(channel, flags, seq, data)
        self._changed()

    def _starts(self, channel: int, flags: int, data: bytes) -> bool:
        if channel != SHELL or flags & (CLIENT | BEGINS) != CLIENT | BEGINS or _CELL not in data:
            return False
        if self.stopped:
            reason, self.stopped = self.stopped, None
            self._mark({"gap": reason})
        if self.stopped is None:
            with contextlib.suppress(OSError):
                self._stopped_file.unlink()
        self.recording = True
        return self.stopped is None

    def _without_password(self, flags: int, data: bytes) -> bytes:
        if not flags & CLIENT:
            self._password = any(word in data for word in _PASSWORD)
        elif self._password:
            self._password = not flags & ENDS
            return without_value(data) if flags & WHOLE == WHOLE else b""
        return data

    def _mark(self, what: dict[str, Any]) -> None:
        self._write(MARK, WHOLE, self.last_seq, json.dumps(what).encode())

    def _write(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        try:
            if self._fd is None or self._segments[-1].size >= self._segment_size:
                self._rotate()
            self._put(self._segments[-1], channel, flags, seq, data)
        except OSError as exc:
            self._stop(exc)

    def _stop(self, exc: OSError) -> None:
        """Record nothing until the next cell; a page is told why."""
        self.stopped = f"{exc.strerror or exc} ({self.folder})"
        with contextlib.suppress(
            OSError
        ):  # an empty file needs next to no room: the next server says so, too
            self._stopped_file.touch(mode=0o600)

    def _put(self, segment: _Segment, channel: int, flags: int, seq: int, data: bytes) -> None:
        fd = self._fd
        if fd is None:
            raise OSError(errno.EBADF, "the log is closed")
        head = HEAD.pack(len(data), channel, flags, seq, self.end)
        if os.writev(fd, [head, data]) < len(head) + len(data):
            os.ftruncate(fd, segment.size)
            os.lseek(fd, segment.size, os.SEEK_SET)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.size += len(head) + len(data)
        self.end += max(1, len(data))

    def _rotate(self) -> None:
        if sum(s.size for s in self._segments) > self._limit:
            raise OSError(errno.EFBIG, f"the record has reached {self._limit >> 20} MB")
        segment = _Segment(self.folder / f"log-{self.end:020d}", self.end)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        before, self._fd = self._fd, os.open(segment.path, flags, 0o600)
        state = {"epoch": self.epoch, "process": self.process, "last_seq": self.last_seq}
        try:
            self._put(segment, MARK, WHOLE, self.last_seq, json.dumps({"segment": state}).encode())
        except OSError:  # the newest segment has to have its mark
            os.close(self._fd)
            self._fd = before
            segment.path.unlink()
            raise
        if before is not None:
            os.close(before)
        self._segments.append(segment)

    def close(self) -> None:
        """Close the file. What is on disk stays; a later append opens the log again."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    # -- reading -----------------------------------------------------------------------------------
    def read(self, after: int = 0) -> Iterator[Record]:
        """Yield the records that end behind the position `after`, as far as they were there at the call."""
        return self.select([(after, 1 << 62)])

    def select(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Record]:
        """Yield the records that hold a byte of a range (start, end]; the ranges are sorted and disjoint."""
        with self._lock:
            segments = [(s.path, s.start, s.size) for s in self._segments]
        bounds = [start for _, start, _ in segments[1:]] + [1 << 62]
        wanted = iter(ranges)
        current = next(wanted, None)
        for (path, _, size), behind in zip(segments, bounds):  # noqa: B905  no segment, no bound
            if current is None:
                return
            if current[0] >= behind:
                continue
            for record in _records(path, size):
                while current is not None and record.at >= current[1]:
                    current = next(wanted, None)
                if current is None:
                    return
                if record.end > current[0]:
                    yield record

    # -- thinning ----------------------------------------------------------------------------------
    def bounds(self) -> list[tuple[int, int]]:
        """Return (position, bytes on disk) of each segment but the newest, oldest first."""
        with self._lock:
            return [(s.start, s.size) for s in self._segments[:-1]]

    def thin(self, needed: Sequence[tuple[int, int]]) -> int:
        """Delete what lies in none of the ranges (start, end], sorted and disjoint, from all segments but the newest; return the bytes freed.

        A segment is rewritten when that frees half of it. Called by one thread at a time. Raises OSError when a rewrite fails; nothing
        that is needed is lost by that.
        """
        with self._lock:
            segments = list(zip(self._segments, self._segments[1:], strict=False))
        starts = [start for start, _ in needed]
        before = self.size
        for segment, following in segments:
            first = max(0, bisect.bisect_left(starts, segment.start) - 1)
            last = bisect.bisect_left(starts, following.start)
            ranges = needed[first:last]
            live = sum(
                max(0, min(end, following.start) - max(start, segment.start))
                for start, end in ranges
            )
            if not live:
                with self._lock:
                    self._segments.remove(segment)
                segment.path.unlink(missing_ok=True)
            elif live < segment.size // 2:
                self._rewrite(segment, ranges)
        return before - self.size

    def _rewrite(self, segment: _Segment, ranges: Sequence[tuple[int, int]]) -> None:
        scratch = segment.path.with_suffix(".tmp")
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        size = 0
        with open(fd, "wb") as file:
            for r in _records(segment.path, segment.size):
                if any(start < r.end and r.at < end for start, end in _around(ranges, r)):
                    flags = r.flags | (CLIENT if r.client else 0)
                    head = HEAD.pack(len(r.data), r.channel, flags, r.seq, r.at)
                    size += file.write(head + r.data)
        with self._lock:
            os.replace(scratch, segment.path)
            segment.size = size

    def rotate(self) -> None:
        """Begin a new segment with the next record, so that the present one can be thinned."""
        with self._lock:
            if self.recording and self._segments and not self.stopped:
                try:
                    self._rotate()
                except OSError as exc:
                    self._stop(exc)

    def renew(self) -> None:
        """Begin another epoch: positions that somebody has noted are worth nothing any more."""
        with self._lock:
            self.epoch = secrets.token_hex(8)
        self.rotate()

    # -- recovery ----------------------------------------------------------------------------------
    def _recover(self) -> None:
        """Take up what an earlier process left, up to its last whole record."""
        for path in sorted(self.folder.glob("log-*")):
            if path.suffix == ".tmp" or not path.name[4:].isdigit():
                path.unlink()
                continue
            self._segments.append(_Segment(path, int(path.name[4:]), path.stat().st_size))
        while self._segments and not self._take_up(self._segments[-1]):
            self._segments.pop().path.unlink()

    def _take_up(self, segment: _Segment) -> bool:
        """Read the state from the newest segment; False when nothing is in it (killed while it was made)."""
        size = 0
        for record in _records(segment.path, segment.size):
            size += HEAD.size + len(record.data)
            self.end = record.end
            if record.channel == MARK:
                self._take_up_mark(json.loads(record.data))
            elif not record.client:
                self.last_seq = max(self.last_seq, record.seq)
        if not size:
            return False
        if size < segment.size:
            os.truncate(segment.path, size)
            segment.size = size
        self._fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.recording = True
        return True

    def _take_up_mark(self, what: dict[str, Any]) -> None:
        if "segment" in what:
            state = what["segment"]
            self.epoch, self.process = str(state["epoch"]), str(state["process"])
            self.last_seq = int(state["last_seq"])
        elif "process" in what:
            self.process, self.last_seq = str(what["process"]), 0


def _around(ranges: Sequence[tuple[int, int]], record: Record) -> Sequence[tuple[int, int]]:
    """Return the last range that begins in front of the record's end: of disjoint ones, the only one that can hold it or more of it."""
    at = bisect.bisect_left(ranges, (record.end, 0))
    return ranges[at - 1 : at] if at else ()


def _records(path: Path, size: int) -> Iterator[Record]:
    """Yield the whole records among the first `size` bytes of a segment."""
    try:
        with open(path, "rb") as file:
            data = file.read(size)
    except FileNotFoundError:
        return
    at = 0
    while len(data) - at >= HEAD.size:
        length, channel, flags, seq, position = HEAD.unpack_from(data, at)
        at += HEAD.size
        if len(data) - at < length:
            return
        yield Record(
            position,
            position + max(1, length),
            channel,
            bool(flags & CLIENT),
            flags & ~CLIENT,
            seq,
            data[at : at + length],
        )
        at += length
