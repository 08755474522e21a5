"""Run over ``ssh host``: starts the agent where none runs, hands it standard input and output, and stays until it lets go of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import sockets
from .handover import own_package, program

START_LIMIT = 20.0  # seconds


def spawn(base: Path, digest: str) -> None:
    """Start an agent in a session of its own. Raises OSError."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(base / "log", flags, 0o600)
    try:
        if os.fstat(log).st_size > 4 << 20:
            os.ftruncate(log, 0)
        # The shell ends at once: the agent is nobody's child here, so nobody has to reap it.
        agent = program(*own_package(), "keep", str(base), digest)
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "cloudml", *agent],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(log)


def connect(base: Path, digest: str) -> socket.socket:
    """A connected socket to the agent, which is started if need be. Raises OSError or TimeoutError."""
    path = sockets.control(base)
    deadline = time.monotonic() + START_LIMIT
    started = 0.0
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
            return sock
        except OSError:
            sock.close()
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(f"the agent does not start; its log is {base / 'log'}")
        if now - started > 3.0:  # the first time, or the one that was started has gone again
            spawn(base, digest)
            started = now
        time.sleep(0.005)


def attach(base: Path, digest: str) -> int:
    """Hand over standard input and output; 0 when the agent lets go."""
    try:
        sock = connect(base, digest)
    except OSError as exc:
        sys.stderr.write(f"cloudml: {exc}\n")
        return 1
    socket.send_fds(sock, [b"a"], [0, 1])
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sock.recv(1)  # sshd ends the channel's input when its process ends: stay, asleep
    return 0
