"""The computer at hand as a machine: its agent over a unix socket, no SSH."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from jupyter_cloudml.link.bootstrap import Connect, Opened, local_connect
from jupyter_cloudml.machines.model import Box
from jupyter_cloudml.store import MachineRecord


class LocalProvider:
    """The computer that this runs on."""

    name = "local"
    on_stop = "its processes and its agent end; the computer stays on"

    def __init__(self, home: Path) -> None:
        self._home = home

    def describe(self, machine: MachineRecord) -> Box:
        """Return running: the question is asked on it."""
        return Box.RUNNING

    def start(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it runs."""

    def stop(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it is the user's own."""

    def terminate(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Do nothing: it is the user's own."""

    def connect(self, machine: MachineRecord, on_step: Callable[[str], None]) -> Connect:
        """Return how to reach the agent's socket; the agent is started where none runs."""
        inner = local_connect()

        def connect(cancelled: threading.Event) -> Opened:
            on_step("starting the agent")
            return inner(cancelled)

        return connect

    def address(self, machine: MachineRecord) -> str:
        """Return localhost."""
        return "localhost"

    def carrier(self, machine: MachineRecord) -> str:
        """Return unix."""
        return "unix"
