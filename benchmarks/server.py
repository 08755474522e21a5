"""A Jupyter server as a person has it: killed and started again, and with many kernels that do nothing."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import websocket

from benchmarks.session import NoAnswer
from benchmarks.sshd import free_port


class JupyterServer:
    """A Jupyter server in a process of its own; `start` may be said again after `kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True, exist_ok=True)
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 60) -> None:
        """Start it and wait for its first answer. Raises NoAnswer."""
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        command += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        command += [f"--ServerApp.root_dir={self.root}"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | {"JUPYTER_TOKEN": self.token},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.get("api/status", timeout=1)
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise NoAnswer(f"no Jupyter server: {self.folder}/server.log") from None
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """SIGKILL: the server has no chance to put anything in order."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def get(self, path: str, timeout: float = 10) -> Any:
        """GET a path and return the JSON."""
        return self._ask("GET", path, None, timeout)

    def post(self, path: str, body: dict[str, Any], timeout: float = 60) -> Any:
        """POST JSON to a path and return the JSON."""
        return self._ask("POST", path, body, timeout)

    def delete(self, path: str) -> None:
        """DELETE a path."""
        self._ask("DELETE", path, None, 60)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  (always http)
            return json.loads(answer.read() or b"null")

    def open_notebook(self, name: str, spec: str) -> str:
        """Make a session as a page does; return the kernel's id."""
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": spec}}
        kernel: str = self.post("api/sessions", body)["kernel"]["id"]
        return kernel

    @contextmanager
    def channels(self, kernel: str) -> Iterator[Channels]:
        """Open a kernel's websocket."""
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        header = [f"Authorization: token {self.token}"]
        socket = websocket.create_connection(url, timeout=30, header=header)
        try:
            yield Channels(socket)
        finally:
            socket.close()

    def usage(self) -> tuple[float, int]:
        """Return the CPU seconds used so far and the memory held, in bytes, of the process."""
        if self.process is None:
            raise NoAnswer("the Jupyter server is not running")
        process = psutil.Process(self.process.pid)
        times = process.cpu_times()
        return times.user + times.system, process.memory_full_info().uss


class Channels:
    """The messages of one kernel over a websocket."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket

    def send(self, code: str, cell: str) -> str:
        """Send an execute_request as a notebook does; return its id."""
        identifier = uuid.uuid4().hex
        header = {
            "msg_id": identifier,
            "msg_type": "execute_request",
            "username": "",
            "session": uuid.uuid4().hex,
            "version": "5.3",
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = {
            "channel": "shell",
            "header": header,
            "parent_header": {},
            "metadata": {"cellId": cell},
            "content": content,
        }
        self._socket.send(json.dumps(message))
        return identifier

    def run(self, code: str, cell: str, timeout: float = 30) -> list[dict[str, Any]]:
        """Execute a cell and return all answers, up to the reply and the idle, whichever is last."""
        parent = self.send(code, cell)
        open_ends = {"execute_reply", "idle"}
        answers: list[dict[str, Any]] = []
        while open_ends:
            answers.append(self.answer(parent, timeout))
            content = answers[-1]["content"]
            open_ends -= {answers[-1]["header"]["msg_type"], content.get("execution_state")}
        return answers

    def answer(self, parent: str, timeout: float = 30) -> dict[str, Any]:
        """Read up to the next answer to a message. Raises NoAnswer."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message: dict[str, Any] = json.loads(self._socket.recv())
            except websocket.WebSocketTimeoutException:
                break
            if message.get("parent_header", {}).get("msg_id") == parent:
                return message
        raise NoAnswer(f"no answer within {timeout:.0f} s")
