"""Kernels of this computer's own agent for the tests, in a home of their own, and clients that talk to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import machines, specs

Message = dict[str, Any]


def wait_for(what: Callable[[], Any], why: str, seconds: float = 20.0) -> Any:
    """Wait until `what` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"{why} did not come within {seconds} s"
        time.sleep(0.01)
    return found


@contextmanager
def own_machines(home: Path) -> Iterator[Machines]:
    """Machines in a home of their own, for all kernels of this process; in the end nothing of theirs is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_CLOUDML_HOME", str(home))
        patch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
        store = Store.open(Config.from_environ())
        made = Machines(store, home, kernelspecs=specs)
        machines.use(made)
        try:
            yield made
        finally:
            machines.use(None)
            for machine in made.list():
                try:
                    made.link(machine.name).call("shutdown", stop_processes=True, grace_s=0)
                except CloudMLError:
                    continue  # a host that a test has ended
            made.close()
            store.close()


class Talk:
    """A client of a kernel."""

    def __init__(self, manager: KernelManager) -> None:
        self.client: BlockingKernelClient = manager.blocking_client()  # with an identity of its own
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, timeout: float = 60.0, **more: Any) -> str:
        """Execute and return the text that it prints. Raises AssertionError for an error in the code."""
        text: list[str] = []

        def hook(message: Message) -> None:
            if message["msg_type"] == "stream":
                text.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            code, timeout=timeout, output_hook=hook, allow_stdin=False, **more
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(text)

    def settle(self) -> None:
        """Wait until a kernel that was interrupted takes requests: it aborts those that come too soon."""

        def taken() -> bool:
            return bool(self.reply(self.client.execute(""))["content"]["status"] == "ok")

        wait_for(taken, "a request that is not aborted")

    def messages(self, msg_id: str, timeout: float = 60.0) -> list[Message]:
        """The IOPub messages of a request, up to its idle."""
        found = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                found.append(message)
                if message["content"].get("execution_state") == "idle":
                    return found
        raise AssertionError(f"no idle for {msg_id} within {timeout} s: {found}")

    def begun(self, msg_id: str, timeout: float = 60.0) -> str:
        """What the cell of a request prints first; waited for.

        Not until its execute_input: an interrupt between that and the cell's first line is lost in ipykernel itself,
        which then answers nothing (one in seven with a plain local kernel).
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == msg_id and message["msg_type"] == "stream":
                return str(message["content"]["text"])
        raise AssertionError(f"{msg_id} did not begin within {timeout} s")

    def reply(self, msg_id: str, timeout: float = 60.0) -> Message:
        """The reply on the shell channel to a request."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.client.get_shell_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == msg_id:
                return message
        raise AssertionError(f"no reply to {msg_id} within {timeout} s")

    def close(self) -> None:
        self.client.stop_channels()


@contextmanager
def started(kernel_name: str = "cloudml-local", **start: Any) -> Iterator[tuple[Any, Talk]]:
    """A kernel under a plain KernelManager, and a client of it."""
    manager = KernelManager(kernel_name=kernel_name)
    manager.start_kernel(**start)
    talk = None
    try:
        talk = Talk(manager)
        yield manager, talk
    finally:
        if talk is not None:
            talk.close()
        manager.shutdown_kernel(now=True)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
