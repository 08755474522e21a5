"""jupyter_client's restarter as a provisioner needs it: it makes good crashes and nothing else, and is heard when it gives a kernel up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Restarter:
    """The restarter of a kernel manager, where it has one (nbclient's and papermill's have none).

    `given_up` is called, on the event loop, when the restarter has taken the kernel for dead: jupyter_client lets go of
    the kernel then without a word to its provisioner.
    """

    def __init__(self, manager: object, given_up: Callable[[], None]) -> None:
        self._manager, self._given_up = manager, given_up
        self._listening_to: object = None
        self._limit: int | None = None  # its own, while it is held

    @property
    def _restarter(self) -> Any:
        return getattr(self._manager, "_restarter", None)

    def listen(self) -> None:
        """Hear of it when the kernel is given up; idempotent. Only once the kernel has run: the restarter is made after its start."""
        restarter = self._restarter
        if restarter is not None and self._listening_to is not restarter:
            self._listening_to = restarter
            # Not a bound method: what has a `__self__` among these callbacks is a page's (see the server's reattach).
            restarter.add_callback(lambda: self._given_up(), "dead")

    def hold(self) -> bool:
        """Have it give the kernel up at its next look instead of restarting it; False where it is held already, or there is none."""
        restarter = self._restarter
        if restarter is None or self._limit is not None:
            return False
        self._limit, restarter.restart_limit = restarter.restart_limit, 0
        return True

    def release(self) -> None:
        """Take `hold` back: the kernel starts anew."""
        if self._limit is not None:
            self._restarter.restart_limit, self._limit = self._limit, None
