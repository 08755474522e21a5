"""The kernel provisioner: starts a kernel on a machine and stays connected to it, under any unmodified KernelManager.

Where the server has a slot (records.py) each step is written down before the caller hears of it, so that the next server finds the kernel.
Elsewhere (nbclient, papermill, a console) the kernel ends with its client.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Unicode

from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.machines.model import LOCAL

from . import local_sockets, records
from .joining import Joins
from .machine_kernel import MachineKernel
from .records import KernelRecord
from .restarter import Restarter
from .running import KernelView, exit_code, kernels, reason_of


class CloudMLProvisioner(KernelProvisionerBase):
    """Runs the kernel of a `cloudml-<machine>` kernelspec."""

    machine = Unicode(LOCAL, help="The machine to run on.").tag(config=True)
    spec = Unicode("", help="The host's own kernelspec; empty for the machine's Python.").tag(
        config=True
    )
    python = Unicode("", help="The Python on the machine that has ipykernel.").tag(config=True)

    kernel: MachineKernel | None = None
    _restart = False
    _reaped = False
    _confirmed = True
    _clearing: asyncio.Future[None] | None = None  # a cleanup that nobody awaits

    @cached_property
    def _restarter(self) -> Restarter:
        return Restarter(self.parent, self._given_up)

    # -- start -------------------------------------------------------------------------------------
    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Write down what is about to be started. `joins` (joining.Joins) is a kernel that is there and is taken over; a restart starts one of its own."""
        joins = kwargs.pop("joins", None)
        slot = records.slot_of(self.parent)
        env = kwargs.get("env") or dict(os.environ)
        before = self.kernel
        unfinished = before is not None and before.found and not before.record.process
        record = KernelRecord(
            kernel_id=str(self.kernel_id),
            kernel_name=getattr(self.parent, "kernel_name", ""),
            machine=self.machine,
            intent="restart" if before is not None and self._restart else "start",
            token=before.record.token if before and unfinished else uuid.uuid4().hex,
            path=env.get("JPY_SESSION_NAME", ""),
            cwd=str(kwargs.get("cwd") or os.getcwd()),
            key=before.record.key if before else "",
            where=local_sockets.place_of(
                str(self.kernel_id), before.record.where if before else ""
            ),
            joins=_joins(joins, before),
        )
        if slot is not None:
            slot.begin(record)
        self.kernel = MachineKernel(record, slot, self.spec, self._changed)
        self._reaped, self._confirmed = False, True
        self._restarter.release()
        kernels.add(record.kernel_id, self)
        extra = kwargs.pop("extra_arguments", None) or []
        return await super().pre_launch(cmd=[*self.kernel_spec.argv, *extra], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel on its machine and connect to it.

        Raises why the machine cannot be reached or the kernel not started (CloudMLError), Cancelled when the start was called off.
        """
        kernel = self._known()
        self._changed()
        spec = self.kernel_spec
        try:
            await kernel.start(cmd, kwargs["env"], spec.env, spec.resource_dir, self.python)
        except (CloudMLError, OSError, asyncio.CancelledError) as exc:
            await asyncio.shield(self._failed(kernel, str(exc) or "the start was called off"))
            raise
        self.connection_info = connection_info(kernel.record)
        return self.connection_info

    async def _failed(self, kernel: MachineKernel, reason: str) -> None:
        """A start came to nothing; what the agent has started all the same is ended."""
        await kernel.close()
        kernel.write("stop")
        kernel.clear_away(forget=True)
        if kernel.slot is not None and not kernel.left:
            kernel.slot.forget(kernel.record.kernel_id)
        self._show_dead(kernel, reason)

    async def post_launch(self, **kwargs: Any) -> None:
        """Have a kernel that was shown as dead be shown as starting: nothing else resets the word."""
        if getattr(self.parent, "execution_state", None) == "dead":
            self._show("starting", "")

    # -- life --------------------------------------------------------------------------------------
    @property
    def has_process(self) -> bool:
        """Whether there is a kernel to manage."""
        return self.kernel is not None and bool(self.kernel.record.process) and not self._reaped

    async def poll(self) -> int | None:
        """Return None while the kernel lives, as far as anybody knows: a link that is down is no dead kernel. O(1)."""
        kernel = self.kernel
        if kernel is None or not kernel.record.process or kernel.left:
            return 0
        if not self._confirmed:
            return None
        if kernel.exit is None:
            return 1 if kernel.ended.done() else None
        self._tell_end(kernel.exit)
        return exit_code(kernel.exit)

    def _tell_end(self, exit: Mapping[str, Any]) -> None:
        """Leave a crash to the restarter. What was stopped on the machine, by a person or for idleness, counts as shut down."""
        self._restarter.listen()
        if not exit.get("asked"):
            if getattr(self.parent, "reason", None) == "":
                self._show(None, reason_of(exit))
        elif not getattr(self.parent, "shutting_down", False) and self._restarter.hold():
            self._show(None, "stopped on the machine")

    def _given_up(self) -> None:
        """Let go of a kernel that no restart follows any more: nobody else tells that this is its end."""
        self._clearing = asyncio.ensure_future(self.cleanup())

    async def wait(self) -> int | None:
        """Wait until the kernel has ended."""
        kernel = self.kernel
        if kernel is not None and kernel.record.process:
            await asyncio.shield(asyncio.wrap_future(kernel.ended))
        self._reaped = True
        return await self.poll()

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and its children.

        Raises LinkDown or AgentError when the machine cannot be asked; not on the way to a shutdown, which ends it in any case.
        """
        if not self.has_process or self._known().exit is not None:
            return
        try:
            await self._known().ask("signal", signum=int(signum), group=True)
        except CloudMLError:
            if not getattr(self.parent, "shutting_down", False):
                raise

    async def kill(self, restart: bool = False) -> None:
        """End the kernel and all that it started, by force. `restart` tells nothing: jupyter_client never sets it."""
        if self.has_process:
            await self._known().stop(0.0)

    async def terminate(self, restart: bool = False) -> None:
        """Ask the kernel to end; the agent sees to it after a while."""
        if self.has_process:
            await self._known().stop(5.0)

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Return the recommended time, and little where nobody can be asked."""
        up = self.kernel is not None and self.kernel.up
        return recommended if up else min(recommended, 0.5)

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        """Return the recommended time: when `launch_kernel` returns the process is there."""
        return recommended

    def resolve_path(self, path: str) -> str | None:
        """Return the file here that the kernel means by a path, as far as its folder here has it."""
        if self.kernel is None:
            return None
        found = Path(self.kernel.record.cwd, os.path.expanduser(path))
        return found.resolve().as_posix() if found.exists() else None

    # -- end ---------------------------------------------------------------------------------------
    async def shutdown_requested(self, restart: bool = False) -> None:
        """Write down whether a start follows: `kill` and `terminate` are not told."""
        self._restart = restart
        self._known().write("restart" if restart else "stop")  # at once: the kernel is told already
        await self._note_path(self._known())

    async def cleanup(self, restart: bool = False) -> None:
        """Let go of the sockets, and of the record unless the kernel starts again."""
        kernel = self.kernel
        if kernel is None:
            return
        self._restart = restart
        await self._note_path(kernel)
        await kernel.close()
        if not kernel.found or kernel.record.process:  # else: this start is about to be finished
            kernel.write("restart" if restart else "stop")
            kernel.clear_away(forget=not restart)
        self._reaped = True
        if not restart:
            await asyncio.to_thread(kernel.clear_up)
            self._changed()
            kernels.remove(kernel.record.kernel_id, self)

    # -- taking over -------------------------------------------------------------------------------
    async def get_provisioner_info(self) -> dict[str, Any]:
        """Return what `load_provisioner_info` needs, as JSON."""
        record = self._known().record
        info = {**connection_info(record), "key": record.key}
        return {
            "kernel_id": record.kernel_id,
            "connection_info": info,
            "record": record.to_bytes().decode(),
        }

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take over a kernel; `rejoin` connects to it. Raises ValueError for what is no record."""
        self.load(KernelRecord.from_bytes(provisioner_info["record"].encode()))

    def load(self, record: KernelRecord) -> None:
        """Take over a kernel of an earlier server. Waits for nothing: no request may come before all kernels are known."""
        self.kernel_id, self.machine = record.kernel_id, record.machine
        slot = records.slot_of(self.parent)
        self.kernel = MachineKernel(record, slot, self.spec, self._changed, found=True)
        self.connection_info = connection_info(record)
        self._restart = record.intent == "restart"
        self._confirmed = False
        kernels.add(record.kernel_id, self)

    async def rejoin(self) -> None:
        """Open the sockets of a kernel that was taken over; it is connected when its machine can be reached.

        Raises NotFound when the machine was removed, Conflict when it was stopped.
        """
        await self._known().join()

    async def settle(self, timeout: float | None = None) -> bool:
        """Wait for the agent's word on a kernel that was taken over; False when there is none in time."""
        settled = asyncio.wrap_future(self._known().settled)
        done, _ = await asyncio.wait({asyncio.shield(settled)}, timeout=timeout)
        return bool(done)

    def confirm(self) -> None:
        """From here on a kernel that has ended is said to have: before, jupyter_client would put an empty one in its place."""
        self._confirmed = True

    @property
    def may_be_kept(self) -> bool:
        """Whether there is a kernel, or the start of one, for a server after this one to find."""
        return self.kernel is not None and not self.kernel.ended.done()

    async def find_started(self) -> bool:
        """Look for what the start that was under way has come to, and take it over. See MachineKernel.find_started."""
        found = await self._known().find_started()
        self.connection_info = connection_info(self._known().record)
        return found

    async def detach(self) -> None:
        """Let go of a kernel that lives on for the next server."""
        kernel = self._known()
        kernels.remove(kernel.record.kernel_id, self)
        await self._note_path(kernel)
        await kernel.detach()

    def mark_running(self) -> None:
        """Write down that the kernel runs."""
        self._known().write("run")

    def mark_dead(self, reason: str) -> None:
        """Show a kernel as dead that was taken over. One that has ended is forgotten by the next server; any other it looks for again."""
        kernel = self._known()
        self._reaped = True
        if kernel.exit is not None:
            kernel.write("dead")
        self._show_dead(kernel, reason)

    # -- what others see ---------------------------------------------------------------------------
    def view(self) -> KernelView:
        """Return the kernel as it is now. From any thread."""
        return self._known().view()

    def cancel(self) -> bool:
        """Call off the start that is under way; False when there is none. From any thread."""
        return self.kernel is not None and self.kernel.call_off()

    def leave(self) -> None:
        """End a kernel that no server has written down: its process ends. (After a kill, the agent sees to it.)"""
        if self.kernel is not None and self.kernel.slot is None:
            self.kernel.stop_now()

    def _changed(self) -> None:
        kernels.changed(self.view())

    def _show_dead(self, kernel: MachineKernel, reason: str) -> None:
        kernel.say(reason)
        self._show("dead", reason)

    def _show(self, state: str | None, reason: str) -> None:
        """Set what jupyter_server's model of a kernel shows; a plain KernelManager has no such thing."""
        manager: Any = self.parent
        if hasattr(manager, "execution_state"):
            manager.execution_state = state or manager.execution_state
            manager.reason = reason

    async def _note_path(self, kernel: MachineKernel) -> None:
        """Note where the notebook is by now. On a thread: the record of its outputs is synced to the disk."""
        await asyncio.to_thread(kernel.note_path, self._notebook())

    def _notebook(self) -> str:
        """Return the path of the notebook: jupyter_server changes it here when one is renamed."""
        args = getattr(self.parent, "_launch_args", None) or {}
        return str((args.get("env") or {}).get("JPY_SESSION_NAME") or self._known().record.path)

    def _known(self) -> MachineKernel:
        if self.kernel is None:
            raise RuntimeError("the kernel has not been started")
        return self.kernel


def _joins(wanted: object, before: MachineKernel | None) -> str:
    """Return what a start joins: what it was asked to, or what the server before this one was asked to and did not come to."""
    if before is None:
        return wanted.to_text() if isinstance(wanted, Joins) else ""
    return before.record.joins if before.found and not before.record.process else ""


def connection_info(record: KernelRecord) -> KernelConnectionInfo:
    """Return what a client connects to: the five sockets here."""
    key = record.key.encode()  # bytes, whatever the type says
    return cast(
        "KernelConnectionInfo",
        {**local_sockets.address(record.where), "key": key, "signature_scheme": "hmac-sha256"},
    )


# -- for the server --------------------------------------------------------------------------------


def live() -> list[KernelView]:
    """Return the kernels of this process that run on machines."""
    return [running.view() for running in kernels.all()]


def find(kernel_id: str) -> KernelView | None:
    """Return one of them."""
    running = kernels.find(kernel_id)
    return running.view() if running is not None else None


def cancel_start(kernel_id: str) -> bool:
    """Call off the start of a kernel; False when it is not starting."""
    running = kernels.find(kernel_id)
    return running is not None and running.cancel()


def subscribe(callback: Callable[[KernelView], None]) -> Callable[[], None]:
    """Have `callback` called at each change of a kernel, from any thread; returns what ends it."""
    return kernels.subscribe(callback)
