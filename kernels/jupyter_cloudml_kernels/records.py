"""What is known on disk about the kernels of one Jupyter server, so that the next one finds them.

    <home>/servers/<scope>/<n>/lock          held while the server lives
    <home>/servers/<scope>/<n>/sessions.db   jupyter_server's own table of sessions
    <home>/servers/<scope>/<n>/k/<name>.json one record for each kernel, replaced atomically

<scope> stands for the server's root folder, because the paths of sessions are relative to it. <n> is the first slot that nobody holds: two
servers at once never share a table of sessions (each deletes the rows of kernels that it does not know) or a kernel.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from jupyter_cloudml.errors import JSON, Conflict
from jupyter_cloudml.locks import FileLock
from jupyter_cloudml.paths import home, private_dir

SLOTS = 100
Intent = Literal["start", "run", "restart", "stop", "dead"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelRecord:
    """One kernel. `intent` is what was under way when this was written; the environment is not kept, it may hold secrets."""

    kernel_id: str
    kernel_name: str
    machine: str
    intent: Intent
    token: str  # of the start: the agent starts one process for it, however often it is asked
    process: str = ""  # on the machine; empty until the agent has answered
    path: str = ""  # of the notebook, absolute
    cwd: str = ""
    key: str = ""
    where: str = ""  # the place of its sockets: local_sockets.py
    reason: str = ""  # why it is dead
    code: str = ""  # which code its machine had at the start: JSON, workspaces.applied.code_of
    joins: str = (
        ""  # the kernel that a failed run has left and that this one is: JSON, joining.Joins
    )

    @property
    def code_started(self) -> dict[str, JSON] | None:
        """Which code its machine had at the start; None where none was synced."""
        try:
            code = json.loads(self.code)
        except ValueError:
            return None
        return code if isinstance(code, dict) else None

    def but(self, **changes: Any) -> KernelRecord:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_bytes(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> KernelRecord:
        """Read a record. Raises ValueError for anything else."""
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise ValueError("a record that is no object")
        values = {f.name: raw.get(f.name, "") for f in fields(cls)}
        if not all(isinstance(value, str) for value in values.values()):
            raise ValueError("a record with a field that is no text")
        if values["intent"] not in get_args(Intent) or not values["kernel_id"]:
            raise ValueError("a record without kernel or intent")
        return cls(**values)


class Slot:
    """The records of one server. Held until `release` or the end of the process. Thread-safe."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder, self._lock = folder, lock
        self._kernels = private_dir(folder / "k")
        self._write = threading.Lock()
        self._forgotten: set[str] = set()

    @classmethod
    def take(cls, root_dir: str, base: Path | None = None) -> Slot:
        """Take the first free slot of a root folder. Raises Conflict (`in_use`) when all are held, NoFolder."""
        scope = hashlib.sha256(os.path.realpath(root_dir).encode()).hexdigest()[:16]
        parent = private_dir(private_dir(base or home() / "servers") / scope)
        for n in range(SLOTS):
            folder = private_dir(parent / str(n))
            lock = FileLock(folder / "lock")
            if lock.take():
                return cls(folder, lock)
        raise Conflict(
            f"{SLOTS} servers run on {root_dir} already", code="in_use", hint="stop some of them"
        )

    @property
    def database(self) -> Path:
        """The file for jupyter_server's sessions."""
        return self.folder / "sessions.db"

    def write(self, record: KernelRecord) -> None:
        """Keep a record in place of the kernel's last one; one that was forgotten stays so. Takes no time worth a thread."""
        with self._write:
            if record.kernel_id not in self._forgotten:
                file, data = self._file(record.kernel_id), record.to_bytes()
                if not _holds(file, data):
                    _replace(file, data)

    def begin(self, record: KernelRecord) -> None:
        """Keep the first record of a kernel that is started."""
        with self._write:
            self._forgotten.discard(record.kernel_id)
        self.write(record)

    def forget(self, kernel_id: str) -> None:
        """Delete the record of a kernel."""
        with self._write:
            self._forgotten.add(kernel_id)
            self._file(kernel_id).unlink(missing_ok=True)

    def records(self) -> list[KernelRecord]:
        """Return all records; a file that cannot be read is left alone, with a warning."""
        found = []
        for path in sorted(self._kernels.glob("*.json")):
            try:
                found.append(KernelRecord.from_bytes(path.read_bytes()))
            except (OSError, ValueError) as exc:
                _log.warning("%s is not the record of a kernel: %s", path, exc)
        return found

    def release(self) -> None:
        """Let another server have the slot."""
        self._lock.release()

    def _file(self, kernel_id: str) -> Path:
        name = hashlib.sha256(kernel_id.encode(errors="replace")).hexdigest()[:24]
        return self._kernels / f"{name}.json"


def _holds(path: Path, data: bytes) -> bool:
    """Say whether it is there already: then it needs no room, so a full disk keeps no kernel from being found."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _replace(path: Path, data: bytes) -> None:
    """Replace a file in one step, without waiting for the disk: what counts is that it outlives the process."""
    scratch = path.with_suffix(".tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(scratch, flags, 0o600), "wb") as file:
        file.write(data)
    os.replace(scratch, path)


def recorded_kernels(base: Path | None = None) -> set[str]:
    """Return the ids of all kernels that a server of this user has recorded, running or not."""
    found = set()
    for path in (base or home() / "servers").glob("*/*/k/*.json"):
        try:
            found.add(KernelRecord.from_bytes(path.read_bytes()).kernel_id)
        except (OSError, ValueError):
            continue
    return found


# -- whose slot ------------------------------------------------------------------------------------

_slots: weakref.WeakKeyDictionary[object, Slot] = weakref.WeakKeyDictionary()


def assign(server: object, slot: Slot) -> None:
    """Say that the kernels under this object (a ServerApp) are recorded in this slot."""
    _slots[server] = slot


def slot_of(configurable: object) -> Slot | None:
    """Return the slot that the nearest `parent` of an object was given; None outside a server (nbclient, papermill, a console)."""
    seen: Mapping[object, Slot] = _slots
    while configurable is not None:
        if configurable in seen:
            return seen[configurable]
        configurable = getattr(configurable, "parent", None)
    return None
