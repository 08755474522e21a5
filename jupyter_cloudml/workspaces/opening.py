"""Opens what is kept of one folder of code, for one process at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..clock import Clock, SystemClock
from ..errors import Busy
from ..locks import FileLock
from ..paths import private_dir, unusable
from .progress import Steps
from .workspace import Workspace, state_of

LOCK_S = 60.0
LOOK_S = 0.05


@contextmanager
def opened(
    home: Path,
    root: Path,
    steps: Steps | None = None,
    *,
    wait_s: float = LOCK_S,
    clock: Clock | None = None,
) -> Iterator[Workspace]:
    """Have the workspace of a folder, and its lock. Raises Busy while another process has it, NoSpace, NoFolder, Cancelled."""
    private_dir(home / "workspaces")
    state = private_dir(state_of(home, root))
    try:
        with _locked(state, root, steps, wait_s, clock or SystemClock()):
            yield Workspace(state, root, steps.cancelled if steps else None)
    except OSError as exc:
        where = Path(os.fsdecode(exc.filename or state))
        raise unusable(where, exc, "see that it may be read and written") from exc


@contextmanager
def _locked(
    state: Path, root: Path, steps: Steps | None, wait_s: float, clock: Clock
) -> Iterator[None]:
    lock = FileLock(state / "lock")
    deadline = clock.monotonic() + wait_s
    while not lock.take():
        if clock.monotonic() >= deadline:
            raise Busy(f"{root} is being synced", hint="wait for it")
        if steps:
            steps.stop_if_cancelled()
        time.sleep(LOOK_S)
    try:
        yield
    finally:
        lock.release()
