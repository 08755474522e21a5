"""How busy machines are: many pages ask, the machine is asked once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import JSON


@dataclass
class _Reading:
    """One question to a machine, and when its answer stops being fresh (monotonic seconds; None while it is under way)."""

    task: asyncio.Task[Mapping[str, JSON]]
    stale_at: float | None = None


class GaugesCache:
    """Keeps each machine's last answer, or its refusal, for `keep_s`; askers meanwhile share one question.

    Used on the event loop's thread alone.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[Mapping[str, JSON]]],
        clock: Clock,
        keep_s: float = 1.0,
    ) -> None:
        self._read = read
        self._clock = clock
        self._keep_s = keep_s
        self._readings: dict[str, _Reading] = {}

    async def get(self, machine: str) -> Mapping[str, JSON]:
        """Return the gauges of a machine, `keep_s` old at most. Raises what the machine answered with."""
        self._drop_stale()
        reading = self._readings.get(machine)
        if reading is None:
            reading = self._readings[machine] = _Reading(asyncio.ensure_future(self._ask(machine)))
            reading.task.add_done_callback(lambda task: self._done(machine, task))
        # Who asked first may leave; the others still want the answer.
        return await asyncio.shield(reading.task)

    async def close(self) -> None:
        """Drop every question that is under way."""
        tasks = [reading.task for reading in self._readings.values()]
        self._readings.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, machine: str) -> Mapping[str, JSON]:
        return await self._read(machine)

    def _done(self, machine: str, task: asyncio.Task[Mapping[str, JSON]]) -> None:
        if not task.cancelled():
            task.exception()  # seen: perhaps nobody waits any more
        reading = self._readings.get(machine)
        if reading is not None and reading.task is task:
            reading.stale_at = self._clock.monotonic() + self._keep_s

    def _drop_stale(self) -> None:
        now = self._clock.monotonic()
        for machine, reading in list(self._readings.items()):
            if reading.stale_at is not None and reading.stale_at <= now:
                del self._readings[machine]
