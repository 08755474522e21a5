"""A Jupyter Server with our extension for tests: in this process (to look inside), or as a process of its own (to be real)."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from contract import check_reply
from jupyter_server.serverapp import ServerApp
from traitlets.config import Config
from websocket import WebSocket, WebSocketTimeoutException, create_connection

API = "cloudml/api/v1/"
BASE_URL = "/a%40b/"  # as behind a proxy: nothing may rely on being at the root
START_S = 60.0  # a computer under load takes its time
STOP_S = 30.0
# JupyterLab and what comes with it ask Node.js and npm for their settings at each start; the browser's tests have all of them.
OTHERS = ["jupyterlab", "notebook", "notebook_shim", "jupyter_lsp"]
EXTENSIONS = {"jupyter_cloudml_server": True, **dict.fromkeys(OTHERS, False)}
OWNER = "CLOUDML_TEST_OWNER"  # the pytest that a process belongs to: its number and when it began


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.json()["code"])


@dataclass
class Client:
    """Talks to a server as a program with its token does."""

    port: int
    token: str
    headers: dict[str, str] = field(default_factory=dict)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        raw: bytes | None = None,
        timeout: float = 30.0,
    ) -> Reply:
        """Send one request; `path` lies under the base URL. `body` goes as JSON, `raw` as it is; a header of None is left out."""
        sent: dict[str, str | None] = {"Authorization": f"token {self.token}", **self.headers}
        if method in ("POST", "PATCH", "PUT"):
            sent["Content-Type"] = "application/json"
            raw = json.dumps({} if body is None else body).encode() if raw is None else raw
        sent.update(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            kept = {name: value for name, value in sent.items() if value is not None}
            connection.request(method, BASE_URL + path, body=raw, headers=kept)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())

    def api(self, method: str, path: str, body: object = None, **more: Any) -> Reply:
        """Send one request to our own interface; the answer must be one that the OpenAPI document promises."""
        reply = self.request(method, API + path, body, **more)
        if method not in ("OPTIONS", "HEAD"):
            check_reply(method, path, reply.status, reply.body)
        return reply

    def get(self, path: str, **more: Any) -> Any:
        """Return what a GET of our interface answers, which must be 200."""
        reply = self.api("GET", path, **more)
        assert reply.status == 200, reply.body
        return reply.json()

    @contextlib.contextmanager
    def events(self) -> Iterator[EventStream]:
        """Listen to the server's event bus."""
        url = f"ws://127.0.0.1:{self.port}{BASE_URL}api/events/subscribe"
        socket = create_connection(url, header=[f"Authorization: token {self.token}"], timeout=30)
        with contextlib.closing(socket):
            yield EventStream(socket)

    def operation(self, reply: Reply, timeout: float = 60.0) -> Any:
        """Wait until the operation that a 202 began has ended, and return it."""
        assert reply.status == 202, reply.body
        identity = reply.json()["operation"]["id"]
        return wait_for(lambda: self._ended(identity), timeout, f"the end of operation {identity}")

    def _ended(self, identity: str) -> Any:
        operation = self.get(f"operations/{quote(identity)}")
        return operation if operation["state"] != "running" else None


class EventStream:
    """The events of ours that came since it was opened."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []

    def until(self, condition: Callable[[dict[str, Any]], bool], timeout: float = 30) -> Any:
        """Return the next event of ours that fulfils the condition; `noun` is in each."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                event = json.loads(self._socket.recv())
            except WebSocketTimeoutException:
                raise AssertionError(f"no such event; seen: {self.seen}") from None
            schema = str(event.pop("schema_id"))
            if not schema.startswith("https://jupyter-cloudml/"):
                continue
            event = {key: value for key, value in event.items() if not key.startswith("__")}
            event["noun"] = schema.split("/")[3]
            self.seen.append(event)
            if condition(event):
                return event


def wait_for(condition: Any, timeout: float, what: str) -> Any:
    """Return the first true value of `condition()`; fail when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.02)
    return value


class _ServerApp(ServerApp):
    """Signals belong to pytest."""

    def init_signal(self) -> None:
        pass


@dataclass
class ThreadServer(Client):
    """A server on a thread of this process."""

    app: ServerApp = field(default_factory=ServerApp)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def call(self, function: Any, *args: Any) -> Any:
        """Run a function, or a coroutine function, on the server's loop and return its result."""

        async def run() -> Any:
            result = function(*args)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(START_S)


def places(root: Path) -> dict[str, str]:
    """Return the variables that keep a server's files under `root`."""
    sweep()
    names = {
        "JUPYTER_CLOUDML_HOME": "cloudml",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    return {**{variable: str(root / name) for variable, name in names.items()}, OWNER: _myself()}


def sweep() -> None:
    """End what tests have left whose pytest was killed: agents and kernels are made to outlive their server."""
    for process, environ in _environs():
        pid, _, began = environ.get(OWNER, "").partition(" ")
        if began and not (pid.isdigit() and _is_alive(int(pid), began)):
            with contextlib.suppress(psutil.Error):
                process.kill()


def leave_nothing(root: Path) -> None:
    """End what still runs of a test's installation, however the test has ended."""
    for process, environ in _environs():
        home = environ.get("JUPYTER_CLOUDML_HOME", "")
        if home.startswith(f"{root}/") and process.pid != os.getpid():
            with contextlib.suppress(psutil.Error):
                process.kill()


def _environs() -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process, process.environ()


def _myself() -> str:
    return f"{os.getpid()} {psutil.Process().create_time()}"


def _is_alive(pid: int, began: str) -> bool:
    try:
        return str(psutil.Process(pid).create_time()) == began
    except psutil.Error:
        return False


@contextlib.contextmanager
def thread_server(root: Path, config: Mapping[str, Any] | None = None) -> Iterator[ThreadServer]:
    """Run a server on a thread. The caller has set the variables of `places(root)`."""
    token = secrets.token_hex(16)
    (root / "notebooks").mkdir(exist_ok=True)
    settings = Config(config or {})
    settings.ServerApp.jpserver_extensions = {"jupyter_cloudml_server": True}
    settings.IdentityProvider.token = token
    ready: list[ThreadServer] = []
    failed: list[BaseException] = []
    up = threading.Event()

    def serve() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            app = _ServerApp.instance(
                config=settings,
                ip="127.0.0.1",
                port=0,
                base_url=BASE_URL,
                open_browser=False,
                allow_root=True,
                root_dir=str(root / "notebooks"),
                log_level="DEBUG",
            )

            async def initialize() -> None:
                app.initialize(argv=[], find_extensions=False)

            loop.run_until_complete(initialize())
            app.start_app()
            ready.append(ThreadServer(app.port, token, app=app, loop=loop))
            loop.call_soon(up.set)
            app.start_ioloop()
        except BaseException as error:  # noqa: BLE001  told to the test's thread
            failed.append(error)
            up.set()
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=serve, name="jupyter-server")
    thread.start()
    try:
        assert up.wait(START_S), "the server does not start"
        if failed:
            raise failed[0]
        wait_for(lambda: _answers(ready[0]), START_S, "the server's first answer")
        assert ready[0].api("GET", "openapi.json").status == 200, "our extension is not loaded"
        yield ready[0]
    finally:
        if ready:
            ready[0].loop.call_soon_threadsafe(ready[0].app.stop)
        thread.join(STOP_S)
        ServerApp.clear_instance()
        _ServerApp.clear_instance()
        leave_nothing(root)
        assert not thread.is_alive(), "the server does not stop"


@dataclass
class ProcessServer(Client):
    """A server as a process of its own."""

    process: subprocess.Popen[bytes] = field(default_factory=lambda: subprocess.Popen([]))
    log: Path = Path()

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self, *, kill: bool = False) -> int:
        """End the server politely, or not, and return its exit code."""
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)
            raise AssertionError(
                f"the server does not stop: {self.log.read_text()[-3000:]}"
            ) from None


def start_server(
    root: Path, *, arguments: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> ProcessServer:
    """Start a server and wait until it answers. Whoever starts it stops it."""
    token = secrets.token_hex(16)
    notebooks = root / "notebooks"
    notebooks.mkdir(parents=True, exist_ok=True)
    runtime = root / "runtime"
    log = root / "server.log"
    argv = [
        sys.executable,
        *("-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.port=0"),
        f"--ServerApp.root_dir={notebooks}",
        f"--ServerApp.base_url={BASE_URL}",
        f"--ServerApp.jpserver_extensions={EXTENSIONS}",
        *arguments,
    ]
    variables = {**os.environ, **places(root), "JUPYTER_TOKEN": token, **(env or {})}
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=notebooks
        )
    server = ProcessServer(0, token, process=process, log=log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        info = runtime / f"jpserver-{process.pid}.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            server.port = json.loads(info.read_text())["port"]
        return bool(server.port) and _answers(server)

    try:
        wait_for(answers, START_S, "the server's first answer")
        loaded = server.api("GET", "openapi.json").status == 200
        assert loaded, f"our extension is not loaded: {log.read_text()[-3000:]}"
    except BaseException:
        server.stop(kill=True)
        raise
    return server


def _answers(client: Client) -> bool:
    try:
        return client.request("GET", "api/status", timeout=5).status == 200
    except OSError:
        return False
