"""Where a kernel listens: the content of its connection file, and a connection to one of its sockets.

ipc in a 0700 folder, so that nobody else reaches it. A kernel that cannot do that gets ports of loopback instead; what it publishes there
other users of its machine can read, so the first cell says so.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import Any

from .protocol import CONTROL, IOPUB, SHELL, STDIN

Connection = dict[str, Any]

LOOPBACK = "127.0.0.1"
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
PORT_OF = {SHELL: "shell_port", IOPUB: "iopub_port", STDIN: "stdin_port", CONTROL: "control_port"}
# Between the path and the "port". Most kernels write as ZMQ's own tools do; IJulia writes as for TCP.
SEPARATORS = ("-", ":")


def ipc(sockets: str, key: str | None = None) -> Connection:
    """A connection for sockets ``<sockets>-1`` to ``-5``; ``key`` is that of a kernel which this one replaces."""
    return _connection("ipc", sockets, range(1, 6), key)


def loopback(key: str) -> Connection:
    """A connection for free ports of loopback (nothing keeps another program from taking one first)."""
    with ExitStack() as held:
        ports = []
        for _ in PORTS:
            sock = held.enter_context(socket.socket())
            sock.bind((LOOPBACK, 0))
            ports.append(sock.getsockname()[1])
    return _connection("tcp", LOOPBACK, ports, key)


def _connection(transport: str, ip: str, ports: Any, key: str | None) -> Connection:
    return {
        "transport": transport,
        "ip": ip,
        "key": key or os.urandom(24).hex(),
        "signature_scheme": "hmac-sha256",
        "kernel_name": "",
        **dict(zip(PORTS, ports)),
        "identity": os.urandom(8).hex(),
    }


def connect(connection: Connection, channel: int) -> socket.socket | None:
    """A connected socket, or None while nobody listens there."""
    port = connection[PORT_OF[channel]]
    if connection["transport"] == "tcp":
        return _connect(socket.AF_INET, (connection["ip"], port))
    for separator in SEPARATORS:
        sock = _connect(socket.AF_UNIX, f"{connection['ip']}{separator}{port}")
        if sock is not None:
            return sock
    return None


def _connect(family: int, address: Any) -> socket.socket | None:
    sock = socket.socket(family)
    try:
        sock.connect(address)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sock.getsockname() == address:  # a port that nobody listens on met itself
                raise ConnectionRefusedError
    except OSError:
        sock.close()
        return None
    return sock


def remove(connection: Connection) -> None:
    """Remove the sockets of a kernel that has ended."""
    if connection.get("transport") != "ipc":
        return
    for port in PORTS:
        for separator in SEPARATORS:
            try:
                os.unlink(f"{connection['ip']}{separator}{connection[port]}")
            except OSError:
                continue
