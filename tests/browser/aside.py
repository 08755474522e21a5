"""A network of the browser's own, in which nothing ever changes but whatever listens on loopback here is reached.

Chromium gives up the requests it has open when an address or a link comes or goes (ERR_NETWORK_CHANGED), and the hosts of other tests
come and go all the time. `python aside.py` makes a network namespace, says its name, and carries each connection to 127.0.0.1 in there to
the same port out here, until its standard input ends: that is also when the test run is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO

PREFIX = "cloudml-browser-"
SO_ORIGINAL_DST = 80
READ = 1 << 18


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _enter(namespace: IO[bytes]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), 0) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace.name}")


def _sweep() -> None:
    """Remove the namespaces of runs that are no more."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        if not Path("/proc", path.name.removeprefix(PREFIX)).exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False)


def _listen(name: str) -> socket.socket:
    """Make the namespace `name` and return a socket in it that all connections to loopback come to."""
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    with open("/proc/self/ns/net", "rb") as here, open(f"/run/netns/{name}", "rb") as there:
        _enter(there)
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        _enter(here)
    port = listener.getsockname()[1]
    rules = f"""
    add table ip aside
    add chain ip aside output {{ type nat hook output priority -100; }}
    add rule ip aside output ip daddr 127.0.0.0/8 tcp dport != {port} redirect to :{port}
    """
    command = ["ip", "netns", "exec", name, "nft", "-f", "-"]
    subprocess.run(command, input=rules, text=True, check=True)
    return listener


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(READ):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = writer.get_extra_info("socket").getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    (port,) = struct.unpack_from("!H", asked, 2)
    try:
        there, back = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        # As near to a refusal as can be had here: a reset.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        return
    await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _serve(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
    async with await asyncio.start_server(_carry, sock=listener):
        await ended.wait()


def main() -> None:
    """Make the network, print its name, carry until standard input ends, remove it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _sweep()
    name = f"{PREFIX}{os.getpid()}"
    try:
        listener = _listen(name)
        print(name, flush=True)
        asyncio.run(_serve(listener))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


class Aside:
    """Keeps such a network as long as it is open. Needs root, ip and nft."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.name = self._process.stdout.readline().strip()
        if not self.name:
            self.close()
            raise RuntimeError("there is no network for the browser; see above")

    def wrap(self, program: str, folder: Path) -> Path:
        """Write a command into `folder` that runs `program` in this network."""
        command = folder / "in-network"
        command.write_text(
            f'#!/bin/sh\nexec nsenter --net=/run/netns/{self.name} -- {program} "$@"\n'
        )
        command.chmod(0o755)
        return command

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(20)


if __name__ == "__main__":
    main()
