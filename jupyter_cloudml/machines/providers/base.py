"""What a provider of machines has to do. Others join through the entry-point group `jupyter_cloudml.providers`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from jupyter_cloudml.errors import NotFound
from jupyter_cloudml.link.bootstrap import Connect
from jupyter_cloudml.machines.model import Box
from jupyter_cloudml.store import MachineRecord

_log = logging.getLogger(__name__)

GROUP = "jupyter_cloudml.providers"


class Provider(Protocol):
    """Where machines come from. Made once per process with the home folder; its methods may be called from any thread.

    All but `address` and `carrier` may take long; they watch `cancelled` and raise CloudMLError.
    """

    name: str
    on_stop: str
    """What happens to the computer when the user stops the machine, as a sentence for the user."""

    def __init__(self, home: Path) -> None: ...

    def describe(self, machine: MachineRecord) -> Box:
        """Return what is known of the computer itself."""

    def start(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Have the computer run; done already is done."""

    def stop(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Have the computer stop and keep its disk, where it is ours to stop. Its processes have ended before."""

    def terminate(self, machine: MachineRecord, cancelled: threading.Event) -> None:
        """Give the computer back, where it is ours to give."""

    def connect(self, machine: MachineRecord, on_step: Callable[[str], None]) -> Connect:
        """Return how to open a carrier to the machine's agent. `on_step` hears what is being done."""

    def address(self, machine: MachineRecord) -> str:
        """Return the address as the user knows it."""

    def carrier(self, machine: MachineRecord) -> str:
        """Return the name of the carrier: unix, openssh, paramiko."""


class Providers:
    """The providers that are installed, made on first use. A broken one hurts its own machines alone."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._made: dict[str, Provider] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Provider:
        """Return a provider. Raises NotFound when it is not installed."""
        with self._lock:
            if name not in self._made:
                found = _classes().get(name)
                if found is None:
                    raise NotFound(
                        f"the provider {name!r} is not installed",
                        hint="install the package that it came with",
                    )
                self._made[name] = found(self._home)
            return self._made[name]


@cache
def _classes() -> dict[str, Callable[[Path], Provider]]:
    from jupyter_cloudml.machines.providers.local import LocalProvider
    from jupyter_cloudml.machines.providers.ssh import SSHProvider

    classes: dict[str, Callable[[Path], Provider]] = {}
    for entry in entry_points(group=GROUP):
        try:
            classes[entry.name] = entry.load()
        except Exception:  # noqa: BLE001  other people's code
            _log.exception("the provider %s cannot be loaded", entry.name)
    return classes | {LocalProvider.name: LocalProvider, SSHProvider.name: SSHProvider}
