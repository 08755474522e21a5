"""The parent of an agent: holds on to its kernels' sockets, and starts the next agent when one was killed.

What is kept goes by name over a socket of message boundaries: ``+NAME`` with descriptors, ``-NAME`` to let go, ``?`` to be told what is kept
(each as ``+NAME``, then ``.``), ``=JSON`` for the command line of the next agent after an upgrade.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
from typing import Callable, NoReturn

NAME_LIMIT = 4096
PATIENCE = 5.0  # seconds; a keeper that is stopped or stuck is done without
QUICK = 5.0  # seconds; an agent that lives less than this was killed quickly
MANY = 5  # after so many of them in a row there is a pause, which grows
LONGEST_PAUSE = 2.0
HOPELESS = 30  # quick ends by an error in a row, after which no agent is started any more where nothing is kept: a minute


class Keeper:
    """The agent's end. Without a keeper (``fd`` is None, or it was killed) nothing is kept."""

    def __init__(self, fd: int | None) -> None:
        self._sock: socket.socket | None = None
        if fd is not None:
            os.set_inheritable(fd, False)
            self._sock = socket.socket(fileno=fd)
            self._sock.settimeout(PATIENCE)
        self._left: dict[str, list[int]] = {}  # what an agent before this one had kept
        if self._send(b"?"):
            self._receive()

    @property
    def fd(self) -> int | None:
        """Its descriptor, for the agent that this one becomes; None without a keeper."""
        return None if self._sock is None else self._sock.fileno()

    def keep(self, name: str, fds: list[int]) -> None:
        """Keep these, in place of what had the name before."""
        self._send(b"+" + name.encode(), fds)

    def drop(self, name: str) -> None:
        """Let go of what has this name."""
        for fd in self._left.pop(name, []):
            os.close(fd)
        self._send(b"-" + name.encode())

    def take(self, name: str) -> list[int]:
        """What an agent before this one had kept under this name; it stays kept."""
        return self._left.pop(name, [])

    def drop_left(self) -> None:
        """Let go of what nobody has taken."""
        for name in list(self._left):
            self.drop(name)

    def next_agent(self, argv: list[str]) -> None:
        """Start another agent by this command line from now on."""
        self._send(b"=" + json.dumps(argv).encode())

    def _send(self, message: bytes, fds: list[int] | None = None) -> bool:
        if self._sock is None:
            return False
        try:
            socket.send_fds(self._sock, [message], fds or [])
        except OSError:
            self._sock.close()
            self._sock = None
            return False
        return True

    def _receive(self) -> None:
        while self._sock is not None:
            message, fds, _, _ = socket.recv_fds(self._sock, NAME_LIMIT, 2)
            if not message or message == b".":
                return
            for fd in fds:
                os.set_inheritable(fd, False)
            self._left[message[1:].decode()] = list(fds)


class _Kept:
    """The keeper's own end: what it holds, by name."""

    def __init__(self) -> None:
        self.fds: dict[str, list[int]] = {}
        self.argv: list[str] | None = None  # of the next agent, once there was an upgrade

    def serve(self, sock: socket.socket) -> None:
        """Answer an agent until it is gone."""
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(sock, 1 << 16, 2)
                if not message:
                    return
                self._take(sock, message, list(fds))
            except OSError:
                return

    def _take(self, sock: socket.socket, message: bytes, fds: list[int]) -> None:
        word, text = message[:1], message[1:].decode()
        if word == b"?":
            for name, mine in self.fds.items():
                socket.send_fds(sock, [b"+" + name.encode()], mine)
            sock.send(b".")
        elif word == b"=":
            self.argv = json.loads(text)
        elif word in (b"+", b"-"):
            self._close(text)
            if fds:
                self.fds[text] = fds

    def _close(self, name: str) -> None:
        for fd in self.fds.pop(name, []):
            os.close(fd)

    def close(self) -> None:
        """Let go of everything."""
        for name in list(self.fds):
            self._close(name)


def keep(lock: int, run: Callable[[int], int]) -> int:
    """Run an agent, and another one whenever one was killed; 0 when one has left of its own will or was asked to, its status when none can start.

    ``lock`` is the open file that makes an agent the only one; ``run(fd)`` runs one, with ``fd`` its end of the keeper's socket.
    """
    state, quick = _Kept(), 0
    while True:
        started = time.monotonic()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            ours.close()
            state.close()
            _become_agent(lock, theirs.detach(), run, state.argv)
        theirs.close()
        with ours:
            state.serve(ours)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status in (0, -signal.SIGTERM):
            return 0
        quick = quick + 1 if time.monotonic() - started < QUICK else 0
        if status > 0 and not state.fds and quick > (MANY if _is_gone(lock) else HOPELESS):
            return status  # on a full disk, say; the next client starts another
        if quick > MANY:
            time.sleep(min(LONGEST_PAUSE, 0.05 * 2 ** (quick - MANY)))


def _is_gone(lock: int) -> bool:
    """Tell whether the file was deleted: no client finds an agent by it."""
    return os.fstat(lock).st_nlink == 0


def _become_agent(
    lock: int, fd: int, run: Callable[[int], int], argv: list[str] | None
) -> NoReturn:
    """In the new process. It gets a session of its own: what is sent to an agent's group is not for its keeper."""
    status = 1
    try:
        os.setsid()
        if argv is not None:
            os.set_inheritable(lock, True)
            os.set_inheritable(fd, True)
            os.execv(argv[0], [*argv, str(lock), str(fd)])  # noqa: S606 - our own interpreter
        status = run(fd)
    except BaseException:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
    os._exit(status)
