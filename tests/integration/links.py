"""Links of every kind for the tests: to this computer's agent, and to a real host over each carrier."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from jupyter_cloudml.link.bootstrap import Connect, Opened, local_connect, ssh_connect
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link
from jupyter_cloudml_kernels.relay import Relay

KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def wait_for(what: Callable[[], Any], seconds: float = 20.0, why: str = "the condition") -> Any:
    """Wait until ``what`` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{why} did not come within {seconds} s")


class CutLink(Link):
    """A link whose connection a test can break."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.current: Opened | None = None
        self.held = threading.Event()
        self.held.set()

        def remembered(cancelled: threading.Event) -> Opened:
            self.held.wait(30)
            self.current = connect(cancelled)
            return self.current

        super().__init__(name, remembered)

    def cut(self) -> None:
        """Break the connection off, on the link's own thread, and wait until the link has noticed."""
        drops = self.drops
        self.call_soon(lambda: self._lost(None))
        wait_for(lambda: self.drops > drops, why="the cut")

    def hold(self) -> None:
        """Let no new connection come about until `let_go`."""
        self.held.clear()

    def let_go(self) -> None:
        """The opposite of `hold`."""
        self.held.set()


def make_link(kind: str, alias: str = "", known_hosts: Path | None = None) -> CutLink:
    """A link that is up. ``kind`` is local, openssh or paramiko."""
    if kind == "local":
        link = CutLink("local", local_connect())
    else:
        target = SSHTarget(alias, carrier=kind)  # type: ignore[arg-type]
        link = CutLink(alias, ssh_connect(target))
    link.open(30)
    return link


@contextmanager
def link_at(home: Path) -> Iterator[CutLink]:
    """A link to an agent of this computer whose home folder is the tests'; the agent ends with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        made = make_link("local")
        try:
            yield made
        finally:
            made.wait_up(30)
            made.call("shutdown", stop_processes=True, grace_s=0)
            made.close()


class RemoteKernel:
    """A kernel behind a relay, with a client of its own."""

    def __init__(self, link: Link, log: Any = None, **spec: Any) -> None:
        self.link = link
        self.folder = tempfile.mkdtemp(prefix="s", dir="/tmp")
        params = {
            "argv": KERNEL,
            "kind": "kernel",
            "cwd": "~",
            "env": {},
            "token": os.urandom(8).hex(),
            **spec,
        }
        self.row = link.call("start", **params)
        self.relay = Relay(link, self.row["id"], self.folder + "/k", log)
        self.relay.start()
        self.client = self.new_client()
        self.client.wait_for_ready(timeout=60)

    def new_client(self) -> BlockingKernelClient:
        """One more client of the kernel."""
        client = BlockingKernelClient()
        info: Any = dict(self.row["connection"], ip=self.folder + "/k")
        info["key"] = info["key"].encode()
        client.load_connection_info(info)
        client.start_channels()
        return client

    def run(self, code: str, timeout: float = 60) -> str:
        """Execute and return the text that it prints. Raises AssertionError for an error in the code."""
        text: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                text.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            code, timeout=timeout, output_hook=hook, allow_stdin=False
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(text)

    def messages(self, request: str, timeout: float = 60) -> Iterator[dict[str, Any]]:
        """What the kernel publishes for a request that is under way, to its end."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == request:
                yield message
                state = message["content"].get("execution_state")
                if message["msg_type"] == "status" and state == "idle":
                    return

    def collect(self, request: str, timeout: float = 60) -> str:
        """The printed text of a request that is under way."""
        said = self.messages(request, timeout)
        return "".join(m["content"]["text"] for m in said if m["msg_type"] == "stream")

    def displays(self, request: str, timeout: float = 60) -> list[dict[str, Any]]:
        """The data that a request which is under way displays."""
        said = self.messages(request, timeout)
        return [m["content"]["data"] for m in said if m["msg_type"] == "display_data"]

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        if self.relay.exit is None:
            self.link.call("stop", id=self.row["id"], grace_s=0)
            assert self.relay.wait_ended(20)
        self.link.call("forget", id=self.row["id"])
        self.relay.close()
        os.rmdir(self.folder)


@contextmanager
def remote_kernel(link: Link, **spec: Any) -> Iterator[RemoteKernel]:
    """A kernel for one test."""
    kernel = RemoteKernel(link, **spec)
    try:
        yield kernel
    finally:
        kernel.close()
