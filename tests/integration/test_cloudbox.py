"""The hosts that other tests stand on are what they say: separate, real, and gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cloudbox.commands import CommandFailed, sh, wait_until
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image


def ssh(config: SSHConfig, alias: str, command: str, timeout: float = 20) -> str:
    return sh(
        "ssh",
        "-F",
        config.path,
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        "--",
        alias,
        command,
        timeout=timeout,
    )


def test_a_host_is_entered_by_ssh_and_is_its_own_machine(box: Box, ssh_config: SSHConfig) -> None:
    before = time.monotonic()
    host = box.host()
    assert time.monotonic() - before < 5
    alias = ssh_config.add(host)
    assert ssh(ssh_config, alias, "hostname; id -un; pwd; ls | wc -l").split() == [
        host.name,
        "ada",
        "/home/ada",
        "0",
    ]
    assert f"Accepted publickey for ada from {box.fabric.gateway}" in host.auth_log()
    assert os.getpid() not in {process.pid for process in host.processes()}
    assert ssh(ssh_config, alias, f"test ! -e {__file__} && echo hidden") == "hidden\n"
    with pytest.raises(CommandFailed):
        host.run(["ping", "-c1", "-W1", "192.0.2.1"])
    box.destroy(host)
    assert not Path(f"/run/netns/{host.netns}").exists() and not host.folder.exists()


def test_the_python_of_the_tests_is_there_unless_switched_off(host: Host, box: Box) -> None:
    assert (
        host.run(["python3", "-c", "import ipykernel, sys; print(sys.prefix)"]).strip()
        == sys.prefix
    )
    with pytest.raises(CommandFailed, match="Read-only file system"):
        host.run(["touch", f"{sys.prefix}/x"], user="root")
    bare = box.host(Image(share=False))
    with pytest.raises(CommandFailed, match="No module named 'ipykernel'"):
        bare.run(["python3", "-c", "import ipykernel"])
    none = box.host(Image(no_python=True))
    with pytest.raises(CommandFailed, match="No such file"):
        none.run(["python3", "-V"])
    box.destroy(bare)
    box.destroy(none)


def test_a_pulled_cable_and_a_frozen_host_come_back(host: Host, ssh_config: SSHConfig) -> None:
    alias = ssh_config.add(host)
    with subprocess.Popen(
        ["ssh", "-F", str(ssh_config.path), "--", alias, "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as cat:
        assert cat.stdin and cat.stdout
        cat.stdin.write(b"1\n")
        assert cat.stdout.readline() == b"1\n"
        host.link(up=False)
        with pytest.raises(OSError):
            socket.create_connection((host.address, 22), timeout=0.5)
        host.link(up=True)
        host.freeze()
        cat.stdin.write(b"2\n")
        host.thaw()
        assert cat.stdout.readline() == b"2\n"
        cat.stdin.close()
        assert cat.wait(10) == 0


def test_sshd_stops_starts_and_shows_another_key(host: Host, ssh_config: SSHConfig) -> None:
    alias = ssh_config.add(host)
    host.stop_sshd()
    with pytest.raises(CommandFailed, match="Connection refused"):
        ssh(ssh_config, alias, "true")
    host.start_sshd()
    ssh(ssh_config, alias, "true")
    host.change_host_key()
    with pytest.raises(CommandFailed, match="REMOTE HOST IDENTIFICATION HAS CHANGED"):
        ssh(ssh_config, alias, "true")


def test_its_disk_fills_and_its_memory_runs_out(host: Host, ssh_config: SSHConfig) -> None:
    alias = ssh_config.add(host)
    host.fill_disk()
    with pytest.raises(CommandFailed, match="No space left"):
        host.run(["cp", "/bin/bash", "/home/ada/x"])
    host.free_disk()
    host.run(["cp", "/bin/bash", "/home/ada/x"])
    host.limit_memory(host.cgroup.used_memory() + (64 << 20))
    with pytest.raises(CommandFailed, match="137"):
        ssh(ssh_config, alias, "python3 -c 'bytearray(256 << 20)'; exit $?")


def test_loss_rate_and_one_way_silence(host: Host, ssh_config: SSHConfig) -> None:
    alias = ssh_config.add(host)
    host.rate("8mbit")
    before = time.monotonic()
    assert len(ssh(ssh_config, alias, "head -c 1000000 /dev/zero | tr '\\0' x")) == 1_000_000
    assert time.monotonic() - before > 0.8
    host.rate(None)
    host.lose(20)
    ssh(ssh_config, alias, "true")
    host.lose(0)
    host.block("output")
    with pytest.raises(OSError):
        socket.create_connection((host.address, 22), timeout=0.5)
    host.block("output", on=False)
    socket.create_connection((host.address, 22), timeout=5).close()


def test_power_off_without_fin_says_nothing_and_with_fin_says_goodbye(box: Box) -> None:
    for fin in (False, True):
        host = box.host()
        with socket.create_connection((host.address, 22), timeout=5) as connection:
            connection.settimeout(1)
            assert connection.recv(100).startswith(b"SSH-2.0")
            host.power_off(fin=fin)
            if fin:
                assert connection.recv(100) == b""
            else:
                with pytest.raises(TimeoutError):
                    connection.recv(100)
        host.power_on()
        assert host.run(["cat", "/etc/hostname"]).strip() == host.name
        box.destroy(host)


def test_it_moves_and_another_takes_its_place(box: Box, ssh_config: SSHConfig) -> None:
    first = box.host()
    old = first.address
    assert first.move() != old
    second = box.host(address=old)
    for host in (first, second):
        assert ssh(ssh_config, ssh_config.add(host), "hostname").strip() == host.name
        box.destroy(host)


def test_login_noise_comes_first(box: Box, ssh_config: SSHConfig) -> None:
    host = box.host(Image(noisy_shell=True))
    out = ssh(ssh_config, ssh_config.add(host), "echo done")
    assert len(out) > 100_000 and out.endswith("done\n")
    box.destroy(host)


def test_a_killed_test_process_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "test_victim.py"
    script.write_text(
        "import os, signal\n"
        "def test_killed(host):\n"
        f"    open({str(tmp_path / 'names')!r}, 'w').write(host.netns + ' ' + str(host._pid) + ' ' + host.fabric.bridge)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def test_next(box):\n    pass\n"
    )
    pytest_run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "cloudbox.fixture",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(script),
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(
        [*pytest_run, "-k", "killed"], env=env, timeout=60, capture_output=True, check=False
    )
    netns, pid, bridge = (tmp_path / "names").read_text().split()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the host to end with its test")
    assert netns in sh("ip", "netns", "list")
    subprocess.run(
        [*pytest_run, "-k", "next"], env=env, timeout=60, capture_output=True, check=True
    )
    assert netns not in sh("ip", "netns", "list") and bridge not in sh("ip", "link")
    assert netns not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{netns}"))
