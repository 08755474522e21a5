"""Small files over many connections from one thread: threads that fetch them one each spend most of their time on waiting for each other.

Only what goes well is done here. A file for which anything else happens (another status, a connection that breaks, a content that does not agree) is
handed to the threads of fetch.py, which ask for it anew.
"""

from __future__ import annotations

import collections
import hashlib
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable

from ...onhost.folder import InTheWay
from .durable import Disk
from .folder import is_md5
from .job import WHOLE, Job, Stamp, Task, stamp
from .landing import Landing
from .talk import Talk
from .wire import Peer, WireError, dial, parsed, request

SMALL = 1 << 18
LINES = 32
DIALERS = 4
BATCH, BATCH_S = 256, 0.1  # files that are on the disk and get their names at once
LOOK_S = 1.0
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LATER = (BlockingIOError, ssl.SSLWantReadError)


class Line:
    """A connection, and the file that comes over it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.secure = sock, isinstance(sock, ssl.SSLSocket)
        self.view = memoryview(bytearray(SMALL + (1 << 16)))
        self.job: Job | None = None
        self.turn = self.got = self.body = 0
        self.since = 0.0

    def ask(self, job: Job, target: str, host: str) -> None:
        """Send the request for a file. Raises OSError."""
        self.job, self.turn, self.got, self.body = job, job.round, 0, 0
        self.since = time.monotonic()
        extra = {"If-Match": f'"{job.etag}"'} if job.etag else {}
        head = request("GET", target, host, extra)
        if self.sock.send(head) != len(head):
            raise WireError("a request did not go out whole")

    def is_only_tickets(self) -> bool:
        """Whether what came without a question is of TLS itself."""
        try:
            self.sock.recv(1)
        except LATER:
            return True
        except OSError:
            pass
        return False

    def read(self) -> memoryview | None:
        """The file, when all of it is there. Raises OSError, WireError for anything that is not just that."""
        while True:
            try:
                got = self.sock.recv_into(self.view[self.got :])
            except LATER:
                return None
            if not got:
                raise WireError("the connection was closed")
            self.got += got
            assert self.job is not None  # noqa: S101 - it was asked for
            if not self.body:
                self._take_head(self.job)
            if self.body and self.got >= self.body + self.job.size:
                break
            if not self.secure:
                return None
        if self.got > self.body + self.job.size:
            raise WireError("more came than was asked for")
        return self.view[self.body : self.got]

    def _take_head(self, job: Job) -> None:
        head, end, _ = bytes(self.view[: min(self.got, 1 << 16)]).partition(b"\r\n\r\n")
        if not end:
            if self.got > 1 << 15:
                raise WireError("the head of the answer does not end")
            return
        status, headers = parsed(head)
        right = status == 200 and headers.get("content-length") == str(job.size)
        if not right or "transfer-encoding" in headers or "close" in headers.get("connection", ""):
            raise WireError(f"the service answers {status}")
        with job.lock:
            if job.round != self.turn or not job.is_same(headers):
                raise WireError("it is another object")
        self.body = len(head) + 4


class Quick:
    """One thread that fetches, and one that brings what has come to its place. Both begin with the first file."""

    def __init__(
        self,
        talk: Talk,
        landing: Landing,
        context: ssl.SSLContext | None,
        silent_s: float,
        slow: Callable[[Task], object],
        broken: Callable[[Job, int, OSError], object],
    ) -> None:
        self.talk, self.landing = talk, landing
        self._context, self._silent_s, self._slow, self._broken = context, silent_s, slow, broken
        self._jobs: collections.deque[Job] = collections.deque()
        self._dialled: collections.deque[socket.socket | None] = collections.deque()
        self._came: list[tuple[Job, int, str, Stamp]] = []
        self._more = threading.Condition()
        self._peer: Peer | None = None
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._dialling, self._most = 0, LINES
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._threads: list[threading.Thread] = []

    def add(self, job: Job) -> None:
        """Fetch a file that is no larger than SMALL."""
        self._jobs.append(job)
        if not self._threads:
            for work in (self._fetch, self._land):
                thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
                self._threads.append(thread)
                thread.start()
        self._wake()

    def close(self) -> list[threading.Thread]:
        """Have the threads end; returns them."""
        self._ended = True
        self._wake()
        with self._more:
            self._more.notify()
        return self._threads

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except BlockingIOError:
            return  # it is woken already

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - the edge of a thread: nothing may end it in silence
            self.talk.give_up("defect", f"{type(exc).__name__}: {exc}")

    # -- the thread that fetches ---------------------------------------------------------------------

    def _fetch(self) -> None:
        for each in (self._woken, self._waker):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        looked = time.monotonic()
        while not (self._ended or self.talk.stop.is_set()):
            self._give_out()
            for key, _ in self._selector.select(LOOK_S):
                if key.data is None:
                    self._take_dialled()
                else:
                    self._read(key.data)
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                self._look_for_silence(looked)
        for line in list(self._lines):
            self._drop(line)

    def _give_out(self) -> None:
        while self._jobs and not self._most:
            self._slow_down(self._jobs.popleft())
        while self._jobs and (self._idle or len(self._lines) + self._dialling < self._most):
            peer, target, host = Peer.of(self._jobs[0].url)
            self._peer = self._peer or peer
            if peer != self._peer:
                self._slow_down(self._jobs.popleft())
            elif self._idle:
                self._ask(self._idle.pop(), self._jobs.popleft(), target, host)
            elif self._dialling < min(len(self._jobs), DIALERS):
                self._dialling += 1
                threading.Thread(target=self._dial, args=(peer,), daemon=True).start()
            else:
                break
        if not self._jobs and len(self._idle) == len(self._lines):
            with self._more:  # nothing more comes for now
                if self._came:
                    self._more.notify()

    def _dial(self, peer: Peer) -> None:
        sock: socket.socket | None = None
        try:
            sock = dial(peer, self._context, self._silent_s)
            sock.setblocking(False)
        except (OSError, ValueError):
            pass  # the threads find out why
        self._dialled.append(sock)
        self._wake()

    def _take_dialled(self) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        while self._dialled:
            sock = self._dialled.popleft()
            self._dialling -= 1
            if sock is not None:
                line = Line(sock)
                self._lines.add(line)
                self._idle.append(line)
                self._selector.register(sock, selectors.EVENT_READ, line)
            else:
                self._most = len(self._lines)  # no more than it lets us have

    def _ask(self, line: Line, job: Job, target: str, host: str) -> None:
        if not line.is_only_tickets():  # it was closed, or what came belongs to no question
            self._drop(line)
            self._jobs.appendleft(job)
            return
        try:
            line.ask(job, target, host)
        except (OSError, WireError):
            self._give_up(line)

    def _read(self, line: Line) -> None:
        job = line.job
        if job is None:
            if not line.is_only_tickets():
                self._drop(line)  # a service closes what is not used for long
            return
        try:
            data = line.read()
        except (OSError, WireError, ValueError):
            if line.got:
                self.talk.count(retried=1)
            self._give_up(line)
            return
        if data is None:
            return
        line.job = None
        self._idle.append(line)
        if job.round == line.turn:
            self._take(job, line.turn, data)

    def _take(self, job: Job, turn: int, data: memoryview) -> None:
        if is_md5(job.etag) and self.landing.md5_etags and not job.sealed:
            if hashlib.md5(data, usedforsecurity=False).hexdigest() != job.etag:
                self._slow_down(job)
                return
            self.landing.agreed = self.landing.agreed or job.size > 0
        target = f"{self.landing.scratch}/{job.number}.new"
        try:
            fd = os.open(target, FLAGS, self.landing.mode(job))
            job.touched = True
            try:
                if os.write(fd, data) != len(data):
                    self._slow_down(job)  # a full disk: it will tell
                    return
                there = stamp(os.fstat(fd))
            finally:
                os.close(fd)
        except OSError as exc:
            self._broken(job, turn, exc)
            return
        self.talk.count(bytes=job.size)
        with self._more:
            self._came.append((job, turn, target, there))
            if len(self._came) == BATCH:
                self._more.notify()

    def _look_for_silence(self, now: float) -> None:
        for line in list(self._lines):
            if line.job is not None and now - line.since > self._silent_s:
                self.talk.count(retried=1)
                self._give_up(line)

    def _give_up(self, line: Line) -> None:
        job = line.job
        self._drop(line)
        if job is not None:
            self._slow_down(job)

    def _slow_down(self, job: Job) -> None:
        self._slow((job, job.round, WHOLE))

    def _drop(self, line: Line) -> None:
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)
        self._selector.unregister(line.sock)
        line.sock.close()
        line.job = None

    # -- the thread that brings files to their place -------------------------------------------------

    def _land(self) -> None:
        disk = Disk(self.landing.folder.fd)
        while not (self._ended or self.talk.stop.is_set()):
            with self._more:
                if len(self._came) < BATCH:
                    self._more.wait(BATCH_S)
                came, self._came = self._came, []
            if not came:
                continue
            try:
                disk.flush([target for _, _, target, _ in came])
            except OSError as exc:
                for job, turn, _, _ in came:
                    self._broken(job, turn, exc)
                continue
            for job, turn, target, there in came:
                self._finish(job, turn, target, there)

    def _finish(self, job: Job, turn: int, target: str, there: Stamp) -> None:
        if job.round != turn:
            return
        try:
            self.landing.finish(job, target, there)
        except InTheWay as exc:
            self.landing.fail(job, "in_the_way", str(exc))
        except OSError as exc:
            self._broken(job, turn, exc)
