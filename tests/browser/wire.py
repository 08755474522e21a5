"""The network between a page and its server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Wire:
    """The network between the page and the server: it can be cut, and it can fall silent."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._up = True
        self._ends: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()
        self.port: int = self._do(self._listen())

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._do(self._break(page=True))

    def fall_silent(self) -> None:
        """As for a computer that sleeps: the server gives the connections up, and the page does not hear of it."""
        self._do(self._break(page=False))

    def heal(self) -> None:
        """Let new connections through again."""
        self._up = True

    def close(self) -> None:
        """End it."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _close(self) -> None:
        await self._break(page=True)
        self._server.close()
        if pumps := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(pumps, timeout=2)  # they end with their connections
        await asyncio.sleep(0)  # for the last of them to be closed

    async def _break(self, *, page: bool) -> None:
        self._up = False
        for to_page, to_server in self._ends:
            to_server.transport.abort()
            if page:
                to_page.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, to_page: asyncio.StreamWriter) -> None:
        try:
            if not self._up:
                raise ConnectionError
            answers, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            to_page.transport.abort()
            return
        ends = (to_page, to_server)
        self._ends.add(ends)
        await asyncio.gather(self._pump(reader, to_server), self._pump(answers, to_page))
        self._ends.discard(ends)
        for end in ends:
            end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction. What is sent to an end that is gone is lost while the wire is silent, and refused later."""
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if not writer.is_closing():
                    writer.write(data)
                    await writer.drain()
                elif self._up:
                    break
        if self._up:
            writer.transport.abort()
