"""One sync of a folder: hears what is listed, compares, asks for addresses, and writes down what has come."""

from __future__ import annotations

import collections
import contextlib
import queue
import sqlite3
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .book import Book, now
from .cache import Cache
from .compare import Comparison
from .fetch import Fetcher
from .folder import Folder
from .holding import FolderLock
from .job import Job
from .landing import AHEAD, FULL, LOW, Landing, discard
from .talk import JSON, NAMED, Choice, Talk

LOOK_S = 0.1


class Bring:
    """One sync of a folder."""

    def __init__(self, talk: Talk, book: Book, cache: Cache, args: JSON) -> None:
        self.talk, self.book, self.cache, self.args = talk, book, cache, args
        self.choice = Choice(*args["choice"])
        self.preview = bool(args["preview"])
        self.folder = Folder(args["folder"])
        self.lock = FolderLock(book.place, self.folder.path, args["installation"])
        cache.clear_up()  # the one that held the lock may have been ended just now
        self.dataset = book.dataset(self.folder.path, args["source"], False)
        self.comparison = Comparison(self.folder, book, self.dataset, str(args["compare"]))
        self.landing = Landing(talk, self.folder, cache, args)
        self.fetcher = Fetcher(talk, self.landing, args)
        self.jobs: dict[int, Job] = {}
        self.waiting: collections.deque[Job] = collections.deque()
        self.listed = False
        self.would: list[list[Any]] = []

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
                self.cache.release([job.room for job in self.jobs.values() if job.room])
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
        return self.listed and not self.waiting and not self.landing.under_way

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
            number, size, etag, version, url = said["new"]
            self.fetcher.changed(self.jobs[number], size, etag, version, url)
        if "gone" in said and said["gone"] in self.jobs:
            self.talk.count(gone=1)
            self.landing.settle(self.jobs[said["gone"]])
        if "fail" in said and said["fail"][0] in self.jobs:
            number, code, why = said["fail"]
            self.landing.fail(self.jobs[number], code, why)
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

    def _compare(self, batch: list[list[Any]]) -> None:
        """Answer a piece of the list with what is wanted of it."""
        if not batch:
            return
        paths = [path for _, path, *_ in batch]
        known = self.book.known(self.dataset, min(paths), max(paths))
        if self.args["delete"]:
            self.comparison.see(paths)
        wanted = []
        for number, path, size, etag, version in batch:
            if self.comparison.is_there(path, size, etag, version, known.get(path)):
                self.talk.count(same=1)
            else:
                wanted.append(Job(number, path, size, etag, version))
        if self.preview:
            self._would("fetch", [(job.path, job.size) for job in wanted])
            wanted = []
        missing = self._without_cached(wanted)
        self.talk.count(wanted=len(missing), wanted_bytes=sum(job.size for job in missing))
        self.talk.say(want=[job.number for job in missing])

    def _without_cached(self, wanted: list[Job]) -> list[Job]:
        # A file that is there after a kill, and was not noted yet, was brought: it is not the user's own.
        self.book.expect(self.dataset, [job.path for job in wanted])
        missing = self.landing.from_cache(wanted)
        if self.landing.caching and missing:
            names = {job.number: self.landing.names(job)[0] for job in missing}
            got = self.cache.reserve({names[job.number]: job.size for job in missing})
            for job in missing:
                if names[job.number] in got:
                    got.discard(names[job.number])
                    job.room = names[job.number]
        for job in missing:
            self.jobs[job.number] = job
            self.waiting.append(job)
        return missing

    def _ask_for_urls(self) -> None:
        if self.waiting and self.landing.under_way <= LOW:
            count = min(len(self.waiting), AHEAD)
            self.landing.expect(count)
            self.talk.say(sign=[self.waiting.popleft().number for _ in range(count)])

    def _write_down(self) -> None:
        rows, kept, released, settled = self.landing.write_down()
        for number in settled:
            self.jobs.pop(number, None)
        if settled:
            self.talk.say(settled=settled)
        if kept:
            self.cache.keep(kept)
        if released:
            self.cache.release(released)
        if rows:
            self.book.note(self.dataset, rows)

    def _would(self, what: str, files: list[tuple[str, int]]) -> None:
        self.talk.count(**{f"would_{what}": len(files)})
        if len(files) and what == "fetch":
            self.talk.count(wanted_bytes=sum(size for _, size in files))
        room = max(0, 1000 - len(self.would))
        self.would += [[what, path, size] for path, size in files[:room]]

    def _delete(self) -> tuple[int, list[str]]:
        """Delete what is listed no more. What was changed since it came is kept, and named."""
        gone, kept = self.comparison.gone(self.choice)
        if self.preview:
            self._would("delete", gone)
            return 0, kept
        for path, _ in gone:
            self.folder.delete(path)
        self.book.forget(self.dataset, [path for path, _ in gone])
        return len(gone), kept
