"""Lets go of what jobs keep no more (`keep_runs`, `keep_days`): folders of runs, then their rows, then snapshots and notebooks that nobody has.

A folder goes before its row: whoever is killed between the two leaves a row that is surplus again the next time.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..clock import Clock, SystemClock
from ..config import DATABASE_NAME
from ..errors import JSON, CloudMLError
from ..locks import FileLock
from ..paths import private_dir
from ..store import Store
from ..store.jobs.files import FileRepository
from ..store.jobs.keeping import Kept
from .attempts.run_log import is_of
from .definition.model import KEEP_RUNS
from .scheduling import crash

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
STEP = 20  # runs in one transaction
PAUSE_S = 0.05  # between two steps: runs have the database and the disk for themselves meanwhile
FIRST_S, EVERY_S = 300.0, 3600.0
UNUSED_MS = (
    DAY_MS  # so long a notebook is kept that no run has: one that takes it may be on its way
)
JUMP_MS = 3_600_000
CALM_S = 3 * 3600.0
LOCK = "keeping.lock"


@dataclass
class Cleaned:
    """What was let go of, or would be: runs by job, bytes of their folders, snapshots, notebooks; `failed`: folders that could not be."""

    runs: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    snapshots: int = 0
    notebooks: int = 0
    failed: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return asdict(self)


class Keeper:
    """Cleans one store and one home folder."""

    def __init__(self, store: Store, home: Path, clock: Clock | None = None) -> None:
        self._store, self._jobs = store, home / "jobs"
        self._clock = clock or SystemClock()
        self._looked = (self._clock.now_ms(), self._clock.monotonic())
        self._jumped_at: float | None = None

    def look(self) -> Cleaned:
        """Return which runs are surplus, and change nothing."""
        found = Cleaned()
        for job in self._jobs_with_runs(lambda: False):
            for ids in self._of(job, lambda: False):
                found.runs[job.name] = found.runs.get(job.name, 0) + len(ids)
                found.bytes += sum(_bytes(self._folder(run_id)) for run_id in ids)
        return found

    def clean(
        self, stop: Callable[[], bool] = lambda: False, pause_s: float = 0.0
    ) -> Cleaned | None:
        """Let go of all that is surplus; None where another process is at it. Raises StoreError."""
        private_dir(self._jobs)
        lock = FileLock(self._jobs / LOCK)
        if not lock.take():
            return None
        try:
            done = Cleaned()
            for job in self._jobs_with_runs(stop):
                before = done.runs.get(job.name, 0)
                for ids in self._of(job, stop):
                    self._let_go(job.name, ids, done)
                    time.sleep(pause_s)
                if done.runs.get(job.name, 0) > before:
                    self._store.keeping.tell(job.id, self._clock.now_ms())
            while not stop() and (count := self._store.keeping.delete_snapshots(self._unused())):
                done.snapshots += count
                time.sleep(pause_s)
            for page in _pages(self._old(self._jobs / "notebooks", folders=False)):
                if stop() or self._is_beside_another():
                    break
                done.notebooks += self._drop_notebooks(page)
                time.sleep(pause_s)
            if self._store.files is not None:
                self._clean_shared(self._store.files, stop)
            return done
        finally:
            lock.release()

    # -- runs -------------------------------------------------------------------------------------

    def _jobs_with_runs(self, stop: Callable[[], bool]) -> Iterator[Kept]:
        page = self._store.keeping.jobs()
        while page and not stop():
            yield from page
            page = self._store.keeping.jobs(after=page[-1].id)

    def _of(self, job: Kept, stop: Callable[[], bool]) -> Iterator[list[str]]:
        now = self._clock.now_ms()
        keep, days = _number(job.spec.get("keep_runs"), KEEP_RUNS), job.spec.get("keep_days")
        jumped = self._clock_jumped()
        before = now - days * DAY_MS if isinstance(days, int) and not jumped else None
        if job.runs <= keep and before is None and not job.parts:
            return
        kept = DAY_MS if job.spec.get("keep_on_failure") else 0  # its kernel may still be there
        last = ""
        while not stop():
            ids = self._store.keeping.surplus(
                job.id, keep=keep, ended_before_ms=before, at_ms=now - kept, after=last, limit=STEP
            )
            if not ids:
                return
            last = ids[-1]
            yield ids

    def _clock_jumped(self) -> bool:
        """Whether the clock was set a short while ago, or the computer slept: nothing is old by such a clock until it has gone on calmly."""
        wall, at = self._clock.now_ms(), self._clock.monotonic()
        if abs(wall - self._looked[0] - (at - self._looked[1]) * 1000) > JUMP_MS:
            self._jumped_at = at
        self._looked = (wall, at)
        return self._jumped_at is not None and at - self._jumped_at < CALM_S

    def _let_go(self, job: str, ids: list[str], done: Cleaned) -> None:
        gone = []
        for run_id in ids:
            folder = self._folder(run_id)
            size = _bytes(folder)
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass
            except OSError as exc:
                log.warning("the folder %s cannot be deleted: %s", folder, exc)
                done.failed.append(str(folder))
                continue
            done.bytes += size
            gone.append(run_id)
        crash.point("keeping")
        count = self._store.keeping.delete_runs(gone, self._clock.now_ms())
        done.runs[job] = done.runs.get(job, 0) + count

    def _folder(self, run_id: str) -> Path:
        return self._jobs / "runs" / run_id

    def _clean_shared(self, files: FileRepository, stop: Callable[[], bool]) -> None:
        """Let go of notebooks that no run has, and here of what was brought from runs that another computer has deleted."""
        while not stop() and files.delete_notebooks(self._unused()):
            pass
        for page in _pages(self._old(self._jobs / "runs", folders=True)):
            there = self._store.keeping.there([path.name for path in page])
            for path in page:
                gone = path.name not in there and is_of(path, files.database_id)
                if gone and not stop():
                    shutil.rmtree(path, ignore_errors=True)

    def _is_beside_another(self) -> bool:
        """Whether the home has a database of its own besides: that has its notebooks nowhere else, and they lie among those of this one."""
        return self._store.files is not None and (self._jobs.parent / DATABASE_NAME).exists()

    # -- notebooks --------------------------------------------------------------------------------

    def _unused(self) -> int:
        return self._clock.now_ms() - UNUSED_MS

    def _old(self, folder: Path, *, folders: bool) -> Iterator[Path]:
        """Yield what lies in a folder and was not touched for a day: its files, or its folders."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    found = entry.is_dir if folders else entry.is_file
                    if found(follow_symlinks=False) and _is_old(entry, self._unused()):
                        yield Path(entry.path)
        except FileNotFoundError:
            return

    def _drop_notebooks(self, paths: list[Path]) -> int:
        refs = {path: f"sha256:{path.stem}" for path in paths}
        had = self._store.keeping.notebooks_of_snapshots(refs.values())
        return sum(self._drop(path) for path, ref in refs.items() if ref not in had)

    def _drop(self, path: Path) -> bool:
        """Delete a notebook, unless somebody takes it just now: a taken one has a new time."""
        aside = path.with_name(f".{path.name}.going")
        try:
            os.rename(path, aside)
            if aside.stat().st_mtime_ns // 1_000_000 >= self._unused():
                os.rename(aside, path)
                return False
            aside.unlink()
        except OSError as exc:
            log.warning("the notebook %s cannot be deleted: %s", path, exc)
            return False
        return True


class Keeping:
    """Cleans again and again, in a thread of its own, while a scheduler works."""

    def __init__(self, keeper: Keeper, first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._keeper, self._first_s, self._every_s = keeper, first_s, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs-keeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the step that goes on."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        wait = self._first_s
        while not self._stopping.wait(wait):
            wait = self._every_s
            try:
                done = self._keeper.clean(self._stopping.is_set, PAUSE_S)
            except (CloudMLError, OSError) as exc:
                log.warning("old runs are deleted later: %s", exc)
                continue
            except (
                Exception
            ):  # the edge of the thread: without it nothing would be deleted any more
                log.exception("deleting old runs met an error of its own; it is tried again later")
                continue
            if done is not None and any(done.runs.values()):
                log.info("deleted %d old runs, %d bytes", sum(done.runs.values()), done.bytes)


def _number(value: JSON, default: int) -> int:
    return value if isinstance(value, int) else default


def _is_old(entry: os.DirEntry[str], before_ms: int) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < before_ms
    except FileNotFoundError:
        return False


def _bytes(folder: Path) -> int:
    """Return how much is in a run's folder, also below it; what goes meanwhile counts nothing."""
    size = 0
    for below, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(below, name)).st_size
    return size


def _pages(paths: Iterator[Path], size: int = 100) -> Iterator[list[Path]]:
    page: list[Path] = []
    for path in paths:
        page.append(path)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
