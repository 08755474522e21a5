"""Who holds a folder: one sync at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time

from ...onhost.folder import Failed

TAKEOVER_S = 10.0


def me(pid: int = 0) -> str:
    """A process by its number and start: the name under which it reserves room. "" where it has ended."""
    pid = pid or os.getpid()
    try:
        with open(f"/proc/{pid}/stat") as file:
            return f"{pid}.{file.read().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return f"{pid}.0"


class FolderLock:
    """One sync of a folder at a time. One that the same installation began and no longer looks after is ended."""

    def __init__(self, place: str, folder: str, installation: str) -> None:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
        self._file = open(os.path.join(place, "locks", digest), "a+")  # noqa: SIM115 - until the end
        deadline = time.monotonic() + TAKEOVER_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._end_holder(installation, folder, deadline)
        self._file.truncate(0)
        self._file.write(json.dumps([me(), installation]))
        self._file.flush()

    def _end_holder(self, installation: str, folder: str, deadline: float) -> None:
        self._file.seek(0)
        try:
            holder, theirs = json.loads(self._file.read())
        except ValueError:
            holder, theirs = "", installation  # it has just begun
        if theirs != installation or time.monotonic() > deadline:
            raise Failed("busy", f"another sync of {folder} is under way")
        pid = int(holder.partition(".")[0] or 0)
        if pid and me(pid) == holder:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
