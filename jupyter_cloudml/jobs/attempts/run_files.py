"""Files of runs, in a folder for each; where several computers share the database, that has them too, and the folder follows it."""

from __future__ import annotations

from pathlib import Path

from ...paths import private_dir, unusable
from ...store.jobs.files import FileRepository
from ..notebooks.snapshots import write
from .run_log import RunLog, make_folder


class RunFiles:
    """Files of runs, below `folder`; `shared` is where others of the same database find them, None where there are none."""

    def __init__(self, folder: Path, shared: FileRepository | None) -> None:
        self.folder, self._shared = folder, shared

    @property
    def is_shared(self) -> bool:
        """Whether other computers read them."""
        return self._shared is not None

    def log(self, run_id: str, attempt: int) -> RunLog:
        """Return the records of an attempt."""
        name = f"{attempt}.jsonl"
        shared = None if self._shared is None else self._shared.of(run_id, name)
        return RunLog(self.folder / run_id, attempt, shared)

    def path(self, run_id: str, name: str) -> Path:
        """Return where a file is, or would be."""
        return self.folder / run_id / name

    def read(self, run_id: str, name: str) -> bytes | None:
        """Return a file; None where nobody has written it. Raises NoFolder, StoreError."""
        if self._shared is not None:
            found = self._shared.get(run_id, name)
            if found is not None:
                return found
        try:
            return self.path(run_id, name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise unusable(self.folder, exc) from exc

    def exists(self, run_id: str, name: str) -> bool:
        """Whether somebody has written a file. Raises StoreError."""
        if self.path(run_id, name).exists():
            return True
        return self._shared is not None and self._shared.size(run_id, name) is not None

    def write(self, run_id: str, name: str, data: bytes, fence: int | None = None) -> Path:
        """Write a file for all to read. Raises NoSpace, NoFolder, StoreError, Conflict (code "stale") where `fence` is not the run's any more."""
        path = self.write_here(run_id, name, data)
        if self._shared is not None:
            self._shared.put(run_id, name, data, fence)
        return path

    def write_here(self, run_id: str, name: str, data: bytes) -> Path:
        """Write a file that nobody else needs. Raises NoSpace, NoFolder."""
        path = self.path(run_id, name)
        try:
            make_folder(private_dir(self.folder) / run_id, self._shared)
            private_dir(self.folder / run_id)
            write(path, data)
        except OSError as exc:
            raise unusable(path.parent, exc) from exc
        return path

    def bring(self, run_id: str, name: str) -> Path | None:
        """Return where a file is, brought here first where another computer has written it; None where nobody has."""
        path = self.path(run_id, name)
        here = path.stat().st_size if path.exists() else None
        size = here if self._shared is None else self._shared.size(run_id, name)
        if self._shared is not None and size not in (None, here):
            found = self._shared.get(run_id, name)
            if found is not None:
                return self.write_here(run_id, name, found)
        return None if here is None else path

    def remove(self, run_id: str, name: str) -> None:
        """Let go of a file."""
        self.path(run_id, name).unlink(missing_ok=True)
        if self._shared is not None:
            self._shared.remove(run_id, name)
