"""The agent of this computer: what it owns outlives it, and what it promises of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.agent import messages
from jupyter_cloudml.agent.handover import own_package
from jupyter_cloudml.agent.process import start_time
from jupyter_cloudml.agent.protocol import EOF, SHELL, STDIN, STDOUT
from jupyter_cloudml.errors import AgentError, Conflict, NotFound
from jupyter_cloudml.link.attachment import Attachment
from jupyter_cloudml.link.bootstrap import local_connect
from jupyter_cloudml.link.completed import Collector
from jupyter_cloudml.paths import socket_dir

from .links import KERNEL, CutLink, RemoteKernel, make_link, remote_kernel, wait_for


@pytest.fixture
def link() -> Iterator[CutLink]:
    """A link to an agent that ends with the test."""
    made = make_link("local")
    yield made
    made.wait_up(30)
    made.call("shutdown", stop_processes=True, grace_s=0)
    made.close()


@pytest.fixture
def kernel(link: CutLink) -> Iterator[RemoteKernel]:
    """A kernel of that agent."""
    with remote_kernel(link) as made:
        yield made


def row(link: CutLink, process: str) -> dict[str, Any]:
    """What the agent tells of a process."""
    found: dict[str, Any] = next(r for r in link.call("list") if r["id"] == process)
    return found


def kill_agent(link: CutLink) -> None:
    """SIGKILL the agent and wait for the next one."""
    before = link.info["epoch"]
    os.kill(link.info["pid"], signal.SIGKILL)
    wait_for(lambda: link.info["epoch"] != before and link.state.phase == "up", why="a new agent")


def test_a_killed_agent_leaves_the_kernel_and_its_variables(
    kernel: RemoteKernel, link: CutLink
) -> None:
    kernel.run("x = 41")
    pid = row(link, kernel.row["id"])["pid"]
    kill_agent(link)
    assert row(link, kernel.row["id"])["pid"] == pid
    assert kernel.run("print(x + 1)").strip() == "42"


def test_output_that_the_killed_agent_had_read_comes_complete_and_once(
    kernel: RemoteKernel, link: CutLink, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    code = f"import time; time.sleep(0.3)\nfor i in range(2000): print(i)\nopen({str(done)!r}, 'w')"
    request = kernel.client.execute(code)
    wait_for(lambda: row(link, kernel.row["id"])["execution_state"] == "busy", why="the request")
    link.hold()
    link.cut()
    wait_for(done.exists, why="the end of the cell")
    time.sleep(0.5)  # what the kernel wrote last is with the agent by then; there is no sign of it
    os.kill(link.info["pid"], signal.SIGKILL)
    link.let_go()
    assert kernel.collect(request).split() == [str(i) for i in range(2000)]


def test_a_request_that_a_killed_agent_had_passed_on_is_not_run_twice(
    kernel: RemoteKernel, link: CutLink
) -> None:
    kernel.run("n = 0")
    for _ in range(5):
        kernel.client.execute("n += 1")
        kill_agent(link)
    assert kernel.run("print(n)").strip() == "5"


def test_a_command_goes_on_writing_while_there_is_no_agent(link: CutLink) -> None:
    code = "import time\nfor i in range(60): print(i, flush=True); time.sleep(0.02)"
    started = link.call("start", argv=[sys.executable, "-c", code], kind="command", token="w")
    collector = Collector()
    link.attach(started["id"], 0, collector)
    wait_for(lambda: collector.size > 0, why="its first line")
    kill_agent(link)
    assert collector.ended.wait(20)
    assert b"".join(collector.parts[STDOUT]).split() == [b"%d" % i for i in range(60)]
    link.call("forget", id=started["id"])


def test_a_process_that_ended_with_no_agent_around_is_told_so(link: CutLink) -> None:
    started = link.call("start", argv=["sleep", "100"], kind="command", token="gone")
    link.hold()
    os.kill(link.info["pid"], signal.SIGKILL)
    os.kill(started["pid"], signal.SIGKILL)
    link.let_go()
    wait_for(lambda: link.state.phase == "up", why="a new agent")
    exit = wait_for(lambda: row(link, started["id"])["exit"])
    assert "agent" in exit["reason"]
    link.call("forget", id=started["id"])


def test_a_reused_pid_is_not_taken_for_the_process(link: CutLink) -> None:
    started = link.call("start", argv=["sleep", "100"], kind="command", token="reused")
    path = socket_dir("agent") / "p" / started["id"] / "pid"
    pid, _, ticks = path.read_text().partition(" ")
    path.write_text(f"{pid} {int(ticks) - 1}")
    kill_agent(link)
    assert row(link, started["id"])["state"] == "exited"
    os.kill(int(pid), signal.SIGKILL)
    link.call("forget", id=started["id"])


def test_a_running_process_cannot_be_forgotten_and_an_unknown_one_is_named(
    kernel: RemoteKernel, link: CutLink
) -> None:
    with pytest.raises(Conflict, match="still runs"):
        link.call("forget", id=kernel.row["id"])
    with pytest.raises(NotFound, match="no process 'nobody'"):
        link.call("signal", id="nobody", signum=2)
    with pytest.raises(AgentError, match="unknown"):
        link.call("no-such-method")


def test_a_command_works_in_the_folder_that_was_asked_for_or_is_refused(link: CutLink) -> None:
    home = link.info["home"]
    assert link.run(["pwd"]).stdout.decode().strip() == os.path.realpath(home)
    assert link.run(["pwd"], cwd=".cache").stdout.decode().strip().endswith("/.cache")
    with pytest.raises(AgentError, match="/no/such/folder: no folder to work in"):
        link.run(["pwd"], cwd="/no/such/folder")
    # A notebook's kernel starts all the same: the first folder of several that is there.
    row = link.call(
        "start", argv=["pwd"], kind="command", cwd=["/no/such/folder", "/"], stdin=False
    )
    assert row["cwd"] == "/"


def test_a_kernel_kept_ready_moves_to_the_folder_and_environment(
    link: CutLink, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("notebook")
    link.call("prewarm", key="k", argv=KERNEL, env={}, count=1)
    warm = wait_for(
        lambda: [
            r
            for r in link.call("list")
            if r["warm"] and r["execution_state"] in ("idle", "busy") and r["seq"]
        ],
        why="a kernel kept ready",
    )[0]
    began = time.monotonic()
    with remote_kernel(
        link, prewarm_key="k", cwd=str(folder), env={"COLOUR": "blue"}, labels={"path": "a.ipynb"}
    ) as kernel:
        assert kernel.row["pid"] == warm["pid"]
        assert time.monotonic() - began < 5
        text = kernel.run("import os; print(os.getcwd(), os.environ['COLOUR'])")
        assert text.split() == [str(folder), "blue"]
        assert kernel.run("print(_oh, len(In))").split() == ["{}", "3"]
        wait_for(lambda: [r for r in link.call("list") if r["warm"]], why="the next one")
    link.call("prewarm", key="k", count=0)


def test_each_environment_that_is_used_has_a_kernel_kept_ready(link: CutLink) -> None:
    def waiting() -> list[str]:
        return [
            r["id"] for r in link.call("list") if r["warm"] and r["seq"] and r["state"] == "running"
        ]

    link.call("prewarm", key="own", argv=KERNEL, count=0, others=1)
    first = link.call("start", argv=KERNEL, kind="kernel", prewarm_key="conda")
    assert not first["warm"]
    (ready,) = wait_for(waiting, why="a kernel kept ready")
    assert link.call("start", argv=KERNEL, kind="kernel", prewarm_key="conda")["id"] == ready
    wait_for(waiting, why="the next one")
    for key in ("r1", "r2", "r3"):
        link.call("start", argv=["sleep", "60"], kind="command", prewarm_key=key)
    wait_for(
        lambda: not waiting(), why="the end of those of the environment that was used longest ago"
    )
    link.call("prewarm", key="own", count=0, others=0)


def test_a_kernel_kept_ready_is_not_taken_while_it_is_being_ended(link: CutLink) -> None:
    link.call("prewarm", key="off", argv=KERNEL, env={}, count=1)
    ready = wait_for(
        lambda: [
            r for r in link.call("list") if r["warm"] and r["seq"] and r["state"] == "running"
        ],
        why="a kernel kept ready",
    )[0]
    agent = link.info["pid"]
    os.kill(agent, signal.SIGSTOP)  # both requests are there when it looks again
    try:
        off = link.submit("prewarm", {"key": "off", "count": 0})
        started = link.submit("start", {"argv": KERNEL, "kind": "kernel", "prewarm_key": "off"})
    finally:
        os.kill(agent, signal.SIGCONT)
    assert off.result(20)["waiting"] == 0
    row = started.result(20)
    assert row["id"] != ready["id"] and row["state"] == "running"
    link.call("stop", id=row["id"])


def test_gauges_tell_of_the_machine_and_of_each_process(
    kernel: RemoteKernel, link: CutLink
) -> None:
    kernel.run("data = bytearray(200 << 20)")
    kernel.client.execute("while True: pass")

    def busy() -> Any:
        gauges = link.call("gauges")
        mine = gauges["processes"][kernel.row["id"]]
        return gauges if (mine["cpu_percent"] or 0) > 20 and mine["memory_used"] > 200e6 else None

    machine = wait_for(busy, why="a busy kernel")["machine"]
    assert machine["memory_total"] > machine["memory_used"] > 0
    assert machine["disk_free"] > 0
    assert machine["gpus"] == []


def test_an_idle_kernel_is_culled_by_policy_and_a_busy_one_is_not(link: CutLink) -> None:
    with remote_kernel(link) as idle, remote_kernel(link) as busy:
        busy.client.execute("import time; time.sleep(60)")
        wait_for(lambda: row(link, busy.row["id"])["execution_state"] == "busy")
        link.call("policy", cull_idle_s=1)
        assert idle.relay.wait_ended(60)
        assert idle.relay.exit is not None
        assert "idle" in idle.relay.exit["reason"]
        assert busy.relay.exit is None
        link.call("policy", cull_idle_s=None)


def test_a_lease_that_runs_out_ends_everything(link: CutLink) -> None:
    with remote_kernel(link) as kernel:
        link.call("lease", seconds=0.5)
        assert kernel.relay.wait_ended(30)


def test_two_agents_never_run_at_once(link: CutLink) -> None:
    other = CutLink("again", local_connect())
    other.open(20)
    assert other.info["epoch"] == link.info["epoch"]
    other.close()


def test_files_that_a_notebook_makes_have_the_users_own_mode(
    kernel: RemoteKernel, tmp_path: Path
) -> None:
    path = tmp_path / "made"
    mode = kernel.run(f"import os; open({str(path)!r}, 'w'); print(os.umask(0o22))")
    umask = os.umask(0)
    os.umask(umask)
    assert int(mode) == umask
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_files_and_sockets_are_the_users_alone(kernel: RemoteKernel) -> None:
    folder = socket_dir("agent")
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.rglob("*"):
        if not path.is_socket():
            assert path.stat().st_mode & 0o077 == 0, path
    secret = kernel.row["connection"]["key"].encode()
    for pid in (p for p in os.listdir("/proc") if p.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                assert secret not in file.read()
        except OSError:
            continue


def upgrade(link: CutLink) -> None:
    """Have the agent go on as another one, of the same code here, and wait for it."""
    before = link.info["epoch"]
    package, module = own_package()
    link.call("upgrade", package=str(package), module=module, digest="newer")
    wait_for(lambda: link.info["epoch"] != before and link.state.phase == "up", why="the upgrade")
    assert link.info["digest"] == "newer"


def test_an_upgrade_in_the_middle_of_output_loses_nothing(
    kernel: RemoteKernel, link: CutLink
) -> None:
    agent = link.info["pid"]
    request = kernel.client.execute("for i in range(20000): print(i)")
    for _ in range(3):
        upgrade(link)
    assert kernel.collect(request).split() == [str(i) for i in range(20000)]
    assert link.info["pid"] == agent
    kernel.client.execute("import os; os._exit(9)")
    assert kernel.relay.wait_ended(20)
    assert kernel.relay.exit is not None
    assert kernel.relay.exit["code"] == 9


def test_an_upgrade_leaves_the_input_of_a_command_open(link: CutLink) -> None:
    collector = Collector()
    started = link.call("start", argv=["cat"], kind="command", token="cat", stdin=True)
    attachment = link.attach(started["id"], 0, collector)
    attachment.send_soon(STDIN, b"before ")
    wait_for(lambda: collector.size, why="the first word")
    upgrade(link)
    attachment.send_soon(STDIN, b"after")
    attachment.send_soon(EOF, b"")
    assert collector.ended.wait(20)
    assert b"".join(collector.parts[STDOUT]) == b"before after"
    link.call("forget", id=started["id"])


def test_an_older_agent_is_upgraded_when_a_newer_client_comes(
    link: CutLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = link.info["epoch"]
    monkeypatch.setattr("jupyter_cloudml.link.link.RELEASE", link.info["release"] + 1)
    other = CutLink("newer", local_connect())
    other.open(20)
    monkeypatch.undo()
    wait_for(lambda: link.info["epoch"] != before and link.state.phase == "up", why="the upgrade")
    other.close()


def keeper_of(link: CutLink) -> int:
    """The process that an agent is the child of."""
    return int(Path(f"/proc/{link.info['pid']}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_cell_is_told_that_output_may_be_missing_when_agent_and_keeper_were_killed(
    kernel: RemoteKernel, link: CutLink
) -> None:
    code = "import time\nfor i in range(100): print(i, flush=True); time.sleep(0.02)"
    request = kernel.client.execute(code)
    wait_for(lambda: row(link, kernel.row["id"])["execution_state"] == "busy", why="the request")
    os.kill(keeper_of(link), signal.SIGKILL)
    kill_agent(link)
    text = kernel.collect(request)
    assert text.count("the agent of this machine was killed") == 1
    assert "99" in text
    kill_agent(link)
    assert "killed" not in kernel.run("print('idle kernels say nothing')")


def test_a_killed_agent_costs_no_output(kernel: RemoteKernel, link: CutLink) -> None:
    code = "import time\nfor i in range(3000): print(i, flush=True); time.sleep(0.001)"
    request = kernel.client.execute(code)
    wait_for(lambda: row(link, kernel.row["id"])["execution_state"] == "busy", why="the request")
    for _ in range(4):
        kill_agent(link)
    assert row(link, kernel.row["id"])["execution_state"] == "busy", "it was killed meanwhile"
    assert kernel.collect(request).split() == [str(i) for i in range(3000)]


def test_an_agent_killed_in_the_middle_of_a_large_output_costs_nothing(
    kernel: RemoteKernel, link: CutLink
) -> None:
    code = "for i in range(12): display({'text/plain': str(i) + 'x' * 4_000_000}, raw=True)"
    request = kernel.client.execute(code)
    wait_for(lambda: row(link, kernel.row["id"])["seq"] > 10, why="the first of it")
    kill_agent(link)
    shown = [str(o["text/plain"]) for o in kernel.displays(request)]
    assert [len(text) for text in shown] == [4_000_001] * 10 + [4_000_002] * 2
    assert [text.rstrip("x") for text in shown] == [str(i) for i in range(12)]


def test_a_killed_agent_leaves_a_command_its_standard_input(link: CutLink) -> None:
    code = "import sys\nfor line in sys.stdin: print('got', line.strip(), flush=True)"
    started = link.call(
        "start", argv=[sys.executable, "-c", code], kind="command", stdin=True, token="stdin"
    )
    collector = Collector()
    attachment = link.attach(started["id"], 0, collector)
    for line in ("one", "two"):
        assert attachment.send_soon(STDIN, line.encode() + b"\n")
        wait_for(lambda: line.encode() in b"".join(collector.parts[STDOUT]), why="its answer")  # noqa: B023
        kill_agent(link)
    assert attachment.send_soon(EOF, b"")
    assert collector.ended.wait(20)
    assert b"".join(collector.parts[STDOUT]) == b"got one\ngot two\n"
    link.call("forget", id=started["id"])


def test_a_command_that_ended_with_no_agent_around_is_heard_to_its_end(
    link: CutLink, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nprint('a' * 9000)"
    started = link.call("start", argv=[sys.executable, "-c", code], kind="command", token="heard")
    collector = Collector()
    link.attach(started["id"], 0, collector)
    os.kill(link.info["pid"], signal.SIGSTOP)
    go.touch()
    wait_for(lambda: start_time(started["pid"]) is None, why="its end")
    os.kill(link.info["pid"], signal.SIGKILL)
    assert collector.ended.wait(20)
    assert b"".join(collector.parts[STDOUT]) == b"a" * 9000 + b"\n"
    link.call("forget", id=started["id"])


def odd(kind: str) -> list[str]:
    """The command line of a kernel of odd_kernels.py."""
    return [
        sys.executable,
        str(Path(__file__).with_name("odd_kernels.py")),
        kind,
        "{connection_file}",
    ]


def test_a_kernel_that_knows_tcp_alone_gets_ports_of_loopback_and_the_first_cell_says_so(
    link: CutLink,
) -> None:
    with remote_kernel(link, argv=odd("tcp")) as kernel:
        text = kernel.run("print(6 * 7)")
        assert "42" in text
        assert text.count("other users of that machine can read what it prints") == 1
        assert kernel.run("print('again')") == "again\n"
        assert row(link, kernel.row["id"])["connection"]["ip"] == "127.0.0.1"
        kernel.run("x = 1")
        kill_agent(link)
        assert kernel.run("print(x)").endswith("1\n")


def test_a_kernel_that_writes_socket_names_in_another_way_is_found(link: CutLink) -> None:
    with remote_kernel(link, argv=odd("colon")) as kernel:
        assert kernel.run("print(6 * 7)") == "42\n"
        assert row(link, kernel.row["id"])["connection"]["transport"] == "ipc"


def test_a_kernel_that_fails_at_its_start_is_tried_once_more_and_then_ended(link: CutLink) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('this never works')", "{connection_file}"]
    started = link.call("start", argv=argv, kind="kernel", token="never")
    exit = wait_for(lambda: row(link, started["id"])["exit"], why="its end")
    assert exit["code"] == 1
    log = (socket_dir("agent") / "p" / started["id"] / "log").read_text()
    assert log.count("this never works") == 2
    link.call("forget", id=started["id"])


def test_a_process_whose_end_was_seen_while_it_was_being_stopped_is_told_of_all_the_same(
    link: CutLink,
) -> None:
    for number in range(5):
        started = link.call("start", argv=["sleep", "99"], kind="command", token=f"s{number}")
        collector = Collector()
        link.attach(started["id"], 0, collector)
        os.kill(started["pid"], signal.SIGSTOP)  # ends at the second request, not at the first
        os.kill(link.info["pid"], signal.SIGSTOP)
        requests = [{"id": started["id"], "grace_s": 0}] * 3
        threads = [threading.Thread(target=link.call, args=("stop",), kwargs=r) for r in requests]
        for thread in threads:
            thread.start()
        os.kill(started["pid"], signal.SIGKILL)
        os.kill(link.info["pid"], signal.SIGCONT)
        for thread in threads:
            thread.join()
        assert collector.ended.wait(10)
        link.call("forget", id=started["id"])


def test_a_client_is_told_of_an_end_that_the_one_before_it_has_acknowledged(link: CutLink) -> None:
    started = link.call("start", argv=["sh", "-c", "exit 7"], kind="command", token="seen")
    first = Collector()
    link.attach(started["id"], 0, first)
    assert first.ended.wait(10)
    seen = wait_for(lambda: (r := row(link, started["id"]))["acked"] == r["seq"] and r)
    with contextlib.closing(make_link("local")) as other:
        for since in (0, seen["seq"] - 1, seen["seq"]):
            second = Collector()
            other.attach(started["id"], since, second)
            assert second.ended.wait(10), since
            assert second.exit is not None and second.exit["code"] == 7
    link.call("forget", id=started["id"])


LATE = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[2]])
"""


class Heard(Collector):
    """All that a kernel says."""

    text = b""

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Keep it."""
        self.text += bytes(data)


def test_what_a_second_client_asks_of_a_kernel_that_starts_is_not_taken_for_what_the_first_asked(
    link: CutLink, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    argv = [sys.executable, "-c", LATE, str(go), "{connection_file}"]
    started = link.call("start", argv=argv, kind="kernel", token="late")

    def ask(attachment: Attachment, text: str) -> None:
        content = {"code": f"print('{text}')", "silent": False, "store_history": False}
        key = started["connection"]["key"].encode()
        attachment.send_soon(SHELL, messages.build(key, "execute_request", content, [b"\0test"]))

    first = link.attach(started["id"], 0, Collector())
    for number in range(3):
        ask(first, f"first-{number}-")
    wait_for(lambda: row(link, started["id"])["received"] == 3, why="the first client's requests")
    with contextlib.closing(make_link("local")) as other:
        heard = Heard()
        second = other.attach(started["id"], 0, heard)
        ask(second, "second-")
        wait_for(lambda: row(link, started["id"])["received"] == 4, why="the second's request")
        go.touch()
        wait_for(lambda: heard.text.count(b'"second-\\n"'), why="the answer to the second client")
    for number in range(3):
        assert heard.text.count(b'"first-%d-\\n"' % number) == 1
    link.call("stop", id=started["id"], grace_s=0)
    wait_for(lambda: row(link, started["id"])["finished"], why="its end")
    link.call("forget", id=started["id"])
