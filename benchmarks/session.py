"""A kernel started by the unmodified KernelManager, and a client that reads its sockets without ceremony."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.channels import ZMQSocketChannel
from jupyter_client.manager import KernelManager

DELIMITER = b"<IDS|MSG>"
HEADER, PARENT, CONTENT = 2, 3, 5  # frames after the delimiter


class NoAnswer(Exception):
    """The kernel did not say what was waited for in time."""


@dataclass
class Execution:
    """One executed cell: times in seconds after sending, and the messages on iopub as raw frames."""

    reply_s: float = 0.0
    idle_s: float = 0.0
    outputs: list[tuple[str, bytes]] = field(default_factory=list)

    def contents(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the contents of the messages of a type."""
        return (json.loads(content) for type_, content in self.outputs if type_ == kind)

    def text(self) -> str:
        """Join what went to stdout."""
        return "".join(content["text"] for content in self.contents("stream"))


class Session:
    """A kernel and its client. Times start when the request is handed to the socket."""

    def __init__(self, spec: str) -> None:
        self.manager = KernelManager(kernel_name=spec)
        self.ready_s = 0.0
        self.current = Execution()

    @property
    def progress(self) -> int:
        """Return how many messages of the running cell have come."""
        return len(self.current.outputs)

    def start(self, timeout: float = 60) -> None:
        """Start the kernel and wait for its first answer; `ready_s` is how long that took."""
        began = time.perf_counter()
        self.manager.start_kernel()
        client = self.manager.client()
        if not isinstance(client, BlockingKernelClient):
            raise TypeError(f"the kernel manager made a {type(client).__name__}")
        self.client = client
        client.start_channels(hb=False)
        self._shell = _plain(client.shell_channel)
        self._iopub = _plain(client.iopub_channel)
        self._session = client.session
        asked = self._send("kernel_info_request", {})
        self._await_reply(asked, began + timeout)
        self.ready_s = time.perf_counter() - began
        self._settle()

    def execute(
        self, code: str, timeout: float = 60, tick: Callable[[], None] | None = None
    ) -> Execution:
        """Run a cell until its reply and its idle are in. Raises NoAnswer.

        tick: called after every message and at least every 100 ms.
        """
        done = self.current = Execution()
        began = time.perf_counter()
        asked = self._send(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )
        poller = zmq.Poller()
        poller.register(self._shell, zmq.POLLIN)
        poller.register(self._iopub, zmq.POLLIN)
        while not (done.reply_s and done.idle_s):
            ready = dict(poller.poll(100))
            now = time.perf_counter()
            if now - began > timeout:
                raise NoAnswer(f"no end of the cell within {timeout:.0f} s")
            if self._shell in ready and self._is_answer(self._receive(self._shell), asked):
                done.reply_s = now - began
            if self._iopub in ready:
                frames = self._receive(self._iopub)
                if self._is_answer(frames, asked):
                    kind = json.loads(frames[HEADER])["msg_type"]
                    content = frames[CONTENT]
                    done.outputs.append((kind, content))
                    if kind == "status" and json.loads(content)["execution_state"] == "idle":
                        done.idle_s = now - began
            if tick is not None:
                tick()
        return done

    def shutdown(self) -> None:
        """End the kernel, politely if it still listens."""
        if hasattr(self, "client"):
            self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self._session.msg(kind, content)
        self._shell.send_multipart(self._session.serialize(message))
        identifier: str = message["header"]["msg_id"]
        return identifier

    @staticmethod
    def _receive(socket: zmq.Socket[bytes]) -> list[bytes]:
        frames = socket.recv_multipart()
        return frames[frames.index(DELIMITER) :]

    @staticmethod
    def _is_answer(frames: list[bytes], asked: str) -> bool:
        return bool(json.loads(frames[PARENT]).get("msg_id") == asked)

    def _await_reply(self, asked: str, deadline: float) -> None:
        while True:
            left = deadline - time.perf_counter()
            if left <= 0 or not self._shell.poll(int(left * 1000) + 1):
                raise NoAnswer("the kernel did not answer kernel_info")
            if self._is_answer(self._receive(self._shell), asked):
                return

    def _settle(self) -> None:
        """Execute nothing until an idle arrives: the subscription is then in force."""
        for _ in range(20):
            try:
                self.execute("", timeout=1)
            except NoAnswer:
                continue
            return
        raise NoAnswer("iopub stays silent")


def _plain(channel: ZMQSocketChannel) -> zmq.Socket[bytes]:
    """Return the channel's socket as a blocking one, whichever the client made."""
    if channel.socket is None:
        raise NoAnswer("the client has closed its sockets")
    return zmq.Socket.shadow(channel.socket.underlying)


@contextmanager
def running(spec: str) -> Iterator[Session]:
    """Start a kernel for the block and end it afterwards."""
    session = Session(spec)
    try:
        session.start()
        yield session
    finally:
        session.shutdown()
