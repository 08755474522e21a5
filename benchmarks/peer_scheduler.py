"""jupyter-scheduler, installed into a throwaway environment for the benchmark: run now → first cell."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.session import NoAnswer

# The versions that its own pins leave: it was last released for these.
WANTED = ("jupyter-scheduler==2.12.1", "jupyter-server>=2.14,<3", "ipykernel", "nbconvert")
INSTALL_S, ANSWER_S, RUN_S = 600.0, 120.0, 120.0


@dataclass(frozen=True)
class Peer:
    """A server with it."""

    url: str
    token: str
    folder: Path

    def first_cell(self) -> float:
        """Ask for a run; return the seconds until its first cell ran."""
        mark = self.folder / f"mark-{secrets.token_hex(4)}"
        name = f"{mark.name}.ipynb"
        (self.folder / name).write_text(json.dumps(notebook(mark)))
        environments = self.ask("GET", "runtime_environments")
        began = time.time()
        self.ask(
            "POST",
            "jobs",
            {
                "name": mark.name,
                "input_uri": name,
                "runtime_environment_name": environments[0]["name"],
                "output_formats": ["ipynb"],
            },
        )
        return at(mark) - began

    def ask(self, method: str, what: str, body: object = None) -> Any:
        """Ask its server."""
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.url}/scheduler/{what}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return json.load(answer)


def notebook(mark: Path) -> dict[str, Any]:
    """A notebook whose first cell says when it ran."""
    code = f"import time\nwith open({str(mark)!r} + '.new', 'w') as f: f.write(repr(time.time()))\nimport os; os.rename({str(mark)!r} + '.new', {str(mark)!r})"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "first",
        "metadata": {},
        "source": code,
        "outputs": [],
        "execution_count": None,
    }
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": spec, "language_info": {"name": "python"}}
    return {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def at(mark: Path) -> float:
    """Wait for what a first cell has written: when it ran."""
    deadline = time.monotonic() + RUN_S
    while not mark.exists():
        if time.monotonic() > deadline:
            raise NoAnswer("no first cell")
        time.sleep(0.01)
    return float(mark.read_text())


@contextmanager
def serving(folder: Path) -> Iterator[Peer]:
    """Install it, have a server of its own with it, and take all away at the end."""
    folder.mkdir()
    python = folder / "venv" / "bin" / "python"
    uv = str(Path(sys.executable).with_name("uv"))
    for argv in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        [uv, "pip", "install", "--quiet", "--python", str(python), *WANTED],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_S)
        if done.returncode:
            raise NoAnswer(f"jupyter-scheduler cannot be installed: {done.stderr[-300:]}")
    work, token = folder / "work", secrets.token_hex(16)
    work.mkdir()
    info = folder / "server.json"
    argv = [
        str(python), "-c", SERVE, str(info), "--no-browser", "--allow-root", "--ServerApp.port=0",
        "--ServerApp.open_browser=False", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
        "--ServerApp.jpserver_extensions={'jupyter_scheduler': True}",
        f"--SchedulerApp.db_url=sqlite:///{folder}/scheduler.sqlite",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, cwd=work)
    try:
        yield _answering(Peer(_url(info), token, work))
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


SERVE = """
import json, os, sys, threading, time
from jupyter_server.serverapp import ServerApp
app = ServerApp.instance()
file = sys.argv[1]
def say():
    while not getattr(app, "http_server", None) or not app.port: time.sleep(0.05)
    with open(file + ".new", "w") as out: json.dump({"url": "http://127.0.0.1:%d" % app.port}, out)
    os.rename(file + ".new", file)
threading.Thread(target=say, daemon=True).start()
app.initialize(sys.argv[2:])
app.start()
"""


def _url(info: Path) -> str:
    deadline = time.monotonic() + ANSWER_S
    while not info.exists():
        if time.monotonic() > deadline:
            raise NoAnswer("its server does not start")
        time.sleep(0.05)
    return str(json.loads(info.read_text())["url"])


def _answering(peer: Peer) -> Peer:
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            peer.ask("GET", "jobs")
        except (urllib.error.URLError, OSError) as exc:
            if time.monotonic() > deadline:
                raise NoAnswer(f"its server does not answer: {exc}") from exc
            time.sleep(0.2)
        else:
            return peer
