"""One attempt of one run: reads what to run from standard input, runs it, and says all of it on standard output.

The kernel is started before nbclient is imported, which takes about as long as a kernel takes to start.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from .kernel import PR_SET_CHILD_SUBREAPER, KernelProcess, end_all, prctl
from .limits import Limits
from .records import Records, now_ms

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

    from .execution import Execution

JSON = dict[str, Any]
MOVE_IN = "import os as _o\n_o.chdir({cwd!r})\n_o.environ.update({env!r})\ndel _o\n"
ENDED, NO_SPEC, NO_KERNEL = 0, 2, 3  # exit codes: all was said; nothing was run
OUTPUT_LIMIT, CELL_LIMIT = 256 << 20, 64 << 20
HOME = os.path.expanduser("~")
GRACE_S = 5.0  # from the interrupt to the kill of a cell that is over its time
CANCEL_S = 2.0


class Stop(Exception):
    """The run is to end in this state, for this reason."""

    def __init__(self, state: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.state, self.reason = state, reason


class Run:
    """One attempt."""

    def __init__(
        self,
        spec: JSON,
        records: Records,
        kernel: KernelProcess,
        ready: tuple[AsyncKernelClient, JSON] | None = None,
    ) -> None:
        """`ready`: a client of a kernel that has waited for this run, and what it says of itself."""
        self.spec, self.records, self.kernel, self.ready = spec, records, kernel, ready
        self.stop: Stop | None = None
        self.client = ready[0] if ready else None
        self.cell: int | None = None  # the one that runs, or failed
        self._kill: asyncio.TimerHandle | None = None

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
        self._kill = loop.call_later(grace, self.kernel.kill)

    def cancel(self) -> None:
        """Somebody asked for its end."""
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
            loop.call_later(float(limit), self.halt, over, GRACE_S)
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

        reply = await run_silently(
            client, MOVE_IN.format(cwd=folder(self.spec), env=env_of(self.spec))
        )
        if reply.get("status") != "ok":
            raise Stop("failed", "kernel_start", f"the kernel cannot work there: {reply}")

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

    async def keep(self, seconds: float) -> None:
        """Leave the kernel of a failed run to whoever wants to look, until then or until the run is stopped."""
        until = now_ms() + int(1000 * seconds)
        self.records.say("kept", connection_file=self.kernel.file, until_ms=until)
        gone = asyncio.ensure_future(self.kernel.end())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, gone.cancel)
        await asyncio.wait({gone}, timeout=seconds)
        gone.cancel()

    async def whole(self) -> None:
        """Run it, say how it ended, and keep its kernel where that is wanted."""
        try:
            end = await self.run()
        except Exception as exc:  # noqa: BLE001 - said, and the run has ended
            traceback.print_exc()
            end = self._end(Stop("failed", "runner_error", f"{type(exc).__name__}: {exc}"))
        keep = float(self.spec.get("keep_on_failure_s") or 0)
        alive = self.kernel.code is None
        self.records.say("ended", **end, at_ms=now_ms())
        self.records.flush()
        if keep > 0 and alive and end["state"] in ("failed", "timed_out"):
            await self.keep(keep)
        self.records.flush()
        if self.client is not None:
            self.client.stop_channels()


def ended(stop: Stop, cell: int | None, peak_bytes: int) -> JSON:
    """What is said of the end of a run."""
    return {
        "state": stop.state,
        "reason": stop.reason,
        "message": str(stop),
        "cell": None if stop.state == "succeeded" else cell,
        "peak_bytes": peak_bytes,
    }


def failed(name: str, value: str, index: int) -> Stop:
    """The end of a run by an exception in a cell."""
    reason = "out_of_memory" if name == "MemoryError" else "cell_error"
    return Stop("failed", reason, f"cell {index + 1}: {name}: {value}"[:2000])


def folder(spec: JSON) -> str:
    """Where it runs."""
    return os.path.join(HOME, os.path.expanduser(spec.get("cwd") or "~"))


def env_of(spec: JSON) -> dict[str, str]:
    """What the kernel has in its environment, and nothing else has."""
    return {
        **spec.get("env", {}),
        **spec.get("secrets", {}),
        "CLOUDML_RUN_ID": str(spec["run"]),
        "CLOUDML_ATTEMPT": str(spec["attempt"]),
    }


def start_kernel(spec: JSON, ipc: bool = True) -> KernelProcess:
    """Start the kernel in the run's folder. Raises OSError."""
    return KernelProcess(spec["kernel"], env_of(spec), folder(spec), ipc)


def shown(info: JSON) -> JSON:
    """What a notebook keeps of what a kernel says of itself."""
    return {"language_info": info.get("language_info", {})}


def read_spec() -> JSON | None:
    """What is to be run: one line of JSON. None when it did not come whole."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return None
    spec: JSON = json.loads(line)
    return spec


def suits(waiting: JSON, spec: JSON) -> bool:
    """Whether a kernel that waits is the one that a run wants."""
    python = spec["kernel"].get("language") == "python"
    return python and all(
        waiting.get(name) == spec["kernel"].get(name) for name in ("argv", "env", "interrupt_mode")
    )


def wait_without(records: Records) -> Run | None:
    """Have all imported until there is something to run; None when that does not come whole."""
    from . import execution  # noqa: F401

    records.say("waiting", pid=os.getpid())
    gc.collect()
    gc.freeze()
    spec = read_spec()
    if spec is None:
        return None
    begun(spec, records)
    kernel = try_to_start(spec, records)
    return None if kernel is None else Run(spec, records, kernel)


async def wait_with(waiting: JSON, records: Records) -> Run | None:
    """Have a kernel ready until there is something to run; None when either ends before."""
    from nbclient.exceptions import DeadKernelError

    from . import execution

    loop = asyncio.get_running_loop()
    kernel = KernelProcess(waiting, {}, HOME)
    loop.add_signal_handler(signal.SIGTERM, leave, kernel)
    kernel.watch(loop)
    try:
        client, info = await execution.connect(kernel, 60)
    except (DeadKernelError, TimeoutError):
        return None
    records.say("waiting", pid=os.getpid())
    gc.collect()
    gc.freeze()
    read = loop.run_in_executor(None, read_spec)
    gone = asyncio.ensure_future(kernel.end())
    both: set[asyncio.Future[Any]] = {read, gone}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    spec = read.result() if read.done() else None
    if spec is None:
        leave(kernel)
        return None
    begun(spec, records)
    if kernel.code is None and suits(kernel.spec, spec):
        return Run(spec, records, kernel, (client, info))
    kernel.kill()
    client.stop_channels()
    kernel.remove()
    started = try_to_start(spec, records)
    return None if started is None else Run(spec, records, started)


def leave(kernel: KernelProcess) -> None:
    """End at once, with the kernel that waits: a thread still reads."""
    kernel.remove()
    end_all()
    os._exit(NO_KERNEL)


def try_to_start(spec: JSON, records: Records) -> KernelProcess | None:
    """Start the kernel; None when it cannot be, which is said."""
    try:
        return start_kernel(spec)
    except (OSError, ValueError) as exc:
        why = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        end = ended(Stop("failed", "kernel_start", why), None, 0)
        records.say("ended", **end, at_ms=now_ms())
        return None


def begun(spec: JSON, records: Records) -> None:
    """Say that it is being run, before anything is."""
    records.say("begun", run=spec["run"], attempt=spec["attempt"], pid=os.getpid(), at_ms=now_ms())


async def warm(waiting: JSON | None, records: Records) -> int:
    """Wait for a run, with a kernel of this kind or without one, then do it."""
    if waiting is None:
        run = wait_without(records)
    else:
        run = await wait_with(waiting, records)
    if run is None:
        return NO_KERNEL
    try:
        await run.whole()
    finally:
        run.kernel.remove()
    return ENDED


def cold(records: Records) -> int:
    """Run what comes."""
    spec = read_spec()
    if spec is None:
        return NO_SPEC
    begun(spec, records)
    kernel = try_to_start(spec, records)
    if kernel is None:
        return ENDED
    from . import execution  # noqa: F401 - while the kernel starts

    run = Run(spec, records, kernel)
    try:
        asyncio.run(run.whole())
    finally:
        run.kernel.remove()
    return ENDED


def main(argv: list[str]) -> int:
    """Run one notebook. `--warm SPEC`: have this kernel ready first; `null`: all but a kernel."""
    os.umask(0o022)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    records = Records(os.dup(1))
    os.dup2(2, 1)  # what prints by mistake is no record
    try:
        if argv[:1] == ["--warm"]:
            return asyncio.run(warm(json.loads(argv[1]), records))
        return cold(records)
    finally:
        records.later = None
        records.flush()
        end_all()
