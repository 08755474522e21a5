"""One suite for all carriers: what a process says comes complete and once, whatever happens to the link."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig

from jupyter_cloudml.errors import AgentError, LinkDown

from .links import CutLink, RemoteKernel, make_link, remote_kernel, wait_for


@pytest.fixture(scope="module")
def machine(box: Box) -> Iterator[Host]:
    """One host for the module."""
    made = box.host()
    yield made
    box.destroy(made)


@pytest.fixture(params=["local", "openssh", "paramiko"])
def link(request: pytest.FixtureRequest, machine: Host, ssh_config: SSHConfig) -> Iterator[CutLink]:
    """A link over each carrier."""
    made = make_link(request.param, ssh_config.add(machine))
    yield made
    if request.param == "local":
        made.call("shutdown", stop_processes=True, grace_s=0)
    made.close()


@pytest.fixture
def kernel(link: CutLink) -> Iterator[RemoteKernel]:
    """A kernel over each carrier."""
    with remote_kernel(link) as made:
        yield made


def test_a_command_gives_its_output_and_its_exit_status(link: CutLink) -> None:
    done = link.run(["sh", "-c", "echo out; echo err >&2; cat; exit 3"], input=b"in" * 1000)
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n" + b"in" * 1000, b"err\n")


def test_a_command_that_a_signal_ends_says_so(link: CutLink) -> None:
    assert link.run(["sh", "-c", "kill -9 $$"]).code == 128 + signal.SIGKILL


def test_bytes_go_both_ways_unchanged(link: CutLink) -> None:
    data = os.urandom(1 << 20) * 12
    assert link.run(["cat"], input=data, timeout=60).stdout == data


def test_a_program_that_is_not_there_is_named(link: CutLink) -> None:
    with pytest.raises(AgentError, match=r"no-such-program.*No such file"):
        link.run(["no-such-program"])


def test_a_start_that_is_said_twice_starts_once(link: CutLink) -> None:
    rows = [
        link.call("start", argv=["sleep", "60"], kind="command", token="same") for _ in range(2)
    ]
    assert rows[0]["pid"] == rows[1]["pid"]
    link.call("stop", id=rows[0]["id"], grace_s=0)
    wait_for(lambda: next(r for r in link.call("list") if r["id"] == rows[0]["id"])["exit"])
    link.call("forget", id=rows[0]["id"])


def test_every_line_comes_once_and_in_order_through_20_cuts(
    kernel: RemoteKernel, link: CutLink
) -> None:
    lines = 5000
    code = (
        f"import time\nfor i in range({lines}):\n    print(i)\n    if i % 50 == 0: time.sleep(0.02)"
    )
    request = kernel.client.execute(code)
    stop = threading.Event()

    def cut_often() -> None:
        while not stop.is_set() and link.drops < 20:
            link.wait_up(30)
            link.cut()
            stop.wait(0.05)

    cutter = threading.Thread(target=cut_often)
    cutter.start()
    text = kernel.collect(request)
    stop.set()
    cutter.join(60)
    assert link.drops >= 3
    assert text.split() == [str(i) for i in range(lines)]


def test_a_large_output_is_complete_through_cuts(kernel: RemoteKernel, link: CutLink) -> None:
    request = kernel.client.execute(
        "print('x' * 30_000_000)\nfor i in range(20): print('y' * 500_000)"
    )
    for _ in range(3):
        link.wait_up(30)
        link.cut()
    text = kernel.collect(request)
    assert (text.count("x"), text.count("y")) == (30_000_000, 10_000_000)


def test_what_is_sent_while_the_link_is_down_runs_exactly_once(
    kernel: RemoteKernel, link: CutLink
) -> None:
    kernel.run("n = 0")
    link.hold()
    link.cut()
    for _ in range(5):
        kernel.client.execute("n += 1")
    link.let_go()
    for number in range(20):
        kernel.client.execute("n += 1")
        if number % 5 == 0:
            link.wait_up(30)
            link.cut()
    assert kernel.run("print(n)").strip() == "25"


def test_input_is_asked_and_answered_across_a_cut(kernel: RemoteKernel, link: CutLink) -> None:
    request = kernel.client.execute("print('got', input('name? '))", allow_stdin=True)
    assert kernel.client.get_stdin_msg(timeout=20)["content"]["prompt"] == "name? "
    link.cut()
    kernel.client.input("Ada")
    assert kernel.collect(request).strip() == "got Ada"


def test_a_question_is_delivered_to_a_client_that_was_away(
    kernel: RemoteKernel, link: CutLink
) -> None:
    link.hold()
    link.cut()
    kernel.client.execute("input('still there? ')", allow_stdin=True)
    link.let_go()
    assert kernel.client.get_stdin_msg(timeout=20)["content"]["prompt"] == "still there? "
    kernel.client.input("yes")


def test_an_interrupt_reaches_the_kernel_and_its_children(
    kernel: RemoteKernel, link: CutLink
) -> None:
    request = kernel.client.execute("import subprocess\nsubprocess.run(['sleep', '60'])")
    wait_for(lambda: b"sleep" in link.run(["ps", "-eo", "comm"]).stdout, why="the child")
    link.call("signal", id=kernel.row["id"], signum=signal.SIGINT)
    kernel.collect(request, timeout=20)
    assert kernel.run("print(1)").strip() == "1"


def test_several_clients_share_one_kernel(kernel: RemoteKernel) -> None:
    other = kernel.new_client()
    other.wait_for_ready(timeout=20)
    request = other.execute("print('from the other')")
    assert kernel.collect(request).strip() == "from the other"
    assert other.get_shell_msg(timeout=20)["parent_header"]["msg_id"] == request
    other.stop_channels()


def test_a_kernel_that_ends_says_how(kernel: RemoteKernel) -> None:
    kernel.client.execute("import os; os._exit(7)")
    assert kernel.relay.wait_ended(20)
    assert kernel.relay.exit is not None
    assert (kernel.relay.exit["code"], kernel.relay.exit["asked"]) == (7, False)


def test_a_stop_ends_what_has_left_its_session(link: CutLink) -> None:
    with remote_kernel(link) as kernel:
        pid = kernel.run(
            "import subprocess\n"
            "p = subprocess.Popen(['setsid', 'sh', '-c', 'trap \"\" TERM INT; sleep 61'], stdin=subprocess.DEVNULL,"
            " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
        )
        assert pid == ""
        wait_for(
            lambda: b"sleep 61" in link.run(["ps", "-eo", "args"]).stdout, why="the escaped child"
        )
    wait_for(lambda: b"sleep 61" not in link.run(["ps", "-eo", "args"]).stdout, why="its end")


def test_a_link_that_is_closed_answers_at_once(link: CutLink) -> None:
    other = make_link("local")
    other.close()
    began = time.monotonic()
    with pytest.raises(LinkDown):
        other.call("list")
    assert time.monotonic() - began < 5
