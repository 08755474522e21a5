"""Five secrets go through the whole product, and none is found where it must not be."""

from __future__ import annotations

import json
import os
import secrets
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cloudbox.faults import Host
from cloudbox.fixture import Identity, SSHConfig
from liveserver import BASE_URL, ProcessServer, start_server, wait_for
from websocket import create_connection

from jupyter_cloudml.link.bootstrap import ssh_connect
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link

CELL = """\
code = {code!r}
answer = input('password? ')
import time; time.sleep(0.5)
print(len(answer), code)
"""


class Processes:
    """The command lines of all processes, and the environments of those that are not ours, seen while it is entered."""

    def __init__(self, host: Host, ours: set[int]) -> None:
        self._host, self._ours = host, ours
        self.argv: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    self.argv.add((entry / "cmdline").read_bytes())
                    if entry.stat().st_uid not in self._ours:
                        self.environments.add((entry / "environ").read_bytes())
                except OSError:
                    continue  # it has ended


def open_to_others(root: Path) -> Iterator[Path]:
    """The files under `root` that are not inside a folder which keeps others out."""
    for folder, folders, files in os.walk(root):
        for name in list(folders):
            info = os.lstat(os.path.join(folder, name))
            if stat.S_IMODE(info.st_mode) & 0o077 == 0 or stat.S_ISLNK(info.st_mode):
                folders.remove(name)
        for name in files:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def holding(paths: Iterator[Path], canaries: dict[str, bytes]) -> list[tuple[str, str]]:
    """Which of the files hold which secret."""
    found = []
    for path in paths:
        data = path.read_bytes()
        found += [(str(path), name) for name, value in canaries.items() if value in data]
    return found


def run_cell(server: ProcessServer, kernel: str, code: str, typed: str) -> str:
    """Execute in a kernel as a page does, answer its question, and return what it prints."""
    url = f"ws://127.0.0.1:{server.port}{BASE_URL}api/kernels/{kernel}/channels"
    header = [f"Authorization: token {server.token}"]
    identity = uuid.uuid4().hex

    def message(kind: str, channel: str, content: dict[str, Any], parent: dict[str, Any]) -> str:
        head = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": identity,
            "username": "",
            "version": "5.3",
            "date": "",
        }
        whole = {
            "header": head,
            "parent_header": parent,
            "metadata": {},
            "content": content,
            "channel": channel,
            "buffers": [],
        }
        return json.dumps(whole)

    printed = ""
    with closing(create_connection(url, header=header, timeout=60)) as socket:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
        }
        request = message("execute_request", "shell", content, {})
        ours = json.loads(request)["header"]["msg_id"]
        socket.send(request)
        while True:
            heard = json.loads(socket.recv())
            if heard["parent_header"].get("msg_id") != ours:
                continue
            if heard["msg_type"] == "input_request":
                socket.send(
                    message(
                        "input_reply", "stdin", {"value": typed, "status": "ok"}, heard["header"]
                    )
                )
            elif heard["msg_type"] == "stream":
                printed += heard["content"]["text"]
            elif heard["msg_type"] == "execute_reply":
                assert heard["content"]["status"] == "ok", heard["content"]
                return printed


def test_no_secret_is_left_where_others_or_logs_have_it(
    host: Host, ssh_config: SSHConfig, identity: Identity, tmp_path: Path
) -> None:
    plain = {name: f"canary{secrets.token_hex(12)}" for name in ("code", "typed", "environment")}
    alias = ssh_config.add(host)
    server = start_server(tmp_path)
    key = identity.private.read_text().splitlines()[2]
    canaries = {
        name: value.encode()
        for name, value in {**plain, "token": server.token, "private key": key}.items()
    }
    try:
        with Processes(host, {0, 7000}) as seen:
            body = {"name": "box", "provider": "ssh", "host": alias, "user": "ada", "port": 22,
                    "identity": str(identity.private), "host_key": host.fingerprint}  # fmt: skip
            added = server.operation(server.api("POST", "machines", body, timeout=60), 90)
            assert added["state"] == "done", added
            reply = server.request("POST", "api/kernels", {"name": "cloudml-box"}, timeout=60)
            assert reply.status == 201, reply.body
            kernel = reply.json()["id"]
            printed = run_cell(server, kernel, CELL.format(code=plain["code"]), plain["typed"])
            assert printed.split()[-1] == plain["code"] and str(len(plain["typed"])) in printed
            link = Link(
                "box",
                ssh_connect(
                    SSHTarget(alias, host_key=host.fingerprint, known_hosts=tmp_path / "k")
                ),
            )
            link.open(30)
            done = link.run(
                ["sh", "-c", 'sleep 0.3; test -n "$SECRET" && echo had'],
                env={"SECRET": plain["environment"]},
            )
            assert done.stdout == b"had\n"
            link.close()
            server.api("GET", f"kernels/{quote(kernel)}/executions?since=0")
            at_hosts = holding(open_to_others(host.disk / "upper"), canaries)
            for place in ("tmp", "run", "dev/shm"):
                at_hosts += holding(open_to_others(host.root / place), canaries)
            assert server.request("DELETE", f"api/kernels/{kernel}", timeout=60).status == 204

            def idle() -> bool:
                rows = server.get("machines/box/processes")["processes"]
                return all(row["state"] == "exited" for row in rows)

            wait_for(idle, 20, "the kernel to end")
            removed = server.operation(server.api("DELETE", "machines/box"), 90)
            assert removed["error"] is None
        server.operation(server.api("POST", "machines/local/stop"), 90)
    finally:
        server.stop()
    # The search finds what is there.
    (host.disk / "upper/var/tmp/planted").write_bytes(b"x" + canaries["typed"])
    assert holding(open_to_others(host.disk / "upper/var/tmp"), canaries) != []
    assert any(b"ipykernel" in argv for argv in seen.argv) and any(
        b"ssh\0" in argv for argv in seen.argv
    )

    assert at_hosts == []
    hidden = {name: value for name, value in canaries.items() if name != "token"}
    assert [
        (name, argv) for argv in seen.argv for name, value in canaries.items() if value in argv
    ] == []
    assert [
        name
        for environ in seen.environments
        for name, value in canaries.items()
        if value in environ
    ] == []
    logs = [
        server.log,
        *(tmp_path / "cloudml").rglob("*.log"),
        *(tmp_path / "cloudml").glob("*.db*"),
        *(tmp_path / "cloudml").glob("*.sqlite*"),
    ]
    assert any(path.suffix.startswith((".db", ".sqlite")) for path in logs)
    assert holding(iter(logs), canaries) == []
    assert holding(iter([host.disk / "upper/var/log/sshd.log"]), hidden) == []
    assert stat.S_IMODE((tmp_path / "cloudml").stat().st_mode) == 0o700
    wait_for(lambda: not host.processes("ada"), 20, "the host to be left")
