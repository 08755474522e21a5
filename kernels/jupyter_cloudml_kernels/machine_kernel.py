"""One kernel on one machine, from its start to its end: the process there, the sockets here, and the record of both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar, cast

from jupyter_cloudml.environments.builder import ensure_ipykernel
from jupyter_cloudml.errors import Cancelled, CloudMLError, LinkDown, NotFound
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.machines.equipment import prewarm_key
from jupyter_cloudml.machines.model import LOCAL
from jupyter_cloudml.paths import home
from jupyter_cloudml.workspaces.workspace import Place, place_of

from . import executions, launching, leftovers, local_sockets, machines, messages
from .joining import Joins
from .records import Intent, KernelRecord, Slot
from .relay import Relay, RelayState
from .running import KernelView, State, reason_of

T = TypeVar("T")
Exit = dict[str, Any]
START_S = 120.0  # for the agent's answer, a cut included
ASK_S = 10.0
EXIT_S = 5.0
ORPHAN_S = 600.0  # a kernel without a server ends when its client was away for so long: longer than a cut that is worth waiting for
LOCAL_ORPHAN_S = 15.0
_log = logging.getLogger(__name__)


class MachineKernel:
    """A kernel under one token. A restart makes another one, with the same key and sockets.

    `changed` is called at each change, from any thread.
    """

    def __init__(
        self,
        record: KernelRecord,
        slot: Slot | None,
        spec: str = "",
        changed: Callable[[], None] = lambda: None,
        *,
        found: bool = False,
    ) -> None:
        """`found`: an earlier server has started it."""
        self.record, self.slot, self.spec, self.found = record, slot, spec, found
        self.link: Link | None = None
        self.relay: Relay | None = None
        self.left = False  # it is to be ended once its machine can be asked
        self.settled: Future[None] = Future()  # done when the agent has said whether it is there
        self.ended: Future[None] = Future()
        self._changed = changed
        self._since_ms = int(time.time() * 1000)
        self._called_off: Future[None] | None = None

    # -- looking -----------------------------------------------------------------------------------
    @property
    def exit(self) -> Exit | None:
        """The agent's word on how it ended; None while it runs, as far as anybody knows."""
        return self.relay.exit if self.relay is not None else None

    @property
    def up(self) -> bool:
        """Whether its machine can be asked now."""
        return self.link is not None and self.link.state.phase == "up"

    def view(self) -> KernelView:
        """Return the kernel as others see it. From any thread."""
        record, relay = self.record, self.relay
        state: State = "reconnecting" if self.found else "starting"
        since = self._since_ms
        cause: str | None = None
        exit: Exit | None = None
        if relay is not None:
            now = relay.state
            since, exit = int(now.since * 1000), now.exit
            cause = now.cause.message if now.cause is not None else None
            if now.state != "starting":
                state = now.state
            elif relay.link.state.error is not None:
                cause = relay.link.state.error.message
        if exit is not None:
            cause = reason_of(exit)
        elif self.ended.done():
            state, cause = "ended", record.reason or cause
        joins = Joins.from_text(record.joins)
        return KernelView(
            id=record.kernel_id,
            machine=record.machine,
            process=record.process or None,
            spec=self.spec,
            path=record.path,
            state=state,
            since_ms=since,
            cause=cause,
            exit=exit,
            code=record.code_started,
            run=None if joins is None else joins.run,
            attempt=None if joins is None else joins.attempt,
        )

    # -- starting ----------------------------------------------------------------------------------
    async def start(
        self,
        argv: list[str],
        env: dict[str, str],
        spec_env: dict[str, str],
        resource_dir: str,
        python: str,
    ) -> None:
        """Have the agent start the process, and connect to it.

        Raises why the machine cannot be reached or the kernel not started (CloudMLError), Cancelled when `call_off` was called.
        """
        self._called_off = Future()
        try:
            link = self.link = await self._unless_called_off(asyncio.to_thread(self._open_link))
            joins = Joins.from_text(self.record.joins)
            if joins is not None:
                asked = self._asked(argv, joins.asked())
                await self.connect(
                    await self._unless_called_off(link.acall("start", START_S, **asked))
                )
                return
            program = await self._unless_called_off(
                asyncio.to_thread(self._python, link, argv, python)
            )
            params = self._params(link, launching.command(argv, program, resource_dir))
            if self.record.machine == LOCAL:
                params["env"] = launching.local_environment(env)
            else:
                there, user = str(link.info.get("home", "")), str(link.info.get("user", ""))
                params["env"] = launching.remote_environment(env, spec_env, there, user)
            if not spec_env and not self.record.key and launching.is_plain(params["argv"]):
                params["prewarm_key"] = prewarm_key(params["argv"][0])
            row = await self._unless_called_off(link.acall("start", START_S, **params))
            await self.connect(row)
        finally:
            self._called_off = None

    def call_off(self) -> bool:
        """Call off the start that is under way; False when there is none. From any thread."""
        off = self._called_off
        if off is None or off.done():
            return False
        off.set_result(None)
        return True

    def _asked(self, argv: list[str], joins: dict[str, Any]) -> dict[str, Any]:
        record = self.record
        labels = {"kernel_id": record.kernel_id, "path": record.path, "spec": self.spec}
        labels["token"] = record.token
        return {
            "token": record.token,
            "kind": "kernel",
            "argv": argv,
            "labels": labels,
            "joins": joins,
        }

    def _params(self, link: Link, argv: list[str]) -> dict[str, Any]:
        place = self._place()
        code = dict(place.code) if place is not None else {}
        record = self.record = self.record.but(code=json.dumps(code) if code else "")
        local = record.machine == LOCAL
        there = None if local else str(link.info.get("home", ""))
        synced = place.folder if place is not None else None
        params: dict[str, Any] = {
            "token": record.token,
            "kind": "kernel",
            "argv": argv,
            "cwd": launching.folders(record.cwd, os.path.expanduser("~"), there, synced),
            "labels": {
                "kernel_id": record.kernel_id,
                "path": record.path,
                "spec": self.spec,
                "token": record.token,
                **({"code": code} if code else {}),
            },
        }
        if record.key:  # of the kernel that this one replaces: whoever is connected signs with it
            params["key"] = record.key
        if self.slot is None:
            params["orphan_s"] = LOCAL_ORPHAN_S if local else ORPHAN_S
        return params

    def _place(self) -> Place | None:
        """Return where the machine has the notebook's folder, and which code that is."""
        try:
            if self.record.machine != LOCAL:
                return place_of(home(), self.record.cwd, self.record.machine)
        except (OSError, ValueError, TypeError, KeyError, CloudMLError) as exc:
            _log.warning(
                "what %s has of %s is not known: %s", self.record.machine, self.record.cwd, exc
            )
        return None

    def _open_link(self) -> Link:
        return machines.current().link(self.record.machine)

    def _python(self, link: Link, argv: list[str], python: str) -> str | None:
        """Return the Python that has ipykernel, where the kernelspec just says python."""
        if not launching.wants_python(argv):
            return None
        name = self.record.machine
        return python or machines.current().get(name).python or ensure_ipykernel(link, name)

    async def _unless_called_off(self, work: Awaitable[T]) -> T:
        """Wait for work until the start is called off; what a thread does then goes on by itself."""
        task = asyncio.ensure_future(work)
        off = asyncio.shield(asyncio.wrap_future(cast("Future[None]", self._called_off)))
        try:
            both: set[asyncio.Future[Any]] = {task, off}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                name = self.record.machine
                raise Cancelled(f"the start of the kernel on {name} was called off")
            return await task
        finally:
            task.cancel()
            off.cancel()

    # -- connecting --------------------------------------------------------------------------------
    async def connect(self, row: dict[str, Any]) -> None:
        """Be the client of this process of the agent's."""
        key = str(row["connection"]["key"])
        self.record = self.record.but(process=str(row["id"]), key=key)
        self.write("run")
        await asyncio.to_thread(self._open_relay)

    async def join(self) -> None:
        """Open the sockets of a kernel that was found, and connect as soon as its machine can be reached; does not wait for that.

        Raises NotFound when the machine was removed, Conflict when it was stopped.
        """
        self.link = await asyncio.to_thread(self._begin_link)
        await asyncio.to_thread(self._open_relay)

    async def find_started(self) -> bool:
        """Look on the machine for what a start has come to that was under way; connect to it if it is there.

        Waits for a machine that is out of reach. Raises NotFound, Conflict as `join`, Cancelled when `call_off` was called.
        """
        self._called_off = Future()
        try:
            for row in await self._unless_called_off(self._list()):
                if row["labels"].get("token") == self.record.token and row["state"] == "running":
                    await self.connect(row)
                    return True
            return False
        finally:
            self._called_off = None

    async def _list(self) -> list[dict[str, Any]]:
        link = self.link = await asyncio.to_thread(self._begin_link)
        while True:
            try:
                return cast("list[dict[str, Any]]", await link.acall("list", START_S))
            except LinkDown:
                if link.state.phase == "closed":
                    raise

    def _begin_link(self) -> Link:
        return machines.current().link(self.record.machine, wait=False)

    def _open_relay(self) -> None:
        if self.link is None:
            raise LinkDown(f"there is no link to {self.record.machine}")
        log = None
        if self.slot is not None:
            log = executions.shared().open_log(self.record.kernel_id, self.record.path)
        relay = Relay(
            self.link,
            self.record.process,
            self.record.where,
            log,
            lambda s: self._on_relay(s),
            self._on_control,
        )
        self.relay = relay
        relay.start(log.begin(self.record.process) if log is not None else 0)

    def _on_relay(self, state: RelayState) -> None:
        if state.exit is not None:
            self._set_ended()
        elif state.state == "connected":
            _set(self.settled)
        if self.relay is not None and self.relay.state is state:
            self._changed()

    def _on_control(self, request: bytes) -> None:
        """Write down a restart before the kernel hears of it: it ends at once, and this server may not live to say why."""
        if messages.asks_for_restart(request):
            with contextlib.suppress(OSError):  # it is written once more when the server is told
                self.write("restart")

    # -- ending ------------------------------------------------------------------------------------
    async def ask(self, method: str, **params: Any) -> None:
        """Ask the agent for something about the process; one that is gone is no error.

        Raises LinkDown, at once while the link is down, and AgentError when there is no answer in time.
        """
        if self.link is None or not self.up:
            raise LinkDown(
                f"{self.record.machine} cannot be reached now; the kernel there goes on",
                hint="try again when the machine is back",
            )
        try:
            await self.link.acall(method, ASK_S, id=self.record.process, **params)
        except NotFound:
            return

    async def stop(self, grace_s: float) -> None:
        """End the process and all that it has started, after `grace_s` seconds by force. Where nobody answers, later."""
        if not self.record.process or self.exit is not None:
            return
        try:
            await self.ask("stop", grace_s=grace_s)
        except CloudMLError as exc:
            _log.info("kernel %s is ended later: %s", self.record.kernel_id, exc)
            self.left = True
            self._set_ended()

    def stop_now(self) -> None:
        """End the process, and wait a little for the agent's word. For the end of a program, where no event loop runs."""
        if self.link is None or not self.up or self.ended.done():
            return
        try:
            self.link.call("stop", EXIT_S, id=self.record.process, grace_s=0)
        except CloudMLError:
            return  # the agent ends what has lost its client

    async def detach(self) -> None:
        """Let go of a kernel that lives on."""
        await self.close()
        if self.slot is not None:
            executions.shared().close_log(self.record.kernel_id)

    async def close(self) -> None:
        """Let go of the sockets."""
        if self.relay is not None:
            await asyncio.to_thread(self.relay.close)

    def clear_away(self, *, forget: bool) -> None:
        """See to it that nothing of the kernel stays on its machine, now or when it can be asked; returns at once.

        `forget`: its record goes then as well.
        """
        if self.link is not None and self.exit is not None:
            self.link.submit("forget", {"id": self.record.process})
        elif self.record.joins and not self.record.process:
            pass  # it was there before and stays: a kernel that a run has left is not ended by who could not open it
        elif self.link is not None or self.record.process:
            self.left = True
            leftovers.end(self.record, self.slot if forget else None)
        self._set_ended()

    def clear_up(self) -> None:
        """Remove what is kept of the kernel here. Waits for the disk."""
        if self.slot is not None:
            if not self.left:
                self.slot.forget(self.record.kernel_id)
            reason = reason_of(self.exit) if self.exit is not None else self.record.reason
            executions.shared().end(self.record.kernel_id, reason)
        local_sockets.remove_folder(self.record.where)

    def say(self, reason: str) -> None:
        """Note why it is no more."""
        self.record = self.record.but(reason=reason)
        self._set_ended()
        self._changed()

    def note_path(self, path: str) -> None:
        """Note under which path the notebook is found now. Waits for the disk."""
        if path != self.record.path:
            self.record = self.record.but(path=path)
            if self.slot is not None:
                self.slot.write(self.record)
        if self.slot is not None:
            executions.shared().note_path(self.record.kernel_id, path)

    def write(self, intent: Intent) -> None:
        """Keep the record with this intent."""
        self.record = self.record.but(intent=intent)
        if self.slot is not None:
            self.slot.write(self.record)

    def _set_ended(self) -> None:
        _set(self.settled)
        _set(self.ended)


def _set(future: Future[None]) -> None:
    try:
        future.set_result(None)
    except InvalidStateError:
        return  # it is done already
