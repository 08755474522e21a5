"""Blocking calls of the core, made from the event loop without holding it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from jupyter_cloudml.errors import Busy
from jupyter_cloudml_server.publisher import call_soon

P = ParamSpec("P")
T = TypeVar("T")


class CallPool:
    """Runs blocking calls on a few threads and refuses, rather than queue without end.

    Two pools exist, so that calls which wait for a far host never hold up those that only read the store.
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._name = name
        self._limit = threads + waiting
        self._taken = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"cloudml-{name}")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns; raise what it raises, or Busy at once when the queue is full."""
        if self._taken >= self._limit:
            raise Busy(
                f"{self._taken} calls are waiting already ({self._name}).",
                hint="Try again in a few seconds.",
            )
        self._taken += 1
        future = self._executor.submit(partial(function, *args, **kwargs))
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: call_soon(loop, self._release))
        # A client that goes away leaves the call running; its place is free only when the thread is.
        return await asyncio.shield(asyncio.wrap_future(future))

    def close(self) -> None:
        """Drop what waits. Calls that run end by their own time limits."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self) -> None:
        self._taken -= 1
