"""The scheduler in this server: begun behind its start, tried again while the database fails, let go of when the server stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from jupyter_cloudml.errors import JSON, CloudMLError
from jupyter_cloudml.jobs.scheduler import Scheduler

AGAIN_S = 10.0
STOP_S = 4.0  # for what is being started; links are cut then, and it ends by that
_log = logging.getLogger(__name__)


class Scheduling:
    """Keeps one scheduler working. Any number of servers and `jupyter cloudml scheduler` share the work of one database.

    `make` gives a new scheduler; None: this server runs none.
    """

    def __init__(self, make: Callable[[], Scheduler] | None, again_s: float = AGAIN_S) -> None:
        self._make, self._again_s = make, again_s
        self._scheduler: Scheduler | None = None
        self._cause: CloudMLError | None = None
        self._closed = False

    @property
    def is_off(self) -> bool:
        """Whether this server runs none, now or later."""
        return self._make is None

    def wake(self) -> None:
        """Have it look at once. From any thread."""
        if self._scheduler is not None:
            self._scheduler.engine.wake()

    def to_dict(self) -> dict[str, JSON]:
        """Return {state, cause}: off, starting, working, or waiting for the database, and why."""
        if self._make is None:
            return {"state": "off", "cause": None}
        working = self._scheduler
        cause = self._cause if working is None else working.engine.trouble
        if cause is not None:
            return {"state": "waiting", "cause": cause.message}
        return {"state": "starting" if working is None else "working", "cause": None}

    async def run(self) -> None:
        """Start it, again and again while it cannot be."""
        loop = asyncio.get_running_loop()
        while self._make is not None and self._scheduler is None:
            try:
                await loop.run_in_executor(None, self._start, self._make)
                self._cause = None
            except CloudMLError as error:
                if self._cause is None:
                    _log.warning("jupyter-cloudml: the scheduler starts once it can: %s", error)
                self._cause = error
                await asyncio.sleep(self._again_s)

    async def close(self) -> None:
        """Let go of the runs, which go on; others look after them. Returns after 4 s at the latest."""
        self._closed = True
        if self._scheduler is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(None, self._scheduler.close)
        done, _ = await asyncio.wait([closing], timeout=STOP_S)
        if not done:
            _log.info("jupyter-cloudml: the scheduler ends when what it starts has been started")

    def _start(self, make: Callable[[], Scheduler]) -> None:
        made = make()
        made.start()
        self._scheduler = made
        if self._closed:  # meanwhile
            made.close()
