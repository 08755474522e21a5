"""Kernels that outlive their server: let go when it stops, and on the map again before the next one answers its first request.

Written against jupyter_server 2.21 and jupyter_client 8.10. What is set on a kernel manager here is what their own start of a kernel sets;
each comment names what breaks without it.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_server._tz import utcnow
from jupyter_server.prometheus.metrics import KERNEL_CURRENTLY_RUNNING_TOTAL
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from jupyter_cloudml.errors import CloudMLError, NotFound
from jupyter_cloudml_kernels import leftovers, records
from jupyter_cloudml_kernels.provisioner import CloudMLProvisioner
from jupyter_cloudml_kernels.records import KernelRecord, Slot

from . import sessions
from .probe import probe

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

PATIENCE_S = 3.0  # for a machine, before its kernels are shown as reconnecting
ENDED = "The kernel ended while no server was running"


class Reattach:
    """Brings the kernels of the last server back. Its four methods are called by the extension application, in this order:

    `link` in `_link_jupyter_server_extension` (after super: the session manager does not exist yet), `load` in `initialize_settings` (the
    loop does not run yet, so no request can come first), `start` in `_start_jupyter_server_extension`, and `stop` in `stop_extension`
    (the server shuts its kernels down after that).
    """

    def __init__(self, on_server_stop: Literal["keep", "stop"] | str = "keep") -> None:
        self.on_server_stop = on_server_stop
        self.slot: Slot | None = None
        self._found: list[tuple[Any, KernelRecord]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # -- link --------------------------------------------------------------------------------------
    def link(self, serverapp: ServerApp) -> None:
        """Take a slot and have the server keep its sessions there, and answer while kernels start.

        Where no slot can be had, kernels work as ever and end with the server; that is logged.
        """
        try:
            slot = Slot.take(serverapp.root_dir)
        except (CloudMLError, OSError) as exc:
            serverapp.log.error("Kernels will not outlive this server: %s", exc)
            return
        self.slot = slot
        records.assign(serverapp, slot)
        sessions.keep(serverapp, slot)
        names = ("AsyncMultiKernelManager", "AsyncMappingKernelManager", "MultiKernelManager")
        if not any("use_pending_kernels" in serverapp.config[name] for name in names):
            # Without it the request for a kernel waits until the machine has booted.
            serverapp.config.AsyncMultiKernelManager.use_pending_kernels = True

    # -- load --------------------------------------------------------------------------------------
    def load(self, serverapp: ServerApp) -> None:
        """Put the kernels of the last server on the map. Reads the local disk alone and talks to nobody."""
        if self.slot is None:
            return
        kept = self.slot.records()
        if kept and not isinstance(serverapp.kernel_manager, AsyncMappingKernelManager):
            serverapp.log.warning(
                "%d kernels are not brought back: %s cannot do it",
                len(kept),
                type(serverapp.kernel_manager).__name__,
            )
            return
        paths = sessions.notebooks(serverapp)
        for record in kept:
            if record.intent in ("stop", "dead"):
                continue
            record = record.but(path=paths.get(record.kernel_id, record.path))
            try:
                self._found.append((self._register(serverapp, record), record))
            except (NoSuchKernel, ModuleNotFoundError) as exc:
                # Its kernelspec was removed. Record and process stay: nothing is lost if it comes back.
                serverapp.log.warning("Kernel %s is not brought back: %s", record.kernel_id, exc)
        sessions.purge(serverapp, self.slot, [record.kernel_id for _, record in self._found])

    def _register(self, serverapp: ServerApp, record: KernelRecord) -> Any:
        """Make the kernel manager that `start_kernel` would have made, for a kernel that runs already."""
        mkm: Any = serverapp.kernel_manager
        kernel_id = record.kernel_id
        # The factory that every start goes through: it respects subclasses and kernel_manager_class.
        km, _, _ = mkm.pre_start_kernel(record.kernel_name, {"kernel_id": kernel_id})
        km.kernel_id = kernel_id
        factory: Any = KernelProvisionerFactory
        km.provisioner = factory.instance(parent=mkm).create_provisioner_instance(
            kernel_id, km.kernel_spec, parent=km
        )
        km.provisioner.load(record)
        km.load_connection_info(km.provisioner.connection_info)
        # What a restart starts with. The environment is made anew: it may hold secrets, so it is on no disk.
        env = {**os.environ, "JPY_SESSION_NAME": record.path}
        km._launch_args = {"kernel_id": kernel_id, "cwd": record.cwd, "env": env}
        # Else shutdown and restart resolve a future that is resolved already, and answer 500.
        km._attempted_start = True
        km.execution_state, km.reason = "starting", ""
        # None makes /api/kernels, /api/sessions and /api/status answer 500.
        km.last_activity = utcnow()
        # What websockets and shutdowns wait for. `km.ready`, read before the loop runs, would be a concurrent future, and a DELETE then
        # drops the kernel from the map without ending it.
        loop: Any = serverapp.io_loop
        km._ready = loop.asyncio_loop.create_future()
        mkm._kernels[kernel_id] = km
        mkm._kernel_connections[kernel_id] = 0
        mkm._kernel_ports[kernel_id] = km.ports  # a restart compares with it
        KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=km.kernel_name).inc()
        return km

    # -- start -------------------------------------------------------------------------------------
    async def start(self, serverapp: ServerApp) -> None:
        """Connect the kernels, each on its own; returns at once. One whose machine is out of reach joins when it is back."""
        if self.slot is None:
            return
        mkm: Any = serverapp.kernel_manager
        for record in self.slot.records():
            if record.intent == "stop":
                leftovers.end(record, self.slot)
            elif record.intent == "dead":  # it was shown
                self.slot.forget(record.kernel_id)
        for km, record in self._found:
            # As a pending kernel: a DELETE waits for this task, an interrupt says why it cannot be.
            back = _Returning(km, record, km.ready)
            mkm._pending_kernels[km.kernel_id] = self._spawn(self._bring_back(serverapp, back))
        self._found = []
        if not mkm._initialized_culler:
            # Else idle kernels are looked for after the first new one only.
            mkm.initialize_culler()

    async def _bring_back(self, serverapp: ServerApp, back: _Returning) -> None:
        mkm: Any = serverapp.kernel_manager
        km = back.km
        try:
            if not back.record.process:
                await self._finish_start(serverapp, back)
                return
            await km.provisioner.rejoin()
            if await km.provisioner.settle(PATIENCE_S):
                await self._settle(serverapp, back)
            else:  # pages may connect; shown as busy, since nobody can be asked
                km.execution_state = "busy"
                self._make_ready(mkm, back, {})
                self._spawn(self._settle_later(serverapp, back))
        except CloudMLError as exc:
            await self._show_dead(serverapp, back, str(exc))
        except Exception as exc:
            serverapp.log.exception("Kernel %s could not be brought back", km.kernel_id)
            await self._show_dead(serverapp, back, str(exc))
            raise
        finally:
            mkm._pending_kernels.pop(km.kernel_id, None)

    async def _finish_start(self, serverapp: ServerApp, back: _Returning) -> None:
        """The server ended in the middle of a start or restart: take over what came of it, or do it again under the same token."""
        km = back.km
        if await km.provisioner.find_started():
            km.load_connection_info(km.provisioner.connection_info)  # now with the key
            await km.provisioner.settle()
            await self._settle(serverapp, back)
        elif back.record.intent == "restart" or sessions.has(serverapp, km.kernel_id):
            await self._start_again(serverapp, back)
        else:  # nobody has been told of it
            serverapp.kernel_manager.remove_kernel(km.kernel_id)
            await km.provisioner.cleanup()
            KERNEL_CURRENTLY_RUNNING_TOTAL.labels(type=km.kernel_name).dec()
            back.fail("The kernel was not started.")

    async def _settle_later(self, serverapp: ServerApp, back: _Returning) -> None:
        """The machine was out of reach when the server started."""
        await back.km.provisioner.settle()
        mkm: Any = serverapp.kernel_manager
        if mkm._kernels.get(back.km.kernel_id) is back.km:  # else it was shut down meanwhile
            await self._settle(serverapp, back)

    async def _settle(self, serverapp: ServerApp, back: _Returning) -> None:
        """The agent has spoken: the kernel is there, or has ended."""
        mkm: Any = serverapp.kernel_manager
        km = back.km
        view = km.provisioner.view()
        if view.state == "ended" and back.record.intent == "restart":
            await self._start_again(serverapp, back)
        elif view.state == "ended":
            reason = f"{ENDED}: {view.cause}." if view.cause else f"{ENDED}."
            await self._show_dead(serverapp, back, reason)
        else:
            # Until it is known: an idle kernel would be nudged, and culled.
            km.execution_state = "busy"
            _watch(mkm, km)
            found = await probe(km)
            self._make_ready(mkm, back, found.info)
            km.provisioner.confirm()
            if not found.busy:
                km.execution_state = "idle"
            km.provisioner.mark_running()
            serverapp.log.info("Kernel %s is back (%s)", km.kernel_id, km.execution_state)

    async def _start_again(self, serverapp: ServerApp, back: _Returning) -> None:
        """Pages wait until it is done: before, a new kernel's key is not known."""
        back.km.provisioner.confirm()
        await back.km.restart_kernel(now=True)
        self._make_ready(serverapp.kernel_manager, back, None)

    def _make_ready(self, mkm: Any, back: _Returning, info: dict[str, Any] | None) -> None:
        """What `start_kernel` and `_finish_kernel_start` of the server do once a kernel runs.

        `info` is a kernel_info reply. The websocket handler asks for one on the shell channel, once for each kernel manager, and waits for
        up to 60 s: without an answer at hand a page would not connect to a busy kernel. ({}: the present protocol is taken for granted.)
        """
        km = back.km
        if back.ready.done():
            return
        if info is not None:
            km._kernel_info_future = _done(info)
        _watch(mkm, km)
        km.start_restarter()  # first: without it the next line does nothing
        kernel_id = km.kernel_id
        mkm.add_restart_callback(kernel_id, lambda: mkm._handle_kernel_died(kernel_id), "dead")
        back.ready.set_result(None)

    async def _show_dead(self, serverapp: ServerApp, back: _Returning, reason: str) -> None:
        """Keep kernel and session: the user sees why, and a restart revives it under its id. Nothing takes its place unasked."""
        km = back.km
        km.stop_restarter()
        _watch(serverapp.kernel_manager, km)  # nothing else ends "dead" after a restart
        km.provisioner.confirm()
        km.provisioner.mark_dead(reason)
        if not back.ready.done():
            back.fail(reason)
        else:
            _tell_pages(km)
        serverapp.log.warning("Kernel %s: %s", km.kernel_id, reason)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- stop --------------------------------------------------------------------------------------
    async def stop(self, serverapp: ServerApp) -> None:
        """Let go of the kernels, or end them: the server shuts down what is on its map after this, when no link is left."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        mkm: Any = serverapp.kernel_manager
        ours = {
            kernel_id: km
            for kernel_id, km in getattr(mkm, "_kernels", {}).items()
            if isinstance(km.provisioner, CloudMLProvisioner) and km.provisioner.may_be_kept
        }
        if self.slot is None or self.on_server_stop == "stop":
            what, work = "ended", [self._end(mkm, kernel_id) for kernel_id in ours]
        else:
            # All of them first, since the server ends what is on its map when the rest fails or takes too long.
            for kernel_id, km in ours.items():
                self._take_off_the_map(mkm, kernel_id, km)
            what, work = "let go", [km.provisioner.detach() for km in ours.values()]
        for failed in await asyncio.gather(*work, return_exceptions=True):
            if failed is not None:
                serverapp.log.warning("A kernel was not %s: %s", what, failed)
        if self.slot is not None:
            self.slot.release()

    @staticmethod
    async def _end(mkm: Any, kernel_id: str) -> None:
        await mkm.shutdown_kernel(kernel_id, now=True)
        ending = mkm._pending_kernels.get(kernel_id)  # with pending kernels, that has only begun
        if ending is not None:
            await ending

    @staticmethod
    def _take_off_the_map(mkm: Any, kernel_id: str, km: Any) -> None:
        km.stop_restarter()
        mkm.stop_watching_activity(kernel_id)
        mkm.stop_buffering(kernel_id)
        mkm.remove_kernel(kernel_id)  # (with `owns_kernel` set to False the server would never end)
        mkm._pending_kernels.pop(kernel_id, None)


@dataclass(frozen=True)
class _Returning:
    """A kernel on its way back; `ready` is what pages and shutdowns wait for."""

    km: Any
    record: KernelRecord
    ready: asyncio.Future[None]

    def fail(self, reason: str) -> None:
        """Let nobody wait any more. (A websocket would ask for 60 s whether the kernel is alive.)"""
        self.ready.set_exception(NotFound(reason, hint="Restart the kernel."))
        self.ready.exception()  # seen


def _watch(mkm: Any, km: Any) -> None:
    """Follow what the kernel does, unless that is done already."""
    if getattr(km, "_activity_stream", None) is None:
        mkm.start_watching_activity(km.kernel_id)


def _done(value: dict[str, Any]) -> Future[dict[str, Any]]:
    future: Future[dict[str, Any]] = Future()
    future.set_result(value)
    return future


def _tell_pages(km: Any) -> None:
    """Tell connected pages that the kernel is dead, by what a failed restart tells them; the kernel stays on the map."""
    callbacks = km._restarter.callbacks["dead"] if km._restarter is not None else ()
    for callback in list(callbacks):
        if hasattr(callback, "__self__"):  # a websocket's; the map's own is a lambda
            callback()
