"""Names that are commands: in every REST field that reaches a shell, an argv or a file, on a real host. None is carried out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Identity, SSHConfig
from liveserver import ThreadServer, places, thread_server

OPERATION_S = 90.0


class Mark:
    """A file that a hostile name would make, here or on the host."""

    def __init__(self, path: Path, host: Host) -> None:
        self.path, self.host = path, host

    @property
    def corpus(self) -> list[str]:
        touch = f"touch {self.path}"
        return [
            f"-oProxyCommand={touch}",
            f"--upload-pack={touch}",
            f"$({touch})",
            f"`{touch}`",
            f";{touch}",
            f"| {touch} #",
            f"&& {touch}",
            f"\n{touch}\n",
            f"x' ; {touch} ; '",
            f'x" ; {touch} ; "',
            f"${{IFS}}{touch}",
            f"a$({touch.replace(' ', '${IFS}')})b",
            "a b",
            "é",
            "x" * 900_000,
        ]

    def assert_absent(self) -> None:
        assert not os.path.lexists(self.path), "carried out on this computer"
        assert not os.path.lexists(f"{self.host.root}{self.path}"), "carried out on the host"


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_config: SSHConfig
) -> Iterator[ThreadServer]:
    for name, value in places(tmp_path).items():
        monkeypatch.setenv(name, value)
    with thread_server(tmp_path) as made:
        yield made
        made.operation(made.api("POST", "machines/local/stop"), OPERATION_S)


@pytest.fixture
def mark(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Mark:
    name = tmp_path_factory.mktemp("m").name
    return Mark(Path(f"/var/tmp/cloudml-{name}-{os.getpid()}"), host)


@pytest.fixture
def good(host: Host, identity: Identity) -> dict[str, Any]:
    return {
        "name": "box",
        "host": host.address,
        "user": "ada",
        "identity": str(identity.private),
        "host_key": host.fingerprint,
    }


def machines(server: ThreadServer) -> list[str]:
    return [machine["name"] for machine in server.get("machines")["machines"]]


def test_corpus_would_leave_its_mark(mark: Mark) -> None:
    """The control: a shell that is given these does carry them out."""
    subprocess.run(["sh", "-c", f"echo {mark.corpus[2]}"], check=True, timeout=10)
    assert mark.path.exists()
    mark.path.unlink()
    sh = mark.host.run(["sh", "-c", f"echo {mark.corpus[3]}"])
    assert os.path.lexists(f"{mark.host.root}{mark.path}"), sh


def test_field_that_is_a_name_refuses_it(
    server: ThreadServer, mark: Mark, good: dict[str, Any]
) -> None:
    for field in ("name", "host", "user", "host_key", "carrier", "port"):
        for hostile in mark.corpus:
            reply = server.api("POST", "machines", {**good, field: hostile})
            assert reply.status == 400, (field, hostile[:60], reply.body)
            assert len(reply.body) < 1000
            if field in ("host", "user", "port"):
                query = {"host": good["host"], field: hostile}
                assert server.api("POST", "machines/host-key", query).status == 400
    mark.assert_absent()
    assert machines(server) == ["local"]
    assert server.get("operations")["operations"] == []


@pytest.mark.parametrize("field", ["identity", "python"])
def test_field_that_is_a_path_takes_it_literally(
    server: ThreadServer, mark: Mark, good: dict[str, Any], field: str
) -> None:
    for hostile in mark.corpus:
        reply = server.api("POST", "machines", {**good, field: hostile}, timeout=60)
        if reply.status != 400:
            operation = server.operation(reply, OPERATION_S)
            assert operation["state"] == "failed", (field, hostile[:60])
            assert operation["error"]["code"] not in ("internal", "agent_error"), operation
    mark.assert_absent()
    assert machines(server) == ["local"]


def test_everything_else_that_has_a_name(
    server: ThreadServer, mark: Mark, good: dict[str, Any]
) -> None:
    operation = server.operation(server.api("POST", "machines", good, timeout=60), OPERATION_S)
    assert operation["state"] == "done", operation
    for hostile in mark.corpus:
        label = hostile.strip()[:90]
        reply = server.api("PATCH", "machines/box", {"label": label})
        if reply.status == 200:
            assert reply.json()["label"] == label
        else:
            assert reply.status == 400
        quoted = quote(hostile[:8000], safe="")
        for method, path in (
            ("GET", "machines/{}"),
            ("DELETE", "machines/{}"),
            ("POST", "machines/{}/start"),
            ("POST", "machines/{}/check"),
            ("GET", "machines/{}/gauges"),
            ("GET", "operations/{}"),
            ("DELETE", "operations/{}"),
            ("GET", "kernels/{}/gauges"),
            ("GET", "kernels/{}/executions"),
            ("POST", "kernels/{}/cancel-start"),
        ):
            reply = server.api(method, path.format(quoted))
            assert reply.status in (400, 404), (method, path, hostile[:60], reply.status)
        reply = server.api("GET", f"executions?path={quoted}")
        assert reply.status in (200, 400)
        body = {"path": hostile[:4000], "msg_ids": [hostile[:150]]}
        assert server.api("POST", "executions/ack", body).status in (204, 400)
    mark.assert_absent()
    check = server.operation(server.api("POST", "machines/box/check"), OPERATION_S)
    assert check["state"] == "done"
    assert server.operation(server.api("DELETE", "machines/box"), OPERATION_S)["state"] == "done"
    mark.assert_absent()
