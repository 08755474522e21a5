"""nbclient, saying what happens as it happens, and keeping no outputs itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient.client import NotebookClient, timestamp
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import output_from_msg

from .kernel import KernelProcess
from .limits import Limits
from .records import Records, now_ms

if TYPE_CHECKING:
    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.manager import KernelManager

JSON = dict[str, Any]
LAST_WORDS = 0.1  # seconds without a message after which a dead kernel has said all
QUIET = 30.0  # seconds without a message after a cell's reply in which its outputs may still come


class Execution(NotebookClient):
    """Runs the cells of a notebook on a kernel that is there."""

    def __init__(
        self,
        nb: NotebookNode,
        kernel: KernelProcess,
        client: AsyncKernelClient,
        records: Records,
        limits: Limits,
        **more: Any,
    ) -> None:
        super().__init__(nb, km=cast("KernelManager", _Manager(kernel)), **more)
        self.kernel, self.records, self.limits, self.kc = kernel, records, limits, client
        self._shell = client.shell_channel
        self.messages = 0

    async def run_cell(self, index: int) -> None:
        """Run one cell and say so. Raises CellExecutionError, DeadKernelError."""
        cell = self.nb.cells[index]
        if cell.cell_type != "code" or not cell.source.strip():
            return
        if self.skip_cells_with_tag in cell.metadata.get("tags", []):
            return
        name = cell.get("id")
        started = now_ms()
        self.records.say("cell", index=index, id=name, state="started", at_ms=started)
        cell.outputs, status = [], "error"
        cell.execution_count = None
        try:
            await self.async_execute_cell(cell, index)
            status = "ok"
        except DeadKernelError:
            status = "lost"
            raise
        finally:
            for output in self.limits.end_of_cell():
                self._say_output(index, output)
            failed = self._errors.pop(index, None)
            self.records.say(
                "cell",
                index=index,
                id=name,
                state="done",
                status="error" if failed and status == "ok" else status,
                allowed=bool(failed) and status == "ok",
                error=failed,
                started_ms=started,
                at_ms=now_ms(),
                execution_count=cell.execution_count,
                timing=dict(cell.metadata.get("execution", {})),
            )
            cell.outputs = []

    def reuse_cell(self, index: int) -> None:
        """Say of a cell that it was run by an earlier run, in this kernel."""
        cell = self.nb.cells[index]
        if cell.cell_type == "code" and cell.source.strip():
            now, name = now_ms(), cell.get("id")
            self.records.say("cell", index=index, id=name, state="done", status="reused", at_ms=now)

    def widgets(self) -> JSON | None:
        """The state of the widgets, as notebooks have it in their metadata."""
        self.set_widgets_metadata()
        found: JSON | None = self.nb.metadata.get("widgets")
        return found

    # -- nbclient's own ---------------------------------------------------------------------------------------------------------
    def reset_execution_trackers(self) -> None:
        """Begin anew."""
        super().reset_execution_trackers()
        self._errors: dict[int, JSON] = {}

    async def _async_poll_kernel_alive(self) -> None:
        await self.kernel.end()
        seen = -1
        while seen != self.messages:  # what it said last is still on its way
            seen = self.messages
            await asyncio.sleep(LAST_WORDS)
        if self.task_poll_for_reply is not None:
            self.task_poll_for_reply.cancel()

    async def _async_poll_for_reply(
        self,
        msg_id: str,
        cell: NotebookNode,
        timeout: int | None,
        task_poll_output_msg: asyncio.Future[Any],
        task_poll_kernel_alive: asyncio.Future[Any],
    ) -> JSON:
        while True:
            reply: JSON = await self._shell.get_msg(timeout=None)
            if reply["parent_header"].get("msg_id") == msg_id:
                break
        if self.record_timing:
            cell["metadata"]["execution"]["shell.execute_reply"] = timestamp(reply)
        seen = -1
        while not task_poll_output_msg.done() and seen != self.messages:
            seen = self.messages
            await asyncio.wait({task_poll_output_msg}, timeout=QUIET)
        task_poll_kernel_alive.cancel()
        if task_poll_output_msg.done():
            task_poll_output_msg.result()
        else:
            task_poll_output_msg.cancel()
        return reply

    async def _check_raise_for_error(
        self, cell: NotebookNode, cell_index: int, exec_reply: JSON | None
    ) -> None:
        content = exec_reply["content"] if exec_reply else {}
        if content.get("status") == "error":
            said = {name: str(content.get(name, ""))[:2000] for name in ("ename", "evalue")}
            self._errors[cell_index] = said
        await super()._check_raise_for_error(cell, cell_index, exec_reply)

    def process_message(self, msg: JSON, cell: NotebookNode, cell_index: int) -> Any:
        """Count what comes, then do with it what nbclient does."""
        self.messages += 1
        return super().process_message(msg, cell, cell_index)

    def output(
        self, outs: list[Any], msg: JSON, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Say an output; of what was said a stub stays, so that its place is known."""
        clears, before = self.clear_before_next_output, len(outs)
        out: NotebookNode | None = super().output(outs, msg, display_id, cell_index)
        if out is None:
            return None
        if clears and not self.clear_before_next_output:
            self.limits.clear()
            self.records.say("clear", index=cell_index)
            before = 0
        if not self.limits.passes(out):
            outs[before:] = []
            if display_id:
                self._forget_display(display_id, cell_index, before)
            return None
        self.records.say("output", index=cell_index, output=out)
        outs[before:] = [self._stub(out)]
        if out.output_type == "stream" and before and outs[before - 1] == outs[before]:
            outs.pop()  # notebooks have adjacent text of one stream as one output
        return out

    @staticmethod
    def _stub(out: NotebookNode) -> JSON:
        return {"output_type": out.output_type, "name": out.get("name", ""), "text": ""}

    def _say_output(self, index: int, output: JSON) -> None:
        self.records.say("output", index=index, output=output)

    def _forget_display(self, display_id: str, cell_index: int, place: int) -> None:
        places = self._display_id_map.get(display_id, {}).get(cell_index, [])
        if places and places[-1] == place:
            places.pop()

    def clear_output(self, outs: list[Any], msg: JSON, cell_index: int) -> None:
        """Say that the outputs so far are void."""
        super().clear_output(outs, msg, cell_index)
        if not outs and not self.clear_before_next_output:
            self.limits.clear()
            self.records.say("clear", index=cell_index)

    def _update_display_id(self, display_id: str, msg: JSON) -> None:
        places = {c: list(at) for c, at in self._display_id_map.get(display_id, {}).items() if at}
        if not places:
            return
        msg["header"]["msg_type"] = "display_data"
        out = output_from_msg(msg)
        if self.limits.passes(out):
            for index, at in places.items():
                self.records.say(
                    "update", index=index, at=at, data=out["data"], metadata=out["metadata"]
                )


class _Manager:
    """What nbclient asks of a kernel manager."""

    has_kernel = True

    def __init__(self, kernel: KernelProcess) -> None:
        self._kernel = kernel

    def is_alive(self) -> bool:
        """Whether the kernel runs."""
        return self._kernel.code is None


async def connect(kernel: KernelProcess, timeout: float) -> tuple[AsyncKernelClient, JSON]:
    """A client of a kernel that starts, once it has answered and is being heard, and what it says of itself.

    Raises TimeoutError, and DeadKernelError when it ends before.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while not kernel.sockets_are_there:
        await _go_on(kernel, deadline, 0.002)
    client = AsyncKernelClient()
    client.load_connection_info(cast("KernelConnectionInfo", kernel.connection))
    client.start_channels(hb=False)
    client.allow_stdin = False
    told: JSON | None = None
    heard = False
    while told is None or not heard:
        asked = client.kernel_info()
        until = asyncio.get_running_loop().time() + 0.5
        while (told is None or not heard) and asyncio.get_running_loop().time() < until:
            if told is None and await client.shell_channel.msg_ready():
                reply = await client.shell_channel.get_msg(timeout=0)
                told = reply["content"] if reply["msg_type"] == "kernel_info_reply" else None
            elif await client.iopub_channel.msg_ready():
                said = await client.iopub_channel.get_msg(timeout=0)
                heard = heard or said["parent_header"].get("msg_id") == asked
            else:
                await _go_on(kernel, deadline, 0.002)
    kernel.answers()
    return client, told


async def _go_on(kernel: KernelProcess, deadline: float, pause: float) -> None:
    if kernel.code is not None:
        raise DeadKernelError(kernel.how_it_ended())
    if asyncio.get_running_loop().time() > deadline:
        raise TimeoutError("the kernel does not answer")
    await asyncio.sleep(pause)


async def run_silently(client: AsyncKernelClient, code: str, timeout: float = 30.0) -> JSON:
    """Run code of ours in the kernel; its reply."""
    asked = client.execute(code, silent=True, store_history=False)
    while True:
        reply: JSON = await client.shell_channel.get_msg(timeout=timeout)
        if reply["parent_header"].get("msg_id") == asked:
            return dict(reply["content"])
