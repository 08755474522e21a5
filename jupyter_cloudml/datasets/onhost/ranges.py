"""Large files, in ranges that are fetched side by side. What was there of one is gone on with, until the computer is started anew."""

from __future__ import annotations

import hashlib
import os

from .asking import Asking
from .folder import is_md5, matches
from .job import JOIN, RANGE, Job, read_text, stamp
from .landing import Landing, boot_id
from .talk import Again, Talk, tries
from .wire import Reply, Wire


class Ranges:
    """Thread-safe."""

    def __init__(self, talk: Talk, asking: Asking, landing: Landing) -> None:
        self.talk, self.asking, self.landing = talk, asking, landing

    def open(self, job: Job) -> None:
        name = hashlib.sha256(repr((job.name, job.etag, job.size)).encode()).hexdigest()[:32]
        job.part = os.path.join(self.landing.scratch, name + ".part")
        ranges = set(range(-(-job.size // RANGE)))
        boot, *done = read_text(job.part[:-5] + ".map").split("\n")
        fresh = not job.etag or not boot or boot != boot_id() or not os.path.exists(job.part)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(job.part, flags | (os.O_TRUNC if fresh else 0), 0o666))
        if fresh:
            with open(job.part[:-5] + ".map", "w") as file:
                file.write(boot_id() + "\n")
            done = []
        else:
            self.talk.count(resumed=1)
        # The last line may have been cut off.
        had = ranges & {int(line) for line in done[:-1] if line.isdigit()}
        job.left = ranges - had
        self.talk.count(bytes=sum(min(RANGE, job.size - n * RANGE) for n in had))
        for number in sorted(job.left):
            self.asking.tasks.put((job, job.round, number))
        if not job.left:
            self.asking.tasks.put((job, job.round, JOIN))

    def fetch(self, job: Job, turn: int, number: int, wire: Wire, buffer: memoryview) -> None:
        first = number * RANGE
        size = min(RANGE, job.size - first)

        def attempt() -> bool:
            reply = self.asking.ask(job, wire, {"Range": f"bytes={first}-{first + size - 1}"})
            if reply is None:
                self.asking.wait(job, turn, number)
                return False
            told = reply.headers.get("content-range", "")  # some say 200 and mean 206
            right = told.startswith(f"bytes {first}-") if told else reply.status == 206
            if not right or reply.length != size:
                wire.close()
                what = f"{reply.length} bytes with status {reply.status}"
                raise Again(f"the service sends {what} for a range of {size}")
            return self._received(job, turn, first, wire, reply, buffer)

        if tries(self.talk, attempt, wire):
            self.is_there(job, turn, number)

    def _received(
        self, job: Job, turn: int, at: int, wire: Wire, reply: Reply, buffer: memoryview
    ) -> bool:
        """Write a range to its place; False when it is not wanted any more."""
        first, whole = at, False
        fd = os.open(job.part, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for piece in reply.pieces(buffer):
                if job.round != turn or self.talk.stop.is_set():
                    wire.close()
                    return False
                with job.writing:
                    write_at(fd, piece, at)
                at += len(piece)
                self.talk.count(bytes=len(piece))
            whole = True
            _begin_writing(fd, first, at - first)
        finally:
            os.close(fd)
            if not whole:
                self.talk.count(bytes=first - at)  # it will come again
        return True

    def is_there(self, job: Job, turn: int, number: int) -> None:
        with job.lock:
            if job.round != turn:
                return
            if number >= 0:
                with open(job.part[:-5] + ".map", "a") as file:
                    file.write(f"{number}\n")
            job.left.discard(number)
            if job.left:
                return
        fd = os.open(job.part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            checked = (is_md5(job.etag) and self.landing.md5_etags) or self.landing.check_all
            if checked and not job.sealed and matches(fd, job.size, job.etag) is False:
                self._disagrees(job)
                return
            os.fchmod(fd, self.landing.mode(job))
            os.fsync(fd)
            there = stamp(os.fstat(fd))
        finally:
            os.close(fd)
        self.landing.finish(job, job.part, there)
        os.unlink(job.part[:-5] + ".map")

    def _disagrees(self, job: Job) -> None:
        """Fetch a large file once more; the second time its ETag is taken for what it is not."""
        os.unlink(job.part[:-5] + ".map")
        self.talk.count(bytes=-job.size)
        if job.digest:
            self.landing.disagrees()
        job.digest = "once"
        with job.lock:
            job.round += 1
        self.open(job)


def _begin_writing(fd: int, at: int, size: int) -> None:
    """Have a piece go to the disk while others are fetched, so that little is left for `fsync`: what this asks for does it first."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(fd, at, size, os.POSIX_FADV_DONTNEED)


def write_at(fd: int, data: memoryview, at: int) -> None:
    """Write all of it to a place of a file. Raises OSError."""
    while len(data):
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done
