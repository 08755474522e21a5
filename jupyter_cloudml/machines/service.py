"""The machines as everybody else uses them: the server, the kernels and the command line."""

from __future__ import annotations

import getpass
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from jupyter_cloudml.clock import Clock, SystemClock
from jupyter_cloudml.environments.builder import ensure_ipykernel
from jupyter_cloudml.errors import JSON, CloudMLError, Conflict, NotFound, UsageError
from jupyter_cloudml.events import Event
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.machines import power, registration, ssh_config
from jupyter_cloudml.machines.check import check
from jupyter_cloudml.machines.equipment import (
    ASK_S,
    MAX_PREWARM,
    Kernelspecs,
    NoKernelspecs,
    host_specs,
    python_of,
)
from jupyter_cloudml.machines.fleet import Fleet
from jupyter_cloudml.machines.model import (
    LOCAL,
    LOCAL_LABEL,
    CheckStep,
    Desired,
    MachineView,
    Progress,
    Suggestion,
    ignore_progress,
)
from jupyter_cloudml.machines.registration import CONNECT_S, Prepare
from jupyter_cloudml.store import MachineRecord, Store, StoreError

_log = logging.getLogger(__name__)

LOOK_S = 30.0  # between two looks at all machines, for what no event tells
MAX_LABEL = 100
MAX_IDLE_S = 366 * 24 * 3600

Views: TypeAlias = list[MachineView]  # the class has a method of the name `list`
Suggestions: TypeAlias = list[Suggestion]


class Machines:
    """All machines of this installation. Thread-safe; one per process, closed at its end.

    home: the folder of the installation. on_event: hears of every change, on any thread, and must not block.
    kernelspecs: what keeps the kernelspecs of machines; a process without it leaves them as they are.
    keep: look after the machines, as a server does; a command that only passes by does not.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        kernelspecs: Kernelspecs | None = None,
        *,
        prepare: Prepare = ensure_ipykernel,
        keep: bool = True,
    ) -> None:
        self._fleet = Fleet(
            store, home, clock or SystemClock(), on_event, kernelspecs or NoKernelspecs()
        )
        self._store = store
        self._prepare = prepare
        self._keeper = power.Keeper(self._fleet)
        if keep:
            self._fleet.attend = self._keeper.attend
        self._closed = threading.Event()
        self._looking: threading.Thread | None = None
        self._make_local()

    # -- looking ----------------------------------------------------------------------------------

    def list(self) -> Views:
        """Return all machines, this computer first. Waits for no machine."""
        records = sorted(
            self._store.machines.list(), key=lambda each: (each.name != LOCAL, each.name)
        )
        return [self._fleet.view(record) for record in records]

    def get(self, name: str) -> MachineView:
        """Return one machine. Raises NotFound."""
        return self._fleet.view(self._store.machines.get(name))

    def suggest(self) -> Suggestions:
        """Return the hosts of the user's SSH configuration."""
        return ssh_config.suggestions()

    def processes(self, name: str) -> JSON:
        """Ask a machine's agent for its processes. Raises NotFound, LinkDown and why it cannot be reached."""
        rows: JSON = self.link(name).call("list", ASK_S)
        self._fleet.live(name).kernels = power.count_kernels(rows)
        return rows

    def link(self, name: str, *, wait: bool = True) -> Link:
        """Return the link to a machine, shared within this process.

        It is waited for until it was up once, unless `wait` is false; raises then why the machine cannot be reached, and
        goes on trying. Raises NotFound, and Conflict (code "stopped") for a machine that is not to run.
        """
        record = self._store.machines.get(name)
        if record.desired != Desired.RUNNING:
            raise Conflict(
                f"the machine {name} is {record.desired}",
                code="stopped",
                hint=f"start it: jupyter cloudml machine start {name}",
            )
        shared = self._fleet.links.get(name, lambda: self._fleet.connector(record))
        if not wait:
            shared.begin()
        elif shared.state.phase != "up" and not shared.link.info:
            shared.wait(CONNECT_S, threading.Event())
        return shared.link

    def check(self, name: str) -> Iterator[CheckStep]:
        """Diagnose a machine step by step; ends at the first that makes the next ones pointless. Raises NotFound."""
        record = self._store.machines.get(name)
        return check(record, self._fleet.provider(record), self._fleet.clock)

    # -- changing ---------------------------------------------------------------------------------

    def check_free(self, name: str) -> None:
        """Raise UsageError for a name that no machine can have, Conflict for one that is taken."""
        registration.check_free(self._fleet, name)

    def add_ssh(
        self,
        name: str,
        target: SSHTarget,
        *,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """Add a machine after it was reached and prepared; whatever fails leaves nothing behind.

        Raises HostKeyUnknown for the caller to ask about, Conflict for a name that is taken, Cancelled, and what the host
        answers with.
        """
        with self._audited("machine.add", name):
            record = registration.add_ssh(
                self._fleet,
                self._prepare,
                name,
                target,
                progress=progress,
                cancelled=cancelled or threading.Event(),
            )
        return self._fleet.view(record)

    def remove(self, name: str, *, stop_processes: bool = False) -> None:
        """Forget a machine, its kernelspecs and its confirmed host key.

        Raises Conflict (code "in_use") while processes run there, unless they are to be stopped. One that does not answer
        is forgotten, and what runs there goes on; with `stop_processes` that is an error.
        """
        with self._audited("machine.remove", name):
            registration.remove(self._fleet, name, stop_processes=stop_processes)

    def start(
        self,
        name: str,
        *,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """Have a machine run and connect to it. Raises why it cannot be reached."""
        with self._audited("machine.start", name):
            power.start(
                self._fleet,
                self._prepare,
                name,
                progress=progress,
                cancelled=cancelled or threading.Event(),
            )
        return self.get(name)

    def stop(
        self,
        name: str,
        *,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """End the processes of a machine and its agent; the computer stays on where it is not ours to stop.

        Raises why a machine cannot be reached: it is left as it is then.
        """
        with self._audited("machine.stop", name):
            power.stop(
                self._fleet, name, progress=progress, cancelled=cancelled or threading.Event()
            )
        return self.get(name)

    def retry(self, name: str) -> None:
        """Try to reach a machine now. Raises NotFound, and Conflict (code "stopped")."""
        self.link(name, wait=False)

    def change(self, name: str, /, **changes: JSON) -> MachineView:
        """Change `label`, `cull_idle_s` (None: never), `prewarm` or `price_micros` (of an hour; None: not known). Raises NotFound, UsageError."""
        self._fleet.change(name, _checked(changes))
        if self._fleet.links.find(name) is not None:
            self._fleet.poke(name)
        return self.get(name)

    def renew_kernelspecs(self, name: str) -> None:
        """Write the kernelspecs that a machine has now: something was built or removed there. Raises LinkDown, AgentError, NoFolder."""
        link, record = self.link(name), self._store.machines.get(name)
        self._fleet.kernelspecs.install(
            name, record.label, host_specs(link), python_of(record) or ""
        )

    # -- this process -----------------------------------------------------------------------------

    def connect_all(self, wait_s: float = 0) -> None:
        """Finish what was begun before, then connect every machine that should run, and keep doing so.

        wait_s: seconds to wait until each is either up or known to be out of reach.
        """
        records = self._store.machines.list()
        try:
            self._fleet.kernelspecs.reconcile([record.name for record in records])
        except CloudMLError as exc:  # no reason to leave the machines alone
            _log.warning("kernelspecs of removed machines may be left: %s", exc)
        for record in records:
            self._fleet.poke(record.name)
        if self._looking is None:
            self._looking = threading.Thread(
                target=self._look_again, name="cloudml-machines", daemon=True
            )
            self._looking.start()
        deadline = time.monotonic() + wait_s
        names = [record.name for record in records if record.desired == Desired.RUNNING]
        while time.monotonic() < deadline and not all(map(self._settled, names)):
            self._closed.wait(0.02)

    def close(self) -> None:
        """Let go of every machine; what runs there goes on."""
        self._closed.set()
        self._fleet.close()

    def _settled(self, name: str) -> bool:
        state = self._fleet.link_state(name)
        return state is not None and (state.phase == "up" or state.error is not None)

    def _look_again(self) -> None:
        while not self._closed.wait(LOOK_S):
            try:
                names = {record.name for record in self._store.machines.list()}
            except CloudMLError as exc:
                _log.warning("the machines cannot be looked at: %s", exc)
                continue
            for name in names | self._fleet.links.names():
                self._fleet.poke(name)

    def _make_local(self) -> None:
        record = MachineRecord(
            LOCAL, "local", LOCAL_LABEL, self._fleet.clock.now_ms(), Desired.RUNNING.value
        )
        try:
            self._store.machines.get(LOCAL)
        except NotFound:
            with suppress(Conflict):  # another process was faster
                self._store.machines.insert(record, self._fleet.announce)

    @contextmanager
    def _audited(self, what: str, name: str) -> Iterator[None]:
        """Write down who did what, and what came of it."""
        result = "failed"
        try:
            yield
            result = "done"
        except CloudMLError as exc:
            result = exc.code
            raise
        finally:
            try:
                self._store.audit.record(_who(), what, name[:MAX_LABEL], result)
            except StoreError as exc:
                _log.warning("%s %s (%s) is not in the audit trail: %s", what, name, result, exc)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        return str(os.getuid()) if hasattr(os, "getuid") else "?"


def _checked(changes: Mapping[str, JSON]) -> dict[str, JSON]:
    """Raise UsageError for what cannot be changed, or not to that."""
    for key, value in changes.items():
        if key == "label":
            good = isinstance(value, str) and 0 < len(value) <= MAX_LABEL and value.isprintable()
        elif key == "cull_idle_s":
            good = value is None or (type(value) is int and 0 < value <= MAX_IDLE_S)
        elif key == "prewarm":
            good = type(value) is int and 0 <= value <= MAX_PREWARM
        elif key == "price_micros":
            good = value is None or (type(value) is int and 0 <= value <= MAX_PRICE_MICROS)
        else:
            raise UsageError(
                f"{key} of a machine cannot be changed",
                hint="change label, cull_idle_s, prewarm or price_micros",
            )
        if not good:
            raise UsageError(f"{key} cannot be {value!r:.60}", hint=_RANGES[key])
    return dict(changes)


MAX_PRICE_MICROS = 10_000 * 1_000_000
_RANGES = {
    "label": f"give 1 to {MAX_LABEL} printable characters",
    "cull_idle_s": "give seconds, or null for never",
    "prewarm": f"give 0 to {MAX_PREWARM}",
    "price_micros": "give millionths, 0 to 10,000 whole, or null",
}
