"""An SSH server of our own on a loopback port: own keys, own home folder, ended with the run."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/identity.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
PrintMotd no
LogLevel ERROR
SetEnv HOME={home}
"""


class SSHServer:
    """One host as a client sees it; its only user is whoever runs the benchmark."""

    address = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.user = getpass.getuser()
        self.identity = folder / "identity"
        for name in ("host_key", "identity"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]
            subprocess.run([*keygen, str(folder / name)], check=True, timeout=20)
        self.port = free_port()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if program is None:
            raise SystemExit("sshd is missing: install openssh-server")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it when root starts it
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, home=self.home))
        with (self.folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    said = (self.folder / "sshd.log").read_text()
                    raise SystemExit(f"sshd did not start: {said}") from None
                time.sleep(0.02)
            else:
                return process

    @property
    def fingerprint(self) -> str:
        """Return SHA256:… of the host key."""
        command = ["ssh-keygen", "-l", "-E", "sha256", "-f", str(self.folder / "host_key.pub")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
        return done.stdout.split()[1]

    @property
    def known_host(self) -> str:
        """Return the line of this server for a known_hosts file."""
        key = (self.folder / "host_key.pub").read_text().strip()
        return f"[{self.address}]:{self.port} {key}\n"

    def connections(self) -> list[psutil.Process]:
        """List the server's processes that hold one client's connection each."""
        return psutil.Process(self._process.pid).children()

    def cut(self) -> int:
        """Kill every connection; return how many there were."""
        connections = self.connections()
        for connection in connections:
            connection.kill()
        return len(connections)

    def close(self) -> None:
        """End the server and its connections."""
        self.cut()
        self._process.terminate()
        self._process.wait(10)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
