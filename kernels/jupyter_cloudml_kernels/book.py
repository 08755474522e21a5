"""The record of one kernel on disk: its log, what was folded out of it, and whose it is."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_cloudml.locks import FileLock
from jupyter_cloudml.paths import private_dir, write_private

from .execution import JSONObject
from .record_log import RecordLog
from .recorder import Recorder
from .snapshot import LIMIT, merged, snapshot

HIDDEN_KEPT = 1 << 20  # bytes up to which an acknowledged execution stays, in case that it goes on


class InUse(Exception):
    """Another process has this record open."""


class Book:
    """One kernel's record: a folder with `meta.json`, `index.json` (the fold so far), `lock` and the log.

    Used by one thread at a time, except for `log`, whose appends come from the link's. Raises InUse on creation.
    """

    def __init__(self, folder: Path, changed: Callable[[Book], None] = lambda book: None) -> None:
        self.folder = private_dir(folder)
        self._lock = FileLock(self.folder / "lock")
        if not self._lock.take():
            raise InUse(str(folder))
        try:
            self.log = RecordLog(self.folder, changed=lambda: changed(self))
        except OSError:
            self._lock.release()
            raise
        self.compacted_at = self.log.end
        self.compacting = False
        self._recorder: Recorder | None = None

    @property
    def epoch(self) -> str:
        """What a page's position belongs to."""
        return self.log.epoch

    # -- whose it is -------------------------------------------------------------------------------
    def write_meta(self, kernel_id: str, path: str, ended_ms: int | None = None) -> None:
        """Note the kernel, the notebook's absolute path and when the kernel ended."""
        meta = {"kernel_id": kernel_id, "path": path, "ended_ms": ended_ms}
        write_private(self.folder / "meta.json", json.dumps(meta).encode())

    # -- reading -----------------------------------------------------------------------------------
    def fold(self) -> Recorder:
        """Return the recorder, brought up to the end of the log."""
        recorder = self._recorder
        if recorder is None:
            recorder = self._recorder = self._load()
        if recorder.position < self.log.end:
            for record in self.log.read(recorder.resume_at):
                recorder.feed(record)
        return recorder

    def snapshot(self, since: int, limit: int = LIMIT) -> JSONObject:
        """Return {epoch, seq, more, notice, executions}; see snapshot.snapshot."""
        answer = snapshot(self.fold(), since, self.log.select, limit)
        notice = self.log.stopped and f"Outputs are not being recorded: {self.log.stopped}"
        return {"epoch": self.epoch, "notice": notice, **answer}

    def _load(self) -> Recorder:
        try:
            state = json.loads((self.folder / "index.json").read_bytes())
            recorder = Recorder.from_dict(state["recorder"])
            if state["epoch"] == self.epoch and recorder.position <= self.log.end:
                return recorder
            self.log.renew()  # after a power cut the index may know more than the log
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError):
            self.log.renew()
        return Recorder()

    # -- letting go --------------------------------------------------------------------------------
    def save(self) -> None:
        """Write the fold so far. Raises OSError."""
        state = {"epoch": self.epoch, "recorder": self.fold().to_dict()}
        write_private(self.folder / "index.json", json.dumps(state).encode())

    def acknowledge(self, msg_ids: list[str]) -> list[str]:
        """Hide executions that the notebook file holds; return their cells."""
        recorder = self.fold()
        if not recorder.acknowledge(msg_ids):
            return []
        self.save()
        known = set(msg_ids)
        return [e.cell_id for e in recorder.executions if e.msg_id in known and e.hidden]

    def forget_cells(self, cells: Iterable[str]) -> None:
        """Forget the executions of these cells: newer ones are recorded elsewhere, or in the file."""
        recorder = self.fold()
        before = len(recorder.executions)
        for cell in cells:
            recorder.forget_cell(cell)
        if len(recorder.executions) < before:
            self.save()

    def compact(self, limit: int) -> None:
        """Free what is not needed any more, and stream output, oldest first, beyond `limit` bytes. Raises OSError."""
        recorder = self.fold()
        recorder.forget_hidden(HIDDEN_KEPT)
        self.compacted_at = self.log.end
        try:
            self.save()
        finally:  # also on a full disk: whole segments can be freed without room
            self._thin(recorder)
        if self.log.size > limit:
            self._drop_oldest(recorder, self.log.size - limit * 3 // 4)

    def _drop_oldest(self, recorder: Recorder, excess: int) -> None:
        for position, size in [*self.log.bounds(), (self.log.end, 0)]:
            if excess <= 0:
                recorder.drop_streams(position)
                break
            excess -= size
        else:
            recorder.drop_streams(self.log.end)
        self.save()
        self._thin(recorder)

    def _thin(self, recorder: Recorder) -> None:
        unfolded = (recorder.resume_at, 1 << 62)
        self.log.thin(merged([*recorder.ranges(), unfolded]))

    def close(self) -> None:
        """Let go of the files. What is on disk stays."""
        self.log.close()
        self._lock.release()

    def delete(self) -> None:
        """Remove the record from the disk."""
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def read_meta(folder: Path) -> JSONObject:
    """Return what `write_meta` wrote, {} for a folder without it."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


@contextmanager
def opened(folder: Path) -> Iterator[Book | None]:
    """Open the record of a kernel that is gone; None where there is none, or another process has it."""
    try:
        book = Book(folder) if folder.is_dir() else None
    except InUse:
        book = None
    try:
        yield book
    finally:
        if book is not None:
            book.close()


def age_s(folder: Path) -> float:
    """Seconds since anything was recorded there."""
    try:
        times = [e.stat().st_mtime for e in os.scandir(folder) if e.name.startswith("log-")]
        return time.time() - max(times, default=folder.stat().st_mtime)
    except OSError:
        return 0.0


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except OSError:
        return 0
