"""One attempt of one run: its cells in a kernel, its end, and what is said of both."""

from __future__ import annotations

import asyncio
import signal
import time
import traceback
from typing import TYPE_CHECKING

from .copy import CANCELLED_S, SECONDS, Copy
from .ends import Stop, ended, failed, not_moved_in
from .kernel import KernelProcess
from .limits import Limits
from .provenance import data, environment
from .records import Records, now_ms
from .spec import JSON, env_of, folder
from .starting import start_kernel

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

    from .execution import Execution

MOVE_IN = "import os as _o\n_o.chdir({cwd!r})\n_o.environ.update({env!r})\ndel _o\n"
RENAME = "import os as _o\n_o.environ.update({env!r})\ndel _o\n"
OUTPUT_LIMIT, CELL_LIMIT = 256 << 20, 64 << 20
GRACE_S = 5.0  # from the interrupt to the kill of a cell that is over its time
CANCEL_S = 2.0


class Run:
    """One attempt."""

    def __init__(
        self,
        spec: JSON,
        records: Records,
        kernel: KernelProcess,
        ready: tuple[AsyncKernelClient, JSON] | None = None,
        resumed_at: int | None = None,
    ) -> None:
        """`ready`: a client of a kernel that has waited for this run, and what it says of itself. `resumed_at`: the cells before this one have
        run in it already.
        """
        self.spec, self.records, self.kernel, self.ready = spec, records, kernel, ready
        self.stop: Stop | None = None
        self.client = ready[0] if ready else None
        self.cell: int | None = None  # the one that runs, or failed
        self.resumed_at = resumed_at
        self.copy: Copy | None = spec.get("made")
        self.keeps = False  # its kernel is to be kept
        self._timers: list[asyncio.TimerHandle] = []
        self._is_wanted = True  # nobody has asked for its end

    # -- ending it early ------------------------------------------------------------------------------------------------------
    def halt(self, stop: Stop, grace: float) -> None:
        """End the run: the cell is interrupted, and the kernel killed where that does not help."""
        if self.stop is not None:
            return
        self.stop = stop
        loop = asyncio.get_running_loop()
        if self.client is not None and self.spec["kernel"].get("interrupt_mode") == "message":
            self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        else:
            self.kernel.interrupt()
        self._timers.append(loop.call_later(grace, self.kernel.kill))

    def cancel(self) -> None:
        """Somebody asked for its end."""
        self._is_wanted = False
        if self.copy is not None:
            self.copy.until = min(self.copy.until, time.monotonic() + CANCELLED_S)
        self.halt(Stop("cancelled", "cancelled", "it was cancelled"), CANCEL_S)

    # -- running ---------------------------------------------------------------------------------------------------------------
    async def run(self) -> JSON:
        """Run it; what is to be said of its end."""
        loop = asyncio.get_running_loop()
        self.records.later = loop.call_later
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.cancel)
        limit = self.spec.get("timeout_s")
        if limit:
            over = Stop("timed_out", "run_timeout", f"it took longer than {limit:g} s")
            self._timers.append(loop.call_later(float(limit), self.halt, over, GRACE_S))
        try:
            client = await self._ready()
            await self._cells(client)
        except Stop as stop:
            return self._end(stop)
        return self._end(Stop("succeeded", "", ""))

    async def _ready(self) -> AsyncKernelClient:
        from nbclient.exceptions import DeadKernelError

        from .execution import connect

        if self.ready is not None:
            client, info = self.ready
            await self._move_in(client)
        else:
            patience = float(self.spec.get("startup_timeout_s") or 60)
            try:
                self.kernel.watch(asyncio.get_running_loop())
                try:
                    client, info = await connect(self.kernel, patience)
                except DeadKernelError:
                    if not self._start_without_ipc():
                        raise
                    client, info = await connect(self.kernel, patience)
            except (DeadKernelError, TimeoutError, OSError) as exc:
                raise self.stop or Stop("failed", "kernel_start", str(exc)) from exc
        self.client = client
        self.records.say("kernel", pid=self.kernel.pid, at_ms=now_ms(), info=shown(info))
        return client

    def _start_without_ipc(self) -> bool:
        """Start a kernel again that ended with an error before it listened: it may know no ipc. Raises OSError."""
        if not self.kernel.ipc or self.stop is not None or (self.kernel.code or 0) <= 0:
            return False
        self.kernel.remove()
        self.kernel = start_kernel(self.spec, ipc=False)
        self.kernel.watch(asyncio.get_running_loop())
        return True

    async def _move_in(self, client: AsyncKernelClient) -> None:
        from .execution import run_silently

        code = MOVE_IN.format(cwd=folder(self.spec), env=env_of(self.spec))
        if self.resumed_at is not None:  # it is where the cells before have gone
            python = self.spec["kernel"].get("language") == "python"
            code = RENAME.format(env=env_of(self.spec)) if python else ""
        reply = await run_silently(client, code)
        if reply.get("status") != "ok":
            raise not_moved_in(reply)

    async def _cells(self, client: AsyncKernelClient) -> None:
        from nbclient.exceptions import CellExecutionError, DeadKernelError
        from nbformat import from_dict

        from .execution import Execution

        limits = Limits(
            int(self.spec.get("output_limit") or OUTPUT_LIMIT),
            int(self.spec.get("cell_output_limit") or CELL_LIMIT),
        )
        notebook = from_dict(self.spec["notebook"])
        allow = bool(self.spec.get("allow_errors"))
        execution = Execution(
            notebook, self.kernel, client, self.records, limits, allow_errors=allow
        )
        try:
            for index in range(len(notebook.cells)):
                if self.stop is not None:
                    raise self.stop
                self.cell = index
                if index < (self.resumed_at or 0):
                    execution.reuse_cell(index)
                else:
                    await self._cell(execution, index)
            if self.stop is not None:
                raise self.stop
            self.cell = None
        except CellExecutionError as exc:
            raise self.stop or failed(exc.ename, exc.evalue, self.cell or 0) from exc
        except DeadKernelError as exc:
            raise self.stop or self._died() from exc
        finally:
            widgets = execution.widgets()
            if widgets:
                self.records.say("widgets", state=widgets)

    async def _cell(self, execution: Execution, index: int) -> None:
        limit = self.spec.get("cell_timeout_s")
        timer = None
        if limit:
            text = f"cell {index + 1} took longer than {limit:g} s"
            stop = Stop("timed_out", "cell_timeout", text)
            timer = asyncio.get_running_loop().call_later(float(limit), self.halt, stop, GRACE_S)
        try:
            await execution.run_cell(index)
        finally:
            if timer is not None:
                timer.cancel()

    def _died(self) -> Stop:
        reason = "out_of_memory" if self.kernel.out_of_memory else "kernel_died"
        return Stop("failed", reason, self.kernel.how_it_ended())

    def _end(self, stop: Stop) -> JSON:
        return ended(stop, self.cell, self.kernel.peak())

    def _say_had(self) -> None:
        """Say what the run has had; its end is said even where that cannot be found out."""
        try:
            had = environment(list(self.kernel.spec["argv"]))
            self.records.say("had", environment=had, data=data(self.kernel.folder))
        except Exception:  # noqa: BLE001 - in the log, and the run has ended as it has
            traceback.print_exc()

    async def _say_written(self) -> None:
        """Say what it has written into its copy of the code, which is deleted with its kernel; `cancel` shortens that."""
        if self.copy is None:
            return
        seconds = SECONDS if self._is_wanted else CANCELLED_S
        self.copy.until = time.monotonic() + seconds
        later, self.records.later = self.records.later, None  # of this thread alone
        try:
            await asyncio.to_thread(self.copy.tell, self.records)
        except Exception:  # noqa: BLE001 - as above
            traceback.print_exc()
        finally:
            self.records.later = later

    async def whole(self) -> None:
        """Run it and say how it ended; then `keeps` says whether its kernel is wanted still."""
        try:
            end = await self.run()
        except Exception as exc:  # noqa: BLE001 - said, and the run has ended
            traceback.print_exc()
            end = self._end(Stop("failed", "runner_error", f"{type(exc).__name__}: {exc}"))
        for timer in self._timers:
            timer.cancel()
        self.records.say("ended", **end, at_ms=now_ms())
        self.records.flush()  # before what takes time: it has ended so, also where this process is killed now
        self._say_had()
        self.records.flush()
        await self._say_written()
        if self.client is not None:
            self.client.stop_channels()
        wanted = float(self.spec.get("keep_on_failure_s") or 0) > 0
        alive = self.kernel.code is None
        self.keeps = wanted and alive and end["state"] in ("failed", "timed_out")


def shown(info: JSON) -> JSON:
    """What a notebook keeps of what a kernel says of itself."""
    return {"language_info": info.get("language_info", {})}
