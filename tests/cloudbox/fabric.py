"""The network of a box: one bridge, on which this computer is the laptop and each host has an address."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

from .commands import CommandFailed, sh

PREFIX = "jcb"


@dataclass
class Fabric:
    """A bridge `jcb<id>` with 10.<octet>.0.1/16. Hosts are not routed anywhere else."""

    id: str
    octet: int
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(10))

    @property
    def bridge(self) -> str:
        return f"{PREFIX}{self.id}"

    @property
    def gateway(self) -> str:
        """The address of this computer, as the hosts see it."""
        return f"10.{self.octet}.0.1"

    def up(self) -> None:
        sh("ip", "link", "add", self.bridge, "type", "bridge")
        sh("ip", "addr", "add", f"{self.gateway}/16", "dev", self.bridge)
        sh("ip", "link", "set", self.bridge, "up")

    def number(self) -> int:
        """Return a number that no host of this box had before."""
        return next(self._numbers)

    def address(self, number: int) -> str:
        return f"10.{self.octet}.{number // 250}.{number % 250 + 2}"

    def forget(self, address: str) -> None:
        """Drop what this computer remembers about who has `address`."""
        sh("ip", "neigh", "del", address, "dev", self.bridge, check=False)


def free_octet() -> int:
    """Return a second octet within 10.208.0.0/12 that no interface or route here uses."""
    listed = json.loads(sh("ip", "-j", "addr")) + json.loads(sh("ip", "-j", "route"))
    text = json.dumps(listed)
    for octet in range(208, 224):
        if f'"10.{octet}.' not in text:
            return octet
    raise CommandFailed("no free network in 10.208.0.0/12: are boxes left over?")
