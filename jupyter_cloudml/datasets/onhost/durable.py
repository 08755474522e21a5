"""Has files on the disk before they get their names, many at once: what a power failure leaves is whole."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

# Where `syncfs` waits for the disk, and tells of errors since Linux 5.8.
KNOWN = ("ext4", "xfs")
LEAST = (5, 8)
FEW = 8  # for so few each is asked for alone
SLOW_S = 2.0
THREADS = 8


class Disk:
    """The disk of a folder. `syncfs` does for many files in one go what `fsync` does for one; but it waits for what others write, too."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._syncfs = _syncfs() if _kind(os.fstat(folder).st_dev) in KNOWN else None

    def flush(self, paths: Sequence[str]) -> None:
        """Return when all that was written to these files is on the disk. Raises OSError."""
        if self._syncfs is not None and len(paths) > FEW:
            began = time.monotonic()
            done = self._syncfs(self._folder) == 0
            if not done or time.monotonic() - began > SLOW_S:
                self._syncfs = None  # not there, or others write a lot: no more of it
            if done:
                return
        self._flush_each(paths)

    def _flush_each(self, paths: Sequence[str]) -> None:
        """Side by side: a file system writes several in one go."""
        failed: list[OSError] = []

        def work(first: int) -> None:
            try:
                for path in paths[first::count]:
                    flush(path)
            except OSError as exc:
                failed.append(exc)

        count = min(THREADS, len(paths))
        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(1, count)]
        for thread in threads:
            thread.start()
        work(0)
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]


def flush(path: str) -> None:
    """Have one file on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _syncfs() -> Any:
    """The function of the C library; None where there is none, or one that does not tell of errors."""
    if sys.platform != "linux":
        return None
    release = os.uname().release.split(".")
    if not all(word.isdigit() for word in release[:2]) or tuple(map(int, release[:2])) < LEAST:
        return None
    try:
        import ctypes  # some Pythons are built without it

        return ctypes.CDLL(None).syncfs
    except (ImportError, OSError, AttributeError):
        return None


def _kind(device: int) -> str:
    """The kind of a file system; "" where that is not known."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo") as file:
            for line in file:
                if line.split()[2] == wanted:
                    return line.partition(" - ")[2].split()[0]
    except (OSError, IndexError):
        pass
    return ""
