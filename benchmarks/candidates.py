"""Who is measured: a kernel of this computer, ours over each carrier, and sshpyk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import end_all
from benchmarks.sshd import SSHServer
from jupyter_cloudml_kernels.machines import current

LOCAL, AGENT, OPENSSH, PARAMIKO, SSHPYK = "local", "agent", "openssh", "paramiko", "sshpyk"
OURS = (AGENT, OPENSSH, PARAMIKO)
OVER_SSH = (OPENSSH, PARAMIKO, SSHPYK)
TITLES = {
    LOCAL: "local kernel",
    AGENT: "ours, this machine",
    OPENSSH: "ours, openssh",
    PARAMIKO: "ours, paramiko",
    SSHPYK: "sshpyk",
}


@dataclass(frozen=True)
class Candidate:
    """A kernelspec to start, and the SSH server that it goes through, if it does."""

    name: str
    spec: str
    server: SSHServer | None = None

    @property
    def machine(self) -> str | None:
        """Return the name of our machine that the kernel runs on."""
        if self.name == AGENT:
            return "local"
        return self.name if self.name in OURS else None


class Field:
    """The candidates, ready to be started: machines registered, kernelspecs written, servers up."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.servers = {name: SSHServer(folder / name) for name in names if name in OVER_SSH}
        self.candidates = [self._prepare(name) for name in names]

    def _prepare(self, name: str) -> Candidate:
        if name == LOCAL:
            return Candidate(name, "python3")
        if name == AGENT:
            return Candidate(name, "cloudml-local")
        server = self.servers[name]
        if name == SSHPYK:
            self._write_sshpyk(server)
            return Candidate(name, "sshpyk", server)
        add_machine(name, server, server.port, name)
        return Candidate(name, f"cloudml-{name}", server)

    def _write_sshpyk(self, server: SSHServer) -> None:
        config, known_hosts = server.folder / "ssh_config", server.folder / "known_hosts"
        known_hosts.write_text(server.known_host)
        options = {
            "HostName": server.address,
            "Port": server.port,
            "User": server.user,
            "IdentityFile": server.identity,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known_hosts,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ControlMaster": "auto",
            "ControlPersist": "10m",
            "ControlPath": server.folder / "mux-%C",
            "ServerAliveInterval": 5,
        }
        lines = [f"    {key} {value}\n" for key, value in options.items()]
        config.write_text("".join(["Host benchmark-host\n", *lines]))
        spec = {
            "argv": [],
            "display_name": "sshpyk",
            "language": "python",
            "metadata": {
                "kernel_provisioner": {
                    "provisioner_name": "sshpyk-provisioner",
                    "config": {
                        "ssh_host_alias": "benchmark-host",
                        "ssh_config": str(config),
                        "remote_python": sys.executable,
                        "remote_kernel_name": "python3",
                    },
                }
            },
        }
        target = Path(os.environ["JUPYTER_DATA_DIR"], "kernels", "sshpyk", "kernel.json")
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(spec))

    def close(self) -> None:
        """End the links, the servers, the agents and what they started."""
        current().close()  # a link would start an ended agent anew
        for server in self.servers.values():
            server.close()
            end_all(server.home)
        end_all(self.folder / "home")


def add_machine(name: str, server: SSHServer, port: int, carrier: str) -> None:
    """Register a machine as its user would; `port` may be that of a line in front of the server."""
    place = f"{server.user}@{server.address}:{port}"
    program = Path(sys.executable).with_name("jupyter-cloudml")
    command = [str(program), "machine", "add", name, "--ssh", place]
    command += ["--identity", str(server.identity), "--host-key", server.fingerprint]
    command += ["--python", sys.executable, "--carrier", carrier]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise SystemExit(f"machine {name} was not added: {done.stderr or done.stdout}")
