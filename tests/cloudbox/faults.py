"""What can happen to a host. Each fault stays until it is taken back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import Literal

from .commands import CommandFailed, sh, wait_until
from .host import Machine
from .image import new_host_key

BALLAST = "upper/var/tmp/ballast"
_TABLE = "add table inet {name}\ndelete table inet {name}\n"
_CHAIN = """\
table inet {name} {{
  chain c {{
    type filter hook {hook} priority 0
    {rule}
  }}
}}
"""


class Host(Machine):
    """A machine to which things happen."""

    # -- network ------------------------------------------------------------------------------------------------------

    def link(self, *, up: bool) -> None:
        """Pull the cable or plug it in. Connections stay, and go on when it is back."""
        sh("ip", "link", "set", self.veth, "up" if up else "down", check=up)

    def lose(self, percent: int) -> None:
        """Lose that share of the packets that come to the host; 0 heals."""
        rule = f'iifname "eth0" numgen random mod 100 < {percent} drop'
        self._filter("cloudbox_loss", "input", rule if percent else None)

    def block(self, direction: Literal["input", "output"], *, on: bool = True) -> None:
        """Drop every packet to (input) or from (output) the host: the other direction still works."""
        name = "iifname" if direction == "input" else "oifname"
        self._filter(f"cloudbox_{direction}", direction, f'{name} "eth0" drop' if on else None)

    def rate(self, bits: str | None) -> None:
        """Limit both directions, as in `4mbit`; None lifts it."""
        for argv, device in ((["tc"], self.veth), (["tc", "-n", self.netns], "eth0")):
            sh(*argv, "qdisc", "del", "dev", device, "root", check=False)
            if bits:
                sh(
                    *argv,
                    "qdisc",
                    "add",
                    "dev",
                    device,
                    "root",
                    "tbf",
                    "rate",
                    bits,
                    "burst",
                    "32kb",
                    "latency",
                    "400ms",
                )

    def move(self, address: str | None = None) -> str:
        """Give the host another address; connections to the old one get no answer any more. Returns the new one."""
        new = address or self.fabric.address(self.fabric.number())
        # In this order: with an address goes every later one of the same network.
        sh("ip", "-n", self.netns, "addr", "del", f"{self.address}/16", "dev", "eth0")
        sh("ip", "-n", self.netns, "addr", "add", f"{new}/16", "dev", "eth0")
        for known in (self.address, new):
            self.fabric.forget(known)
        self.address = new
        return new

    def _filter(self, name: str, hook: str, rule: str | None) -> None:
        text = _TABLE.format(name=name) + (
            _CHAIN.format(name=name, hook=hook, rule=rule) if rule else ""
        )
        sh("ip", "netns", "exec", self.netns, "nft", "-f", "-", stdin=text)

    # -- the machine --------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop every process where it stands; the network layer still acknowledges packets."""
        self.cgroup.freeze(True)

    def thaw(self) -> None:
        """Let the processes go on."""
        self.cgroup.freeze(False)

    def limit_memory(self, limit: int | None) -> None:
        """Let the host use `limit` bytes; None lifts it."""
        self.cgroup.limit_memory(limit)

    def fill_disk(self, leave: int = 0) -> None:
        """Fill the disk up to `leave` bytes, whoever writes to it meanwhile."""

        def filled() -> bool:
            size = max(1, shutil.disk_usage(self.disk).free - leave)
            try:
                sh("fallocate", "-l", str(size), self.disk / BALLAST)
            except CommandFailed:  # it has less by now
                return False
            return True

        wait_until(filled, f"the disk of {self.name} to be full")

    def free_disk(self) -> None:
        """Take the filling away."""
        (self.disk / BALLAST).unlink()

    # -- sshd ---------------------------------------------------------------------------------------------------------

    def stop_sshd(self, *, sessions: bool = False) -> None:
        """End the listening sshd: connections are refused, open ones live. With `sessions` they are ended too."""
        found = [
            process
            for process in self.processes()
            if process.argv[0].startswith(("sshd:", "/usr/sbin/sshd"))
        ]
        for process in found:
            if sessions or "[listener]" in process.argv[0] or process.argv[0] == "/usr/sbin/sshd":
                with contextlib.suppress(ProcessLookupError):  # its parent may have ended it
                    os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: not (self.root / "run/sshd.pid").exists(), f"sshd of {self.name} to end")

    def start_sshd(self) -> None:
        """Start sshd again; returns when it listens."""
        self.run(
            ["/usr/sbin/sshd", "-f", "/etc/ssh/sshd_config", "-E", "/var/log/sshd.log"], user="root"
        )
        wait_until(lambda: (self.root / "run/sshd.pid").exists(), f"sshd of {self.name} to listen")

    def change_host_key(self) -> None:
        """Show another key from now on, as somebody in the middle would."""
        new_host_key(self.root / "etc/ssh", self.name)
        self.stop_sshd()
        self.start_sshd()
