"""What the project promises about hosts that are shared, swapped or hostile, proved on real ones."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image

from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.link.bootstrap import ssh_connect
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.link.state import is_final

from .hostile_agent import MODES
from .links import make_link, remote_kernel, wait_for

# What a host may make this process grow by, whatever it sends.
BOUND = 256 << 20

LOOK_AROUND = r"""
import errno, json, os, socket, stat, sys
found = {"listening": [], "sockets": {}, "open": [], "environ": [], "argv": ""}
for table in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            found["listening"].append([int(fields[1].rpartition(":")[2], 16), int(fields[7])])
for line in open("/proc/net/unix").read().splitlines()[1:]:
    path = line.split(maxsplit=7)[7:]
    if path and int(line.split()[3], 16) & 0x10000:  # it accepts connections
        name = path[0].replace("@", "\0", 1) if path[0].startswith("@") else path[0]
        probe = socket.socket(socket.AF_UNIX)
        probe.settimeout(2)
        try:
            probe.connect(name)
            found["sockets"][path[0]] = "connected"
        except OSError as error:
            found["sockets"][path[0]] = errno.errorcode[error.errno]
for top in ("/home/ada", "/tmp", "/var/tmp", "/run", "/dev/shm"):
    for folder, folders, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if os.lstat(path).st_uid == int(sys.argv[1]) and os.access(path, os.R_OK):
                found["open"].append(path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        found["argv"] += open(f"/proc/{pid}/cmdline").read()
        if os.stat(f"/proc/{pid}").st_uid == int(sys.argv[1]):
            open(f"/proc/{pid}/environ").read()
            found["environ"].append(pid)
    except OSError:
        pass
print(json.dumps(found))
"""


def look_around(host: Host, user: str) -> dict[str, Any]:
    """What `user` can see and reach of ada's things on the host."""
    out = host.run(["/usr/bin/python3", "-", "7000"], user=user, stdin=LOOK_AROUND, timeout=60)
    return dict(json.loads(out))


def test_another_user_of_the_host_reaches_nothing(host: Host, ssh_config: SSHConfig) -> None:
    link = make_link("openssh", ssh_config.add(host))
    with remote_kernel(link) as kernel:
        kernel.run("print('hello'); open('notes.txt', 'w').write('x')")
        key = kernel.row["connection"]["key"]
        ours, theirs = look_around(host, "ada"), look_around(host, "other")
    link.call("shutdown", stop_processes=True)
    link.close()
    # Of ours nothing listens. ipykernel itself has one port on loopback, a pipe for the output of forked children:
    # it takes only what begins with 16 random bytes and never sends.
    assert {port for port, uid in theirs["listening"] if uid == 0} == {22}
    assert len([port for port, uid in theirs["listening"] if uid == 7000]) <= 1
    # The kernel's and the agent's, all of them in folders that keep others out.
    assert len(ours["sockets"]) > 4 and set(ours["sockets"].values()) == {"connected"}
    assert theirs["sockets"].keys() >= ours["sockets"].keys()
    assert set(theirs["sockets"].values()) == {"EACCES"}
    # What the notebook itself has written has the mode that it would have anywhere.
    assert len(ours["open"]) > 5 and theirs["open"] == ["/home/ada/notes.txt"]
    assert ours["environ"] and theirs["environ"] == []
    assert key not in theirs["argv"] and "ipykernel" in theirs["argv"]


def test_a_host_swapped_under_a_link_gets_nothing(
    box: Box, ssh_config: SSHConfig, tmp_path: Path
) -> None:
    first = box.host()
    known_hosts = tmp_path / "known_hosts"
    target = SSHTarget(ssh_config.add(first), host_key=first.fingerprint, known_hosts=known_hosts)
    link = Link("box", ssh_connect(target))
    link.open(30)
    first.power_off(fin=True)
    second = box.host(address=first.address)
    link.retry_now()

    def stopped() -> bool:
        return link.state.error is not None and link.state.error.code == "host_key_changed"

    wait_for(stopped, 30, "the swap to be noticed")
    with pytest.raises(CloudMLError):
        link.call("list", timeout=2)
    link.close()
    assert "Connection from" in second.auth_log()
    assert not re.search("publickey|authenticat|ada", second.auth_log())
    assert second.processes("ada") == []
    box.destroy(first)
    box.destroy(second)


class Peak:
    """The most memory that this process had above what it had at first."""

    def __enter__(self) -> Peak:
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._before


class Counting:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self.bytes = 0

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        self.bytes += len(data)

    def attached(self, info: dict[str, Any]) -> None:
        pass

    def lost(self) -> None:
        pass

    def gone(self, exit: dict[str, Any] | None) -> None:
        pass


SetMode = Callable[["str | None"], Host]


@pytest.fixture(scope="module")
def hostile(box: Box) -> Iterator[SetMode]:
    """A host whose Python is the hostile one in the named mode, or an honest one again."""
    host = box.host(Image(share=False))
    program = Path(__file__).with_name("hostile_agent.py").read_text()
    host.run(["tee", "/usr/local/lib/hostile.py"], user="root", stdin=program)

    def set_mode(mode: str | None) -> Host:
        host.run(["rm", "-f", "/usr/local/bin/python3"], user="root")
        if mode:
            greeting = "" if mode == "noise" else "printf '\\0cloudml-boot have\\n'\n"
            script = f"{greeting}exec /usr/bin/python3 /usr/local/lib/hostile.py {mode}\n"
            host.run(["tee", "/usr/local/bin/python3"], user="root", stdin=f"#!/bin/sh\n{script}")
            host.run(["chmod", "755", "/usr/local/bin/python3"], user="root")
        for process in host.processes("ada"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, 9)
        return host

    yield set_mode
    box.destroy(host)


def had_enough(link: Link) -> bool:
    """Whether the link has given up, is trying again and again, or takes what it hears for an agent."""
    state = link.state
    return state.phase == "up" or state.attempt >= 1 or link.drops >= 3 or is_final(state.error)


@pytest.mark.parametrize("mode", MODES)
def test_a_hostile_host_neither_ends_a_link_nor_fills_memory(
    mode: str, hostile: SetMode, ssh_config: SSHConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    host = hostile(mode)
    link = Link("box", ssh_connect(SSHTarget(ssh_config.add(host))))
    sink = Counting()
    with Peak() as peak:
        link.start()
        link.attach("p", 0, sink)
        calls = [link.submit("list", {}) for _ in range(2)]
        if mode == "gigabyte":
            wait_for(lambda: sink.bytes >= 1 << 30, 60, "all that the host says")
        else:
            wait_for(lambda: had_enough(link), 30, "the link to have enough")
            time.sleep(0.5)  # it may be up, and the worst comes then
        hostile(None)
        link.retry_now()

        def honest() -> bool:
            return link.state.phase == "up" and link.info.get("user") == "ada"

        wait_for(honest, 60, "an honest agent")
        assert link.call("list", timeout=10) == []
    assert peak.growth < BOUND, f"{peak.growth / 1e6:.0f} MB"
    for call in calls:
        with contextlib.suppress(CloudMLError):
            call.result(10)
    link.call("shutdown", stop_processes=True)
    link.close()
    assert link.state.phase == "closed"
    assert len(capfd.readouterr().err) < 1 << 20
