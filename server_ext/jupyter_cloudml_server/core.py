"""The core, built once for a server and taken down with it; what the handlers and the application share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from jupyter_events import EventLogger

import jupyter_cloudml
from jupyter_cloudml.clock import SystemClock
from jupyter_cloudml.config import Config
from jupyter_cloudml.datasets.answering import Answering
from jupyter_cloudml.datasets.service import Datasets
from jupyter_cloudml.environments.remembered import Remembered
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml.errors import JSON, CloudMLError
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs import scheduler
from jupyter_cloudml.jobs.debugging import Debugging
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.jobs.notebooks.snapshots import Snapshots
from jupyter_cloudml.machines.operations import Operations
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import executions, machines, provisioner, specs
from jupyter_cloudml_kernels.host_specs import parse_host_specs
from jupyter_cloudml_kernels.running import KernelView
from jupyter_cloudml_server.buckets import BucketCalls
from jupyter_cloudml_server.calls import CallPool
from jupyter_cloudml_server.datasets import DatasetCalls
from jupyter_cloudml_server.debugging import DebugKernels
from jupyter_cloudml_server.drift import DriftWatch
from jupyter_cloudml_server.environments import EnvironmentCalls
from jupyter_cloudml_server.following import Follower
from jupyter_cloudml_server.gauges import GaugesCache
from jupyter_cloudml_server.jobs import JobCalls
from jupyter_cloudml_server.kernels import KernelCalls, Sessions
from jupyter_cloudml_server.machines import MachineCalls
from jupyter_cloudml_server.publisher import ExecutionNotifier, Publisher, call_soon
from jupyter_cloudml_server.scheduling import Scheduling
from jupyter_cloudml_server.workspaces import WorkspaceCalls

EXECUTIONS_EVERY_S = 0.1  # for each kernel; it may print thousands of lines meanwhile
_log = logging.getLogger(__name__)


class Core:
    """The machines, operations, kernels, executions and workspaces of one server, callable from its event loop.

    Raises CloudMLError when the store cannot be used; nothing is left open then.
    """

    def __init__(
        self,
        config: Config,
        bus: EventLogger,
        loop: asyncio.AbstractEventLoop,
        sessions: Sessions,
        folder: str = "",
        python_of: Callable[[str], str | None] = lambda spec: None,
        notebook_data: Sequence[str] = ("s3://",),
        run_jobs: bool = True,
    ) -> None:
        """`run_jobs`: be a scheduler. `folder` is the root folder of the server, `python_of` gives the Python of a kernelspec here, `notebook_data` what kernels may ask for."""
        clock = SystemClock()
        self.home = config.home
        self.started_ms = clock.now_ms()
        self._publisher = Publisher(bus, loop)
        self._notifier = ExecutionNotifier(self._publisher, loop, EXECUTIONS_EVERY_S)
        self._store = Store.open(config, clock)
        self._local = CallPool("local", threads=4, waiting=200)
        self._remote = CallPool("remote", threads=8, waiting=100)
        self._services = CallPool("services", threads=4, waiting=40)
        try:
            self._machines = Machines(self._store, self.home, clock, self._on_event, specs)
        except BaseException:
            self._store.close()
            raise
        machines.use(self._machines)  # kernels of this process share its links
        self.operations = Operations(self._publisher.publish, clock)
        self.machines = MachineCalls(
            self._machines,
            self.operations,
            self._store.events,
            clock=clock,
            local=self._local,
            remote=self._remote,
        )
        self.workspaces = WorkspaceCalls(
            self.home,
            self._machines,
            self.operations,
            self._publisher.emit,
            local=self._local,
            remote=self._remote,
        )
        self._follower = Follower(self._store, self._publisher.emit)
        desk = Desk(
            self._store,
            self.home,
            self._machines.get,
            self.workspaces.send,
            clock=clock,
            on_event=lambda event: self._follower.wake(),
            wake=lambda: self._scheduling.wake(),
            link_of=self._machines.link,
        )
        self._scheduling = Scheduling(
            (lambda: self._scheduler(desk.snapshots)) if run_jobs else None
        )
        self.jobs = JobCalls(
            self._store,
            desk,
            self.operations,
            self._see_to_runs,
            self._follower.watch,
            self._machines.link,
            clock=clock,
            local=self._local,
            remote=self._remote,
        )
        self.debugging = DebugKernels(
            Debugging(self._store, desk.results, self._machines.link),
            local=self._local,
            remote=self._remote,
        )
        environments = Environments(self.home, self._machines)
        self.environments = EnvironmentCalls(
            self._machines,
            environments,
            self.operations,
            clock=clock,
            local=self._local,
            remote=self._remote,
            python_of=python_of,
        )
        datasets = Datasets(self.home, self._machines, changed=self._publish_datasets)
        self.buckets = BucketCalls(datasets, self._services)
        self._answering = Answering(
            self._machines, datasets, self.operations, clock, tuple(notebook_data)
        )
        self.datasets = DatasetCalls(
            datasets,
            self._machines,
            self.operations,
            clock=clock,
            local=self._local,
            remote=self._remote,
        )
        self.drift = DriftWatch(
            environments,
            Remembered(self.home / "environments" / "drift.json"),
            sessions,
            folder,
            python_of,
            self._publisher.emit,
            remote=self._remote,
        )
        self.gauges = GaugesCache(self.machines.gauges, clock)
        self.kernels = KernelCalls(sessions, self.gauges)
        self.executions = executions.shared()
        self._loop = loop
        self._unsubscribe: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def status(self) -> dict[str, JSON]:
        """Return the version and what is there."""
        return {
            "version": jupyter_cloudml.__version__,
            "home": str(self.home),
            "started_ms": self.started_ms,
            "machines": len(await self.machines.all()),
            "kernels": sum(view.state != "ended" for view in provisioner.live()),
            "scheduler": self._scheduling.to_dict(),
        }

    def start(self) -> None:
        """Pass on what kernels do, and connect the machines that should run; returns at once."""
        self._unsubscribe = [
            provisioner.subscribe(self._publish_kernel),
            self.executions.subscribe(self._notifier.changed),
        ]
        self._follower.start()
        self._spawn(self._connect())
        self._spawn(self._scheduling.run())

    async def close(self) -> None:
        """Let go of everything; machines, processes and kernels there go on."""
        self._closed = True
        self._publisher.close()
        self._follower.stop()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._scheduling.close()
        await self.gauges.close()
        self._answering.close()
        self.operations.close()
        machines.use(None)
        await asyncio.get_running_loop().run_in_executor(None, self._machines.close)
        self._local.close()
        self._remote.close()
        self._services.close()
        self._store.close()

    async def _connect(self) -> None:
        try:
            await self._remote.run(self._machines.connect_all)
        except CloudMLError as error:
            _log.warning("jupyter-cloudml: machines are not connected: %s", error)

    def _on_event(self, event: Event) -> None:
        """Pass on a change; a machine that is there now may have kernels that ask for data. On any thread."""
        self._publisher.publish(event)
        if event.noun == "machine" and event.state == "running":
            call_soon(self._loop, lambda: self._spawn(self._attend(event.name)))

    async def _attend(self, machine: str) -> None:
        try:
            await self._local.run(self._answering.attend, machine)
        except CloudMLError as error:  # stopped or removed meanwhile
            _log.info("jupyter-cloudml: %s", error)

    def _scheduler(self, snapshots: Snapshots) -> scheduler.Scheduler:
        return scheduler.Scheduler(
            self._store,
            self.home,
            self._machines.link,
            snapshots,
            parse_host_specs,
            on_event=lambda event: self._follower.wake(),
        )

    def _see_to_runs(self) -> None:
        """Where no scheduler works, not here and not elsewhere, start one that ends with the runs."""
        if self._scheduling.is_off:
            scheduler.hand_over(self._store, self.home)

    def _publish_datasets(self, machine: str) -> None:
        """Tell that a machine's datasets have changed. On any thread."""
        self._publisher.emit("dataset", {"machine": machine})

    def _publish_kernel(self, view: KernelView) -> None:
        """Tell of a kernel's new state. On any thread."""
        self._publisher.emit(
            "kernel",
            {"id": view.id, "machine": view.machine, "state": view.state, "cause": view.cause},
        )
        if view.state in ("connected", "ended"):
            call_soon(self._loop, lambda: self._spawn(self.machines.recount(view.machine)))
        if view.state == "connected":
            call_soon(self._loop, lambda: self._spawn(self.drift.started(view)))
        elif view.state == "ended":
            call_soon(self._loop, lambda: self._spawn(self.debugging.changed(view)))
            call_soon(self._loop, lambda: self.drift.ended(view.id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
