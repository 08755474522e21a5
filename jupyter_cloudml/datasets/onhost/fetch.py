"""Fetches files by signed addresses: many at once, large ones in ranges of 16 MB, each file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import queue
import re
import shutil
import ssl
import threading
import time
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .book import Book, blob_name
from .folder import Folder, is_md5, matches
from .talk import Again, Stopped, Talk, tries
from .wire import Reply, Wire, WireError

RANGE = 16 << 20
LARGE = 32 << 20
BUFFER = 1 << 20
CLOSE_S = 3.0
JOIN = -2  # no range: all are there
RENEWALS = 5
CHANGES = 5
FICLONE = 0x40049409
FULL = (errno.ENOSPC, errno.EDQUOT)


class Job:
    """One file that is to come."""

    def __init__(self, number: int, path: str, size: int, etag: str) -> None:
        self.number, self.path, self.size, self.etag = number, path, size, etag
        self.url = ""
        self.round = (
            0  # goes up when the object has changed: what belongs to an earlier one is dropped
        )
        self.asked = False  # a new address is on its way
        self.renewals = self.changes = 0
        self.parked: list[int] = []  # ranges that wait for it
        self.left: set[int] = set()
        self.part = ""
        self.room = ""  # its name in the cache, if there is room for it
        self.blob = ""
        self.modified = ""
        self.failed = False
        self.touched = False  # there is a file of it in the scratch folder
        self.digest = ""  # of a content that did not agree with the ETag
        self.lock = threading.Lock()

    def is_same(self, headers: dict[str, str]) -> bool:
        """Whether an answer is of the object that was asked for; not every service knows If-Match, or has ETags that tell."""
        etag, modified = headers.get("etag", "").strip('"'), headers.get("last-modified", "")
        self.modified = self.modified or modified
        return (not self.etag or etag in ("", self.etag)) and modified == self.modified


# A job, its round, and a range: -1 is the whole file.
Task = tuple[Job, int, int]
# mtime_ns and inode: both stay when the file is renamed or linked.
Stamp = tuple[int, int]
News = tuple[list[tuple[Any, ...]], dict[str, tuple[int, int]], list[str], list[int]]


class Fetcher:
    """Threads that fetch. `settled` counts the files that are there or were given up."""

    def __init__(self, talk: Talk, folder: Folder, book: Book, args: dict[str, Any]) -> None:
        self.talk, self.folder, self.book = talk, folder, book
        self.where = str(args["where"])
        self.check_all = args["compare"] == "checksum"
        self.scratch = folder.scratch()
        self._clear_up()
        objects = os.path.join(book.place, "objects")
        self.caching = bool(args["cache"]) and os.stat(objects).st_dev == folder.device
        self.md5_etags = True
        self.reflinks = can_clone(self.scratch)
        self._made: set[str] = set()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self.rows: list[tuple[Any, ...]] = []
        self.kept: dict[str, tuple[int, int]] = {}
        self.released: list[str] = []
        self.done: list[int] = []
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.settled = 0
        self._lock = threading.Lock()
        ca = args.get("ca")
        self._context = ssl.create_default_context(cadata=ca) if ca else None
        self._silent_s = float(args["silent_s"])
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(int(args["threads"]))
        ]
        for thread in self._threads:
            thread.start()

    def _clear_up(self) -> None:
        """Drop what an earlier program left, but large files that can be gone on with."""
        boot = boot_id()
        for name in os.listdir(self.scratch):
            path = os.path.join(self.scratch, name)
            if name.endswith(".map") and boot and _read(path).startswith(boot):
                continue
            if name.endswith(".part") and boot and _read(path[:-5] + ".map").startswith(boot):
                continue
            os.unlink(path)

    # -- from the main thread ------------------------------------------------------------------------

    def from_cache(self, job: Job) -> bool:
        """Have a file from the cache, if that has it."""
        if not self.caching:
            return False
        names = (blob_name(job.etag, job.size, f"{self.where}{job.path}", v) for v in (True, False))
        for name in names:
            if not self.book.usable(name) or (self.check_all and not self._is_sound(name, job)):
                continue
            target = os.path.join(self.scratch, f"{job.number}.new")
            try:
                there = self._share(self.book.blob(name), target)
            except OSError as exc:
                if exc.errno in FULL:
                    raise
                continue
            job.blob = name
            self._place(job, target, there)
            return True
        return False

    def _is_sound(self, name: str, job: Job) -> bool:
        with open(self.book.blob(name), "rb") as file:
            return matches(file.fileno(), job.size, job.etag) is not False

    def begin(self, job: Job, url: str) -> None:
        """Fetch a file from an address; also one that was asked for anew."""
        with job.lock:
            job.url, job.asked = url, False
            parked, job.parked = job.parked, []
        if parked:
            for number in parked:
                self.tasks.put((job, job.round, number))
        elif job.size > LARGE:
            if not job.part:
                self._open_large(job)
        else:
            self.tasks.put((job, job.round, -1))

    def changed(self, job: Job, size: int, etag: str, url: str) -> None:
        """An object is another one now."""
        with job.lock:
            job.size, job.etag, job.digest, job.part, job.parked = size, etag, "", "", []
            job.modified = ""
            self._release(job)
        self.begin(job, url)

    def fail(self, job: Job, code: str, why: str) -> None:
        """Give a file up."""
        with job.lock:
            job.round += 1
            again, job.failed = job.failed, True
        if not again:  # several of its ranges may fail at once
            self.talk.error(job.path, code, why)
            self.settle(job)

    def settle(self, job: Job) -> None:
        """Count a file as done with."""
        with self._lock:
            self._release(job)
            self.settled += 1
            self.done.append(job.number)
        if self.tasks.empty():
            self.talk.wake()

    def _release(self, job: Job) -> None:
        if job.room and not job.blob:
            self.released.append(job.room)
        job.room = ""

    def close(self) -> None:
        """Have the threads end; those that wait for a silent service are not waited for."""
        for _ in self._threads:
            self.tasks.put(None)
        until = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def write_down(self) -> News:
        """What has come since the last time: rows for the book, objects for the cache, room that was not used, files that are done with."""
        with self._lock:
            found = self.rows, self.kept, self.released, self.done
            self.rows, self.kept, self.released, self.done = [], {}, [], []
        return found

    # -- threads -------------------------------------------------------------------------------------

    def _work(self) -> None:
        wire = Wire(self._context, self._silent_s)
        buffer = memoryview(bytearray(BUFFER))
        while (task := self.tasks.get()) is not None:
            job, turn, number = task
            if self.talk.stop.is_set() or job.round != turn:
                continue
            try:
                if number == JOIN:
                    self._range_is_there(job, turn, number)
                elif number < 0:
                    self._small(job, turn, wire, buffer)
                else:
                    self._range(job, turn, number, wire, buffer)
            except Stopped:
                continue
            except Again as exc:
                self._unreached(job, turn, exc)
            except (InTheWay, Failed) as exc:
                self.fail(job, getattr(exc, "code", "in_the_way"), str(exc))
            except OSError as exc:
                self._broken(job, turn, exc)
            except BaseException as exc:  # noqa: BLE001 - the edge of a thread: nothing may end it in silence
                self.talk.give_up("defect", f"{type(exc).__name__}: {exc}")
        wire.close()

    def _unreached(self, job: Job, turn: int, exc: Again) -> None:
        if not exc.reached:
            self.talk.give_up("endpoint_unreachable", str(exc))
        elif job.round == turn:
            self.fail(job, "unavailable", str(exc))

    def _broken(self, job: Job, turn: int, exc: OSError) -> None:
        if exc.errno in FULL:
            self.talk.give_up("no_space", f"no space for {job.path}")
        elif isinstance(exc, ssl.SSLError):
            self.talk.give_up("endpoint_unreachable", f"TLS: {exc.reason or exc}")
        elif exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            self.talk.give_up("endpoint_unreachable", exc.strerror or "there is no way to it")
        elif job.round == turn:  # else its unfinished file has been taken away
            self.fail(job, "os_error", exc.strerror or str(exc))

    def _ask(self, job: Job, wire: Wire, extra: dict[str, str]) -> Reply | None:
        """Send a request for a file; None where it has to wait for another address or is no more what it was."""
        with job.lock:
            url, turn = job.url, job.round
        if job.etag:
            extra = {**extra, "If-Match": f'"{job.etag}"'}
        reply = wire.ask("GET", url, extra)
        if reply.status in (200, 206):
            with job.lock:
                if job.round == turn and job.is_same(reply.headers):
                    return reply
                if job.round == turn:
                    self._is_another(job)
            wire.close()
            return None
        text = reply.text()
        if reply.status >= 500 or reply.status == 429:
            raise Again(f"the service answers {reply.status}")
        with job.lock:
            if job.round != turn:
                return None
            if reply.status in (412, 404, 416):
                self._is_another(job)
                return None
            if job.url != url or job.asked:
                return None
            if reply.status == 403 and job.renewals < RENEWALS:
                job.renewals += 1
                job.asked = True
                self.talk.say(again=job.number, said=text[:2000])
                return None
        code = re.search(r"<Code>([^<]{1,100})</Code>", text)
        raise Failed("refused", f"the service answers {reply.status} {code[1] if code else ''}")

    def _is_another(self, job: Job) -> None:
        job.round += 1
        job.changes += 1
        if job.part:
            os.unlink(job.part)  # ranges that are under way write to what has no name any more
            os.unlink(job.part[:-5] + ".map")
        if job.changes > CHANGES:
            raise Failed("changing", "it changes faster than it can be fetched")
        self.talk.say(changed=job.number)

    # -- small files ---------------------------------------------------------------------------------

    def _wait(self, job: Job, turn: int, number: int) -> None:
        """Have a range fetched when there is another address; at once if there is one by now."""
        with job.lock:
            if job.round != turn:
                return
            if job.asked:
                job.parked.append(number)
            else:
                self.tasks.put((job, turn, number))

    def _small(self, job: Job, turn: int, wire: Wire, buffer: memoryview) -> None:
        target = f"{self.scratch}/{job.number}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        stamps: list[Stamp] = []

        def attempt() -> bool:
            reply = self._ask(job, wire, {})
            if reply is None:
                self._wait(job, turn, -1)
                return False
            if reply.length != job.size:
                raise WireError(f"{reply.length} bytes came instead of {job.size}")
            digest = hashlib.md5(usedforsecurity=False)
            if job.touched:
                os.unlink(target)
            fd = os.open(target, flags, self._mode(job))
            job.touched = True
            try:
                for piece in reply.pieces(buffer):
                    _write(fd, piece, None)
                    digest.update(piece)
                self._agree(job, digest.hexdigest())
                os.fsync(fd)
                stamps.append(stamp(os.fstat(fd)))
            finally:
                os.close(fd)
            self.talk.count(bytes=job.size)
            return True

        if tries(self.talk, attempt, wire):
            self._finish(job, target, stamps[-1])

    def _agree(self, job: Job, digest: str) -> None:
        """Hold a content against the ETag. One that comes twice the same and does not agree has an ETag that is no MD5."""
        if not is_md5(job.etag) or digest == job.etag or not self.md5_etags:
            return
        if job.digest == digest:
            self.md5_etags = False
            return
        job.digest = digest
        raise Again("the content is not what the service says that it is")

    # -- large files ---------------------------------------------------------------------------------

    def _open_large(self, job: Job) -> None:
        name = hashlib.sha256(repr((job.path, job.etag, job.size)).encode()).hexdigest()[:32]
        job.part = os.path.join(self.scratch, name + ".part")
        ranges = set(range(-(-job.size // RANGE)))
        boot, *done = _read(job.part[:-5] + ".map").split("\n")
        fresh = not boot or boot != boot_id() or not os.path.exists(job.part)
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
            self.tasks.put((job, job.round, number))
        if not job.left:
            self.tasks.put((job, job.round, JOIN))

    def _range(self, job: Job, turn: int, number: int, wire: Wire, buffer: memoryview) -> None:
        first = number * RANGE
        size = min(RANGE, job.size - first)

        def attempt() -> bool:
            reply = self._ask(job, wire, {"Range": f"bytes={first}-{first + size - 1}"})
            if reply is None:
                self._wait(job, turn, number)
                return False
            told = reply.headers.get("content-range", "")  # some say 200 and mean 206
            right = told.startswith(f"bytes {first}-") if told else reply.status == 206
            if not right or reply.length != size:
                wire.close()
                what = f"{reply.length} bytes with status {reply.status}"
                raise Again(f"the service sends {what} for a range of {size}")
            return self._received(job, turn, first, wire, reply, buffer)

        if tries(self.talk, attempt, wire):
            self._range_is_there(job, turn, number)

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
                _write(fd, piece, at)
                at += len(piece)
                self.talk.count(bytes=len(piece))
            whole = True
        finally:
            os.close(fd)
            if not whole:
                self.talk.count(bytes=first - at)  # it will come again
        return True

    def _range_is_there(self, job: Job, turn: int, number: int) -> None:
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
            checked = (is_md5(job.etag) and self.md5_etags) or self.check_all
            if checked and matches(fd, job.size, job.etag) is False:
                self._disagrees(job)
                return
            os.fchmod(fd, self._mode(job) & ~self._mask)
            os.fsync(fd)
            there = stamp(os.fstat(fd))
        finally:
            os.close(fd)
        self._finish(job, job.part, there)
        os.unlink(job.part[:-5] + ".map")

    def _disagrees(self, job: Job) -> None:
        """Fetch a large file once more; the second time its ETag is taken for what it is not."""
        os.unlink(job.part[:-5] + ".map")
        self.talk.count(bytes=-job.size)
        if job.digest:
            self.md5_etags = False
        job.digest = "once"
        with job.lock:
            job.round += 1
        self._open_large(job)

    # -- into place ----------------------------------------------------------------------------------

    def _mode(self, job: Job) -> int:
        """How a file is made: one that shares its bytes is not to be written to, for that would write to all."""
        return 0o444 if job.room and not self.reflinks else 0o666

    def _finish(self, job: Job, target: str, there: Stamp) -> None:
        verified = self.md5_etags and not job.digest
        name = blob_name(job.etag, job.size, f"{self.where}{job.path}", verified)
        if job.room == name:
            self._into_cache(job, target, name, there)
        self._place(job, target, there)

    def _into_cache(self, job: Job, target: str, name: str, there: Stamp) -> None:
        blob = self.book.blob(name)
        folder = os.path.dirname(blob)
        try:
            if folder not in self._made:
                os.makedirs(folder, mode=0o700, exist_ok=True)
                self._made.add(folder)
            if self.reflinks:
                clone(target, blob, 0o444)
                there = stamp(os.stat(blob))
            else:
                os.link(target, blob)
        except OSError:
            return  # the file itself is there all the same
        job.blob = name
        with self._lock:
            self.kept[name] = there

    def _share(self, blob: str, target: str) -> Stamp:
        if os.path.lexists(target):
            os.unlink(target)
        if self.reflinks:
            clone(blob, target, 0o666)
        else:
            os.link(blob, target)
        return stamp(os.stat(target))

    def _place(self, job: Job, target: str, there: Stamp) -> None:
        try:
            self.folder.place(target, job.path)
        except InTheWay:
            os.unlink(target)
            raise
        row = (job.path, job.etag, job.size, *there, job.blob)
        with self._lock:
            self.rows.append(row)
        self.talk.count(files=1)
        self.settle(job)


def _write(fd: int, data: memoryview, at: int | None) -> None:
    while len(data):
        done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)
        data = data[done:]
        at = None if at is None else at + done


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def stamp(status: os.stat_result) -> Stamp:
    """What tells that a file was written to since."""
    return status.st_mtime_ns, status.st_ino


def clone(source: str, target: str, mode: int) -> None:
    """Make a file that shares its bytes with another until one is written to. Raises OSError; most file systems cannot."""
    with open(source, "rb") as old:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            fcntl.ioctl(fd, FICLONE, old.fileno())
        except OSError:
            os.unlink(target)
            raise
        finally:
            os.close(fd)


def can_clone(folder: str) -> bool:
    """Whether a folder's file system can do that."""
    source, target = os.path.join(folder, "old"), os.path.join(folder, "new")
    try:
        with open(source, "wb") as file:
            file.write(b"x")
        clone(source, target, 0o600)
        os.unlink(target)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(source)
    return True


def boot_id() -> str:
    """What tells that the computer was not started anew since: its disk may then lack what was written to it. "" where nothing does."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def discard(folder: Folder) -> None:
    """Drop everything that is not finished."""
    shutil.rmtree(os.path.join(folder.path, ".cloudml-data"), ignore_errors=True)
