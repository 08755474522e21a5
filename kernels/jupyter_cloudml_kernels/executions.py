"""The records of all kernels: what a page asks for when it comes back, by kernel, or by notebook when the kernel is gone.

    <home>/executions/<kernel id>/   a Book

A kernel's record is kept after its end until a saved notebook holds its outputs, newer executions have taken their place, or it is 30
days old; all of them together take 2 GB at most. Folding and reading happen on one worker thread, so that neither the link's thread nor
an event loop waits for a disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jupyter_cloudml.errors import Busy, CloudMLError
from jupyter_cloudml.paths import home, private_dir, unusable

from . import records
from .book import Book, InUse, age_s, opened, read_meta, size_of
from .execution import JSONObject
from .record_log import RecordLog

COMPACT_AFTER = 64 << 20  # bytes recorded since the last compaction
LIMIT = 1 << 30  # bytes on disk for one kernel
KEEP_S = 30 * 86400
WAITING = 200  # questions of pages that may wait for the worker
KEEP_BYTES = 2 << 30  # of all kernels that are gone

Subscriber = Callable[[str, int], None]
T = TypeVar("T")
_log = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class ExecutionStore:
    """All records of this user. Thread-safe. Pages' questions raise Busy, and NoSpace or NoFolder where the disk fails."""

    def __init__(
        self,
        root: Path,
        *,
        in_use: Callable[[], set[str]] = set,
        compact_after: int = COMPACT_AFTER,
        limit: int = LIMIT,
        keep_s: float = KEEP_S,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        """`in_use` names kernels whose records are to be kept whatever their age: they run, though no server may."""
        self.root = private_dir(root)
        self._in_use, self._compact_after, self._limit = in_use, compact_after, limit
        self._keep_s, self._keep_bytes = keep_s, keep_bytes
        self._books: dict[str, tuple[Book, str]] = {}  # of kernels that are here; with the path
        self._subscribers: tuple[Subscriber, ...] = ()
        self._lock = threading.Lock()
        self._room = threading.Semaphore(WAITING)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="cloudml-executions")

    # -- kernels that are here ---------------------------------------------------------------------
    def open_log(self, kernel_id: str, path: str) -> RecordLog | None:
        """Return the log of a kernel of this process, for its relay; None when another process records it.

        `path` is the notebook's absolute path, or empty.
        """
        with self._lock:
            if kernel_id not in self._books:
                try:
                    book = Book(self._folder(kernel_id), lambda b: self._changed(kernel_id, b))
                except InUse:
                    return None
                self._books[kernel_id] = (book, path)
                _note(book, kernel_id, path)
            return self._books[kernel_id][0].log

    def note_path(self, kernel_id: str, path: str) -> None:
        """The notebook was renamed."""
        with self._lock:
            if kernel_id in self._books and self._books[kernel_id][1] != path:
                book, _ = self._books[kernel_id]
                self._books[kernel_id] = (book, path)
                _note(book, kernel_id, path)

    def close_log(self, kernel_id: str) -> None:
        """The kernel lives on, without this process."""
        with self._lock:
            book, _ = self._books.pop(kernel_id, (None, ""))
        if book is not None:
            self._submit(lambda: self._save_and_close(book))

    def end(self, kernel_id: str, reason: str = "") -> Future[None] | None:
        """The kernel is gone: its record is kept for the notebook as long as it is needed."""
        with self._lock:
            book, path = self._books.pop(kernel_id, (None, ""))
        if book is None:
            return None
        book.log.mark(ended=reason or "The kernel was shut down")
        return self._submit(lambda: self._end(book, kernel_id, path))

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have `callback(kernel_id, seq)` called after each record, on the link's thread: it has to be cheap. Returns what ends it."""
        with self._lock:
            self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not callback)

        return unsubscribe

    # -- what pages ask ----------------------------------------------------------------------------
    async def snapshot(self, kernel_id: str, since: int = 0) -> JSONObject:
        """Return {epoch, seq, more, notice, kernel_id, executions} of a kernel: what changed behind `since`; empty when unknown."""
        return await self._run(lambda: self._snapshot(kernel_id, since))

    async def snapshot_at(self, path: str, since: int = 0) -> JSONObject:
        """As `snapshot`, of the kernel that ran the notebook at this absolute path last and is gone."""
        return await self._run(lambda: self._snapshot_at(path, since))

    async def acknowledge(self, kernel_id: str, msg_ids: list[str]) -> None:
        """A saved notebook holds these executions: they are not given again unless they go on."""
        await self._run(lambda: self._acknowledge(kernel_id, msg_ids))

    async def acknowledge_at(self, path: str, msg_ids: list[str]) -> None:
        """As `acknowledge`, for kernels that are gone."""
        await self._run(lambda: self._acknowledge_at(path, msg_ids))

    async def sweep(self) -> None:
        """Delete what is too old, and the oldest beyond the limit."""
        await self._run(self._sweep)

    def close(self) -> None:
        """Close all records; what is on disk stays."""
        with self._lock:
            books, self._books = [book for book, _ in self._books.values()], {}
        for book in books:
            self._submit(lambda book=book: self._save_and_close(book))  # type: ignore[misc]
        self._worker.shutdown(wait=True)

    # -- on the worker thread ----------------------------------------------------------------------
    def _snapshot(self, kernel_id: str, since: int) -> JSONObject:
        with self._lock:
            book, _ = self._books.get(kernel_id, (None, ""))
        if book is not None:
            return {"kernel_id": kernel_id, **book.snapshot(since)}
        with opened(self._folder(kernel_id)) as gone:
            return {"kernel_id": kernel_id, **(gone.snapshot(since) if gone else _EMPTY)}

    def _snapshot_at(self, path: str, since: int) -> JSONObject:
        newer = self._live_cells(path)
        for kernel_id, folder in self._gone(path):
            with opened(folder) as book:
                if book is None:
                    continue
                book.forget_cells(newer)
                executions = book.fold().executions
                if any(not e.hidden for e in executions):
                    return {"kernel_id": kernel_id, **book.snapshot(since)}
                newer |= {e.cell_id for e in executions}
                self._drop_if_empty(book)
        return {"kernel_id": None, **_EMPTY}

    def _acknowledge(self, kernel_id: str, msg_ids: list[str]) -> None:
        with self._lock:
            book, path = self._books.get(kernel_id, (None, ""))
        if book is None:
            self._acknowledge_at(str(read_meta(self._folder(kernel_id)).get("path", "")), msg_ids)
            return
        cells = book.acknowledge(msg_ids)
        if cells:
            self._forget_cells(path, cells)

    def _acknowledge_at(self, path: str, msg_ids: list[str]) -> None:
        for _, folder in self._gone(path):
            with opened(folder) as book:
                if book is not None:
                    book.acknowledge(msg_ids)
                    self._drop_if_empty(book)

    def _forget_cells(self, path: str, cells: Iterable[str]) -> None:
        """Newer executions of these cells are recorded, or saved: the older kernels' are not wanted any more."""
        for _, folder in self._gone(path):
            with opened(folder) as book:
                if book is not None:
                    book.forget_cells(cells)
                    self._drop_if_empty(book)

    def _live_cells(self, path: str) -> set[str]:
        with self._lock:
            books = [book for book, its_path in self._books.values() if its_path == path]
        return {e.cell_id for book in books for e in book.fold().executions}

    def _end(self, book: Book, kernel_id: str, path: str) -> None:
        cells = [e.cell_id for e in book.fold().executions]
        self._forget_cells(path, cells)  # this one is still locked
        book.write_meta(kernel_id, path, int(time.time() * 1000))
        if not self._drop_if_empty(book):
            book.log.rotate()
            book.compact(self._limit)
        book.close()
        self._sweep()

    @staticmethod
    def _drop_if_empty(book: Book) -> bool:
        """Delete the record of a kernel that is gone, once a notebook file holds all of it."""
        recorder = book.fold()
        recorder.forget_hidden()
        if recorder.executions:
            return False
        book.delete()
        return True

    @staticmethod
    def _save_and_close(book: Book) -> None:
        try:
            if book.log.recording:
                book.save()
        finally:
            book.close()

    def _compact(self, book: Book) -> None:
        try:
            book.compact(self._limit)
        finally:
            book.compacting = False

    def _sweep(self) -> None:
        keep = self._in_use()
        with self._lock:
            keep |= set(self._books)
        folders = [
            f for f in self.root.iterdir() if read_meta(f).get("kernel_id", f.name) not in keep
        ]
        room = self._keep_bytes
        for folder in sorted(folders, key=age_s):
            size = size_of(folder)
            room -= size
            if room < 0 or age_s(folder) > self._keep_s:
                with opened(folder) as book:
                    if book is not None:
                        book.delete()
                        room += size

    # -- inside ------------------------------------------------------------------------------------
    def _gone(self, path: str) -> list[tuple[str, Path]]:
        """Return (kernel, folder) of the kernels that are gone and ran this notebook, newest first."""
        with self._lock:
            here = set(self._books)
        found = []
        for folder in self.root.iterdir() if path else ():
            meta = read_meta(folder)
            if meta.get("path") == path and meta.get("kernel_id") not in here:
                found.append((age_s(folder), str(meta["kernel_id"]), folder))
        return [(kernel_id, folder) for _, kernel_id, folder in sorted(found)]

    def _folder(self, kernel_id: str) -> Path:
        if _ID.fullmatch(kernel_id):
            return self.root / kernel_id
        return self.root / hashlib.sha256(kernel_id.encode(errors="replace")).hexdigest()

    def _changed(self, kernel_id: str, book: Book) -> None:
        end = book.log.end
        for subscriber in self._subscribers:
            subscriber(kernel_id, end)
        if end - book.compacted_at > self._compact_after and not book.compacting:
            book.compacting = True
            self._submit(lambda: self._compact(book))

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = self._worker.submit(work)
        future.add_done_callback(_report)
        return future

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._room.acquire(blocking=False):
            raise Busy(
                f"{WAITING} questions about outputs are waiting already",
                hint="try again in a few seconds",
            )
        try:
            asked = self._worker.submit(work)
        except BaseException:
            self._room.release()
            raise
        asked.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wrap_future(asked)
        except OSError as exc:
            raise unusable(self.root, exc) from exc


def _note(book: Book, kernel_id: str, path: str) -> None:
    """Without room for it the kernel goes on all the same; it is written again when the kernel ends or comes back."""
    try:
        book.write_meta(kernel_id, path)
    except (CloudMLError, OSError) as exc:
        _log.warning("The record of a kernel's outputs: %s", exc)


def _report(done: Future[None]) -> None:
    error = None if done.cancelled() else done.exception()
    if isinstance(error, OSError):
        _log.warning("The record of a kernel's outputs: %s", error)
    elif error is not None:
        _log.error("The record of a kernel's outputs", exc_info=error)


_EMPTY: JSONObject = {"epoch": "", "notice": None, "seq": 0, "more": False, "executions": []}
_shared: ExecutionStore | None = None
_shared_lock = threading.Lock()


def shared() -> ExecutionStore:
    """Return the store of this process, under `home()/executions`."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared.root.parent != home():
            _shared = ExecutionStore(home() / "executions", in_use=records.recorded_kernels)
        return _shared
