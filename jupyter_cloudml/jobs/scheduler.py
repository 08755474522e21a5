"""A scheduler over the machines of this process, and whether there is one anywhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..clock import Clock, SystemClock
from ..errors import NoFolder
from ..events import Event
from ..link.link import Link
from ..store import Store
from .attempts.compose import Composer, ReadSpecs
from .attempts.machine_executor import MachineExecutor
from .notebooks.snapshots import Snapshots
from .notices.notifier import Notifier
from .results import Results
from .retention import Keeper, Keeping
from .scheduling.engine import Engine
from .scheduling.presence import Presence
from .scheduling.settings import Settings
from .scheduling.states import State
from .watching.watcher import Watcher

LOG = "scheduler.log"
PROGRAM = "from jupyter_cloudml.cli import main; main()"
LOG_LIMIT = 1 << 20
OPEN = tuple(state.value for state in State if not state.final)


class Scheduler:
    """An engine with what runs attempts on machines. Any number of them work on one database."""

    def __init__(
        self,
        store: Store,
        home: Path,
        link_of: Callable[[str], Link],
        snapshots: Snapshots,
        read_specs: ReadSpecs,
        *,
        keep_ready: bool = True,
        on_event: Callable[[Event], None] = lambda event: None,
        attend: Callable[[str], None] = lambda machine: None,
    ) -> None:
        """`keep_ready`: machines that were used lately have a runner wait for the next run, while this works. `attend` is told of each machine
        that a run is on.
        """
        folder = runs_folder(home)
        compose = Composer(store, home, snapshots, read_specs, folder)
        results = Results(store, folder)
        self._executor = MachineExecutor(
            link_of,
            compose,
            folder,
            ended=results.keep,
            keep_ready=keep_ready,
            shared=store.files,
            clean_up=compose.clean_up,
            attend=attend,
        )
        self.engine = Engine(store, self._executor, version=__version__, on_event=on_event)
        self._keeping = Keeping(Keeper(store, home))
        self._notifier = Notifier(store, results)
        self._watcher = Watcher(
            store, home, on_event=on_event, wake=self.engine.wake, server=self.engine.id
        )

    def start(self) -> None:
        """Begin to work, in threads. Raises StoreError."""
        self.engine.start()
        self._watcher.start()
        self._notifier.start()
        self._keeping.start()

    def close(self) -> None:
        """Stop working; what runs goes on, and others look after it."""
        self._keeping.close()
        self._watcher.stop()
        self.engine.stop()
        self._executor.close()
        self._notifier.stop()


def runs_folder(home: Path) -> Path:
    """Return where the records of runs are."""
    return home / "jobs" / "runs"


def is_served(store: Store, clock: Clock | None = None) -> bool:
    """Tell whether a scheduler of this computer seems to live: one that has said so lately, and is not proven dead."""
    clock = clock or SystemClock()
    servers = [each for each in store.servers.list() if each.computer == (store.computer or None)]
    dead = Presence("", Settings.lease_s).dead(servers, (), clock.monotonic())
    oldest = clock.now_ms() - int(Settings.lease_s * 1000)
    return any(each.id not in dead and each.heartbeat_ms > oldest for each in servers)


def is_idle(store: Store) -> bool:
    """Tell whether no run waits or goes on that this computer can look after."""
    return store.claims.is_idle()


def hand_over(store: Store, home: Path) -> bool:
    """Where runs wait or go on and no scheduler works, start one of its own that ends with them. Tells whether it was started."""
    if is_idle(store) or is_served(store):
        return False
    start_detached(home)
    return True


def start_detached(home: Path) -> None:
    """Start a scheduler of its own that ends when no run waits or goes on; it outlives this process. Raises NoFolder."""
    log = home / "jobs" / LOG
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv: Sequence[str] = [sys.executable, "-c", PROGRAM, "scheduler", "--until-idle"]
    try:
        mode = "ab" if log.exists() and log.stat().st_size < LOG_LIMIT else "wb"
        with open(log, mode) as file:
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *argv],  # so that it is no child of this process
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd=home,
                env={**os.environ, "JUPYTER_CLOUDML_HOME": str(home)},
            )
    except (OSError, subprocess.CalledProcessError) as exc:
        raise NoFolder(
            f"no scheduler could be started on {socket.gethostname()}: {exc}",
            code="no_scheduler",
            hint="start one: jupyter cloudml scheduler",
        ) from exc
