"""The program: its first line of input says what is to be done.

fetch   bring a folder to what is listed to it. `list` brings files, and is answered by `want` with the numbers of those that are not there yet; these
        are asked for with `sign` shortly before they are fetched, and `urls` brings the addresses. `again` (an address was refused) and `changed` (the
        object is another one) are answered by `urls`, `new` or `gone`. `listed` ends the list.
send    the other way: send.py
list, pin, unpin, evict, quota   the datasets and the cache of this machine
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import sqlite3
import stat
import sys
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .book import Book, FolderLock, blob_name, now
from .fetch import FULL, Fetcher, Job, discard
from .folder import Folder, matches
from .send import Sender
from .talk import JSON, NAMED, Choice, Talk

LOOK_S = 0.1
AHEAD = 256  # files whose addresses are asked for before they are needed


class Fetch:
    """One sync of a folder."""

    def __init__(self, talk: Talk, book: Book, args: JSON) -> None:
        self.talk, self.book, self.args = talk, book, args
        self.choice = Choice(*args["choice"])
        self.preview = bool(args["preview"])
        self.folder = Folder(args["folder"])
        self.lock = FolderLock(book.place, self.folder.path, args["installation"])
        book.clear_up()  # the one that held the lock may have been ended just now
        self.dataset = book.dataset(self.folder.path, args["source"], False)
        self.fetcher = Fetcher(talk, self.folder, book, args)
        self.jobs: dict[int, Job] = {}
        self.waiting: collections.deque[Job] = collections.deque()
        self.begun = 0
        self.listed = False
        self.would: list[list[Any]] = []
        book.ask("create temp table seen (path text primary key) without rowid")

    def run(self) -> JSON:
        """Do it, and say what came of it. Raises Failed."""
        self.talk.say(folder=self.folder.path)
        try:
            while not self._is_done() and not self.talk.stop.is_set():
                self._hear()
                self._ask_for_urls()
                if self.talk.tell():
                    self._write_down()
        except sqlite3.OperationalError as exc:
            if "full" not in str(exc):
                raise
            self.talk.give_up("no_space", str(exc))
        finally:
            self.fetcher.close()
        if self.talk.fatal:
            if self.talk.fatal[0] == "no_space":
                discard(self.folder)
            with contextlib.suppress(sqlite3.Error):  # the next program does it too
                self._write_down()
                self.book.release([job.room for job in self.jobs.values() if job.room])
            raise Failed(*self.talk.fatal)
        self._write_down()
        deleted, kept = self._delete() if self.args["delete"] else (0, [])
        counts = self.talk.counts()
        if not counts.get("failed"):
            discard(self.folder)
        files, size = self.book.synced(self.dataset, now())
        return {
            **counts,
            "deleted": deleted,
            "kept": kept[:NAMED],
            "would": self.would,
            "total_files": files,
            "total_bytes": size,
        }

    def _is_done(self) -> bool:
        return self.listed and not self.waiting and self.fetcher.settled >= self.begun

    def _hear(self) -> None:
        try:
            said = self.talk.heard.get(timeout=LOOK_S)
            while True:
                if said is None:
                    raise Failed("cut_off", "the other end has gone")
                self._take(said)
                said = self.talk.heard.get_nowait()
        except queue.Empty:
            return

    def _take(self, said: JSON) -> None:
        if "list" in said:
            self._compare(said["list"])
        for path in said.get("folders", ()):
            self._make(path)
        for number, url in said.get("urls", ()):
            if number in self.jobs:
                self.fetcher.begin(self.jobs[number], url)
        if "new" in said and said["new"][0] in self.jobs:
            number, size, etag, url = said["new"]
            self.fetcher.changed(self.jobs[number], size, etag, url)
        if "gone" in said and said["gone"] in self.jobs:
            self.talk.count(gone=1)
            self.fetcher.settle(self.jobs[said["gone"]])
        if "fail" in said and said["fail"][0] in self.jobs:
            number, code, why = said["fail"]
            self.fetcher.fail(self.jobs[number], code, why)
        self.listed = self.listed or "listed" in said

    def _make(self, path: str) -> None:
        if self.preview:
            return
        try:
            self.folder.make(path)
        except (InTheWay, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno in FULL:
                raise
            self.talk.error(path, "in_the_way", str(exc))

    # -- what is there -------------------------------------------------------------------------------

    def _compare(self, batch: list[list[Any]]) -> None:
        """Answer a piece of the list with what is wanted of it."""
        if not batch:
            return
        paths = [path for _, path, _, _ in batch]
        known = self.book.known(self.dataset, min(paths), max(paths))
        if self.args["delete"]:
            with self.book.writing() as database:
                database.executemany("insert or ignore into seen values (?)", [(p,) for p in paths])
        wanted = []
        for number, path, size, etag in batch:
            if self._is_there(path, size, etag, known.get(path)):
                self.talk.count(same=1)
            else:
                wanted.append(Job(number, path, size, etag))
        if self.preview:
            self._would("fetch", [(job.path, job.size) for job in wanted])
            wanted = []
        missing = self._without_cached(wanted)
        self.talk.count(wanted=len(missing), wanted_bytes=sum(job.size for job in missing))
        self.talk.say(want=[job.number for job in missing])

    def _without_cached(self, wanted: list[Job]) -> list[Job]:
        missing = []
        for job in wanted:
            try:
                if self.fetcher.from_cache(job):
                    self.begun += 1
                    self.talk.count(cached=1)
                    continue
            except InTheWay as exc:
                self.begun += 1
                self.fetcher.fail(job, "in_the_way", str(exc))
                continue
            missing.append(job)
        if self.fetcher.caching and missing:
            where = self.fetcher.where
            names = {
                job.number: blob_name(job.etag, job.size, f"{where}{job.path}", True)
                for job in missing
            }
            got = self.book.reserve({names[job.number]: job.size for job in missing})
            for job in missing:
                if names[job.number] in got:
                    got.discard(names[job.number])
                    job.room = names[job.number]
        for job in missing:
            self.jobs[job.number] = job
            self.waiting.append(job)
        self.begun += len(missing)
        return missing

    def _is_there(self, path: str, size: int, etag: str, entry: tuple[Any, ...] | None) -> bool:
        there = self.folder.look(path)
        if there is None or there.st_size != size or not stat.S_ISREG(there.st_mode):
            return False
        mode = self.args["compare"]
        if mode == "size":
            return True
        stamped = entry and entry[2:4] == (there.st_mtime_ns, there.st_ino)
        same = bool(stamped and entry and entry[:2] == (etag, size))
        if same and mode == "etag":
            return True
        if entry and not same and mode == "etag" and stamped:
            return False  # as it was fetched, and the object is another one
        return self._has_content(path, size, etag, same)

    def _has_content(self, path: str, size: int, etag: str, otherwise: bool) -> bool:
        """Read a file to see whether it is the object: one that was there before, or with `--checksum`."""
        try:
            fd = self.folder.open(path)
        except OSError:
            return False
        try:
            found = matches(fd, size, etag)
            there = os.fstat(fd)
        finally:
            os.close(fd)
        if found:
            row = (path, etag, size, there.st_mtime_ns, there.st_ino, "")
            if not otherwise:
                self.book.note(self.dataset, [row])
        return otherwise if found is None else found

    # -- going on ------------------------------------------------------------------------------------

    def _ask_for_urls(self) -> None:
        under_way = self.begun - len(self.waiting) - self.fetcher.settled
        if self.waiting and under_way < AHEAD:
            count = min(len(self.waiting), AHEAD)
            self.talk.say(sign=[self.waiting.popleft().number for _ in range(count)])

    def _write_down(self) -> None:
        rows, kept, released, settled = self.fetcher.write_down()
        for number in settled:
            self.jobs.pop(number, None)
        if settled:
            self.talk.say(settled=settled)
        if kept:
            self.book.keep(kept)
        if released:
            self.book.release(released)
        if rows:
            self.book.note(self.dataset, rows)

    def _would(self, what: str, files: list[tuple[str, int]]) -> None:
        self.talk.count(**{f"would_{what}": len(files)})
        if len(files) and what == "fetch":
            self.talk.count(wanted_bytes=sum(size for _, size in files))
        room = max(0, 1000 - len(self.would))
        self.would += [[what, path, size] for path, size in files[:room]]

    def _delete(self) -> tuple[int, list[str]]:
        """Delete what an earlier sync has brought and is not listed any more. What was changed since is kept, and named."""
        rows = self.book.ask(
            "select path, size, mtime_ns, inode from files where dataset=? and path not in (select path from seen)",
            self.dataset,
        )
        gone, kept = [], []
        for path, size, mtime_ns, inode in rows:
            if not self.choice.has(path):
                continue
            there = self.folder.look(path)
            if there is None:
                self.book.forget(self.dataset, [path])
            elif (there.st_size, there.st_mtime_ns, there.st_ino) != (size, mtime_ns, inode):
                kept.append(path)
            else:
                gone.append((path, size))
        if self.preview:
            self._would("delete", gone)
            return 0, kept
        for path, _ in gone:
            self.folder.delete(path)
        self.book.forget(self.dataset, [path for path, _ in gone])
        return len(gone), kept


# -- the cache ---------------------------------------------------------------------------------------


def listing(book: Book) -> JSON:
    """All datasets, and how full the cache is."""
    rows = book.ask(
        "select folder, source, upward, pinned, files, bytes, synced_ms from datasets order by folder, source"
    )
    names = ("folder", "source", "upward", "pinned", "files", "bytes", "synced_ms")
    found = [dict(zip(names, row)) for row in rows]
    for each in found:
        each["upward"], each["pinned"] = bool(each["upward"]), bool(each["pinned"])
        each["there"] = os.path.isdir(each["folder"])
    return {"datasets": found, "used": book.used(), "quota": book.quota}


def manage(book: Book, args: JSON) -> JSON:
    """Pin, unpin, evict, or set the quota."""
    verb = args["verb"]
    if verb == "quota":
        book.set_quota(int(args["quota"]))
    elif verb == "evict" and not args["dataset"]:
        evicted = book.evict(None)
        return {**listing(book), "evicted": evicted}
    elif verb in ("pin", "unpin", "evict"):
        evicted = {"objects": 0, "bytes": 0}
        for number in chosen(book, args["dataset"]):
            if verb == "evict":
                for name, count in book.evict(number).items():
                    evicted[name] += count
                continue
            with book.writing() as database:
                database.execute("update datasets set pinned=? where id=?", (verb == "pin", number))
        if verb == "evict":
            return {**listing(book), "evicted": evicted}
    return listing(book)


def chosen(book: Book, name: str) -> list[int]:
    """The datasets of a source or a folder. Raises Failed."""
    folder = os.path.realpath(os.path.join(os.path.expanduser("~"), os.path.expanduser(name)))
    rows = book.ask("select id from datasets where source=? or folder=?", name, folder)
    if not rows:
        raise Failed("not_found", f"there is no dataset {name}")
    return [int(row[0]) for row in rows]


def main() -> int:
    """Do what the first line says."""
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    talk = Talk()
    args = talk.heard.get()
    if args is None:
        return 1
    try:
        book = Book()
        verb = args["verb"]
        if verb == "fetch":
            answer = Fetch(talk, book, args).run()
        elif verb == "send":
            answer = Sender(talk, book, args).run()
        else:
            answer = manage(book, args)
        talk.say(ended=answer)
    except Failed as exc:
        talk.say(failed=exc.code, message=str(exc))
    except InTheWay as exc:
        talk.say(failed="in_the_way", message=str(exc))
    except (OSError, sqlite3.Error) as exc:
        full = getattr(exc, "errno", 0) in FULL or "is full" in str(exc)
        text = getattr(exc, "strerror", None) or str(exc)
        where = getattr(exc, "filename", None) or args.get("folder", "")
        talk.say(failed="no_space" if full else "os_error", message=f"{where}: {text}")
    except json.JSONDecodeError as exc:
        talk.say(failed="protocol", message=str(exc))
    sys.stdout.flush()
    os._exit(0)  # threads that wait for a silent service are not waited for
