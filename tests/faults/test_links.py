"""What happens to machines and networks: processes and variables live, output comes whole and once, the state is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image
from installation import Installation
from integration.links import RemoteKernel, wait_for

from jupyter_cloudml.errors import CloudMLError, NoSpace
from jupyter_cloudml.link import openssh_config, paramiko_transport
from jupyter_cloudml.link.carrier import SILENCE, CarrierName, SSHTarget

NOTICED = SILENCE + 10  # seconds in which silence has to be noticed and told, on a busy computer
BACK = 40  # seconds in which a link has to be back, the longest pause between two tries in them

PAUSE = 0.005  # seconds between two lines

# Prints numbered lines until the file `stop` appears, then how many there were.
COUNT = """
import os, sys, time
count = 0
while not os.path.exists("stop"):
    sys.stdout.write(f"{count}\\n")
    count += 1
    time.sleep({pause})
print("lines", count)
"""


class Working:
    """A machine on which a kernel prints lines, and what came of them here."""

    def __init__(self, here: Installation, host: Host, kernel: RemoteKernel) -> None:
        self.here, self.host, self.kernel = here, host, kernel
        kernel.run("variable = [1, 2, 3]; import os; pid = os.getpid()")
        self.pid = kernel.run("print(pid)")
        self.request = kernel.client.execute(COUNT.replace("{pause}", str(PAUSE)))

    @property
    def state(self) -> str:
        """What the machine is said to be doing."""
        return self.here.state("box")

    def wait_for_state(self, state: str, seconds: float) -> float:
        """Wait until the machine is said to be in a state; return the seconds that it took."""
        began = time.monotonic()
        wait_for(lambda: self.state == state, seconds, f"{state} (it is {self.state})")
        return time.monotonic() - began

    def assert_all_came_once(self) -> None:
        """End the printing; every line has come once and in order, and the kernel is the one it was."""
        numbers, count = self.end_printing()
        assert numbers == list(range(count))

    def end_printing(self) -> tuple[list[int], int]:
        """End the printing; return the numbers that came here and how many were printed there."""
        self.host.run(["touch", "/home/ada/stop"])
        lines = self.kernel.collect(self.request, BACK).splitlines()
        name, count = lines.pop().split()
        assert name == "lines"
        assert len(lines) > 50
        assert self.kernel.run("print(variable, pid == os.getpid())") == "[1, 2, 3] True\n"
        assert self.kernel.run("print(pid)") == self.pid
        return [int(line) for line in lines], int(count)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "cloudml"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    made = Installation()
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a silent host for gone after 6 s, for a test of what comes then; others hold when it has to."""
    for module in (openssh_config, paramiko_transport):
        monkeypatch.setattr(module, "KEEPALIVE", 2.0)
        monkeypatch.setattr(module, "SILENCE", 6.0)


@pytest.fixture
def working(
    request: pytest.FixtureRequest, here: Installation, host: Host, ssh_config: SSHConfig
) -> Iterator[Working]:
    """A kernel that prints on a host of its own; over ssh unless the test names another carrier."""
    carrier: CarrierName = getattr(request, "param", "openssh")
    target = SSHTarget(ssh_config.add(host), carrier=carrier)
    here.machines.add_ssh("box", target)
    kernel = RemoteKernel(here.machines.link("box"))
    made = Working(here, host, kernel)
    attachment = kernel.relay.attachment
    assert attachment is not None
    began = attachment.taken
    wait_for(lambda: attachment.taken > began + 5, why="the first lines")
    yield made
    kernel.client.stop_channels()
    kernel.relay.close()


both = pytest.mark.parametrize("working", ["openssh", "paramiko"], indirect=True)


def code(working: Working) -> str | None:
    """Return the code of the error that keeps the machine out of reach."""
    error = working.here.machines.get("box").status.error
    return error.code if error else None


def cut(host: Host, seconds: float) -> None:
    """Pull the cable for that long: the time is the fault."""
    host.link(up=False)
    time.sleep(seconds)
    host.link(up=True)


@both
def test_a_cut_of_5_seconds_is_not_even_noticed(working: Working) -> None:
    drops = working.here.machines.link("box").drops
    cut(working.host, 5)
    assert working.state == "running"
    working.assert_all_came_once()
    assert working.here.machines.link("box").drops == drops


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_cut_of_5_minutes_costs_nothing(working: Working) -> None:
    cut(working.host, 300)
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


@both
@pytest.mark.usefixtures("impatient")
def test_a_frozen_host_is_noticed_and_is_the_same_afterwards(working: Working) -> None:
    working.host.freeze()
    working.wait_for_state("unreachable", NOTICED)
    status = working.here.machines.get("box").status
    assert status.cause
    assert status.next_action
    working.host.thaw()
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


def test_a_pulled_cable_is_noticed_in_time_and_costs_nothing(working: Working) -> None:
    working.host.link(up=False)
    working.wait_for_state("unreachable", NOTICED)
    since = working.here.machines.get("box").status.since_ms
    wait_for(lambda: code(working) == "no_route", BACK, "the cause")
    assert working.here.machines.get("box").status.since_ms == since
    working.host.link(up=True)
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


def test_a_power_cut_is_noticed_in_time_and_the_kernel_is_said_to_be_lost(
    working: Working,
) -> None:
    working.host.power_off()
    working.wait_for_state("unreachable", NOTICED)
    assert not working.kernel.relay.wait_ended(0), "nobody has said that it ended"
    working.host.power_on()
    working.wait_for_state("running", BACK)
    assert working.kernel.relay.wait_ended(BACK)
    exit = working.kernel.relay.exit
    assert exit is not None
    assert exit["reason"]
    working.host.run(["rm", "-f", "/home/ada/stop"])
    again = RemoteKernel(working.here.machines.link("box"))
    assert again.run("print(6 * 7)") == "42\n"
    again.close()


def test_every_fifth_packet_may_be_lost(working: Working) -> None:
    working.host.lose(20)
    answer = working.here.machines.link("box").run(["echo", "through"], timeout=60)
    assert answer.stdout == b"through\n"
    working.host.lose(0)
    working.assert_all_came_once()


@both
def test_sshd_may_be_restarted_sessions_and_all(working: Working) -> None:
    working.host.stop_sshd(sessions=True)
    working.wait_for_state("unreachable", 10)
    wait_for(
        lambda: getattr(working.here.machines.get("box").status.error, "code", "") == "refused"
    )
    working.host.start_sshd()
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


@pytest.mark.usefixtures("impatient")
def test_a_host_may_change_its_address(working: Working, ssh_config: SSHConfig) -> None:
    alias = working.host.name
    working.host.move()
    working.wait_for_state("unreachable", NOTICED)
    ssh_config.add(working.host, alias)
    working.here.machines.retry("box")
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


@pytest.mark.usefixtures("impatient")
def test_another_host_at_the_address_gets_nothing(
    working: Working, box: Box, ssh_config: SSHConfig
) -> None:
    stranger = box.host()
    try:
        working.host.link(up=False)
        working.wait_for_state("unreachable", NOTICED)
        alias = working.host.name
        ssh_config.add(stranger, alias, known=False)
        config = ssh_config.path.read_text()
        ssh_config.path.write_text(
            f"Host {alias}\n  HostKeyAlias {working.host.address}\n" + config
        )
        key = f"{working.host.address} {working.host.host_key}\n"
        ssh_config.known_hosts.write_text(key)
        working.here.machines.retry("box")
        wait_for(lambda: code(working) == "host_key_changed", BACK, "the refusal")
        assert "Accepted" not in stranger.auth_log()
        assert not list((stranger.root / "home/ada").glob(".cache"))
    finally:
        box.destroy(stranger)
        working.host.link(up=True)


@both
def test_a_killed_agent_costs_no_process_no_variable_and_no_output(working: Working) -> None:
    link = working.here.machines.link("box")
    epoch = link.info["epoch"]
    killed = time.monotonic()
    working.host.run(["kill", "-9", str(link.info["pid"])])
    wait_for(lambda: link.info["epoch"] != epoch, BACK, "the new agent")
    assert time.monotonic() - killed < 10
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


def test_the_agent_may_be_killed_while_the_link_is_cut(working: Working) -> None:
    link = working.here.machines.link("box")
    epoch = link.info["epoch"]
    working.host.stop_sshd(sessions=True)
    working.wait_for_state("unreachable", 10)
    working.host.run(["kill", "-9", str(link.info["pid"])])
    working.host.start_sshd()
    wait_for(lambda: link.info["epoch"] != epoch, BACK, "the new agent")
    working.wait_for_state("running", BACK)
    working.assert_all_came_once()


@pytest.fixture
def small(box: Box) -> Iterator[Host]:
    made = box.host(Image(disk="96m"))
    yield made
    box.destroy(made)


def test_a_full_disk_is_named_and_running_kernels_go_on(
    here: Installation, small: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(small)))
    link = here.machines.link("box")
    with closing(RemoteKernel(link)) as kernel:
        kernel.run("variable = 1")
        small.fill_disk()
        with pytest.raises(NoSpace) as caught:
            link.call("start", argv=["sleep", "60"], kind="command", token="full")
        assert "/home/ada" in caught.value.message
        kernel.run("assert variable == 1")
        assert here.state("box") == "running"
        with pytest.raises(CloudMLError) as wrong:
            link.run(["true"])
        assert wrong.value.code == "no_space"
        small.free_disk()
        assert link.run(["true"]).code == 0, "it needs no restart"


PRINT_100_MB = """
import os, time
while not os.path.exists("/tmp/go"):
    time.sleep(0.01)
for number in range(1000):
    print("x" * 99_999, flush=True)
    time.sleep(0.003)
open("/tmp/done", "w").close()
print("the end")
"""


def test_output_beyond_memory_and_disk_costs_a_notice_and_not_the_kernel(
    here: Installation, small: Host, ssh_config: SSHConfig
) -> None:
    """The journal holds 64 MB in memory; what it would write to the full disk is dropped, and said to be."""
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(small)))
    link = here.machines.link("box")
    with closing(RemoteKernel(link)) as kernel:
        request = kernel.client.execute(PRINT_100_MB)
        agent = next(each for each in small.processes("ada") if each.inner_pid == link.info["pid"])
        small.fill_disk()
        small.stop_sshd(sessions=True)
        wait_for(lambda: here.state("box") == "unreachable", 10)
        small.run(["touch", "/tmp/go"])
        wait_for(lambda: (small.root / "tmp/done").exists(), 60, "the end of the printing")
        assert memory(agent.pid) < 250 << 20, "the journal is bounded"
        small.start_sshd()
        wait_for(lambda: here.state("box") == "running", BACK)
        text = kernel.collect(request, 60)
        assert text.endswith("the end\n")
        assert "MB of output dropped here" in text
        assert 100 < text.count("x" * 99_999) < 1000
        kernel.run("assert 1 + 1 == 2")
        small.free_disk()


def memory(pid: int) -> int:
    """Return the resident bytes of a process."""
    return psutil.Process(pid).memory_info().rss
