"""Scheduler processes for tests that kill them. Attempts are processes of their own and outlive them, as they do on a machine.

Run as a program it makes a new scheduler process for each line of its input, the JSON arguments of `serve`, and prints its pid: importing
once saves a second each.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jupyter_cloudml.config import Config
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.notices.notifier import Notifier
from jupyter_cloudml.jobs.results import Results
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.scheduling.engine import Engine
from jupyter_cloudml.jobs.scheduling.executor import Exit, NotStarted, Observation, Order, Phase
from jupyter_cloudml.jobs.scheduling.settings import Settings
from jupyter_cloudml.jobs.watching.watcher import Watcher
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.watches import Sight

LEASE_S = 2.5
SETTINGS = Settings(
    lease_s=LEASE_S, heartbeat_s=0.5, poll_s=0.2, end_again_s=0.5, settle_again_s=0.1, workers=4
)
NEVER = "never"

# The first act of an attempt is to make its file, which of two of one name only one can.
SCRIPT = """
set -C
echo $$ > "$1.started" || exit
sleep "$2"
echo ok > "$1.part" && mv "$1.part" "$1.ended"
"""


class Processes:
    """Runs attempts as processes of this computer, in a folder that all schedulers share."""

    fence_s: float | None = None

    def __init__(self, folder: Path, duration_s: float) -> None:
        self._folder, self._duration_s = folder, duration_s
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, order: Order) -> None:
        path = self._folder / order.name
        argv = ["/bin/sh", "-c", SCRIPT, "attempt", str(path), str(self._duration_s)]
        child = subprocess.Popen(
            argv,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._children = [each for each in self._children if each.poll() is None] + [child]
        if self._marker(order) == NEVER:
            raise NotStarted("the name was given up", again=True)

    def observe(self, orders: Sequence[Order]) -> Mapping[str, Observation]:
        for child in self._children:
            child.poll()
        return {order.name: self._look(order) for order in orders}

    def settle(self, order: Order) -> Observation:
        try:
            with open(self._folder / f"{order.name}.started", "x") as file:
                file.write(NEVER)
        except FileExistsError:
            return self._look(order)
        return Observation(Phase.NEVER)

    def cancel(self, order: Order) -> None:
        pid = self._marker(order)
        if pid and pid != NEVER:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)

    def forget(self, order: Order) -> None:
        """Keep everything: the test counts it."""

    def drop(self, order: Order) -> None:
        """Nothing is followed."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def _marker(self, order: Order) -> str:
        try:
            return (self._folder / f"{order.name}.started").read_text().strip()
        except FileNotFoundError:
            return ""

    def _look(self, order: Order) -> Observation:
        pid = self._marker(order)
        if pid == NEVER:
            return Observation(Phase.NEVER)
        ended = self._folder / f"{order.name}.ended"
        if not pid and not ended.exists():
            return Observation(Phase.STARTING)
        alive = bool(pid) and Path("/proc", pid).exists() and _state(pid) != "Z"
        if ended.exists():
            return Observation(Phase.ENDED, exit=Exit("succeeded"))
        return Observation(Phase.RUNNING if alive else Phase.GONE)


def _state(pid: str) -> str:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


class SteeredClock:
    """A clock that a test sets for all processes: its file has how many ms it is off, or the ms at which it stands still."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock.json"

    def set(self, *, off_ms: int = 0, stands_at: int | None = None) -> None:
        """Set it, all at once."""
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps([off_ms, stands_at]))
        part.replace(self._file)

    def now_ms(self) -> int:
        try:
            off_ms, stands_at = json.loads(self._file.read_text())
        except FileNotFoundError:
            off_ms, stands_at = 0, None
        return int(stands_at if stands_at is not None else time.time_ns() // 1_000_000 + off_ms)

    def monotonic(self) -> float:
        return time.monotonic()


class FileLook:
    """What triggers look at: a file of the test."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "commit"

    def __call__(
        self, trigger_id: str, trigger: Trigger, mark: str | None, cancelled: threading.Event
    ) -> Sight:
        found = self._file.read_text()
        return Sight(found, mark is not None and mark != found, {"kind": "git", "commit": found})


def writer(file: Path) -> Callable[[str, str, str], str | None]:
    """What tells people: it adds a line to a file."""

    def deliver(address: str, title: str, text: str) -> str | None:
        with file.open("a") as told:
            told.write(f"{title}\n")
        return None

    return deliver


def serve(home: str, url: str | None, folder: str, duration_s: float, crash_at: str) -> None:
    """Work until killed."""
    if crash_at:
        os.environ[crash.VARIABLE] = crash_at
    clock = SteeredClock(Path(folder))
    store = Store.open(Config(Path(home), url), clock)
    processes = Processes(Path(folder), duration_s)
    engine = Engine(store, processes, settings=SETTINGS, clock=clock)
    looks = {"git": FileLook(Path(folder))}
    watcher = Watcher(store, Path(home), clock=clock, looks=looks, server=engine.id)
    told = Path(folder) / "told"
    notifier = Notifier(store, Results(store, Path(home)), clock=clock, deliver=writer(told))
    engine.start()
    watcher.start()
    notifier.start()
    while os.getppid() != 1:  # whoever started it may be killed, too
        time.sleep(0.2)


def main() -> None:
    """Make a scheduler process for each line, until the input ends; then end them all."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pids = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(**json.loads(line))
            os._exit(0)
        pids.append(pid)
        print(pid, flush=True)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
