"""How a server says that it lives: in a thread of its own, since a look that takes long is no death."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.store import StoreError
from jupyter_cloudml.store.jobs.servers import ServerRecord, ServerRepository

log = logging.getLogger(__name__)

_STUCK_LEASES = 10  # a scheduler that has not looked for so long is as good as dead


class Heartbeat:
    """Beats every `every_s` seconds once started; before, whenever it is asked to. `looked_at` is when the scheduler last looked (monotonic)."""

    def __init__(
        self,
        servers: ServerRepository,
        row: ServerRecord,
        clock: Clock,
        *,
        lease_s: float,
        every_s: float,
        looked_at: Callable[[], float],
    ) -> None:
        self._servers, self._row, self._clock = servers, row, clock
        self._lease_s, self._every_s, self._looked_at = lease_s, every_s, looked_at
        self._beat_at: float | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Beat once, and go on in a thread. Raises StoreError."""
        self._beat()
        self._thread = threading.Thread(target=self._keep, name="jobs-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def has_lease(self) -> bool:
        """Tell whether others cannot have taken this server for dead yet."""
        beat = self._beat_at
        return beat is not None and self._clock.monotonic() - beat < self._lease_s

    def beat_unless_kept(self) -> None:
        """Beat now where no thread does, or where it is late. Raises StoreError."""
        if self._thread is None or not self.has_lease():
            self._beat()

    def _beat(self) -> None:
        at = self._clock.monotonic()  # the lease counts from before the write
        self._servers.beat(replace(self._row, heartbeat_ms=self._clock.now_ms()))
        self._beat_at = at

    def _keep(self) -> None:
        while not self._stopping.wait(self._every_s):
            if self._clock.monotonic() - self._looked_at() > _STUCK_LEASES * self._lease_s:
                log.error("the scheduler has been stuck for long: other servers take its runs over")
                continue
            try:
                self._beat()
            except StoreError as exc:
                log.warning("the heartbeat could not be written: %s", exc)
