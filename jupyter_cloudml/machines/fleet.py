"""The machines of this process: the record, the live state and the link of each, and telling of changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import JSON, CloudMLError, Conflict, LinkDown, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml.link.bootstrap import Connect, Opened
from jupyter_cloudml.link.state import LinkState
from jupyter_cloudml.machines.equipment import Equipment, Kernelspecs, python_of
from jupyter_cloudml.machines.lifecycle import follow, status
from jupyter_cloudml.machines.links import Links
from jupyter_cloudml.machines.model import (
    Box,
    Desired,
    MachineInfo,
    MachineView,
    State,
    Status,
    Step,
)
from jupyter_cloudml.machines.providers.base import Provider, Providers
from jupyter_cloudml.store import MachineRecord, Store, StoreError
from jupyter_cloudml.store.machines import Change

_log = logging.getLogger(__name__)

THREADS = 8
KEEPING_S = 150.0  # the longest that the keeper works on a machine: its Pythons are asked
_CAS_TRIES = 50


class Live:
    """What is known of a machine beyond its record.

    `working` is held by the one that works on it, `joining` while it has no record yet.
    """

    def __init__(self) -> None:
        self.working = threading.Lock()
        self.telling = threading.Lock()
        self.keeping = False  # it is the keeper that holds `working`
        self.joining = False
        self.overlooked = False  # something has changed while somebody worked on it
        self.step: Step | None = None
        self.on_step: Callable[[str], None] | None = None
        self.box = Box.RUNNING
        self.status: Status | None = None
        self.version = 0
        self.kernels = 0
        self.equipment: Equipment | None = None  # what the agent was given

    def tell(self, text: str) -> None:
        """Pass on a step of connecting to whoever waits for it."""
        if self.on_step is not None:
            self.on_step(text)


class Fleet:
    """Records and live state side by side. Thread-safe; nothing here waits for a machine."""

    def __init__(
        self,
        store: Store,
        home: Path,
        clock: Clock,
        on_event: Callable[[Event], None],
        kernelspecs: Kernelspecs,
    ) -> None:
        self.store = store
        self.clock = clock
        self.kernelspecs = kernelspecs
        self.providers = Providers(home)
        self.links = Links(self.poke)
        self.attend: Callable[[str], None] = self.publish  # what is done when something has changed
        self._on_event = on_event
        self._opened_ms = clock.now_ms()
        self._live: dict[str, Live] = {}
        self._poked: set[str] = set()
        self._lock = threading.Lock()
        self._tellers = ThreadPoolExecutor(2, thread_name_prefix="cloudml-teller")
        self._workers = ThreadPoolExecutor(THREADS, thread_name_prefix="cloudml-machine")

    # -- looking ----------------------------------------------------------------------------------

    def live(self, name: str) -> Live:
        """Return the live state of a machine; empty at first."""
        with self._lock:
            return self._live.setdefault(name, Live())

    def provider(self, record: MachineRecord) -> Provider:
        """Return the provider of a machine. Raises NotFound when it is not installed."""
        return self.providers.get(record.provider)

    def connector(self, record: MachineRecord) -> Connect:
        """Return how to connect to a machine; the steps go to whoever waits for them.

        Each try looks first whether the machine is still wanted: another process may have stopped or removed it.
        """
        live = self.live(record.name)
        connect = self.provider(record).connect(record, live.tell)

        def connect_if_wanted(cancelled: threading.Event) -> Opened:
            if not live.joining:
                self._refuse_unwanted(record.name)
            return connect(cancelled)

        return connect_if_wanted

    def _refuse_unwanted(self, name: str) -> None:
        shared = self.links.find(name)
        known = bool(shared and shared.link.info)
        try:
            desired = Desired(self.store.machines.get(name).desired)
        except NotFound:
            desired = Desired.ABSENT
        except StoreError:
            return  # the link goes on without the store
        # One that is stopping is connected to in order to stop it, after a kill, but not again once it has hung up.
        if desired is Desired.RUNNING or (desired is Desired.STOPPING and not known):
            return
        raise LinkDown(f"{name} is {desired.value} by now", hint="start it")

    def link_state(self, name: str) -> LinkState | None:
        """Return what the machine's link is doing, None when there is none."""
        shared = self.links.find(name)
        return shared.state if shared else None

    def status(self, record: MachineRecord) -> Status:
        """Return the state of a machine, since when, and why."""
        live = self.live(record.name)
        now = status(
            Desired(record.desired),
            self.link_state(record.name),
            box=live.box,
            step=live.step,
        )
        since = self._opened_ms if live.status is None else self.clock.now_ms()
        return follow(live.status, now, since)

    def view(self, record: MachineRecord) -> MachineView:
        """Return a machine as the user sees it."""
        live = self.live(record.name)
        shared = self.links.find(record.name)
        current = self.status(record)
        address = carrier = ""
        try:
            provider = self.provider(record)
            address, carrier = provider.address(record), provider.carrier(record)
        except CloudMLError as exc:
            current = status(Desired(record.desired), failure=exc)
        return MachineView(
            name=record.name,
            provider=record.provider,
            label=record.label,
            status=current,
            address=address,
            carrier=carrier,
            python=python_of(record),
            info=MachineInfo.from_hello(shared.link.info if shared else {}),
            kernels=live.kernels if current.state is State.RUNNING else 0,
            version=max(record.version, live.version),
            cull_idle_s=record.cull_idle_s,
            prewarm=record.prewarm,
            price_micros=record.price_micros,
        )

    # -- changing ---------------------------------------------------------------------------------

    @contextmanager
    def work(self, name: str) -> Iterator[Live]:
        """Be the only one in this process that works on a machine; what keeps it as it is wanted is waited for.

        Raises Conflict (code "busy") while another operation works on it.
        """
        live = self.live(name)
        if not live.working.acquire(timeout=KEEPING_S if live.keeping else 0):
            raise Conflict(
                f"something is being done about {name} already",
                code="busy",
                hint="wait for it to end, or cancel it",
            )
        try:
            yield live
        finally:
            live.step = live.on_step = None
            live.working.release()
            self.poke(name)

    def enter(self, name: str, step: Step) -> None:
        """Show a step of the operation that works on a machine."""
        self.live(name).step = step
        self.publish(name)

    def change(
        self, name: str, changes: Mapping[str, JSON], allowed: Collection[str] | None = None
    ) -> MachineRecord:
        """Change a record whatever else of it changes meanwhile; tell of it.

        allowed: values of `desired` from which it may be. Raises Conflict (code "in_use") from another, NotFound.
        """

        def attempt(record: MachineRecord) -> Change:
            if allowed is not None and record.desired not in allowed:
                raise Conflict(
                    f"{name} is {record.desired} by now",
                    code="in_use",
                    hint="look again, then repeat",
                )
            return self.store.machines.update(record, self.announce, **changes)

        return self._until_current(name, attempt).record

    def delete(self, name: str) -> None:
        """Delete a record whatever of it changes meanwhile; tell of it. Raises NotFound."""
        self._until_current(name, lambda record: self.store.machines.delete(record, self.removal))

    def _until_current(self, name: str, attempt: Callable[[MachineRecord], Change]) -> Change:
        for _ in range(_CAS_TRIES):
            try:
                change = attempt(self.store.machines.get(name))
            except Conflict as exc:
                if exc.code != "stale":
                    raise
                continue
            self.told(change.record, change.event)
            return change
        raise Conflict(f"{name} changes all the time", code="stale", hint="try again")

    def announce(self, record: MachineRecord) -> Event:
        """Return the event that tells of a record as it is now."""
        return self._event(record.name, self.status(record), record.version)

    def removal(self, record: MachineRecord) -> Event:
        """Return the event that tells that a machine is no more."""
        return self._event(record.name, Status(State.GONE), record.version, removed=True)

    def told(self, record: MachineRecord, event: Event) -> None:
        """Remember what was told of a machine, and tell it."""
        live = self.live(record.name)
        with live.telling:
            live.version = max(live.version, event.version)
            live.status = None if event.data.get("removed") else self.status(record)
            self._on_event(event)

    def publish(self, name: str) -> None:
        """Tell of a machine's live state if it is another than was told last."""
        live = self.live(name)
        with live.telling:
            try:
                record = self.store.machines.get(name)
                current = self.status(record)
                if current == live.status:
                    return
                live.status = current
                change = self.store.machines.touch(
                    name, lambda record: self._event(name, current, record.version)
                )
                event, live.version = change.event, change.event.version
            except NotFound:
                return
            except StoreError as exc:  # the pages hear of it all the same
                _log.warning("the state of %s is not kept: %s", name, exc)
                live.version += 1
                event = self._event(name, live.status or Status(State.STOPPED), live.version)
            self._on_event(event)

    def part(self, name: str) -> None:
        """Close the link to a machine, and forget what it had said."""
        self.links.close(name)
        live = self.live(name)
        live.kernels, live.equipment = 0, None

    def gone(self, name: str) -> None:
        """Notice that another process has removed a machine."""
        self.part(name)
        live = self.live(name)
        with live.telling:
            if live.status is None:
                return
            live.status, live.version = None, live.version + 1
            event = self._event(name, Status(State.GONE), live.version, removed=True)
            self._on_event(event)

    def _event(self, name: str, current: Status, version: int, *, removed: bool = False) -> Event:
        data: dict[str, JSON] = {"name": name, "state": current.state.value, "version": version}
        data["step"] = current.step.to_dict() if current.step else None
        data["cause"] = current.cause
        if removed:
            data["removed"] = True
        return Event("machine", name, current.state.value, version, self.clock.now_ms(), data)

    # -- in the background ------------------------------------------------------------------------

    def poke(self, name: str) -> None:
        """Have a machine's state told, and the machine attended to, soon. From any thread, a link's above all."""
        with self._lock:
            if name in self._poked:
                return
            self._poked.add(name)
        self._submit(self._tellers, self._tell, name)

    def _tell(self, name: str) -> None:
        with self._lock:
            self._poked.discard(name)
        self.publish(name)
        self._submit(self._workers, self.attend, name)

    def _submit(self, executor: ThreadPoolExecutor, work: Callable[[str], None], name: str) -> None:
        def run() -> None:
            try:
                work(name)
            except CloudMLError as exc:
                _log.info("%s: %s", name, exc)
            except Exception:  # noqa: BLE001  the edge of this thread
                _log.exception("%s could not be attended to", name)

        try:
            executor.submit(run)
        except RuntimeError:
            return  # closed meanwhile

    def close(self) -> None:
        """Let go of every machine."""
        for executor in (self._tellers, self._workers):
            executor.shutdown(wait=False, cancel_futures=True)
        self.links.close_all()
