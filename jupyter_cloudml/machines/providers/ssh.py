"""Computers that the user reaches over SSH: nothing of them is ours but the agent and its processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.link import dial
from jupyter_cloudml.link.bootstrap import Connect, Opened, ssh_connect
from jupyter_cloudml.link.carrier import CarrierName, SSHTarget, carrier_for
from jupyter_cloudml.machines.model import Box
from jupyter_cloudml.store import MachineRecord


class SSHProvider:
    """A computer behind an sshd, named by its address."""

    name = "ssh"
    on_stop = "its processes and its agent end; the computer itself is not ours and stays on"

    def __init__(self, home: Path) -> None:
        self._home = home

    def describe(self, machine: MachineRecord) -> Box:
        """Return running: whether it is on shows only when the link comes up."""
        return Box.RUNNING

    def start(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it is switched on by whoever owns it."""

    def stop(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it is switched off by whoever owns it."""

    def terminate(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it is not ours."""

    def connect(self, machine: MachineRecord, on_step: Callable[[str], None]) -> Connect:
        """Return how to sign in, ship the agent where it is missing, and attach to it."""
        target = self.target(machine)
        inner = ssh_connect(target, on_step)

        def connect(cancelled: threading.Event) -> Opened:
            # Who shares the database has the fingerprint that a person has confirmed, and perhaps not yet the key.
            dial.verify(target, cancelled=cancelled)
            return inner(cancelled)

        return connect

    def address(self, machine: MachineRecord) -> str:
        """Return [user@]host[:port]."""
        return str(self.target(machine))

    def carrier(self, machine: MachineRecord) -> str:
        """Return the carrier that the machine gets."""
        return carrier_for(self.target(machine))

    def target(self, machine: MachineRecord) -> SSHTarget:
        """Return where and how to enter the machine. Raises UsageError when the record was tampered with."""
        spec = machine.spec
        return SSHTarget(
            host=str(spec["host"]),
            user=cast("str | None", spec.get("user")),
            port=cast("int | None", spec.get("port")),
            identity=cast("str | None", spec.get("identity")),
            host_key=machine.host_key,
            carrier=cast(CarrierName, spec.get("carrier", "auto")),
            known_hosts=self._home / "known_hosts",
            python=cast("str | None", spec.get("python")),
        )


def spec_of(target: SSHTarget) -> dict[str, JSON]:
    """Return what is kept of a target; the host key has a column of its own."""
    return {
        "host": target.host,
        "user": target.user,
        "port": target.port,
        "identity": target.identity,
        "carrier": target.carrier,
        "python": target.python,
    }
