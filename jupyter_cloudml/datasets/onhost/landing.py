"""Brings finished files to their place in the folder and the cache, and keeps count of what is there or was given up."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .cache import Cache, blob_name
from .folder import Folder, is_md5, matches
from .job import Job, Stamp, read_text, stamp, tag
from .talk import Again, Talk

AHEAD = 1024  # files whose addresses are asked for before they are needed
LOW = AHEAD // 2  # so few under way: more are asked for
FICLONE = 0x40049409
FULL = (errno.ENOSPC, errno.EDQUOT)
News = tuple[list[tuple[Any, ...]], dict[str, tuple[int, int]], list[str], list[int]]


class Landing:
    """Thread-safe. `under_way` counts the files that are asked for, and neither there nor given up."""

    def __init__(self, talk: Talk, folder: Folder, cache: Cache, args: dict[str, Any]) -> None:
        self.talk, self.folder, self.cache = talk, folder, cache
        self.where = str(args["where"])
        self.check_all = args["compare"] == "checksum"
        self.scratch = folder.scratch()
        self._clear_up()
        objects = os.path.join(cache.book.place, "objects")
        self.caching = bool(args["cache"]) and os.stat(objects).st_dev == folder.device
        self.md5_etags = True  # of this service, as far as is known
        self.agreed = False  # it is known, for some did
        self.reflinks = can_clone(self.scratch)
        self._made: set[str] = set()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._rows: list[tuple[Any, ...]] = []
        self._kept: dict[str, tuple[int, int]] = {}
        self._released: list[str] = []
        self._done: list[int] = []
        self.under_way = 0
        self._lock = threading.Lock()

    def _clear_up(self) -> None:
        """Drop what an earlier program left, but large files that can be gone on with."""
        boot = boot_id()
        for name in os.listdir(self.scratch):
            path = os.path.join(self.scratch, name)
            if name.endswith(".map") and boot and read_text(path).startswith(boot):
                continue
            if name.endswith(".part") and boot and read_text(path[:-5] + ".map").startswith(boot):
                continue
            os.unlink(path)

    def names(self, job: Job) -> tuple[str, str]:
        """What a file is called in the cache where its ETag is its MD5, and where it is not."""
        where = f"{self.where}{job.name}"
        return blob_name(job.etag, job.size, where, True), blob_name(
            job.etag, job.size, where, False
        )

    def from_cache(self, jobs: list[Job]) -> list[Job]:
        """Have files from the cache; return those that it has not."""
        if not self.caching:
            return jobs
        names = {job.number: self.names(job) for job in jobs}
        known = self.cache.known([name for both in names.values() for name in both])
        missing = []
        for job in jobs:
            try:
                if any(self._cached(job, name) for name in names[job.number] if name in known):
                    self.talk.count(cached=1)
                else:
                    missing.append(job)
            except InTheWay as exc:
                self.fail(job, "in_the_way", str(exc))
        return missing

    def _cached(self, job: Job, name: str) -> bool:
        if not self.cache.usable(name) or (self.check_all and not self._is_sound(name, job)):
            return False
        target = os.path.join(self.scratch, f"{job.number}.new")
        try:
            there = self._share(self.cache.blob(name), target)
        except OSError as exc:
            if exc.errno in FULL:
                raise
            return False
        job.blob = name
        self.expect(1)
        self._place(job, target, there)
        return True

    def _is_sound(self, name: str, job: Job) -> bool:
        with open(self.cache.blob(name), "rb") as file:
            return matches(file.fileno(), job.size, job.etag) is not False

    def expect(self, count: int) -> None:
        """Count files as under way."""
        with self._lock:
            self.under_way += count

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
            self.release(job)
            self.under_way -= 1
            self._done.append(job.number)
            left = self.under_way
        if left in (LOW, 0):
            self.talk.wake()

    def release(self, job: Job) -> None:
        """Give up the room that was reserved for a file which is not in the cache."""
        if job.room and not job.blob:
            self._released.append(job.room)
        job.room = ""

    def write_down(self) -> News:
        """What has come since the last time: rows for the book, objects for the cache, room that was not used, files that are done with."""
        with self._lock:
            found = self._rows, self._kept, self._released, self._done
            self._rows, self._kept, self._released, self._done = [], {}, [], []
        return found

    def mode(self, job: Job) -> int:
        """How a file is made: one that shares its bytes is not to be written to, for that would write to all."""
        return (0o444 if job.room and not self.reflinks else 0o666) & ~self._mask

    def finish(self, job: Job, target: str, there: Stamp) -> None:
        """Bring a file that is whole, checked and on the disk to its place. Raises InTheWay, OSError."""
        verified = self.md5_etags and not job.digest and not job.sealed
        name = blob_name(job.etag, job.size, f"{self.where}{job.name}", verified)
        if job.room == name:
            self._into_cache(job, target, name, there)
        self._place(job, target, there)

    def _into_cache(self, job: Job, target: str, name: str, there: Stamp) -> None:
        blob = self.cache.blob(name)
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
            self._kept[name] = there

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
        row = (job.path, tag(job.etag, job.version), job.size, *there, job.blob)
        with self._lock:
            self._rows.append(row)
        self.talk.count(files=1)
        self.settle(job)

    def agree(self, job: Job, digest: str) -> None:
        """Hold a content against the ETag. Where no other agrees, one that comes twice the same has an ETag that is no MD5. Raises Again, Failed."""
        if not is_md5(job.etag) or not self.md5_etags or job.sealed:
            return
        if digest == job.etag:
            self.agreed = self.agreed or job.size > 0
            job.digest = ""
        elif job.digest == digest:
            self.disagrees()
        else:
            job.digest = digest
            raise Again("the content is not what the service says that it is")

    def disagrees(self) -> None:
        """A content came twice the same, and is not what its ETag says. Raises Failed (`corrupt`) where the ETags of others are MD5s."""
        if self.agreed:
            raise Failed("corrupt", "what the service sends is not what it says that it has")
        self.md5_etags = False


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
    return read_text("/proc/sys/kernel/random/boot_id").strip()


def discard(folder: Folder) -> None:
    """Drop everything that is not finished."""
    shutil.rmtree(os.path.join(folder.path, ".cloudml-data"), ignore_errors=True)
