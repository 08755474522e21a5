"""A client without what only POSIX systems have: no unix sockets, readv, poll or fcntl. As near to Windows as this system gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig

from jupyter_cloudml.client import Client

BARE = """
import os, select, sys
import jupyter_cloudml.locks  # has a way of its own on Windows

for name in ("fcntl", "termios", "resource", "tty", "pty"):
    sys.modules[name] = None
for module, names in ((os, ("readv", "writev", "fork", "killpg")), (select, ("poll", "epoll"))):
    for name in names:
        delattr(module, name)
"""

KERNEL = """
import json, selectors, socket
from jupyter_cloudml_kernels import local_sockets
local_sockets.HAS_UNIX = False
from jupyter_client.manager import KernelManager

assert selectors.DefaultSelector is selectors.SelectSelector
manager = KernelManager(kernel_name="cloudml-box")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
text = []
def hook(message):
    if message["msg_type"] == "stream":
        text.append(message["content"]["text"])
client.execute_interactive("import os, socket; print(socket.gethostname(), 'x' * 3_000_000)", timeout=60, output_hook=hook)
manager.restart_kernel()
client.wait_for_ready(timeout=60)
client.execute_interactive("print('again')", timeout=60, output_hook=hook)
info = manager.get_connection_info()
client.stop_channels()
manager.shutdown_kernel(now=True)
said = "".join(text).split()
print(json.dumps([said[0], len(said[1]), said[2], info["transport"], info["ip"]]))
"""


def test_a_kernel_over_paramiko_needs_no_posix_here(
    tmp_path: Path, host: Host, ssh_config: SSHConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    with Client() as client:
        client.machines.add("box", ssh_config.add(host), carrier="paramiko")
    done = subprocess.run(
        [sys.executable, "-c", BARE + KERNEL],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        host.name,
        3_000_000,
        "again",
        "tcp",
        "127.0.0.1",
    ]


LOOK_AROUND = """
from jupyter_cloudml.cli import call
from jupyter_cloudml.client import Client

with Client() as client:
    print(client.run(["hostname"], on="box").stdout.decode().strip())
for line in ("machine list", "machine check box", "kernel list", "run --on box -- hostname"):
    assert call(line.split()) == 0, line
"""


def test_command_line_and_client_need_no_posix_here(
    tmp_path: Path, host: Host, ssh_config: SSHConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    with Client() as client:
        client.machines.add("box", ssh_config.add(host), carrier="paramiko")
    done = subprocess.run(
        [sys.executable, "-c", BARE + LOOK_AROUND], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == host.name == done.stdout.splitlines()[-1]
