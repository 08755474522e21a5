"""A real JupyterLab as a process of its own, which tests may kill and start again under the same address."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import reaper

START_S = 120.0
STOP_S = 20.0
MARK = "JUPYTER_CLOUDML_TEST_LAB"

NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": False}


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return when `condition` is true; TimeoutError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """JupyterLab in `folder`, with a home, settings, notebooks and a store of its own.

    app: the module to run, `jupyterlab` or `notebook`. environment: more variables for the server and for all that it starts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        app: str = "jupyterlab",
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder, self.app = folder, app
        self.root = folder / "notebooks"
        self.log = folder / "server.log"
        self.port, self.token = free_port(), secrets.token_hex(16)
        self._arguments = list(arguments)
        self._mark = f"{MARK}={secrets.token_hex(8)}"
        self._environment = self._make_environment(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper = subprocess.Popen(
            [sys.executable, reaper.__file__, self._mark],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.root.mkdir(parents=True, exist_ok=True)
        self._write_settings()

    def _make_environment(self, more: Mapping[str, str]) -> dict[str, str]:
        name, _, value = self._mark.partition("=")
        folders = {
            "HOME": "home",
            "XDG_CACHE_HOME": "home/.cache",
            "JUPYTER_CLOUDML_HOME": "cloudml",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        paths = {key: str(self.folder / path) for key, path in folders.items()}
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        return {**os.environ, **paths, **more, name: value}

    def _write_settings(self) -> None:
        folder = self.folder / "settings" / "@jupyterlab" / "apputils-extension"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS))

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise RuntimeError("this server has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, path: str = "lab", *, reset: bool = True) -> str:
        """Where the page is; `reset` forgets which documents were open."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}{'&reset' if reset else ''}"

    def start(self) -> Lab:
        """Start the server; returns when it answers."""
        command = [
            sys.executable,
            "-m",
            self.app,
            "--no-browser",
            "--allow-root",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            "--LanguageServerManager.autodetect=False",  # which asks npm at each start
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._answers, f"the server; it says:\n{self.tail()}", START_S)
        return self

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"the server ended at its start; it says:\n{self.tail()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "api/status", timeout=2)[0] == 200
        return False

    def kill(self) -> None:
        """End the server as a power cut would; agents and kernels go on."""
        os.kill(self.pid, signal.SIGKILL)
        self._await_end()

    def terminate(self) -> None:
        """Ask the server to stop, as a service manager does."""
        os.kill(self.pid, signal.SIGTERM)
        self._await_end()

    def restart(self) -> Lab:
        """Kill the server and start it again under the same address and token."""
        if self.running:
            self.kill()
        return self.start()

    def _await_end(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_S)

    def close(self) -> None:
        """End the server and everything that it started."""
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        self._reaper.wait(STOP_S)
        if self._process is not None:
            self._process.wait(STOP_S)

    def processes(self) -> list[int]:
        """Return the processes that came from this server: itself, agents, kernels."""
        return reaper.marked(self._mark.encode())

    def tail(self, lines: int = 40) -> str:
        """Return the end of the server's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def request(
        self, method: str, path: str, body: object = None, *, timeout: float = 30.0
    ) -> tuple[int, Any]:
        """Ask the server as a program with its token does; returns the status and the JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        data = None if method in ("GET", "DELETE") else json.dumps(body or {})
        try:
            connection.request(method, f"/{path}", data, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Ask our REST interface; AssertionError with the answer where it refuses."""
        status, answer = self.request(method, f"cloudml/api/v1/{path}", body)
        assert status < 400, answer
        return answer

    def machine(self, name: str) -> dict[str, Any]:
        """Return one machine as the REST interface tells it."""
        return dict(self.api("GET", f"machines/{name}"))

    def await_machine(self, name: str, state: str, seconds: float = 60.0) -> None:
        """Return when a machine is in `state`."""
        wait_for(lambda: self.machine(name)["state"] == state, f"{name} to be {state}", seconds)

    def add_machine(self, name: str, **target: object) -> None:
        """Add a machine over SSH and wait until it runs; `target` is the rest of the request's body."""
        body = {"name": name, "provider": "ssh", **target}
        operation = self.api("POST", "machines", body)["operation"]
        path = f"operations/{operation['id']}"
        wait_for(lambda: self.api("GET", path)["state"] != "running", f"{name} to be added", 90)
        ended = self.api("GET", path)
        assert ended["state"] == "done", ended

    def notebook(self, name: str, cells: Sequence[str], *, kernel: str = "cloudml-local") -> Path:
        """Write a notebook whose code cells are `cells` into the server's folder."""
        document = {
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{index}",
                    "source": source,
                    "metadata": {},
                    "outputs": [],
                    "execution_count": None,
                }
                for index, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1))
        return path
