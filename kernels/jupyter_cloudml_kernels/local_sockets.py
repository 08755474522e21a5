"""The five sockets of a kernel on this computer: unix sockets in a private folder, or ports of loopback where a system has none (Windows).

A place is a text that is kept with the kernel: the path prefix of its sockets, or ``tcp://127.0.0.1:PORT,PORT,PORT,PORT,PORT``. The ports of loopback can be
connected to by every user of this computer; a kernel's key keeps them from running code, not from reading outputs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from contextlib import ExitStack, suppress
from typing import Any

from jupyter_cloudml.paths import socket_dir

HAS_UNIX = hasattr(socket, "AF_UNIX")
LOOPBACK = "127.0.0.1"
BACKLOG = 64
TCP = f"tcp://{LOOPBACK}:"
NAMES = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


def place_of(kernel_id: str, before: str = "") -> str:
    """Return where a kernel's sockets will be: where they were `before`, if they were. Raises NoFolder, OSError."""
    if HAS_UNIX:
        name = hashlib.sha256(kernel_id.encode(errors="replace")).hexdigest()[:16]
        return str(socket_dir(name) / "s")
    if before.startswith(TCP):
        return before
    with ExitStack() as held:  # all at once, so that no port is given twice
        sockets = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in NAMES]
        return TCP + ",".join(str(each.getsockname()[1]) for each in sockets)


def listen(place: str, number: int) -> socket.socket:
    """Listen on the socket of a number, 1 to 5 in the order of NAMES; an older one is replaced. Raises OSError."""
    if place.startswith(TCP):
        listener = socket.create_server((LOOPBACK, _ports(place)[number - 1]), backlog=BACKLOG)
    else:
        listener = _listen_unix(f"{place}-{number}")
    listener.setblocking(False)
    return listener


def _listen_unix(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def remove(place: str) -> None:
    """Remove the sockets of a kernel that nobody listens for any more."""
    if not place.startswith(TCP):
        for number in range(1, len(NAMES) + 1):
            with suppress(FileNotFoundError):
                os.unlink(f"{place}-{number}")


def remove_folder(place: str) -> None:
    """Remove the folder of a kernel's sockets."""
    if place and not place.startswith(TCP):
        shutil.rmtree(os.path.dirname(place), ignore_errors=True)


def address(place: str) -> dict[str, Any]:
    """Return transport, ip and ports as a connection file has them."""
    if place.startswith(TCP):
        return {"transport": "tcp", "ip": LOOPBACK, **dict(zip(NAMES, _ports(place), strict=True))}
    return {"transport": "ipc", "ip": place, **{name: n for n, name in enumerate(NAMES, 1)}}


def _ports(place: str) -> list[int]:
    return [int(port) for port in place.removeprefix(TCP).split(",")]
