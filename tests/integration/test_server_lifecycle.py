"""The server with our extension in it: it starts whatever is broken, stays quick whatever hangs, and stops in bounded time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Identity, SSHConfig
from liveserver import (
    Client,
    ProcessServer,
    ThreadServer,
    leave_nothing,
    places,
    start_server,
    thread_server,
    wait_for,
)

OPERATION_S = 90.0
STOP_S = 15.0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder for one installation; nothing of it runs on, however the test ends."""
    yield tmp_path
    leave_nothing(tmp_path)


@contextlib.contextmanager
def a_server(root: Path, **more: Any) -> Iterator[ProcessServer]:
    server = start_server(root, **more)
    try:
        yield server
    finally:
        server.stop()


def end_local(server: Client) -> None:
    server.operation(server.api("POST", "machines/local/stop"), OPERATION_S)


def start_kernel(server: Client) -> str:
    reply = server.request("POST", "api/kernels", {"name": "cloudml-local"}, timeout=60)
    assert reply.status == 201, reply.body
    kernel_id = str(reply.json()["id"])

    def connected() -> bool:
        rows = server.get("kernels")["kernels"]
        return any(row["id"] == kernel_id and row["state"] == "connected" for row in rows)

    wait_for(connected, 60, "the kernel")
    return kernel_id


def running_processes(server: Client) -> list[str]:
    def look() -> Any:
        reply = server.api("GET", "machines/local/processes")
        return [reply.json()] if reply.status == 200 else None

    rows = wait_for(look, 60, "the agent")[0]["processes"]
    return [row["id"] for row in rows if row["state"] == "running"]


def test_kernels_are_kept_when_the_server_stops(root: Path) -> None:
    with a_server(root) as server:
        start_kernel(server)
        processes = running_processes(server)
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() < begun + STOP_S
    with a_server(root) as server:
        assert running_processes(server) == processes != []
        end_local(server)


def test_kernels_are_stopped_where_that_is_configured(root: Path) -> None:
    arguments = ("--CloudMLApp.on_server_stop=stop",)
    with a_server(root, arguments=arguments) as server:
        start_kernel(server)
        assert server.stop() == 0
    with a_server(root) as server:
        assert running_processes(server) == []
        end_local(server)


def test_home_can_be_configured(root: Path) -> None:
    home = root / "another home"
    with a_server(root, arguments=(f"--CloudMLApp.home={home}",)) as server:
        assert server.get("status")["home"] == str(home)
        start_kernel(server)
        end_local(server)
    assert (home / "cloudml.db").exists()
    assert not (root / "cloudml").exists()


def test_damaged_database_is_said_by_every_route_and_the_server_is_up(root: Path) -> None:
    home = root / "cloudml"
    home.mkdir(mode=0o700)
    database = home / "cloudml.db"
    database.mkdir()  # nothing that could be set aside and begun anew
    with a_server(root) as server:
        for method, path in (("GET", "machines"), ("GET", "kernels"), ("POST", "machines/x/start")):
            reply = server.api(method, path)
            assert (reply.status, reply.code) == (503, "store_unavailable"), reply.body
            assert str(database) in reply.json()["message"]
        assert server.api("GET", "openapi.json").status == 200
        plain = server.request("POST", "api/kernels", {"name": "python3"}, timeout=60)
        assert plain.status == 201
        assert server.stop() == 0


def test_a_database_that_cannot_be_one_is_not_the_requests_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_DB", "mysql://nobody@nowhere/none")
    with a_server(root) as server:
        reply = server.api("GET", "machines")
        assert reply.status == 503, reply.body
        assert "JUPYTER_CLOUDML_DB" in reply.json()["message"] and reply.json()["hint"]
        assert server.stop() == 0


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_config: SSHConfig
) -> Iterator[ThreadServer]:
    for name, value in places(tmp_path).items():
        monkeypatch.setenv(name, value)
    with thread_server(tmp_path) as made:
        yield made
        end_local(made)


@pytest.fixture
def box_machine(server: ThreadServer, host: Host, identity: Identity) -> dict[str, Any]:
    body = {
        "name": "box",
        "host": host.address,
        "user": "ada",
        "identity": str(identity.private),
        "host_key": host.fingerprint,
    }
    added = server.operation(server.api("POST", "machines", body, timeout=60), OPERATION_S)
    assert added["state"] == "done", added
    return body


def test_host_that_hangs_does_not_hold_up_the_server(
    server: ThreadServer, host: Host, box_machine: dict[str, Any]
) -> None:
    """Every request that waits for the host is under way; those that do not are answered at once."""
    host.freeze()
    try:
        waiting = [
            ("POST", "machines", {**box_machine, "name": "box-2"}),
            ("POST", "machines/host-key", {"host": box_machine["host"]}),
            ("GET", "machines/box/gauges", None),
            ("GET", "machines/box/processes", None),
            ("POST", "machines/box/check", None),
            ("POST", "machines/box/retry", None),
        ]
        with ThreadPoolExecutor(len(waiting)) as pool:
            asked = [
                pool.submit(server.api, method, path, body, timeout=60)
                for method, path, body in waiting
            ]
            slowest = 0.0
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                for path in ("machines", "kernels", "operations", "machines/box"):
                    begun = time.monotonic()
                    assert server.api("GET", path).status == 200
                    slowest = max(slowest, time.monotonic() - begun)
            assert slowest < 1.0
            assert not all(future.done() for future in asked), "nothing waited for the host"
            host.thaw()
            for future in asked:
                assert future.result(60).status != 500
        for operation in server.get("operations")["operations"]:
            server.api("DELETE", f"operations/{operation['id']}")
        wait_for(
            lambda: all(
                each["state"] != "running" for each in server.get("operations")["operations"]
            ),
            OPERATION_S,
            "all operations to end",
        )
    finally:
        host.thaw()


def test_server_stops_although_a_host_hangs(
    root: Path, host: Host, identity: Identity, ssh_config: SSHConfig
) -> None:
    body = {
        "name": "box",
        "host": host.address,
        "user": "ada",
        "identity": str(identity.private),
        "host_key": host.fingerprint,
    }
    with a_server(root) as server:
        added = server.operation(server.api("POST", "machines", body, timeout=60), OPERATION_S)
        assert added["state"] == "done", added
        end_local(server)
        host.freeze()
        try:
            second = {**body, "name": "box-2"}
            with ThreadPoolExecutor(2) as pool:
                pool.submit(_ignore_the_end, server, second)
                pool.submit(_ignore_the_end, server, {**second, "name": "box-3"})
                wait_for(lambda: len(server.get("operations")["operations"]) > 3, 10, "operations")
                begun = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() < begun + STOP_S
        finally:
            host.thaw()


def _ignore_the_end(server: Client, body: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the server stops meanwhile
        server.api("POST", "machines", body, timeout=60)


def test_stopped_server_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in places(tmp_path).items():
        monkeypatch.setenv(name, value)
    before = set(threading.enumerate())
    with thread_server(tmp_path) as server:
        start_kernel(server)
        end_local(server)

    def left() -> set[str]:
        return {t.name for t in set(threading.enumerate()) - before if t.name.startswith("cloudml")}

    # The record of executions belongs to the process, and its one thread with it.
    wait_for(
        lambda: not {name for name in left() if not name.startswith("cloudml-executions")},
        10,
        f"the end of {left()}",
    )
