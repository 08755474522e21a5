"""The files that an attempt has written into its copy of the code, as they come back: kept in a folder beside its records.

Each piece has its place in its file, so that a piece that comes twice changes nothing.
"""

from __future__ import annotations

import binascii
import errno
import hashlib
import json
import logging
import os
from base64 import b64decode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import NotFound
from ...store.jobs.results import Artifact, ResultRepository
from ..notebooks.records import Record
from ..runner.copy import ALL_BYTES, FILE_BYTES, FILES, PIECE
from ..scheduling.executor import Order
from .run_files import RunFiles

log = logging.getLogger(__name__)
FOLDER, KIND = "files", "file"
_ODD = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


class Written:
    """The files of one attempt, below the folder of its run."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder = folder / f"{attempt}.{FOLDER}"
        self._seen: set[str] = set()
        self._bytes = 0

    def without(self, batch: Sequence[Record]) -> list[Record]:
        """Keep the contents that a batch brings, and return the rest of it. Raises OSError for a full disk."""
        rest: list[Record] = []
        for record in batch:
            if record["record"] == "file":
                self._keep(record)
            elif record["record"] == "files":
                rest.append(self._checked(record))
            else:
                rest.append(record)
        return rest

    def path(self, name: str) -> Path | None:
        """Return where a file of this name is; None where there is none."""
        path = self.folder / name
        return path if is_inside(name) and os.path.isfile(path) and not path.is_symlink() else None

    def _keep(self, record: Record) -> None:
        name, at, data = record.get("path"), record.get("at"), _bytes_of(record.get("data"))
        if not isinstance(name, str) or not is_inside(name) or data is None:
            return
        if not isinstance(at, int) or not 0 <= at <= FILE_BYTES - len(data):
            return
        self._seen.add(name)
        self._bytes += len(data)
        if len(self._seen) > FILES or self._bytes > 2 * ALL_BYTES:  # some may come twice
            return
        path = self.folder / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if at else os.O_TRUNC)
            with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
                if os.pwrite(file.fileno(), data, at) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError as exc:
            if exc.errno not in _ODD:
                raise
            log.warning("the file %s of a run cannot be kept: %s", path, exc.strerror)

    def _checked(self, record: Record) -> Record:
        """Return the list of the files, without those that have not come."""
        told: list[dict[str, Any]] = []
        left = _rows(record.get("left"))
        for row in _rows(record.get("files")):
            (told if self.has(row) else left).append(row)
        for row in left:  # its first pieces may have come
            path = self.path(row["path"])
            if path is not None:
                path.unlink(missing_ok=True)
        return {**record, "files": told[:FILES], "left": left[:FILES]}

    def has(self, row: dict[str, Any]) -> bool:
        """Whether a file has come whole: another computer may have had its first pieces."""
        path = self.path(str(row.get("path")))
        if path is None:
            return False
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest() == row.get("sha256")


class WrittenFiles:
    """The files of all attempts, for who looks at runs."""

    def __init__(self, results: ResultRepository, files: RunFiles) -> None:
        self._results, self._files = results, files

    def keep(self, order: Order, records: Iterable[Record]) -> None:
        """Note what an attempt has written, also for other computers. Raises Conflict (code "stale"), NoSpace, NoFolder, StoreError."""
        told = next((each for each in records if each["record"] == "files"), None)
        if told is None:
            return
        run_id, n = order.run_id, order.attempt
        here = Written(self._files.path(run_id, "."), n)
        whole, left, rows = [], _rows(told.get("left")), []
        for number, each in enumerate(_rows(told.get("files"))):
            self._brought(run_id, n, each["path"])
            if not here.has(
                each
            ):  # another computer had it, and was killed before it was there for all
                left.append(each)
                continue
            whole.append(each)
            path = self._files.path(run_id, _name(n, each["path"]))
            if self._files.is_shared:
                self._files.write(run_id, _name(n, each["path"]), path.read_bytes(), order.fence)
            rows.append(
                Artifact(
                    id=f"{run_id}-{n}-{KIND}-{number}",
                    run_id=run_id,
                    attempt=n,
                    kind=KIND,
                    uri=path.as_uri(),
                    sha256=each.get("sha256"),
                    bytes=each.get("bytes"),
                )
            )
        noted = {"files": whole, "left": left, "more": told.get("more")}
        self._files.write(run_id, f"{n}.{FOLDER}.json", json.dumps(noted).encode(), order.fence)
        self._results.add_artifacts(run_id, rows, order.fence)

    def told(self, run_id: str, attempt: int) -> dict[str, Any] | None:
        """Return {folder, files, left, more} of an attempt; None where it has written nothing."""
        data = self._files.read(run_id, f"{attempt}.{FOLDER}.json") if attempt else None
        if data is None:
            return None
        return {"folder": str(self._files.path(run_id, f"{attempt}.{FOLDER}")), **json.loads(data)}

    def path(self, run_id: str, attempt: int, name: str) -> Path:
        """Return a file, brought here where another computer has it. Raises NotFound."""
        rows = (self.told(run_id, attempt) or {}).get("files") or ()
        is_told = any(row["path"] == name for row in rows)
        path = self._brought(run_id, attempt, name) if is_told else None
        if path is None:
            raise NotFound(
                f"the run {run_id} has no file {name!r:.200}",
                code="no_results",
                hint="`job show` names the files that it has written",
            )
        return path

    def _brought(self, run_id: str, attempt: int, name: str) -> Path | None:
        here = Written(self._files.path(run_id, "."), attempt)
        path = here.path(name)
        if path is None and is_inside(name) and self._files.is_shared:
            data = self._files.read(run_id, _name(attempt, name))
            if data is not None:
                (here.folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = self._files.write_here(run_id, _name(attempt, name), data)
        return path

    def bring(self, run_id: str, attempt: int) -> None:
        """Have all files of an attempt here."""
        told = self.told(run_id, attempt) if self._files.is_shared else None
        for row in (told or {}).get("files") or ():
            self._brought(run_id, attempt, str(row["path"]))


def _name(attempt: int, path: str) -> str:
    return f"{attempt}.{FOLDER}/{path}"


def is_inside(name: str) -> bool:
    """Whether a path stays in its folder."""
    parts = name.split("/")
    return "\0" not in name and all(part not in ("", ".", "..") for part in parts)


def _rows(value: object) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else []
    return [row for row in found if isinstance(row, dict) and isinstance(row.get("path"), str)]


def _bytes_of(value: object) -> bytes | None:
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None
