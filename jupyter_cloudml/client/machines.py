"""The machines, as a program uses them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import TypeAlias

from jupyter_cloudml.client.reach import connect
from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.link.carrier import CarrierName, SSHTarget
from jupyter_cloudml.machines.model import (
    CheckStep,
    MachineView,
    Progress,
    Suggestion,
    ignore_progress,
)
from jupyter_cloudml.machines.service import Machines

Views: TypeAlias = list[MachineView]  # the class has a method of the name `list`
Suggestions: TypeAlias = list[Suggestion]

_ADDRESS = re.compile(r"(?:(?P<user>[^@]*)@)?(?P<host>\[[^\]]*\]|[^@]*?)(?::(?P<port>[^:\]]*))?")


def parse_address(text: str) -> tuple[str | None, str, int | None]:
    """Return user, host and port of `[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets.

    Raises UsageError (`bad_name`, `bad_port`). The parts are checked as names by SSHTarget.
    """
    if text.count(":") > 1 and "[" not in text:  # a bare IPv6 address
        user, _, host = text.rpartition("@")
        return user or None, host, None
    match = _ADDRESS.fullmatch(text)
    if match is None or match["user"] == "" or not match["host"]:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise UsageError(
            f"{shown!r} is not an address", code="bad_name", hint="give [USER@]HOST[:PORT]"
        )
    port = match["port"]
    if port is not None and not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise UsageError(f"{port[:20]!r} is not a port", code="bad_port", hint="give 1 to 65535")
    host = match["host"]
    return match["user"], host.strip("[]"), None if port is None else int(port)


class MachineVerbs:
    """`client.machines`."""

    def __init__(self, core: Machines) -> None:
        self._core = core

    def list(self, wait_s: float = 5.0) -> Views:
        """Return all machines, this computer first; those that should run are connected to, for `wait_s` seconds at most."""
        if wait_s > 0:
            connect(self._core, [view.name for view in self._core.list()], wait_s)
        return self._core.list()

    def get(self, name: str, wait_s: float = 5.0) -> MachineView:
        """Return one machine, after trying to reach it for `wait_s` seconds at most. Raises NotFound."""
        self._core.get(name)
        if wait_s > 0:
            connect(self._core, [name], wait_s)
        return self._core.get(name)

    def suggest(self) -> Suggestions:
        """Return the hosts of the user's SSH configuration that could be added."""
        return self._core.suggest()

    def add(
        self,
        name: str,
        ssh: str,
        *,
        identity: str | None = None,
        host_key: str | None = None,
        python: str | None = None,
        carrier: CarrierName = "auto",
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """Add a machine that is reached by `ssh` = `[USER@]HOST[:PORT]`.

        `host_key` is the fingerprint `SHA256:…` that a person has confirmed. Raises HostKeyUnknown when the host is met for the first
        time and none is given: confirm the fingerprint in its `details`, and call again with it.
        """
        user, host, port = parse_address(ssh)
        target = SSHTarget(
            host=host,
            user=user,
            port=port,
            identity=identity,
            host_key=host_key,
            carrier=carrier,
            python=python,
        )
        return self._core.add_ssh(name, target, progress=progress, cancelled=cancelled)

    def remove(self, name: str, *, stop_processes: bool = False) -> None:
        """Forget a machine. Raises Conflict (`in_use`) while processes run there, unless they are to be stopped."""
        self._core.remove(name, stop_processes=stop_processes)

    def start(
        self,
        name: str,
        *,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """Have a machine run, connect to it and prepare it."""
        return self._core.start(name, progress=progress, cancelled=cancelled)

    def stop(
        self,
        name: str,
        *,
        progress: Progress = ignore_progress,
        cancelled: threading.Event | None = None,
    ) -> MachineView:
        """End the processes of a machine and its agent."""
        return self._core.stop(name, progress=progress, cancelled=cancelled)

    def change(self, name: str, *, wait_s: float = 5.0, **changes: JSON) -> MachineView:
        """Change `label`, `cull_idle_s` (None: never) or `prewarm` of a machine.

        Its agent is told now if it answers within `wait_s` seconds, else when it does next. Raises NotFound, UsageError.
        """
        self._core.change(name, **changes)
        return self.get(name, wait_s)

    def check(self, name: str) -> Iterator[CheckStep]:
        """Diagnose a machine step by step."""
        return self._core.check(name)
