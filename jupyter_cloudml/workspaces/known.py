"""What is known of each file of a folder from the last snapshot, so that a file that was not touched is not read again."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .merge import File

FILE = "known.json"
RACY_NS = 20_000_000  # a file as young as its entry is read again: its clock may not have moved on
COARSE_NS = 2_100_000_000  # and of a file system that counts in seconds
SECOND_NS = 1_000_000_000


class Entry(NamedTuple):
    """Mode, blob and size of a file, and what its status was; an empty `stamp` for one that has to be read again."""

    mode: str
    blob: str
    size: int
    stamp: tuple[int, ...] = ()

    @property
    def file(self) -> File:
        """The file as it is in a tree."""
        return File(self.mode, self.blob)


@dataclass(frozen=True)
class Known:
    """The files of one tree, by path."""

    tree: str | None = None
    files: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, state: Path) -> Known:
        """Return what was kept; nothing where there is none, or none that can be read."""
        try:
            kept = json.loads((state / FILE).read_bytes())
            files = {
                path: Entry(mode, blob, size, tuple(stamp))
                for path, (mode, blob, size, stamp) in kept["files"].items()
            }
            return cls(kept["tree"], files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def write(self, state: Path) -> None:
        """Keep it."""
        temporary = state / f"{FILE}.new"
        temporary.write_text(json.dumps({"tree": self.tree, "files": self.files}))
        temporary.replace(state / FILE)

    def of(self, path: str, status: os.stat_result) -> Entry | None:
        """Return the entry of a file that is as it was; None for one that has to be read."""
        entry = self.files.get(path)
        return entry if entry and entry.stamp == stamp(status) else None


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode


def lasting(status: os.stat_result, now_ns: int) -> tuple[int, ...]:
    """Return the stamp of a file that was read from `now_ns` on; () where another write might leave the same one."""
    coarse = status.st_mtime_ns % SECOND_NS == 0
    young = max(status.st_mtime_ns, status.st_ctime_ns) + (COARSE_NS if coarse else RACY_NS)
    return () if young >= now_ns else stamp(status)


def mode_of(status: os.stat_result) -> str:
    """Return the mode as git keeps it."""
    if stat.S_ISLNK(status.st_mode):
        return "120000"
    return "100755" if status.st_mode & 0o100 else "100644"
