"""A home folder with its machines, as one process has them."""

from __future__ import annotations

from jupyter_cloudml.config import Config
from jupyter_cloudml.events import Event
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import specs


class Installation:
    """The store and the machines of JUPYTER_CLOUDML_HOME; `events` is all that was told."""

    def __init__(self) -> None:
        self.config = Config.from_environ()
        self.store = Store.open(self.config)
        self.events: list[Event] = []
        self.machines = Machines(
            self.store, self.config.home, on_event=self.events.append, kernelspecs=specs
        )

    def state(self, name: str) -> str:
        """Return what a machine is doing."""
        return self.machines.get(name).status.state.value

    def close(self) -> None:
        """Let go of the machines."""
        self.machines.close()
        self.store.close()
