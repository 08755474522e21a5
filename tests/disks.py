"""A small disk of a test's own. What a killed test has left is unmounted when the next one is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudbox.commands import sh, start_time

_SOURCE = "cloudml-test-disk"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system in memory on a folder: `size` as mount takes it. Needs root, as the hosts of the tests do."""
    _sweep()
    own = f"{_SOURCE}:{os.getpid()}:{start_time(os.getpid())}"
    sh("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", own, folder)
    try:
        yield folder
    finally:
        sh("umount", "-l", folder)


def _sweep() -> None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, folder = line.split()[:2]
        if source.startswith(f"{_SOURCE}:"):
            pid, started = source.split(":")[1:]
            if str(start_time(int(pid))) != started:
                sh("umount", "-l", folder, check=False)
