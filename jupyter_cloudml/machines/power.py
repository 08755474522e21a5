"""How a machine is started and stopped, and kept as it is wanted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import ClassVar

from jupyter_cloudml.errors import NotFound
from jupyter_cloudml.machines.equipment import (
    ask_while_up,
    forget_python,
    host_specs,
    python_of,
    send_policies,
    wanted_by,
)
from jupyter_cloudml.machines.fleet import Fleet, Live
from jupyter_cloudml.machines.lifecycle import Action, Observed, reconcile
from jupyter_cloudml.machines.links import SharedLink
from jupyter_cloudml.machines.model import Desired, Progress, Step
from jupyter_cloudml.machines.registration import (
    ASK_S,
    CONNECT_S,
    STEPS,
    Prepare,
    Steps,
    end_agent,
    finish_removal,
)
from jupyter_cloudml.store import MachineRecord

_log = logging.getLogger(__name__)

PRESENT = (Desired.RUNNING, Desired.STOPPING, Desired.STOPPED)


def start(
    fleet: Fleet, prepare: Prepare, name: str, *, progress: Progress, cancelled: threading.Event
) -> None:
    """Have a machine run and connect to it. Raises why it cannot be reached; it is tried again by itself then."""
    record = fleet.store.machines.get(name)
    steps = Steps(fleet, _shown(fleet, name, progress), cancelled).of("starting", *STEPS[1:])
    with fleet.work(name) as live:
        steps.enter("starting")
        record = fleet.change(name, {"desired": Desired.RUNNING.value}, PRESENT)
        fleet.provider(record).start(record, cancelled)
        live.on_step = steps.connecting
        shared = fleet.links.get(name, lambda: fleet.connector(record))
        shared.wait(CONNECT_S, cancelled)
        steps.enter(STEPS[3])
        if record.provider == "ssh":
            named = record.spec.get("python")
            wanted = named if isinstance(named, str) else None
            python = prepare(shared.link, name, steps.detail, cancelled, python=wanted)
            if python != record.python:
                forget_python(shared.link, record)
                record = fleet.change(name, {"python": python})
        equip(fleet, record, shared)


def stop(fleet: Fleet, name: str, *, progress: Progress, cancelled: threading.Event) -> None:
    """End the processes of a machine and its agent, then stop the computer where it is ours to stop.

    Raises LinkDown or Unreachable for a machine that does not answer: it is left as it is, and not stopped later.
    """
    steps = Steps(fleet, _shown(fleet, name, progress), cancelled).of(
        "connecting", "ending the processes", "letting go of the computer"
    )
    with fleet.work(name):
        record = fleet.store.machines.get(name)
        if record.desired == Desired.STOPPED:
            return
        steps.enter("connecting")
        shared = fleet.links.get(name, lambda: fleet.connector(record))
        shared.wait(CONNECT_S, cancelled)
        record = fleet.change(name, {"desired": Desired.STOPPING.value}, PRESENT)
        try:
            steps.enter("ending the processes")
            end_agent(shared)
        except BaseException:
            fleet.change(name, {"desired": Desired.RUNNING.value}, (Desired.STOPPING,))
            raise
        fleet.part(name)
        steps.enter("letting go of the computer")
        fleet.provider(record).stop(record, cancelled)
        fleet.change(name, {"desired": Desired.STOPPED.value}, (Desired.STOPPING,))


def equip(fleet: Fleet, record: MachineRecord, shared: SharedLink) -> None:
    """Send the policies, and bring the kernelspecs up to date. Raises LinkDown, AgentError."""
    live = fleet.live(record.name)
    # Of the moment before anything is asked: a change meanwhile makes it due again.
    live.equipment = wanted_by(shared.link, record)
    try:
        send_policies(shared.link, record)
        specs = host_specs(shared.link)
        fleet.kernelspecs.install(record.name, record.label, specs, python_of(record) or "")
    except BaseException:
        live.equipment = None
        raise


def _shown(fleet: Fleet, name: str, progress: Progress) -> Progress:
    """Show each step in the machine's state too."""

    def both(step: Step) -> None:
        fleet.enter(name, step)
        progress(step)

    return both


class Keeper:
    """Looks after the machines: does what `reconcile` says whenever something of one has changed."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def attend(self, name: str) -> None:
        """Bring a machine nearer to what is wanted, unless somebody works on it: they have it looked at again."""
        live = self._fleet.live(name)
        if not live.working.acquire(blocking=False):
            live.overlooked = True
            return
        try:
            live.keeping, live.overlooked = True, False
            record = self._fleet.store.machines.get(name)
            for action in reconcile(Desired(record.desired), self._observe(record, live)):
                self._acts[action](self, record)
            self._count_kernels(record, live)
        except NotFound:
            self._fleet.gone(name)
            return
        finally:
            live.keeping = False
            live.working.release()
            if live.overlooked:
                self._fleet.poke(name)
        self._fleet.publish(name)

    def _observe(self, record: MachineRecord, live: Live) -> Observed:
        live.box = self._fleet.provider(record).describe(record)
        shared = self._fleet.links.find(record.name)
        phase = shared.state.phase if shared else None
        equipped = shared is not None and live.equipment == wanted_by(shared.link, record)
        return Observed(live.box, phase, equipped)

    def _start_box(self, record: MachineRecord) -> None:
        self._fleet.provider(record).start(record, threading.Event())

    def _connect(self, record: MachineRecord) -> None:
        self._fleet.links.get(record.name, lambda: self._fleet.connector(record)).begin()

    def _equip(self, record: MachineRecord) -> None:
        shared = self._fleet.links.find(record.name)
        if shared is not None:
            equip(self._fleet, record, shared)

    def _count_kernels(self, record: MachineRecord, live: Live) -> None:
        shared = self._fleet.links.find(record.name)
        if shared is not None and shared.state.phase == "up":
            live.kernels = count_kernels(ask_while_up(shared.link, "list", ASK_S))

    def _end_processes(self, record: MachineRecord) -> None:
        shared = self._fleet.links.find(record.name)
        if shared is not None:
            end_agent(shared)

    def _disconnect(self, record: MachineRecord) -> None:
        self._fleet.part(record.name)

    def _stop_box(self, record: MachineRecord) -> None:
        self._fleet.provider(record).stop(record, threading.Event())

    def _settle(self, record: MachineRecord) -> None:
        self._fleet.change(record.name, {"desired": Desired.STOPPED.value}, (Desired.STOPPING,))

    def _remove_kernelspecs(self, record: MachineRecord) -> None:
        self._fleet.kernelspecs.remove(record.name)

    def _forget(self, record: MachineRecord) -> None:
        finish_removal(self._fleet, record.name)

    _acts: ClassVar[dict[Action, Callable[[Keeper, MachineRecord], None]]] = {
        Action.START_BOX: _start_box,
        Action.CONNECT: _connect,
        Action.EQUIP: _equip,
        Action.END_PROCESSES: _end_processes,
        Action.DISCONNECT: _disconnect,
        Action.STOP_BOX: _stop_box,
        Action.SETTLE: _settle,
        Action.REMOVE_KERNELSPECS: _remove_kernelspecs,
        Action.FORGET: _forget,
    }


def count_kernels(rows: object) -> int:
    """Count the kernels in an agent's list that somebody has started and that have not ended."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return sum(
        row.get("kind") == "kernel" and row.get("state") == "running" and not row.get("warm")
        for row in found
    )
