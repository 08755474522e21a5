"""Kernels on machines through a real server: listed, measured, recorded, called off, told of as events."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Identity, SSHConfig
from liveserver import BASE_URL, Client, EventStream, ThreadServer, places, thread_server, wait_for
from runs import notebook as cells_of
from websocket import create_connection

from jupyter_cloudml.jobs.attempts.installation import Installations, Installed, put

OPERATION_S = 90.0


class Page:
    """A page's connection to a kernel: sends cells with their ids, as JupyterLab does."""

    def __init__(self, client: Client, kernel_id: str) -> None:
        self.session = uuid.uuid4().hex
        path = f"api/kernels/{kernel_id}/channels?session_id={self.session}"
        header = [f"Authorization: token {client.token}"]
        url = f"ws://127.0.0.1:{client.port}{BASE_URL}{path}"
        self._socket = create_connection(url, header=header, timeout=60)

    def close(self) -> None:
        self._socket.close()

    def send(self, code: str, cell_id: str) -> str:
        """Send a cell and return the id of its request."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "username": "test",
            "session": self.session,
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {"cellId": cell_id},
            "content": content,
            "channel": "shell",
        }
        self._socket.send(json.dumps(message))
        return header["msg_id"]

    def run(self, code: str, cell_id: str) -> str:
        """Send a cell and wait until the kernel is idle again; return the id of its request."""
        msg_id = self.send(code, cell_id)
        while True:
            message = json.loads(self._socket.recv())
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if message["content"].get("execution_state") == "idle":
                return msg_id


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadServer]:
    root = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(root).items():
            patch.setenv(name, value)
        with thread_server(root) as made:
            yield made
            made.operation(made.api("POST", "machines/local/stop"), OPERATION_S)


@contextlib.contextmanager
def notebook(
    server: ThreadServer, path: str, kernel_name: str = "cloudml-local"
) -> Iterator[tuple[str, str]]:
    """A session with its kernel, as an open notebook has; (kernel id, session id)."""
    body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": kernel_name}}
    reply = server.request("POST", "api/sessions", body, timeout=60)
    assert reply.status == 201, reply.body
    kernel_id, session_id = reply.json()["kernel"]["id"], reply.json()["id"]
    try:
        yield kernel_id, session_id
    finally:
        server.request("DELETE", f"api/sessions/{session_id}", timeout=60)


def kernel_row(server: Client, kernel_id: str) -> Any:
    rows = {row["id"]: row for row in server.get("kernels")["kernels"]}
    return rows.get(kernel_id)


def connected(server: Client, kernel_id: str) -> Any:
    def look() -> Any:
        row = kernel_row(server, kernel_id)
        return row if row and row["state"] == "connected" else None

    return wait_for(look, 60, f"kernel {kernel_id} to be connected")


def text_of(execution: dict[str, Any]) -> str:
    return "".join(
        message["content"]["text"]
        for message in execution["messages"]
        if message["type"] == "stream"
    )


def test_kernel_is_listed_with_its_notebook_also_after_a_rename(server: ThreadServer) -> None:
    with notebook(server, "one.ipynb") as (kernel_id, session_id):
        row = connected(server, kernel_id)
        assert (row["machine"], row["path"], row["exit"]) == ("local", "one.ipynb", None)
        processes = server.get("machines/local/processes")["processes"]
        assert row["process"] in [process["id"] for process in processes]
        renamed = {"path": "sub folder/é.ipynb", "name": "é.ipynb"}
        assert server.request("PATCH", f"api/sessions/{session_id}", renamed).status == 200
        assert kernel_row(server, kernel_id)["path"] == "sub folder/é.ipynb"
        assert server.get("status")["kernels"] == 1
    wait_for(lambda: kernel_row(server, kernel_id) is None, 30, "the kernel to leave the list")


def test_kernel_without_a_notebook_and_an_ordinary_one(server: ThreadServer) -> None:
    ours = server.request("POST", "api/kernels", {"name": "cloudml-local"}, timeout=60).json()["id"]
    plain = server.request("POST", "api/kernels", {"name": "python3"}, timeout=60).json()["id"]
    try:
        connected(server, ours)
        assert kernel_row(server, plain) is None
        assert server.api("GET", f"kernels/{plain}/gauges").status == 404
        assert server.api("POST", f"kernels/{plain}/cancel-start").status == 404
        reply = server.api("POST", f"kernels/{ours}/cancel-start")
        assert (reply.status, reply.code) == (409, "not_starting")
    finally:
        for kernel_id in (ours, plain):
            server.request("DELETE", f"api/kernels/{kernel_id}", timeout=60)


def test_states_of_a_kernel_are_events(server: ThreadServer) -> None:
    def is_state(kernel_id: str, state: str) -> Callable[[dict[str, Any]], bool]:
        return lambda e: e["noun"] == "kernel" and e["id"] == kernel_id and e["state"] == state

    with server.events() as events:
        with notebook(server, "two.ipynb") as (kernel_id, _):
            seen = events.until(is_state(kernel_id, "connected"))
            assert seen["machine"] == "local"
        events.until(is_state(kernel_id, "ended"))


def test_gauges_of_a_kernel_are_those_of_its_process(server: ThreadServer) -> None:
    with notebook(server, "gauges.ipynb") as (kernel_id, _):
        connected(server, kernel_id)
        with contextlib.closing(Page(server, kernel_id)) as page:
            page.run("block = bytearray(b'x') * 200_000_000", "c1")

            def large() -> Any:
                gauges = server.get(f"kernels/{kernel_id}/gauges")
                return gauges if (gauges["memory_used"] or 0) > 200_000_000 else None

            gauges = wait_for(large, 20, "the block to be seen")
            assert gauges["memory_used"] < 2_000_000_000


def test_many_pages_ask_the_machine_once_a_second(server: ThreadServer) -> None:
    with notebook(server, "pages.ipynb") as (kernel_id, _):
        connected(server, kernel_id)
        cache = server.app.web_app.settings["cloudml_core"].gauges
        asked: list[str] = []
        ask = cache._read

        async def counted(machine: str) -> Any:
            asked.append(machine)
            return await ask(machine)

        cache._read = counted
        try:
            begun = time.monotonic()
            while time.monotonic() < begun + 2.5:
                assert server.api("GET", f"kernels/{kernel_id}/gauges").status == 200
                assert server.api("GET", "machines/local/gauges").status == 200
        finally:
            cache._read = ask
        assert 1 <= len(asked) <= (time.monotonic() - begun) + 1


def test_what_a_cell_says_is_recorded_and_forgotten_when_saved(server: ThreadServer) -> None:
    with notebook(server, "rec.ipynb") as (kernel_id, _):
        connected(server, kernel_id)
        assert server.get(f"kernels/{kernel_id}/executions")["executions"] == []
        with server.events() as events, contextlib.closing(Page(server, kernel_id)) as page:
            code = "import sys\nprint('hello')\nprint('é', file=sys.stderr)"
            msg_id = page.run(code, "cell-1")
            events.until(lambda e: e["noun"] == "executions" and e["kernel_id"] == kernel_id)

            def recorded() -> Any:
                record = server.get(f"kernels/{kernel_id}/executions?since=0")
                found = record["executions"]
                return record if found and found[0]["status"] == "ok" else None

            record = wait_for(recorded, 10, "the record")
            (execution,) = record["executions"]
            assert (execution["msg_id"], execution["cell_id"]) == (msg_id, "cell-1")
            assert execution["code"] == code and execution["execution_count"] == 1
            assert text_of(execution) == "hello\né\n"
            later = server.get(f"kernels/{kernel_id}/executions?since={record['seq']}")
            assert later["executions"] == [] and later["epoch"] == record["epoch"]
            ack = server.api("POST", f"kernels/{kernel_id}/executions/ack", {"msg_ids": [msg_id]})
            assert ack.status == 204
            assert server.get(f"kernels/{kernel_id}/executions")["executions"] == []


def test_events_of_a_chatty_cell_are_few(server: ThreadServer) -> None:
    with notebook(server, "chatty.ipynb") as (kernel_id, _):
        connected(server, kernel_id)
        with server.events() as events, contextlib.closing(Page(server, kernel_id)) as page:
            code = (
                "import time\nend = time.time() + 2\nn = 0\n"
                "while time.time() < end:\n    n += 1\n    print(n, flush=True)\n    time.sleep(.002)"
            )
            page.run(code, "cell-1")
            last = newest(server, kernel_id)

            def ours(event: dict[str, Any]) -> bool:
                return bool(event["noun"] == "executions" and event["kernel_id"] == kernel_id)

            events.until(lambda e: ours(e) and e["seq"] >= last)
            told = [e for e in events.seen if ours(e)]
            assert 5 <= len(told) <= 30  # two seconds and a little, ten a second
            assert events_stop(events)


def newest(server: Client, kernel_id: str) -> int:
    """Read the record to its end and return its sequence number."""
    seq, more = 0, True
    while more:
        record = server.get(f"kernels/{kernel_id}/executions?since={seq}")
        seq, more = int(record["seq"]), bool(record["more"])
    return seq


def events_stop(events: EventStream) -> bool:
    """Say whether nothing more is told of executions while nothing happens."""
    with pytest.raises(AssertionError, match="no such event"):
        events.until(lambda e: e["noun"] == "executions", timeout=1)
    return True


def test_outputs_outlive_their_kernel_and_are_found_by_notebook(server: ThreadServer) -> None:
    path = "gone é.ipynb"
    with notebook(server, path) as (kernel_id, _):
        connected(server, kernel_id)
        with contextlib.closing(Page(server, kernel_id)) as page:
            msg_id = page.run("print(6 * 7)", "cell-1")
    wait_for(lambda: kernel_row(server, kernel_id) is None, 30, "the kernel to be gone")
    found = wait_for(
        lambda: server.get(f"executions?path={quote(path)}")["executions"], 10, "the record by path"
    )
    assert [(each["msg_id"], text_of(each)) for each in found] == [(msg_id, "42\n")]
    assert server.get("executions?path=other.ipynb")["executions"] == []
    ack = {"path": path, "msg_ids": [msg_id]}
    assert server.api("POST", "executions/ack", ack).status == 204
    assert server.get(f"executions?path={quote(path)}")["executions"] == []


def test_kernel_that_is_killed_says_how(server: ThreadServer) -> None:
    with notebook(server, "killed.ipynb") as (kernel_id, _):
        connected(server, kernel_id)
        with server.events() as events, contextlib.closing(Page(server, kernel_id)) as page:
            page.send("import os; os.kill(os.getpid(), 9)", "cell-1")
            event = events.until(lambda e: e["noun"] == "kernel" and e["state"] == "ended")
            assert event["id"] == kernel_id and event["cause"]


# -- a real host -------------------------------------------------------------------------------------


@pytest.fixture
def box_machine(
    server: ThreadServer, host: Host, identity: Identity, ssh_config: SSHConfig
) -> Iterator[str]:
    body = {
        "name": "box",
        "host": host.address,
        "user": "ada",
        "identity": str(identity.private),
        "host_key": host.fingerprint,
    }
    added = server.operation(server.api("POST", "machines", body, timeout=60), OPERATION_S)
    assert added["state"] == "done", added
    yield "box"
    removed = server.operation(
        server.api("DELETE", "machines/box?stop_processes=true"), OPERATION_S
    )
    if removed["state"] != "done":
        removed = server.operation(server.api("DELETE", "machines/box"), OPERATION_S)
    assert removed["state"] == "done", removed


def test_kernel_on_a_host_is_the_hosts(server: ThreadServer, host: Host, box_machine: str) -> None:
    with notebook(server, "remote.ipynb", "cloudml-box") as (kernel_id, _):
        row = connected(server, kernel_id)
        assert row["machine"] == "box"
        with contextlib.closing(Page(server, kernel_id)) as page:
            page.run("import socket; print(socket.gethostname())", "cell-1")
        record = wait_for(
            lambda: server.get(f"kernels/{kernel_id}/executions")["executions"], 10, "the record"
        )
        assert text_of(record[0]).strip() == host.name
        reply = server.operation(server.api("DELETE", "machines/box"), OPERATION_S)
        assert (reply["state"], reply["error"]["code"]) == ("failed", "in_use")
        wait_for(lambda: server.get("machines/box")["kernels"] == 1, 10, "the kernel to be counted")
        assert server.get(f"kernels/{kernel_id}/gauges")["memory_used"] > 0


def test_cut_link_is_no_dead_kernel(server: ThreadServer, host: Host, box_machine: str) -> None:
    with notebook(server, "cut.ipynb", "cloudml-box") as (kernel_id, _):
        connected(server, kernel_id)
        with server.events() as events:
            host.stop_sshd(sessions=True)
            try:
                lost = events.until(
                    lambda e: e["noun"] == "kernel" and e["state"] == "reconnecting", timeout=40
                )
                assert lost["id"] == kernel_id
                row = kernel_row(server, kernel_id)
                assert row["state"] == "reconnecting" and row["exit"] is None
                gauges = server.api("GET", f"kernels/{kernel_id}/gauges")
                assert (gauges.status, gauges.code) == (503, "link_down")
            finally:
                host.start_sshd()
            events.until(lambda e: e["noun"] == "kernel" and e["state"] == "connected", timeout=60)


def test_the_kernel_of_a_failed_run_on_a_host_is_opened_here_and_released(
    server: ThreadServer, host: Host, box_machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hosts have the Python of these tests, and no internet for one of their own.
    at_hand = lambda self, link, *args, **more: Installed(sys.executable, put(link, sys.executable))  # noqa: E731
    monkeypatch.setattr(Installations, "on", at_hand)
    name = f"far-{uuid.uuid4().hex[:8]}"
    path = Path(server.app.root_dir, "deep", f"{name}.ipynb")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(cells_of("there = 41", "1 / 0")))
    definition = {"name": name, "notebook": f"deep/{name}.ipynb", "machine": box_machine}
    definition["keep_on_failure"] = "10m"
    assert server.api("POST", "jobs", {"definition": definition}).status == 201
    run = server.api("POST", f"jobs/{name}/run").json()["id"]
    wait_for(lambda: server.get(f"runs/{run}")["kept"], 60, "the kernel that is kept")
    opened = server.api("POST", f"runs/{run}/kernel", timeout=60).json()
    assert (opened["path"], opened["machine"]) == (f"deep/debug-{name}.ipynb", "box")
    kernel_id = opened["kernel_id"]
    connected(server, kernel_id)
    with contextlib.closing(Page(server, kernel_id)) as page:
        page.run("import socket; print(there, socket.gethostname())", "cell-1")
        record = server.get(f"kernels/{kernel_id}/executions")["executions"]
        assert text_of(record[0]) == f"41 {host.name}\n"
        page.send("import time; print('on', flush=True); time.sleep(600)", "cell-2")
        said = f"kernels/{kernel_id}/executions"
        wait_for(
            lambda: text_of(server.get(said)["executions"][-1]) == "on\n", 30, "the cell to begin"
        )
        assert server.request("POST", f"api/kernels/{kernel_id}/interrupt", {}).status == 204
        page.run("print('still')", "cell-3")
    assert server.api("POST", f"runs/{run}/release").json() == {"released": True}
    row = wait_for(
        lambda: (found := kernel_row(server, kernel_id)) and found["exit"] and found, 30, "its end"
    )
    assert (row["state"], row["run"]) == ("ended", run)
    assert row["cause"] == "the kernel that was kept was ended"
    server.request("DELETE", f"api/kernels/{kernel_id}", timeout=60)


def test_start_on_a_host_that_hangs_is_called_off(
    server: ThreadServer, host: Host, box_machine: str
) -> None:
    host.freeze()
    try:
        begun = server.request("POST", "api/kernels", {"name": "cloudml-box"}, timeout=20)
        assert begun.status == 201, begun.body
        kernel_id = begun.json()["id"]
        row = wait_for(lambda: kernel_row(server, kernel_id), 10, "the starting kernel")
        assert row["state"] == "starting"
        assert server.api("POST", f"kernels/{kernel_id}/cancel-start").status == 204

        def over() -> bool:
            row = kernel_row(server, kernel_id)
            return row is None or row["state"] == "ended"

        wait_for(over, 10, "the end of the start")
    finally:
        host.thaw()
        server.request("DELETE", f"api/kernels/{kernel_id}", timeout=60)
