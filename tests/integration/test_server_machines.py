"""Machines over REST, with the real core: this computer, and a host over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Identity, SSHConfig
from liveserver import ThreadServer, places, thread_server, wait_for

OPERATION_S = 90.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadServer]:
    """One server for all; each test leaves it with this computer alone."""
    root = tmp_path_factory.mktemp("machines")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(root).items():
            patch.setenv(name, value)
        with thread_server(root) as made:
            yield made
            stop_local(made)


def stop_local(server: ThreadServer) -> None:
    """End this computer's agent."""
    server.operation(server.api("POST", "machines/local/stop"), OPERATION_S)


def running(server: ThreadServer, name: str) -> Any:
    """Wait until a machine runs and return it."""

    def look() -> Any:
        machine = server.get(f"machines/{name}")
        return machine if machine["state"] == "running" else None

    return wait_for(look, OPERATION_S, f"{name} to run")


def test_this_machine_is_there_without_configuration(server: ThreadServer) -> None:
    answer = server.get("machines")
    assert [machine["name"] for machine in answer["machines"]] == ["local"]
    assert answer["machines"][0]["label"] == "This machine"
    machine = running(server, "local")
    assert machine["info"]["cpus"] >= 1 and machine["info"]["memory_bytes"] > 0
    assert server.get("machines")["seq"] >= answer["seq"]


def test_status_tells_version_and_place(server: ThreadServer) -> None:
    status = server.get("status")
    assert Path(status["home"]).name == "cloudml" and Path(status["home"]).is_dir()
    assert (status["machines"], status["kernels"]) == (1, 0)


def test_gauges_and_processes_of_this_machine(server: ThreadServer) -> None:
    running(server, "local")
    gauges = server.get("machines/local/gauges")
    assert 0 < gauges["machine"]["memory_used"] <= gauges["machine"]["memory_total"]
    assert server.get("machines/local/processes") == {"processes": []}


def test_gauges_of_a_stopped_machine_start_nothing(server: ThreadServer) -> None:
    running(server, "local")
    stop_local(server)
    assert server.get("machines/local")["state"] == "stopped"
    for path in ("gauges", "processes"):  # gauges may be a second old

        def refused(path: str = path) -> Any:
            reply = server.api("GET", f"machines/local/{path}")
            return reply if reply.status != 200 else None

        assert wait_for(refused, 10, "the refusal").code == "link_down"
    assert server.get("machines/local")["state"] == "stopped"
    server.operation(server.api("POST", "machines/local/start"), OPERATION_S)


def test_stop_and_start_are_operations_and_events(server: ThreadServer) -> None:
    running(server, "local")
    with server.events() as events:
        stopped = server.operation(server.api("POST", "machines/local/stop"), OPERATION_S)
        assert (stopped["state"], stopped["error"]) == ("done", None)
        event = events.until(lambda e: e["noun"] == "machine" and e["state"] == "stopped")
        started = server.operation(server.api("POST", "machines/local/start"), OPERATION_S)
        assert started["state"] == "done" and started["result"]["state"] == "running"
        later = events.until(lambda e: e["noun"] == "machine" and e["state"] == "running")
        assert event["name"] == later["name"] == "local" and later["version"] > event["version"]
        ended = events.until(lambda e: e["noun"] == "operation" and e["state"] == "done")
        assert ended["id"] in (stopped["id"], started["id"])


def test_label_and_policies_can_be_changed(server: ThreadServer) -> None:
    changes = {"label": "Mein Rechner é", "cull_idle_s": 3600, "prewarm": 0}
    reply = server.api("PATCH", "machines/local", changes)
    assert reply.status == 200
    assert {key: reply.json()[key] for key in changes} == changes
    assert (
        server.api("PATCH", "machines/local", {"cull_idle_s": None}).json()["cull_idle_s"] is None
    )
    assert server.api("PATCH", "machines/nobody", {"label": "x"}).status == 404


def test_this_machine_cannot_be_removed(server: ThreadServer) -> None:
    operation = server.operation(server.api("DELETE", "machines/local"))
    assert operation["state"] == "failed" and operation["error"]["message"]
    assert [machine["name"] for machine in server.get("machines")["machines"]] == ["local"]


def test_what_is_not_there_is_not_found(server: ThreadServer) -> None:
    for method, path in (
        ("GET", "machines/nobody"),
        ("DELETE", "machines/nobody"),
        ("POST", "machines/nobody/start"),
        ("POST", "machines/nobody/check"),
        ("GET", "machines/nobody/gauges"),
        ("GET", "machines/nobody/processes"),
        ("GET", "operations/nothing"),
        ("DELETE", "operations/nothing"),
        ("GET", "kernels/nothing/gauges"),
        ("POST", "kernels/nothing/cancel-start"),
        ("GET", "nothing"),
    ):
        reply = server.api(method, path)
        assert (reply.status, reply.code) == (404, "not_found"), (method, path)


def test_unknown_kernel_has_an_empty_record(server: ThreadServer) -> None:
    record = server.get("kernels/00000000-0000-0000-0000-000000000000/executions?since=5")
    assert record["executions"] == [] and record["more"] is False
    record = server.get("executions?path=a%20b/%C3%A9.ipynb")
    assert record["executions"] == [] and record["kernel_id"] is None
    ack = {"path": "a b/é.ipynb", "msg_ids": ["m1"]}
    assert server.api("POST", "executions/ack", ack).status == 204
    assert server.api("POST", "kernels/k-1/executions/ack", {"msg_ids": []}).status == 204


def test_bad_query_is_refused(server: ThreadServer) -> None:
    for path in (
        "kernels/k-1/executions?since=-1",
        "kernels/k-1/executions?since=x",
        "kernels/k-1/executions?since=99999999999999999999",
        "executions?path=a.ipynb&since=%E9",
        "executions",
    ):
        assert server.api("GET", path).status == 400, path
    assert server.api("DELETE", "machines/local?stop_processes=perhaps").status == 400


def test_unreachable_host_fails_with_its_cause_and_leaves_nothing(server: ThreadServer) -> None:
    body = {"name": "nobody", "host": "127.0.0.1", "port": 1}
    operation = server.operation(server.api("POST", "machines", body), OPERATION_S)
    assert operation["state"] == "failed"
    assert operation["error"]["code"] == "refused"
    assert [machine["name"] for machine in server.get("machines")["machines"]] == ["local"]


def test_suggestions_are_the_hosts_of_the_ssh_configuration(
    server: ThreadServer, ssh_config: SSHConfig
) -> None:
    ssh_config.path.write_text("Host gpu-1 gpu-2\n  HostName 127.0.0.1\n  User ada\n  Port 2222\n")
    names = [each["name"] for each in server.get("machines/suggestions")["suggestions"]]
    assert names == ["gpu-1", "gpu-2"]
    form = server.get("machines/schema")
    assert form["schema"]["properties"]["host"]["examples"] == names
    assert form["uiSchema"]["carrier"]["ui:options"]["advanced"] is True


# -- a real host -------------------------------------------------------------------------------------


@pytest.fixture
def address(host: Host, identity: Identity) -> dict[str, Any]:
    """The body that adds the test's host, but for its name."""
    return {"host": host.address, "user": "ada", "identity": str(identity.private)}


def test_first_contact_shows_the_fingerprint_and_asks(
    server: ThreadServer, host: Host, address: dict[str, Any], ssh_config: SSHConfig
) -> None:
    key = server.api("POST", "machines/host-key", {"host": host.address})
    assert key.status == 200 and key.json()["fingerprint"] == host.fingerprint
    reply = server.api("POST", "machines", {"name": "box", **address}, timeout=60)
    assert (reply.status, reply.code) == (409, "host_key_unknown")
    assert reply.json()["details"]["fingerprint"] == host.fingerprint
    assert reply.json()["details"]["host"] == host.address
    assert [machine["name"] for machine in server.get("machines")["machines"]] == ["local"]


def test_wrong_fingerprint_is_refused_before_authentication(
    server: ThreadServer, host: Host, address: dict[str, Any], ssh_config: SSHConfig
) -> None:
    body = {"name": "box", **address, "host_key": "SHA256:" + "A" * 43}
    operation = server.operation(server.api("POST", "machines", body, timeout=60), OPERATION_S)
    assert operation["error"]["code"] == "host_key_changed"
    assert [machine["name"] for machine in server.get("machines")["machines"]] == ["local"]


def test_machine_is_added_used_and_removed(
    server: ThreadServer, host: Host, address: dict[str, Any], ssh_config: SSHConfig
) -> None:
    body = {"name": "box", **address, "host_key": host.fingerprint}
    with server.events() as events:
        reply = server.api("POST", "machines", body, timeout=60)
        begun = reply.json()["operation"]
        assert (begun["kind"], begun["target"], begun["state"]) == ("add", "box", "running")
        operation = server.operation(reply, OPERATION_S)
        assert operation["state"] == "done", operation
        assert operation["result"]["name"] == "box"
        steps = [e for e in events.seen if e["noun"] == "operation" and e.get("step")]
        events.until(lambda e: e["noun"] == "machine" and e["name"] == "box")
        steps += [e for e in events.seen if e["noun"] == "operation" and e.get("step")]
        assert steps and all(step["step"]["of"] >= step["step"]["n"] >= 1 for step in steps)

        assert [each["name"] for each in server.get("machines")["machines"]] == ["local", "box"]
        machine = running(server, "box")
        assert machine["address"].startswith("ada@") and machine["provider"] == "ssh"
        specs = server.request("GET", "api/kernelspecs").json()["kernelspecs"]
        assert "cloudml-box" in specs

        for name in ("box", "BOX"):
            again = server.api("POST", "machines", {**body, "name": name})
            assert (again.status, again.code) == (409, "exists"), again.body
        gauges = server.get("machines/box/gauges")
        assert gauges["machine"]["memory_total"] > 0
        assert server.get("machines/box/processes") == {"processes": []}

        check = server.operation(server.api("POST", "machines/box/check"), OPERATION_S)
        assert check["state"] == "done" and len(check["result"]) > 3
        assert all(step["ok"] for step in check["result"]), check["result"]

        removed = server.operation(server.api("DELETE", "machines/box"), OPERATION_S)
        assert removed["state"] == "done", removed
        gone = events.until(lambda e: e["noun"] == "machine" and bool(e.get("removed")))
        assert gone["name"] == "box"
    assert [each["name"] for each in server.get("machines")["machines"]] == ["local"]
    specs = server.request("GET", "api/kernelspecs").json()["kernelspecs"]
    assert not [name for name in specs if name.startswith("cloudml-box")]
    kinds = [(each["kind"], each["state"]) for each in server.get("operations")["operations"]]
    assert kinds[:3] == [("remove", "done"), ("check", "done"), ("add", "done")]


def test_adding_can_be_called_off(
    server: ThreadServer, host: Host, address: dict[str, Any], ssh_config: SSHConfig
) -> None:
    body = {"name": "box", **address, "host_key": host.fingerprint}
    reply = server.api("POST", "machines", body, timeout=60)
    identity = reply.json()["operation"]["id"]
    assert server.api("DELETE", f"operations/{identity}").status == 202
    operation = server.operation(reply, OPERATION_S)
    assert (operation["state"], operation["error"]["code"]) == ("cancelled", "cancelled")
    assert [each["name"] for each in server.get("machines")["machines"]] == ["local"]
    assert server.api("DELETE", f"operations/{identity}").json()["state"] == "cancelled"


def test_cut_link_is_said_with_its_cause(
    server: ThreadServer, host: Host, address: dict[str, Any], ssh_config: SSHConfig
) -> None:
    body = {"name": "box", **address, "host_key": host.fingerprint}
    assert server.operation(server.api("POST", "machines", body, timeout=60), OPERATION_S)
    running(server, "box")
    host.power_off(fin=True)  # at once: that silence is noticed has tests of its own
    with server.events() as events:
        event = events.until(
            lambda e: e["noun"] == "machine" and e["state"] == "unreachable", timeout=60
        )
    assert event["name"] == "box" and event["cause"]
    reply = server.api("GET", "machines/box/gauges")
    assert (reply.status, reply.code) == (503, "link_down")
    machine = server.get("machines/box")
    assert machine["cause"] and machine["next_action"]
    operation = server.operation(server.api("POST", "machines/box/retry"))
    assert operation["state"] == "done"
    removed = server.operation(server.api("DELETE", "machines/box"), OPERATION_S)
    assert removed["state"] == "done", removed
