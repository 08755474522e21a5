"""The kernels of this process as others see them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jupyter_cloudml.errors import JSON

State = Literal["starting", "connected", "reconnecting", "ended"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelView:
    """A kernel on a machine. `state` is that of the way to it: while it reconnects the process goes on.

    `run` is the failed run (`attempt` its attempt) that has left this kernel; None of any other kernel.
    `code` is which code the machine had when it started: {url, branch, base_commit, snapshot, tree, dirty, diffstat}; None where none was synced.
    """

    id: str
    machine: str
    process: str | None
    spec: str
    path: str
    state: State
    since_ms: int
    cause: str | None = None
    exit: Mapping[str, JSON] | None = None
    code: Mapping[str, JSON] | None = None
    run: str | None = None
    attempt: int | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return the row of `GET kernels`."""
        return {
            "id": self.id,
            "machine": self.machine,
            "process": self.process,
            "spec": self.spec,
            "path": self.path,
            "state": self.state,
            "since_ms": self.since_ms,
            "cause": self.cause,
            "exit": dict(self.exit) if self.exit is not None else None,
            "code": dict(self.code) if self.code is not None else None,
            "run": self.run,
        }


class Running(Protocol):
    """What a provisioner is to those who look."""

    def view(self) -> KernelView:
        """Return the kernel as it is now."""

    def cancel(self) -> bool:
        """Call off a start; False when there is none to call off."""

    def leave(self) -> None:
        """The process ends."""


Callback = Callable[[KernelView], None]


class Kernels:
    """The provisioners of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._callbacks: tuple[Callback, ...] = ()

    def add(self, kernel_id: str, running: Running) -> None:
        """A kernel is about to start, or is found again."""
        with self._lock:
            self._running[kernel_id] = running

    def remove(self, kernel_id: str, running: Running) -> None:
        """A kernel is no concern of this process any more."""
        with self._lock:
            if self._running.get(kernel_id) is running:
                del self._running[kernel_id]

    def all(self) -> list[Running]:
        """Return all of them."""
        with self._lock:
            return list(self._running.values())

    def find(self, kernel_id: str) -> Running | None:
        """Return one of them."""
        with self._lock:
            return self._running.get(kernel_id)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have `callback` called at each change, from any thread; returns what ends it."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(c for c in self._callbacks if c is not callback)

        return unsubscribe

    def changed(self, view: KernelView) -> None:
        """Tell of a change."""
        for callback in self._callbacks:
            try:
                callback(view)
            except Exception:  # noqa: BLE001  the link's thread must not end of what a listener does
                _log.exception("a listener failed on kernel %s", view.id)


kernels = Kernels()


def reason_of(exit: Mapping[str, Any]) -> str:
    """Say how a kernel ended, in words for its user."""
    if exit.get("oom"):
        peak = exit.get("peak_bytes") or 0
        return f"ended for memory (peak {peak / 1e9:.1f} GB)"
    if exit.get("reason"):
        return str(exit["reason"])
    if exit.get("signal"):
        return f"ended by signal {exit['signal']}"
    return f"ended with exit code {exit.get('code')}"


def exit_code(exit: Mapping[str, Any]) -> int:
    """Return the code as subprocess would: negative for a signal, 1 where nobody knows it."""
    code, number = exit.get("code"), exit.get("signal")
    if isinstance(code, int):
        return code
    return -number if isinstance(number, int) and number > 0 else 1
