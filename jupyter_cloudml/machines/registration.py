"""How a machine joins and leaves: whatever is interrupted half-way leaves nothing, or is finished at the next start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Protocol

from jupyter_cloudml.errors import JSON, Cancelled, CloudMLError, Conflict, NotFound, UsageError
from jupyter_cloudml.link import dial, host_keys
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.command import check_name
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.machines.equipment import host_specs, send_policies, wanted_by
from jupyter_cloudml.machines.fleet import Fleet
from jupyter_cloudml.machines.links import SharedLink
from jupyter_cloudml.machines.model import LOCAL, Desired, Progress, Step
from jupyter_cloudml.machines.providers.ssh import SSHProvider, spec_of
from jupyter_cloudml.store import MachineRecord

_log = logging.getLogger(__name__)

# All but the first are paths of the REST API.
RESERVED = frozenset({LOCAL, "suggestions", "schema", "host-key"})
CONNECT_S = 90.0
ASK_S = 10.0
STEPS = ("checking the host key", "signing in", "starting the agent", "preparing Python")


class Prepare(Protocol):
    """Finds or makes a Python with ipykernel on a machine (environments.builder.ensure_ipykernel)."""

    def __call__(
        self,
        link: Link,
        machine: str,
        progress: Callable[[str], None],
        cancelled: threading.Event | None,
        *,
        python: str | None,
    ) -> str:
        """Return the path of the Python; `python` is the one that the user has named."""


class Steps:
    """Counts through the named steps of an operation, and stops at each when it was called off."""

    def __init__(self, fleet: Fleet, progress: Progress, cancelled: threading.Event) -> None:
        self._clock = fleet.clock
        self._progress = progress
        self._cancelled = cancelled
        self._names: tuple[str, ...] = STEPS
        self._now = Step(0, 0, "", 0)

    def of(self, *names: str) -> Steps:
        """Name the steps."""
        self._names = names
        return self

    def enter(self, name: str) -> None:
        """Enter the step of this name. Raises Cancelled."""
        self.stop_if_cancelled()
        if name in self._names and not self.has_entered(name):  # a second try does not go back
            number = self._names.index(name) + 1
            self._now = Step(number, len(self._names), name, self._clock.now_ms())
            self._progress(self._now)

    def connecting(self, name: str) -> None:
        """Enter a step of connecting; what is under way is not broken off half-way, whoever waits for it stops waiting."""
        with suppress(Cancelled):
            self.enter(name)

    def has_entered(self, name: str) -> bool:
        """Say whether the step of this name was entered, or one after it."""
        return self._now.n > self._names.index(name)

    def detail(self, text: str) -> None:
        """Say more of the step that is under way. Raises Cancelled."""
        self.stop_if_cancelled()
        self._progress(replace(self._now, text=f"{self._names[self._now.n - 1]}: {text}"))

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled when the operation was called off."""
        if self._cancelled.is_set():
            raise Cancelled("it was cancelled")


def add_ssh(
    fleet: Fleet,
    prepare: Prepare,
    name: str,
    target: SSHTarget,
    *,
    progress: Progress,
    cancelled: threading.Event,
) -> MachineRecord:
    """Reach the machine, prepare it, and only then write its record and its kernelspecs.

    Raises what the machine answers with (HostKeyUnknown, AuthRefused, NoPython, …), UsageError, Conflict, Cancelled.
    """
    check_free(fleet, name)
    record = _record(name, target, fleet.clock.now_ms())
    steps = Steps(fleet, progress, cancelled)
    with fleet.work(name) as live, ExitStack() as undo:
        check_free(fleet, name)  # again, now that nobody else of this process can take it
        steps.enter(STEPS[0])
        _confirm(fleet, target, cancelled, undo)
        live.on_step, live.joining = steps.connecting, True
        undo.callback(setattr, live, "joining", False)
        shared = fleet.links.make(name, fleet.connector(record))
        undo.callback(fleet.part, name)
        undo.callback(lambda: _abandon(shared, agent=steps.has_entered(STEPS[2])))
        shared.wait(CONNECT_S, cancelled)
        steps.enter(STEPS[3])
        python = prepare(shared.link, name, steps.detail, cancelled, python=target.python)
        record = replace(record, python=python)
        send_policies(shared.link, record)
        specs = host_specs(shared.link)
        steps.stop_if_cancelled()
        fleet.links.adopt(name, shared)
        _register(fleet, record, specs)
        live.equipment = wanted_by(shared.link, record)
        undo.pop_all()
        live.joining = False
    return record


def _record(name: str, target: SSHTarget, now_ms: int) -> MachineRecord:
    return MachineRecord(
        name=name,
        provider="ssh",
        label=name,
        created_ms=now_ms,
        desired=Desired.RUNNING.value,
        spec=spec_of(target),
        host_key=target.host_key,
    )


def check_free(fleet: Fleet, name: str) -> None:
    """Raise UsageError for what is no name, Conflict for one that is taken in any case of letters: kernelspecs are told apart without case."""
    check_name("machine", name)
    if name in RESERVED:
        raise UsageError(
            f"a machine cannot be called {name!r}", code="bad_name", hint="choose another name"
        )
    for known in fleet.store.machines.list():
        if known.name.lower() == name.lower():
            raise Conflict(
                f"there is a machine named {known.name!r} already",
                hint="choose another name, or remove that one first",
            )


def _confirm(fleet: Fleet, target: SSHTarget, cancelled: threading.Event, undo: ExitStack) -> None:
    """Have the host show the key whose fingerprint a person has given; forget it again if the rest fails."""
    if target.host_key is not None:
        if not host_keys.confirmed(target):
            undo.callback(_forget_key, fleet, target)
        dial.verify(target, cancelled=cancelled)


def _abandon(shared: SharedLink, *, agent: bool) -> None:
    """Part from a machine that is not to be ours; its agent, if it was started, ends unless it has something to do."""
    shared.leave()
    try:
        if agent:
            shared.wait(ASK_S, threading.Event())
            if not shared.link.call("list", ASK_S):
                shared.link.call("shutdown", ASK_S, stop_processes=False)
    except CloudMLError as exc:
        _log.info("the agent of %s may have been left running: %s", shared.link.machine, exc)
    shared.link.close()


def _register(fleet: Fleet, record: MachineRecord, specs: JSON) -> None:
    """Write the record, then the kernelspecs: a kill in between is made good when the link next comes up."""
    change = fleet.store.machines.insert(record, fleet.announce)
    try:
        fleet.kernelspecs.install(record.name, record.label, specs, record.python or "")
    except BaseException:
        with suppress(
            CloudMLError
        ):  # what keeps them from being written; the next start deletes what is left
            fleet.kernelspecs.remove(record.name)
        fleet.delete(record.name)
        raise
    fleet.told(change.record, change.event)


def remove(fleet: Fleet, name: str, *, stop_processes: bool) -> None:
    """Forget a machine, its kernelspecs and its confirmed key; what runs there ends only if `stop_processes`.

    Raises Conflict (code "in_use") while processes run there and are not to be stopped, LinkDown or Unreachable when they
    are but the machine does not answer.
    """
    record = fleet.store.machines.get(name)
    if name == LOCAL:
        raise UsageError(
            "this computer cannot be removed", hint="`machine stop local` ends what runs on it"
        )
    with fleet.work(name):
        shared = _reach(fleet, record, must=stop_processes)
        if shared is not None and not stop_processes:
            _refuse_in_use(record, shared)
        fleet.change(name, {"desired": Desired.ABSENT.value})
        if shared is not None:
            try:
                end_agent(shared)
            except BaseException:
                fleet.change(name, {"desired": record.desired})
                raise
        finish_removal(fleet, name)


def _reach(fleet: Fleet, record: MachineRecord, *, must: bool) -> SharedLink | None:
    """Return the link to a machine; None for one that does not answer, unless it must."""
    shared = fleet.links.get(record.name, lambda: fleet.connector(record))
    try:
        shared.wait(CONNECT_S if must else ASK_S, threading.Event())
    except CloudMLError as exc:
        if must:
            raise
        _log.info("%s does not answer and is removed all the same: %s", record.name, exc)
        return None
    return shared


def _refuse_in_use(record: MachineRecord, shared: SharedLink) -> None:
    running = _running(shared.link.call("list", ASK_S))
    if running:
        raise Conflict(
            f"{len(running)} processes run on {record.name}",
            code="in_use",
            hint="stop them first, or have them stopped with --stop-processes",
            processes=running,
        )


def _running(rows: object) -> list[str]:
    """Return the ids of the processes that somebody has started and that have not ended."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [str(r.get("id")) for r in found if r.get("state") == "running" and not r.get("warm")]


def end_agent(shared: SharedLink, timeout: float = 30.0) -> None:
    """End all processes of a machine and its agent; returns when they have ended. Raises LinkDown, AgentError."""
    shared.leave()
    try:
        shared.link.call("shutdown", ASK_S, stop_processes=True)
        shared.wait_down(timeout)
    except BaseException:
        shared.stay()
        raise


def finish_removal(fleet: Fleet, name: str) -> None:
    """Take away all that is left of a machine which is to be absent; done again after a kill, it does the rest."""
    try:
        record = fleet.store.machines.get(name)
    except NotFound:
        return
    fleet.kernelspecs.remove(name)
    provider = fleet.provider(record)
    provider.terminate(record, threading.Event())
    fleet.part(name)
    with suppress(NotFound):  # another process has just done the same
        fleet.delete(name)
    if isinstance(provider, SSHProvider):
        _forget_key(fleet, provider.target(record))


def _forget_key(fleet: Fleet, target: SSHTarget) -> None:
    """Forget the confirmed key of a host, unless a machine is behind that address."""
    address = (target.host, target.port)
    machines = fleet.store.machines.list()
    if all((each.spec.get("host"), each.spec.get("port")) != address for each in machines):
        host_keys.forget(target)
