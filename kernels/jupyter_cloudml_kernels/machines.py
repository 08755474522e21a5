"""The machines of this process: those of the server it is, or its own where it is none."""

from __future__ import annotations

import atexit
import threading

from jupyter_cloudml.config import Config
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store

from .running import kernels

_lock = threading.Lock()
_given: Machines | None = None
_own: Machines | None = None


def use(machines: Machines | None) -> None:
    """Have the kernels of this process use these machines, and so their links; None: no longer."""
    global _given
    with _lock:
        _given = machines


def current() -> Machines:
    """Return the machines that kernels of this process run on. Raises StoreError."""
    global _own
    with _lock:
        if _given is not None:
            return _given
        if _own is None:
            config = Config.from_environ()
            store = Store.open(config)
            try:
                _own = Machines(store, config.home)
            except BaseException:
                store.close()
                raise
            atexit.register(_close, _own, store)
        return _own


def _close(machines: Machines, store: Store) -> None:
    for running in kernels.all():
        running.leave()
    machines.close()
    store.close()
