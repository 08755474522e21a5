"""Fetches files by signed addresses: many at once, large ones in ranges, each file whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import threading
import time
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .asking import Asking
from .job import JOIN, LARGE, WHOLE, Job, Stamp, stamp
from .landing import FULL, Landing
from .quick import SMALL, Quick
from .ranges import Ranges
from .talk import Again, Stopped, Talk, tries
from .wire import Wire, WireError, why_insecure

BUFFER = 1 << 20
CLOSE_S = 3.0


class Fetcher:
    """Threads that fetch."""

    def __init__(self, talk: Talk, landing: Landing, args: dict[str, Any]) -> None:
        self.talk, self.landing = talk, landing
        self.asking = Asking(talk)
        self.ranges = Ranges(talk, self.asking, landing)
        ca = args.get("ca")
        self._context = ssl.create_default_context(cadata=ca) if ca else None
        self._silent_s = float(args["silent_s"])
        self._count = int(args["threads"])
        self._threads: list[threading.Thread] = []
        self.quick = Quick(
            talk, landing, self._context, self._silent_s, self.asking.tasks.put, self._broken
        )

    def _start(self) -> None:
        for _ in range(self._count):
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def begin(self, job: Job, url: str) -> None:
        """Fetch a file from an address; also one that was asked for anew."""
        if not self._threads:  # a sync that finds nothing new needs none
            self._start()
        with job.lock:
            job.url, job.asked = url, False
            parked, job.parked = job.parked, []
        if parked:
            for number in parked:
                self.asking.tasks.put((job, job.round, number))
        elif job.size > LARGE:
            if not job.part:
                self.ranges.open(job)
        elif job.size <= SMALL and not job.touched:
            self.quick.add(job)
        else:
            self.asking.tasks.put((job, job.round, WHOLE))

    def changed(self, job: Job, size: int, etag: str, version: str, url: str) -> None:
        """An object is another one now."""
        with job.lock:
            job.size, job.etag, job.digest, job.part, job.parked = size, etag, "", "", []
            job.modified, job.version = "", version
            self.landing.release(job)
        self.begin(job, url)

    def close(self) -> None:
        """Have the threads end; those that wait for a silent service are not waited for."""
        for _ in self._threads:
            self.asking.tasks.put(None)
        until = time.monotonic() + CLOSE_S
        for thread in (*self.quick.close(), *self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        wire = Wire(self._context, self._silent_s)
        buffer = memoryview(bytearray(BUFFER))
        while (task := self.asking.tasks.get()) is not None:
            job, turn, number = task
            if self.talk.stop.is_set() or job.round != turn:
                continue
            try:
                if number == JOIN:
                    self.ranges.is_there(job, turn, number)
                elif number < 0:
                    self._small(job, turn, wire, buffer)
                else:
                    self.ranges.fetch(job, turn, number, wire, buffer)
            except Stopped:
                continue
            except Again as exc:
                self._unreached(job, turn, exc)
            except (InTheWay, Failed) as exc:
                self.landing.fail(job, getattr(exc, "code", "in_the_way"), str(exc))
            except OSError as exc:
                self._broken(job, turn, exc)
            except BaseException as exc:  # noqa: BLE001 - the edge of a thread: nothing may end it in silence
                self.talk.give_up("defect", f"{type(exc).__name__}: {exc}")
        wire.close()

    def _unreached(self, job: Job, turn: int, exc: Again) -> None:
        if not exc.reached:
            self.talk.give_up("endpoint_unreachable", str(exc))
        elif job.round == turn:
            self.landing.fail(job, "unavailable", str(exc))

    def _broken(self, job: Job, turn: int, exc: OSError) -> None:
        if exc.errno in FULL:
            self.talk.give_up("no_space", f"no space for {job.path}")
        elif isinstance(exc, ssl.SSLError):
            self.talk.give_up(*why_insecure(exc))
        elif exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            self.talk.give_up("endpoint_unreachable", exc.strerror or "there is no way to it")
        elif job.round == turn:  # else its unfinished file has been taken away
            self.landing.fail(job, "os_error", exc.strerror or str(exc))

    def _small(self, job: Job, turn: int, wire: Wire, buffer: memoryview) -> None:
        target = f"{self.landing.scratch}/{job.number}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        stamps: list[Stamp] = []

        def attempt() -> bool:
            reply = self.asking.ask(job, wire, {})
            if reply is None:
                self.asking.wait(job, turn, WHOLE)
                return False
            if reply.length != job.size:
                raise WireError(f"{reply.length} bytes came instead of {job.size}")
            digest = hashlib.md5(usedforsecurity=False)
            if job.touched:
                os.unlink(target)
            fd = os.open(target, flags, self.landing.mode(job))
            job.touched = True
            try:
                for piece in reply.pieces(buffer):
                    _write(fd, piece)
                    digest.update(piece)
                self.landing.agree(job, digest.hexdigest())
                os.fsync(fd)
                stamps.append(stamp(os.fstat(fd)))
            finally:
                os.close(fd)
            self.talk.count(bytes=job.size)
            return True

        if tries(self.talk, attempt, wire):
            self.landing.finish(job, target, stamps[-1])


def _write(fd: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(fd, data) :]
