"""Kernels outlive their server: killed or stopped, at any moment, they are there for the next one, and nothing they said is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudbox.commands import sh
from cloudbox.faults import Host
from cloudbox.fixture import Identity
from liveserver import BASE_URL, ProcessServer, start_server
from websocket import WebSocketTimeoutException, create_connection

from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.link.bootstrap import local_connect
from jupyter_cloudml.link.link import Link

from .kernels import alive, wait_for

JSON = dict[str, Any]
CONNECTED_S = 5.0  # from the server's first answer to a kernel that can be used


class Page:
    """What a page is to the server: a session id of its own and a websocket to a kernel."""

    def __init__(
        self, server: ProcessServer, kernel_id: str, session: str = "", timeout: float = 60
    ) -> None:
        self.session = session or uuid.uuid4().hex
        url = f"ws://127.0.0.1:{server.port}{BASE_URL}api/kernels/{kernel_id}/channels?session_id={self.session}"
        self.socket = create_connection(
            url, header=[f"Authorization: token {server.token}"], timeout=timeout
        )

    def send(self, kind: str, content: JSON, channel: str = "shell", **metadata: Any) -> str:
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": kind,
            "session": self.session,
            "username": "",
            "version": "5.3",
        }
        message = {
            "channel": channel,
            "header": header,
            "parent_header": {},
            "metadata": metadata,
            "content": content,
        }
        self.socket.send(json.dumps(message))
        return msg_id

    def execute(self, code: str, cell: str = "") -> str:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "allow_stdin": True,
            "user_expressions": {},
        }
        return self.send("execute_request", content, **({"cellId": cell} if cell else {}))

    def until(self, kind: str, msg_id: str, timeout: float = 60) -> list[JSON]:
        """The messages that answer a request, up to the first of this type."""
        found: list[JSON] = []
        deadline = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                message = json.loads(self.socket.recv())
            except WebSocketTimeoutException:
                raise AssertionError(f"no {kind} for {msg_id}: {found}") from None
            if message["parent_header"].get("msg_id") == msg_id:
                found.append(message)
                if message["msg_type"] == kind:
                    return found

    def run(self, code: str, cell: str = "", timeout: float = 60) -> str:
        """Execute and return the text that it prints."""
        found = self.until("execute_reply", msg_id := self.execute(code, cell), timeout)
        if not any(m["content"].get("execution_state") == "idle" for m in found):
            while found[-1]["content"].get("execution_state") != "idle":
                found += self.until("status", msg_id, timeout)
        replies = [m["content"] for m in found if m["msg_type"] == "execute_reply"]
        assert replies[0]["status"] == "ok", replies
        return "".join(m["content"]["text"] for m in found if m["msg_type"] == "stream")

    def close(self) -> None:
        self.socket.close()


class Home:
    """A user's folders, with one server after the other on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers: list[ProcessServer] = []
        self.pages: list[Page] = []

    @property
    def server(self) -> ProcessServer:
        return self.servers[-1]

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> ProcessServer:
        self.servers.append(start_server(self.root, arguments=arguments, env=env))
        return self.server

    def open(
        self, path: str = "nb.ipynb", kernel: str = "cloudml-local", timeout: float = 60
    ) -> JSON:
        """What Lab does when a notebook is opened: a session, which starts a kernel."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": kernel}}
        reply = self.server.request("POST", "api/sessions", body, timeout=timeout)
        assert reply.status == 201, reply.body
        return dict(reply.json())

    def page(self, kernel_id: str, **more: Any) -> Page:
        self.pages.append(Page(self.server, kernel_id, **more))
        return self.pages[-1]

    def get(self, path: str, timeout: float = 30) -> Any:
        reply = self.server.request("GET", path, timeout=timeout)
        assert reply.status == 200, (path, reply.body)
        return reply.json()

    def model(self, kernel_id: str) -> JSON:
        return dict(self.get(f"api/kernels/{kernel_id}"))

    def texts(self, kernel_id: str, **query: str) -> dict[str, str]:
        """The recorded text of each cell."""
        texts: dict[str, str] = {}
        since = 0
        while True:
            where = (
                f"executions?path={query['path']}&" if query else f"kernels/{kernel_id}/executions?"
            )
            answer = self.server.get(f"{where}since={since}")
            for e in answer["executions"]:
                text = "".join(str(m["content"].get("text", "")) for m in e["messages"])
                texts[e["cell_id"]] = texts.get(e["cell_id"], "") + text
            if not answer["more"]:
                return texts
            since = answer["seq"]

    def intents(self) -> list[str]:
        """What is written down about the kernels."""
        found = []
        for path in self.root.glob("cloudml/servers/*/*/k/*.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append(json.loads(path.read_text())["intent"])
        return found

    def rows(self) -> list[JSON]:
        """What the agent of this home owns."""
        with self.agent() as link:
            return list(link.call("list"))

    @contextlib.contextmanager
    def agent(self) -> Iterator[Link]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_CLOUDML_HOME", str(self.root / "cloudml"))
            link = Link("local", local_connect())
            link.open(30)
            try:
                yield link
            finally:
                link.close()

    def close(self) -> None:
        for page in self.pages:
            page.close()
        for server in self.servers:
            server.stop(kill=True)
        with contextlib.suppress(CloudMLError, OSError), self.agent() as link:
            link.call("shutdown", stop_processes=True, grace_s=0)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    try:
        yield made
    finally:
        made.close()


# -- the promise -----------------------------------------------------------------------------------------------------------------

PRINTING = """
import time
for i in range(1000):
    print(i, flush=True)
    if i == 100:
        open('started', 'w').close()
    if i == 800:
        open('down', 'w').close()
    time.sleep(0.002)
"""


def test_a_server_killed_three_times_finds_its_kernel_with_all_it_said(home: Home) -> None:
    home.start()
    session = home.open()
    kernel_id = session["kernel"]["id"]
    page = home.page(kernel_id)
    pid = int(page.run("import os; x = 0; print(os.getpid())"))
    for turn in range(3):
        page.run("x += 1")
        folder = home.root / "notebooks"
        for name in ("started", "down"):
            (folder / name).unlink(missing_ok=True)
        page.execute(PRINTING, cell=f"cell-{turn}")
        wait_for((folder / "started").exists, "the first lines")
        home.server.stop(kill=True)
        wait_for((folder / "down").exists, "lines while no server runs")

        home.start()
        began = time.monotonic()
        assert [k["id"] for k in home.get("api/kernels")] == [kernel_id], (
            "the first request finds it"
        )
        (again,) = home.get("api/sessions")
        assert (again["id"], again["path"], again["kernel"]["id"]) == (
            session["id"],
            "nb.ipynb",
            kernel_id,
        )
        page = home.page(kernel_id)
        out = page.run("print(x, os.getpid())")
        took = time.monotonic() - began
        assert out == f"{turn + 1} {pid}\n" and took < CONNECTED_S, (out, took)
        texts = home.texts(kernel_id)
        assert texts[f"cell-{turn}"] == "".join(f"{i}\n" for i in range(1000)), (
            "each line once, in order"
        )
    (execution,) = [
        e
        for e in home.server.get(f"kernels/{kernel_id}/executions")["executions"]
        if e["cell_id"] == "cell-2"
    ]
    assert (execution["status"], execution["code"]) == ("ok", PRINTING)
    assert home.open()["kernel"]["id"] == kernel_id, "opening the notebook starts no second kernel"


def test_a_server_that_is_stopped_leaves_its_kernels_and_ends_the_others(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    other = home.open("other.ipynb", "python3")["kernel"]["id"]
    page = home.page(kernel_id)
    page.run("x = 5")
    theirs = home.page(other)
    pid = int(theirs.run("import os; print(os.getpid())"))
    began = time.monotonic()
    assert home.server.stop() == 0
    assert time.monotonic() - began < 15
    wait_for(lambda: not alive(pid), "the end of the ordinary kernel")
    home.start()
    assert [k["id"] for k in home.get("api/kernels")] == [kernel_id]
    assert [s["path"] for s in home.get("api/sessions")] == ["nb.ipynb"]
    assert home.page(kernel_id).run("print(x)") == "5\n"


def test_a_kernel_that_cannot_be_let_go_properly_takes_no_other_with_it(home: Home) -> None:
    home.start()
    opened = [home.open(path) for path in ("a.ipynb", "b.ipynb")]
    pids = [int(home.page(s["kernel"]["id"]).run("import os; print(os.getpid())")) for s in opened]
    body = {"path": "c.ipynb", "name": "c.ipynb", "type": "notebook"}
    assert home.server.request("PATCH", f"api/sessions/{opened[0]['id']}", body).status == 200
    (folder,) = home.root.glob("cloudml/servers/*/*/k")
    folder.rename(folder.with_name("away"))
    folder.write_text("")  # the new path cannot be written down
    home.server.stop()
    assert "was not let go" in home.server.log.read_text()
    assert all(map(alive, pids))


def test_kernels_can_be_told_to_end_with_their_server(home: Home) -> None:
    home.start("--CloudMLApp.on_server_stop=stop")
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 5")
    assert home.server.stop() == 0
    wait_for(lambda: [r["state"] for r in home.rows()] in ([], ["exited"]), "its end")
    home.start()
    assert home.get("api/kernels") == [] == home.get("api/sessions")


def test_interrupt_restart_and_shutdown_work_on_a_kernel_that_was_brought_back(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    pid = int(home.page(kernel_id).run("import os; x = 1; print(os.getpid())"))
    home.server.stop(kill=True)
    home.start()
    page = home.page(kernel_id)
    msg_id = page.execute("print(1)\nwhile True: pass")
    page.until("stream", msg_id)
    assert home.server.request("POST", f"api/kernels/{kernel_id}/interrupt").status == 204
    assert page.until("execute_reply", msg_id)[-1]["content"]["ename"] == "KeyboardInterrupt"

    reply = home.server.request("POST", f"api/kernels/{kernel_id}/restart", timeout=60)
    assert (reply.status, reply.json()["id"]) == (200, kernel_id)
    out = page.run("import os; print(os.getpid(), 'x' in globals(), os.getcwd())").split()
    assert (
        out[0] != str(pid) and out[1:] == ["False", str(home.root / "notebooks")] and not alive(pid)
    )

    home.server.stop(kill=True)
    home.start()
    assert home.page(kernel_id).run("print(os.getpid())").split() == out[:1], (
        "the restarted one is kept as well"
    )
    (session,) = home.get("api/sessions")
    assert home.server.request("DELETE", f"api/sessions/{session['id']}").status == 204
    wait_for(lambda: home.get("api/kernels") == [], "its leaving the list")
    wait_for(lambda: not home.rows(), "its end")
    home.server.stop(kill=True)
    home.start()
    assert home.get("api/kernels") == [] == home.get("api/sessions"), "nothing comes back"


# -- busy, dead ------------------------------------------------------------------------------------------------------------------


def test_a_busy_kernel_is_shown_as_busy_and_its_page_connects_at_once(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    page = home.page(kernel_id)
    msg_id = page.execute(
        "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('went')",
        cell="c1",
    )
    page.until("execute_input", msg_id)
    home.server.stop(kill=True)
    home.start()
    began = time.monotonic()
    page = home.page(kernel_id, session=page.session)
    assert time.monotonic() - began < CONNECTED_S
    assert home.model(kernel_id)["execution_state"] == "busy"
    (home.root / "notebooks" / "go").touch()
    assert page.until("execute_reply", msg_id)[-1]["content"]["status"] == "ok", (
        "the page's own cell goes on"
    )
    wait_for(lambda: home.model(kernel_id)["execution_state"] == "idle", "idle")
    assert home.texts(kernel_id) == {"c1": "went\n"}


def test_a_kernel_that_died_meanwhile_is_shown_dead_and_why_until_it_is_restarted(
    home: Home,
) -> None:
    home.start()
    session = home.open()
    kernel_id = session["kernel"]["id"]
    pid = int(home.page(kernel_id).run("import os; print(os.getpid())"))
    home.server.stop(kill=True)
    os.kill(pid, signal.SIGKILL)
    home.start()
    model = wait_for(
        lambda: (m := home.model(kernel_id))["execution_state"] == "dead" and m, "its being dead"
    )
    assert "ended while no server was running: ended by signal 9" in model["reason"]
    assert [s["id"] for s in home.get("api/sessions")] == [session["id"]]
    (row,) = home.server.get("kernels")["kernels"]
    assert (row["state"], row["exit"]["signal"]) == ("ended", 9) and "signal 9" in row["cause"]
    began = time.monotonic()
    with pytest.raises(Exception, match="500"):
        home.page(kernel_id)
    assert time.monotonic() - began < CONNECTED_S, "the page is told so at once"
    assert home.server.request("POST", f"api/kernels/{kernel_id}/restart", timeout=60).status == 200
    assert home.page(kernel_id).run("print('alive')") == "alive\n"
    wait_for(lambda: home.model(kernel_id)["execution_state"] == "idle", "idle")


def test_a_dead_kernel_is_shown_once(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    pid = int(home.page(kernel_id).run("import os; print(os.getpid())"))
    home.server.stop(kill=True)
    os.kill(pid, signal.SIGKILL)
    home.start()
    wait_for(lambda: home.model(kernel_id)["execution_state"] == "dead", "its being dead")
    home.server.stop()
    home.start()
    assert home.get("api/kernels") == [] == home.get("api/sessions")


def test_a_kernel_that_dies_under_a_brought_back_server_is_restarted_by_it(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 1")
    home.server.stop(kill=True)
    home.start()
    page = home.page(kernel_id)
    pid = int(page.run("import os; print(os.getpid())"))
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: [r for r in home.rows() if r["state"] == "running" and r["pid"] != pid],
        "another process",
        30,
    )
    wait_for(lambda: home.page(kernel_id).run("print('x' in globals())") == "False\n", "its answer")


def forgotten(home: Home) -> bool:
    """Whether a kernel that was the only one is nowhere any more: neither with the server, nor written down, nor with its agent."""
    return (
        home.get("api/kernels") == []
        and home.get("api/sessions") == []
        and home.server.get("kernels")["kernels"] == []
        and home.intents() == []
        and home.rows() == []
    )


def test_a_kernel_that_is_stopped_on_its_machine_is_shut_down_and_not_restarted(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("print('said')", "cell-1")
    with home.agent() as link:
        (row,) = link.call("list")
        link.call("stop", id=row["id"], grace_s=5)
    wait_for(lambda: forgotten(home), "its end", 30)
    assert home.texts("", path="nb.ipynb") == {"cell-1": "said\n"}
    other = home.open()["kernel"]["id"]
    assert other != kernel_id, "the notebook gets a new kernel"


def test_a_kernel_that_crashes_is_restarted_also_after_a_restart_by_hand(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 1")
    assert home.server.request("POST", f"api/kernels/{kernel_id}/restart", timeout=60).status == 200
    pid = int(home.page(kernel_id).run("import os; print(os.getpid())"))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: [r for r in home.rows() if r["pid"] != pid], "another process", 30)
    wait_for(lambda: home.page(kernel_id).run("print(2)") == "2\n", "its answer")
    assert [k["id"] for k in home.get("api/kernels")] == [kernel_id]


def test_a_kernel_that_is_restarted_no_more_is_forgotten(home: Home) -> None:
    home.start("--AsyncIOLoopKernelRestarter.restart_limit=0")
    kernel_id = home.open()["kernel"]["id"]
    pid = int(home.page(kernel_id).run("import os; print(os.getpid())", "cell-1"))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: forgotten(home), "its end", 30)
    assert home.texts("", path="nb.ipynb") == {"cell-1": f"{pid}\n"}


def test_a_kernel_that_cannot_be_looked_for_is_not_forgotten(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 5")
    home.server.stop(kill=True)
    database = home.root / "cloudml" / "cloudml.db"
    database.rename(home.root / "aside")
    database.mkdir()  # the store cannot be used
    home.start()
    model = wait_for(lambda: (m := home.model(kernel_id))["execution_state"] == "dead" and m, "why")
    assert str(database) in model["reason"]
    home.server.stop()
    database.rmdir()
    (home.root / "aside").rename(database)
    home.start()
    assert home.page(kernel_id).run("print(x)") == "5\n"


# -- killed in the middle ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_server_killed_while_kernels_start_leaves_one_process_for_each(home: Home) -> None:
    home.start()
    known = set()
    for turn, delay in enumerate([0.0, 0.05, 0.2]):
        path = f"{turn}.ipynb"
        kernel_id = home.open(path)["kernel"]["id"]  # answers at once: the kernel is pending
        known.add(kernel_id)
        wait_for(lambda: len(home.intents()) == len(known), "its being written down")
        time.sleep(delay)  # the moment of the kill, not a wait for anything
        home.server.stop(kill=True)
        home.start()
        assert {k["id"] for k in home.get("api/kernels")} == known
        assert home.page(kernel_id).run("print('here')") == "here\n"
        assert len([r for r in home.rows() if r["state"] == "running"]) == len(known)
        assert home.open(path)["kernel"]["id"] == kernel_id


@pytest.mark.timeout(120)
def test_a_server_killed_in_a_restart_completes_it(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 1")
    for delay in (0.01, 0.15, 0.4):
        with contextlib.suppress(OSError):
            home.server.request("POST", f"api/kernels/{kernel_id}/restart", timeout=delay)
        home.server.stop(kill=True)
        home.start()
        assert [k["id"] for k in home.get("api/kernels")] == [kernel_id]
        assert home.page(kernel_id).run("print('here')") == "here\n"
        wait_for(
            lambda: len([r for r in home.rows() if r["state"] == "running"]) == 1, "one process"
        )


@pytest.mark.timeout(120)
def test_a_restart_is_written_down_before_the_kernel_hears_of_it(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    page = home.page(kernel_id)
    page.run("x = 1")
    page.until("shutdown_reply", page.send("shutdown_request", {"restart": True}, "control"))
    home.server.stop(kill=True)  # which has not been told that it restarts anything
    home.start()
    assert home.page(kernel_id).run("print('x' in globals())") == "False\n"


@pytest.mark.timeout(300)
def test_a_server_killed_in_a_shutdown_completes_it(home: Home) -> None:
    home.start()
    for delay in (0.05, 0.3):
        session = home.open()
        home.page(session["kernel"]["id"]).run(
            "import atexit, time; atexit.register(time.sleep, 0.5)"
        )
        with contextlib.suppress(OSError):
            home.server.request("DELETE", f"api/sessions/{session['id']}", timeout=delay)
        wait_for(lambda: home.intents() != ["run"], "the request's being taken up")
        home.server.stop(kill=True)
        home.start()
        assert home.get("api/kernels") == [] == home.get("api/sessions")
        wait_for(lambda: not [r for r in home.rows() if r["state"] == "running"], "its end")


# -- machines out of reach -----------------------------------------------------------------------------------------------------------


def add_machine(home: Home, host: Host, identity: Identity, name: str) -> None:
    body: JSON = {
        "name": name,
        "provider": "ssh",
        "host": str(host.address),
        "user": "ada",
        "identity": str(identity.private),
    }
    asked = home.server.request("POST", "cloudml/api/v1/machines", body)
    assert asked.json()["code"] == "host_key_unknown", asked.body
    body["host_key"] = host.fingerprint
    reply = home.server.request("POST", "cloudml/api/v1/machines", body)
    ended = home.server.operation(reply, timeout=100)
    assert ended["state"] == "done", ended


def test_a_kernel_on_a_machine_out_of_reach_is_listed_at_once_and_joins_later(
    home: Home, host: Host, identity: Identity
) -> None:
    home.start()
    add_machine(home, host, identity, "box-1")
    kernel_id = home.open(kernel="cloudml-box-1")["kernel"]["id"]
    page = home.page(kernel_id)
    page.run("x = 5")
    page.execute("import time\nfor i in range(300): print(i); time.sleep(0.01)", cell="c1")
    wait_for(lambda: "c1" in home.texts(kernel_id), "the first lines")
    home.server.stop(kill=True)
    host.link(up=False)
    home.start()
    assert [k["id"] for k in home.get("api/kernels")] == [kernel_id]
    page = home.page(kernel_id)
    (row,) = home.server.get("kernels")["kernels"]
    assert row["state"] == "reconnecting"
    assert home.model(kernel_id)["execution_state"] != "dead"
    began = time.monotonic()
    refused = home.server.request("POST", f"api/kernels/{kernel_id}/interrupt")
    assert refused.status >= 500 and time.monotonic() - began < 5
    host.link(up=True)
    wait_for(
        lambda: home.server.get("kernels")["kernels"][0]["state"] == "connected", "the link", 60
    )
    assert page.run("print(x)") == "5\n"
    assert home.texts(kernel_id)["c1"] == "".join(f"{i}\n" for i in range(300))
    wait_for(lambda: home.model(kernel_id)["execution_state"] == "idle", "idle")


def test_a_kernel_out_of_reach_can_be_shut_down_and_ends_when_its_machine_is_back(
    home: Home, host: Host, identity: Identity
) -> None:
    home.start()
    add_machine(home, host, identity, "box-1")
    session = home.open(kernel="cloudml-box-1")
    home.page(session["kernel"]["id"]).run("x = 5")
    host.stop_sshd(sessions=True)  # noticed at once; the new server's tries meet silence
    host.link(up=False)
    wait_for(
        lambda: home.server.get("kernels")["kernels"][0]["state"] == "reconnecting", "the cut", 60
    )
    assert home.server.request("DELETE", f"api/sessions/{session['id']}", timeout=30).status == 204
    wait_for(lambda: home.get("api/kernels") == [], "its leaving the list")
    home.server.stop(kill=True)
    home.start()
    assert home.get("api/kernels") == [] == home.get("api/sessions")
    host.start_sshd()
    host.link(up=True)

    def running() -> list[JSON] | None:
        reply = home.server.request("GET", "cloudml/api/v1/machines/box-1/processes")
        if reply.status != 200:
            return None  # not connected yet
        return [r for r in reply.json()["processes"] if r["state"] == "running"]

    wait_for(lambda: running() == [], "its end", 90)


# -- beside each other, and what is on disk ---------------------------------------------------------------------------------------------


def test_two_servers_on_one_folder_leave_each_other_alone(home: Home) -> None:
    first = home.start()
    one = home.open("one.ipynb")["kernel"]["id"]
    home.page(one).run("x = 1")
    second = home.start()
    assert home.get("api/kernels") == []
    two = home.open("two.ipynb")["kernel"]["id"]
    home.page(two).run("x = 2")
    for _ in range(2):
        assert [s["path"] for s in first.request("GET", "api/sessions").json()] == ["one.ipynb"]
        assert [s["path"] for s in second.request("GET", "api/sessions").json()] == ["two.ipynb"]
    second.stop(kill=True)
    home.start()
    assert [k["id"] for k in home.get("api/kernels")] == [two]
    assert [s["path"] for s in first.request("GET", "api/sessions").json()] == ["one.ipynb"]


def test_a_renamed_notebook_keeps_its_kernel_and_what_it_said(home: Home) -> None:
    home.start()
    session = home.open()
    kernel_id = session["kernel"]["id"]
    home.page(kernel_id).run("print('said')", cell="c1")
    body = {"path": "renamed.ipynb", "name": "renamed.ipynb"}
    assert home.server.request("PATCH", f"api/sessions/{session['id']}", body).status == 200
    home.server.stop(kill=True)
    home.start()
    (again,) = home.get("api/sessions")
    assert (again["path"], again["kernel"]["id"]) == ("renamed.ipynb", kernel_id)
    assert home.server.request("DELETE", f"api/sessions/{session['id']}").status == 204
    wait_for(
        lambda: home.texts("", path="renamed.ipynb") == {"c1": "said\n"},
        "what the kernel said, by its notebook",
    )


def test_sessions_that_cannot_be_read_do_not_keep_the_server_from_starting(home: Home) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 5")
    home.server.stop(kill=True)
    (database,) = home.root.glob("cloudml/servers/*/*/sessions.db")
    database.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    (record,) = home.root.glob("cloudml/servers/*/*/k/*.json")
    (record.parent / "broken.json").write_text("{")
    home.start()
    assert [k["id"] for k in home.get("api/kernels")] == [kernel_id]
    assert home.get("api/sessions") == [] and home.page(kernel_id).run("print(x)") == "5\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own for the folder of the installation; it goes after `home`."""
    folder = tmp_path / "cloudml"
    folder.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=20m,mode=700", "test", folder)
    yield folder
    sh("umount", "-l", folder)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    sh("dd", "if=/dev/zero", f"of={ballast}", "bs=4096", check=False)
    assert shutil.disk_usage(disk).free == 0
    return ballast


def test_a_full_disk_does_not_keep_a_server_from_finding_its_kernels(
    disk: Path, home: Home
) -> None:
    home.start()
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("x = 5; print('before')", cell="c1")
    home.open("other.ipynb", kernel="python3")  # its session cannot be deleted later
    home.server.stop(kill=True)
    ballast = fill(disk)
    home.start()
    assert home.page(kernel_id).run("print(x)") == "5\n"
    assert home.texts(kernel_id) == {"c1": "before\n"}
    ballast.unlink()
    home.server.stop(kill=True)
    home.start()
    assert home.page(kernel_id).run("print(x)", cell="c2") == "5\n"
    assert home.texts(kernel_id) == {"c1": "before\n", "c2": "5\n"}


def test_a_disk_without_room_for_sessions_is_named_and_other_kernels_work(
    disk: Path, home: Home
) -> None:
    ballast = fill(disk)
    home.start()
    answer = home.server.api("GET", "machines")
    assert (answer.status, answer.json()["code"]) == (503, "store_full")
    assert home.open(kernel="python3")["kernel"]["id"]
    ballast.unlink()  # without room no agent can be asked to end what is left


def test_the_users_own_choice_of_a_session_table_is_respected(home: Home) -> None:
    own = home.root / "own.db"
    home.start(f"--SessionManager.database_filepath={own}")
    home.open()
    with contextlib.closing(sqlite3.connect(own)) as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (1,)


def test_what_is_kept_of_kernels_is_their_owners_alone(home: Home) -> None:
    home.start(env={"PLANTED": "correct-horse"})
    kernel_id = home.open()["kernel"]["id"]
    home.page(kernel_id).run("print(1)", cell="c1")
    for folder in ("servers", "executions", "run"):
        for path in (home.root / "cloudml" / folder).rglob("*"):
            mode = path.lstat().st_mode
            assert (
                path.is_socket() or not mode & 0o077 or path.parent.stat().st_mode & 0o077 == 0
            ), path
            if path.is_file():
                assert b"correct-horse" not in path.read_bytes(), path
