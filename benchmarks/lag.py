"""A long, thin line in front of a server: so much round trip, so many bits a second each way. `python -m benchmarks.lag PORT RTT_S BITS_S`."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 16 << 10
UNDER_WAY = 1 << 20  # bytes that the line holds; whoever sends more waits


class Direction:
    """One way of the line, which all connections share."""

    def __init__(self, delay_s: float, bits_s: float) -> None:
        self._delay_s, self._bits_s = delay_s, bits_s
        self._free_at = 0.0

    def arrival(self, size: int, now: float) -> float:
        """Return when so many bytes that are sent now have come."""
        self._free_at = max(now, self._free_at) + 8 * size / self._bits_s
        return self._free_at + self._delay_s

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Carry one connection's bytes until its end."""
        loop = asyncio.get_running_loop()
        waiting: deque[tuple[float, bytes]] = deque()
        changed = asyncio.Condition()

        async def deliver() -> None:
            while True:
                async with changed:
                    await changed.wait_for(lambda: bool(waiting))
                    at, data = waiting[0]
                await asyncio.sleep(at - loop.time())
                if not data:
                    return
                target.write(data)
                await target.drain()
                async with changed:
                    waiting.popleft()
                    changed.notify_all()

        delivering = asyncio.create_task(deliver())
        with suppress(ConnectionError):
            while data := await source.read(PIECE):
                async with changed:
                    await changed.wait_for(lambda: len(waiting) * PIECE < UNDER_WAY)
                    waiting.append((self.arrival(len(data), loop.time()), data))
                    changed.notify_all()
        async with changed:
            waiting.append((loop.time(), b""))
            changed.notify_all()
        with suppress(ConnectionError):
            await delivering
        target.close()


async def serve(port: int, rtt_s: float, bits_s: float) -> None:
    """Listen on a free port, say which, and carry on until the standard input ends."""
    there, back = Direction(rtt_s / 2, bits_s), Direction(rtt_s / 2, bits_s)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        for each in (writer, far_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(there.carry(reader, far_writer), back.carry(far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextmanager
def line(port: int, rtt_s: float, bits_s: float) -> Iterator[int]:
    """Put such a line in front of a loopback port; yields the port to use. A process of its own, which ends with this one."""
    argv = [sys.executable, "-m", "benchmarks.lag", str(port), str(rtt_s), str(bits_s)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        if child.stdin is None or child.stdout is None:
            raise OSError("the line has no pipes")
        try:
            yield int(child.stdout.readline())
        finally:
            child.stdin.close()
            child.terminate()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
