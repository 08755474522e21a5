"""The core's machines, called from the event loop: what takes long is an operation, the rest runs on threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import (
    JSON,
    CloudMLError,
    HostKeyUnknown,
    LinkDown,
)
from jupyter_cloudml.link import dial
from jupyter_cloudml.link.carrier import CarrierName, SSHTarget
from jupyter_cloudml.machines.model import MachineView, State, Step
from jupyter_cloudml.machines.operations import Operation, Operations, Work
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store.events import EventRepository
from jupyter_cloudml_server.calls import CallPool
from jupyter_cloudml_server.openapi import check_foreign

ASK_S = 5.0  # an agent answers at once or is in trouble
FIRST_CONTACT_S = 10.0  # a request to add a machine waits so long for the host's key to be known
HOST_KEY_STEPS = 2  # of adding a machine: after checking the key and signing in it is known


class MachineCalls:
    """Every request about a machine. `local` serves what the store answers, `remote` what a host has to."""

    def __init__(
        self,
        machines: Machines,
        operations: Operations,
        events: EventRepository,
        *,
        clock: Clock,
        local: CallPool,
        remote: CallPool,
    ) -> None:
        self._clock = clock
        self._machines = machines
        self._operations = operations
        self._events = events
        self._local = local
        self._remote = remote

    async def last_seq(self) -> int:
        """Return the number of the newest event."""
        return await self._local.run(self._events.last_seq)

    async def all(self) -> list[MachineView]:
        """Return all machines, the local one first."""
        return await self._local.run(self._machines.list)

    async def get(self, name: str) -> MachineView:
        """Return one machine. Raises NotFound."""
        return await self._local.run(self._machines.get, name)

    async def change(self, name: str, changes: Mapping[str, JSON]) -> MachineView:
        """Change label, cull_idle_s or prewarm."""
        return await self._local.run(self._machines.change, name, **changes)

    async def suggest(self) -> list[dict[str, JSON]]:
        """Return the hosts of ~/.ssh/config."""
        return [each.to_dict() for each in await self._local.run(self._machines.suggest)]

    async def scan(self, query: Mapping[str, JSON]) -> dict[str, JSON]:
        """Ask a host for its key."""
        target = self._target(query)
        key = await self._remote.run(dial.scan, target)
        return {
            "fingerprint": key.fingerprint,
            "keytype": key.type,
            "host": target.host,
            "port": target.port or 22,
        }

    async def add(self, body: Mapping[str, JSON]) -> Operation:
        """Begin to add a machine, and return once it has let us in, or after a few seconds.

        Raises Conflict for a name that is taken, UsageError, and HostKeyUnknown on first contact.
        """
        name, target = str(body["name"]), self._target(body)
        await self._local.run(self._machines.check_free, name)
        settled = threading.Event()
        unknown: list[HostKeyUnknown] = []

        def work(operation: Operation) -> JSON:
            def progress(step: Step) -> None:
                operation.progress(step)
                if step.n > HOST_KEY_STEPS:
                    settled.set()

            try:
                view = self._machines.add_ssh(
                    name, target, progress=progress, cancelled=operation.cancelled
                )
            except HostKeyUnknown as error:
                unknown.append(error)
                raise
            finally:
                settled.set()
            return view.to_dict()

        operation = self._operations.start("add", name, work)
        await self._remote.run(settled.wait, FIRST_CONTACT_S)
        if unknown:
            raise unknown[0]
        return operation

    async def remove(self, name: str, *, stop_processes: bool) -> Operation:
        """Begin to forget a machine. Raises NotFound."""

        def work(operation: Operation) -> JSON:
            self._machines.remove(name, stop_processes=stop_processes)
            return None

        return await self._begin("remove", name, work)

    async def act(self, name: str, action: str) -> Operation:
        """Begin to start, stop, retry or check a machine. Raises NotFound."""
        works: dict[str, Work] = {
            "start": self._start,
            "stop": self._stop,
            "retry": self._retry,
            "check": self._check,
        }
        return await self._begin(action, name, works[action])

    async def gauges(self, name: str) -> Mapping[str, JSON]:
        """Ask the agent how busy its machine is. Raises LinkDown with the cause when it is out of reach."""
        answer = await self._ask(name, "gauges")
        check_foreign("MachineGauges", answer, f"The machine {name!r}")
        return cast("Mapping[str, JSON]", answer)

    async def recount(self, name: str) -> None:
        """Have the machine's view count its kernels anew, if the machine can be asked now."""
        with suppress(CloudMLError, TimeoutError):
            if (await self.get(name)).status.state is State.RUNNING:
                await self._remote.run(self._machines.processes, name)

    async def processes(self, name: str) -> list[JSON]:
        """Ask the agent for its processes. Raises LinkDown with the cause when it is out of reach."""
        answer = await self._ask(name, "list")
        check_foreign("ProcessList", answer, f"The machine {name!r}")
        return [without_secrets(row) for row in cast("list[dict[str, JSON]]", answer)]

    def _start(self, operation: Operation) -> JSON:
        view = self._machines.start(
            operation.target, progress=operation.progress, cancelled=operation.cancelled
        )
        return view.to_dict()

    def _stop(self, operation: Operation) -> JSON:
        view = self._machines.stop(
            operation.target, progress=operation.progress, cancelled=operation.cancelled
        )
        return view.to_dict()

    def _retry(self, operation: Operation) -> JSON:
        self._machines.retry(operation.target)
        return self._machines.get(operation.target).to_dict()

    def _check(self, operation: Operation) -> JSON:
        steps: list[JSON] = []
        for step in self._machines.check(operation.target):
            steps.append(step.to_dict())
            operation.result = list(steps)  # what is known already; each step is an event
            text = f"{step.step}: {'ok' if step.ok else 'failed'}"
            operation.progress(Step(len(steps), len(steps), text, self._clock.now_ms()))
        return steps

    async def _begin(self, kind: str, name: str, work: Work) -> Operation:
        await self.get(name)
        return self._operations.start(kind, name, work)

    async def _ask(self, name: str, method: str) -> JSON:
        view = await self.get(name)
        if view.status.state is not State.RUNNING:
            # Opening the link here would make a GET start a machine.
            cause = view.status.cause or view.status.state.value
            raise LinkDown(
                f"There is no link to {name!r}: {cause}.",
                hint=view.status.next_action or "",
                cause=cause,
            )
        link = await self._remote.run(self._machines.link, name)
        answer: JSON = await link.acall(method, timeout=ASK_S)
        return answer

    @staticmethod
    def _target(body: Mapping[str, JSON]) -> SSHTarget:
        """Return where to sign in. Empty strings, which forms send, mean what a missing field means."""

        def text(field: str) -> str | None:
            value = body.get(field)
            return value if isinstance(value, str) and value else None

        port = body.get("port")
        return SSHTarget(
            host=str(body["host"]),
            user=text("user"),
            port=port if isinstance(port, int) else None,
            identity=text("identity"),
            host_key=text("host_key"),
            carrier=cast("CarrierName", text("carrier") or "auto"),
            python=text("python"),
        )


def without_secrets(row: Mapping[str, JSON]) -> dict[str, JSON]:
    """A process as a page may see it: without the key that signs a kernel's messages and the token of its start."""
    shown = {key: value for key, value in row.items() if key != "connection"}
    labels = row.get("labels")
    if isinstance(labels, Mapping):
        shown["labels"] = {key: value for key, value in labels.items() if key != "token"}
    return shown
