"""What a process has said and its client has not yet taken: in memory up to a limit, on disk up to another, in order.

Every record is written to a file as it comes (the page cache outlives the agent), so a killed agent loses nothing that it had read. Memory
holds the records that wait to be sent; when they outgrow the limit, the newest wait on disk alone and are read back in turn. Past the
disk's limit the oldest *stream* output gives way to a visible notice; results, errors and states stay.
"""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import Callable

from .protocol import ABORT, ENDS, HEAD, WHOLE, Record, pack

MEMORY_LIMIT = 64 << 20
DISK_LIMIT = 1 << 30
SEGMENT = 16 << 20
REFILL = 4 << 20

# Takes the records of a whole segment; gives back those that stay and a notice about the rest.
Thin = Callable[[list[Record]], list[Record]]


class Segment:
    """One file of records; ``last`` is the number of its newest."""

    def __init__(self, path: Path, size: int = 0, last: int = 0) -> None:
        self.path, self.size, self.last = path, size, last
        self.thinned = False

    def read(self, offset: int, limit: int) -> tuple[list[Record], int]:
        """Whole records from ``offset`` on, about ``limit`` bytes of them, and the offset behind them."""
        with open(self.path, "rb") as file:
            file.seek(offset)
            data = file.read(limit)
            if len(data) >= HEAD.size:
                need = HEAD.unpack_from(data)[0] + HEAD.size
                if need > len(data):
                    data += file.read(need - len(data))
        records, at = [], 0
        while len(data) - at >= HEAD.size:
            size, stream, channel, flags, seq, ack = HEAD.unpack_from(data, at)
            stop = at + HEAD.size + size
            if stop > len(data):
                break
            records.append(Record(stream, channel, flags, seq, ack, data[at + HEAD.size : stop]))
            at = stop
        return records, offset + at


class Journal:
    """The journal of one process. ``number`` is the process's stream number; records carry it."""

    def __init__(
        self,
        folder: Path,
        number: int,
        thin: Thin | None = None,
        memory_limit: int = MEMORY_LIMIT,
        disk_limit: int = DISK_LIMIT,
        segment: int = SEGMENT,
    ) -> None:
        self.folder, self.number, self.thin = folder, number, thin
        self.memory_limit, self.disk_limit, self.segment_size = memory_limit, disk_limit, segment
        self.seq = self.acked = 0
        self.unsent: collections.deque[tuple[int, bytes]] = collections.deque()
        self.unacked: collections.deque[tuple[int, bytes]] = collections.deque()
        self.unsent_bytes = self.unacked_bytes = 0
        self.segments: list[Segment] = []
        self._fd: int | None = None
        self._reader: tuple[Segment, int] | None = (
            None  # where the records begin that wait on disk alone
        )
        self._skip = 0  # read back only what is newer
        self._late: collections.deque[tuple[int, bytes]] = (
            collections.deque()
        )  # what came after those while the disk refused
        self._late_bytes = 0
        self.half: set[int] = (
            set()
        )  # channels on which the agent before this one was inside a message
        self._recover()

    # -- writing -----------------------------------------------------------------------------------------------------------------
    def append(self, channel: int, flags: int, data: bytes, ack: int) -> int:
        """Journal one record and return its number."""
        self.seq += 1
        record = pack(self.number, channel, data, flags, self.seq, ack)
        if self._late:
            self._keep_late(record)
            return self.seq
        segment, offset = self._write(record)
        if segment is None and self._reader is not None:
            self._keep_late(record)
        elif self._reader is None and (
            segment is None or self.unsent_bytes + self.unacked_bytes < self.memory_limit
        ):
            self.unsent.append((self.seq, record))
            self.unsent_bytes += len(record)
            if segment is None and self.unsent_bytes > self.memory_limit:
                self.unsent = self._thinned(self.unsent)
                self.unsent_bytes = sum(len(data) for _, data in self.unsent)
        elif self._reader is None and segment is not None:
            self._reader = (segment, offset)
        return self.seq

    def _write(self, record: bytes) -> tuple[Segment | None, int]:
        try:
            fd = self._fd
            if fd is None or self.segments[-1].size >= self.segment_size:
                fd = self._rotate()
            segment = self.segments[-1]
            offset = segment.size
            done = os.write(fd, record)
            if done < len(record):  # the disk is full
                os.ftruncate(fd, offset)
                os.lseek(fd, offset, os.SEEK_SET)
                raise OSError("short write")
            segment.size += done
            segment.last = self.seq
            return segment, offset
        except OSError:
            return None, 0

    def _keep_late(self, record: bytes) -> None:
        self._late.append((self.seq, record))
        self._late_bytes += len(record)
        if self._late_bytes > self.memory_limit:
            self._late = self._thinned(self._late)
            self._late_bytes = sum(len(data) for _, data in self._late)

    def _rotate(self) -> int:
        path = self.folder / f"journal-{self.seq:020d}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd
        self.segments.append(Segment(path))
        self._drop_taken()
        while sum(s.size for s in self.segments) > self.disk_limit and self._thin_oldest():
            pass
        return fd

    # -- sending and acknowledging --------------------------------------------------------------------------------------------------
    def next(self) -> bytes | None:
        """The next record to send, or None when all are sent."""
        if not self.unsent and self._reader is not None:
            self._refill()
        if not self.unsent:
            return None
        seq, record = self.unsent.popleft()
        self.unsent_bytes -= len(record)
        self.unacked.append((seq, record))
        self.unacked_bytes += len(record)
        return record

    @property
    def pending(self) -> bool:
        """Whether a record waits to be sent."""
        return bool(self.unsent) or self._reader is not None

    @property
    def memory_bytes(self) -> int:
        """How much is held in memory."""
        return self.unsent_bytes + self.unacked_bytes + self._late_bytes

    @property
    def disk_bytes(self) -> int:
        """How much is on disk; what was acknowledged goes by whole segments."""
        return sum(segment.size for segment in self.segments)

    def take_ack(self, seq: int) -> None:
        """The client has everything up to ``seq``."""
        while self.unacked and self.unacked[0][0] <= seq:
            self.unacked_bytes -= len(self.unacked.popleft()[1])
        if seq > self.acked:
            self.acked = min(seq, self.seq)
            if len(self.segments) > 1 and self.segments[0].last <= self.acked:
                self._drop_taken()

    def rewind(self, since: int) -> None:
        """Send again whatever is newer than ``since`` (a client that attaches)."""
        again = [item for item in self.unacked if item[0] > since]
        self.unsent.extendleft(reversed(again))
        self.unsent_bytes += sum(len(record) for _, record in again)
        self.unacked.clear()
        self.unacked_bytes = 0
        while self.unsent and self.unsent[0][0] <= since:
            self.unsent_bytes -= len(self.unsent.popleft()[1])
        self._skip = max(self._skip, since)
        self.seq = max(self.seq, since)  # it had some from a killed agent that the disk had refused
        self.take_ack(since)

    def bytes_since(self, seq: int, channel: int) -> int:
        """How much of a channel is on disk in records newer than ``seq``."""
        found = 0
        for segment in self.segments:
            if segment.last > seq:
                records = segment.read(0, segment.size)[0]
                found += sum(len(r.data) for r in records if r.seq > seq and r.channel == channel)
        return found

    def break_off(self, channel: int) -> None:
        """What an agent before this one had begun on a channel does not go on."""
        if channel in self.half:
            self.half.discard(channel)
            self.append(channel, ABORT | WHOLE, b"", 0)

    def newest(self, channel: int) -> bytes:
        """The data of the newest whole record of a channel that is on disk; empty when there is none."""
        for segment in reversed(self.segments):
            for record in reversed(segment.read(0, segment.size)[0]):
                if record.channel == channel and record.flags == WHOLE:
                    return record.data
        return b""

    def close(self) -> None:
        """Close the file; the records stay on disk."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # -- disk ----------------------------------------------------------------------------------------------------------------------
    def _refill(self) -> None:
        while self._reader is not None and self.unsent_bytes < REFILL:
            segment, offset = self._reader
            records, after = segment.read(offset, REFILL)
            for record in records:
                if record.seq > self._skip:
                    data = pack(
                        record.stream,
                        record.channel,
                        record.data,
                        record.flags,
                        record.seq,
                        record.ack,
                    )
                    self.unsent.append((record.seq, data))
                    self.unsent_bytes += len(data)
            if after < segment.size and records:
                self._reader = (segment, after)
                continue
            at = self.segments.index(segment) if segment in self.segments else -1
            following = self.segments[at + 1 :]
            self._reader = (following[0], 0) if following else None
        if self._reader is None and self._late:
            self.unsent.extend(self._late)
            self.unsent_bytes += self._late_bytes
            self._late.clear()
            self._late_bytes = 0

    def _drop_taken(self) -> None:
        while len(self.segments) > 1 and self.segments[0].last <= self.acked:
            segment = self.segments.pop(0)
            if self._reader is not None and self._reader[0] is segment:
                self._reader = (self.segments[0], 0)
            segment.path.unlink(missing_ok=True)

    def _thin_oldest(self) -> bool:
        """Rewrite the oldest segment that still holds stream output; False when there is none."""
        reading = self._reader[0] if self._reader else None
        for segment in self.segments[:-1]:
            if segment.thinned or self.thin is None:
                continue
            segment.thinned = True
            offset = self._reader[1] if segment is reading and self._reader else 0
            kept = self.thin(segment.read(offset, segment.size)[0])
            scratch = segment.path.with_suffix(".tmp")
            data = b"".join(pack(r.stream, r.channel, r.data, r.flags, r.seq, r.ack) for r in kept)
            scratch.write_bytes(data)
            scratch.chmod(0o600)
            os.replace(scratch, segment.path)
            segment.size = len(data)
            if segment is reading:
                self._reader = (segment, 0)
            return True
        return False

    def _thinned(
        self, queue: collections.deque[tuple[int, bytes]]
    ) -> collections.deque[tuple[int, bytes]]:
        if self.thin is None:
            return queue
        records = []
        for _, data in queue:
            _, stream, channel, flags, seq, ack = HEAD.unpack_from(data)
            records.append(Record(stream, channel, flags, seq, ack, data[HEAD.size :]))
        kept = self.thin(records)
        return collections.deque(
            (r.seq, pack(r.stream, r.channel, r.data, r.flags, r.seq, r.ack)) for r in kept
        )

    def _recover(self) -> None:
        """Take up what an agent before this one left on disk."""
        inside: dict[int, bool] = {}
        for path in sorted(self.folder.glob("journal-*")):
            if path.suffix == ".tmp":
                path.unlink()
                continue
            segment, offset = Segment(path), 0
            while True:
                records, after = segment.read(offset, REFILL)
                if not records:
                    break
                for record in records:
                    self.seq = segment.last = record.seq
                    inside[record.channel] = not record.flags & (ENDS | ABORT)
                offset = after
            segment.size = offset
            if not offset:  # opened and never written; the next one may get its name
                path.unlink()
                continue
            if offset < path.stat().st_size:
                os.truncate(path, offset)
            self.segments.append(segment)
        if self.segments:
            self._reader = (self.segments[0], 0)
            self.half = {channel for channel, half in inside.items() if half}
