"""The kernel of a run on a machine, brought here: sockets of this computer that lead to its own, for `jupyter console --existing`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import threading
from typing import Any

from ...errors import AgentError, CloudMLError, NotFound
from ...link.link import Link
from ...link.process import Ended, LinkChange, Output, RemoteProcess
from ...machines.model import LOCAL
from ...paths import socket_dir

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
READ = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
ORPHAN_S = 20.0
WRITE_S = 30.0
PIECE = 1 << 16
# Carries bytes between its standard streams and one socket of the kernel, until either ends.
CARRY = """\
import os, socket, sys, threading
where = sys.argv[1]
if where.startswith("/"):
    sock = socket.socket(socket.AF_UNIX); sock.connect(where)
else:
    host, _, port = where.rpartition(":")
    sock = socket.create_connection((host, int(port)))
def there():
    while True:
        data = os.read(0, 65536)
        if not data:
            break
        sock.sendall(data)
    os._exit(0)
threading.Thread(target=there, daemon=True).start()
while True:
    data = sock.recv(65536)
    if not data:
        break
    while data:
        data = data[os.write(1, data):]
os._exit(0)
"""


class Bridge:
    """Use it in a `with`: `file` is a connection file of this computer. On this computer it is the kernel's own."""

    def __init__(self, link: Link, connection_file: str) -> None:
        """Raises NotFound where the kernel is gone, LinkDown, AgentError."""
        self._link = link
        self._python = str(link.info["python"])
        self._there = self._read(connection_file)
        self._folder: str | None = None
        self._listening: list[socket.socket] = []
        self._carried: list[RemoteProcess] = []
        self.file = connection_file
        if link.machine != LOCAL:
            self._open()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _read(self, file: str) -> dict[str, Any]:
        done = self._link.run([self._python, "-I", "-c", READ, file])
        if done.code:
            raise NotFound(
                f"the kernel is not on {self._link.machine} any more",
                code="no_kernel",
                hint="run the notebook again: jupyter cloudml job retry RUN",
            )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _open(self) -> None:
        self._folder = str(socket_dir(f"open-{secrets.token_hex(4)}"))
        here = {**self._there, "transport": "ipc", "ip": os.path.join(self._folder, "k")}
        for number, name in enumerate(PORTS, 1):
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(f"{here['ip']}-{number}")
            listening.listen(8)
            self._listening.append(listening)
            there = self._address(self._there[name])
            threading.Thread(target=self._accept, args=(listening, there), daemon=True).start()
            here[name] = number
        self.file = os.path.join(self._folder, "connection.json")
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(here, file)

    def _address(self, port: int) -> str:
        ip = str(self._there["ip"])
        return f"{ip}-{port}" if self._there["transport"] == "ipc" else f"{ip}:{port}"

    def _accept(self, listening: socket.socket, there: str) -> None:
        while True:
            try:
                sock = listening.accept()[0]
            except OSError:
                return  # closed
            threading.Thread(target=self._carry, args=(sock, there), daemon=True).start()

    def _carry(self, sock: socket.socket, there: str) -> None:
        try:
            argv = [self._python, "-I", "-c", CARRY, there]
            process = RemoteProcess.start(self._link, argv, stdin=True, orphan_s=ORPHAN_S)
        except CloudMLError:
            sock.close()
            return
        self._carried.append(process)
        threading.Thread(target=self._send, args=(sock, process), daemon=True).start()
        try:
            while True:
                said = process.read()
                if isinstance(said, Output) and not said.stderr:
                    sock.sendall(said.data)
                elif isinstance(said, Ended):
                    break
                elif isinstance(said, LinkChange):
                    continue  # what is under way comes when the link is up again
        except (CloudMLError, OSError):
            process.stop(0)
        finally:
            sock.close()

    @staticmethod
    def _send(sock: socket.socket, process: RemoteProcess) -> None:
        try:
            while data := sock.recv(PIECE):
                if not process.write(data, WRITE_S):
                    raise AgentError("the machine takes nothing more")
        except (CloudMLError, OSError):
            process.stop(0)
            return
        process.close_stdin()

    def close(self) -> None:
        """Take the sockets away; the kernel goes on until its time is over."""
        for listening in self._listening:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for process in self._carried:
            process.stop(0)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
