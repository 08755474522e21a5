"""The carrier over paramiko: for computers without an `ssh`, and where keys are pinned before a machine is first seen."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Sequence

import paramiko

from jupyter_cloudml.errors import CloudMLError

from . import exit_status, ssh_route
from .carrier import SSHTarget
from .command import RemoteCommand
from .host_keys import HostKey
from .paramiko_dial import Way, attempt, handshake, shown_key, sign_in
from .paramiko_transport import Transport

_READ = 1 << 18  # bytes at a time; small reads make paramiko slow
_PACKET = 1 << 15  # what goes into one message
_KEPT = 64 << 10  # bytes of standard error


class ParamikoCarrier:
    """A channel that runs a command, read and written by the link's own thread.

    It may stand in `writev` for as long as the network takes 32 KB, at most SILENCE seconds.
    """

    writable_by_poll = False

    def __init__(
        self, target: SSHTarget, way: Way, transport: Transport, channel: paramiko.Channel
    ) -> None:
        channel.settimeout(0)
        self.target = target
        self._way, self._transport, self._channel = way, transport, channel
        self._stderr = bytearray()
        self._descriptor = channel.fileno()
        self._ended = False

    @classmethod
    def open(
        cls, target: SSHTarget, command: RemoteCommand, timeout: float, cancelled: threading.Event
    ) -> ParamikoCarrier:
        """Sign in and start the command; see `dial.open_carrier`."""

        def work(way: Way) -> tuple[Transport, paramiko.Channel]:
            transport = sign_in(target, way)
            channel = transport.open_session(timeout=way.left())
            channel.exec_command(command.shell())
            return transport, channel

        (transport, channel), way = attempt(target, timeout, cancelled, work)
        return cls(target, way, transport, channel)

    def fileno(self) -> int:
        """Return the descriptor that is readable when bytes wait, or when the end has come."""
        return self._descriptor

    def readv(self, bufs: Sequence[bytearray | memoryview]) -> int:
        """Fill the first buffer and return the count, 0 at the end. Raises BlockingIOError, ConnectionError."""
        self._drain_stderr()
        buffer = bufs[0]
        try:
            data = self._channel.recv(min(len(buffer), _READ))
        except TimeoutError:
            raise BlockingIOError from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ConnectionResetError(str(error)) from error
        if data:
            buffer[: len(data)] = data
            return len(data)
        self._ended = True
        if not self._channel.eof_received:
            raise ConnectionResetError("the connection broke off")
        return 0

    def writev(self, bufs: Sequence[bytes | memoryview]) -> int:
        """Send from the buffers and return the count. Raises BlockingIOError when full, ConnectionError."""
        if not self._takes_more():
            raise BlockingIOError
        data = bytes(bufs[0][:_PACKET])
        for buffer in bufs[1:]:
            if len(data) >= _PACKET:
                break
            data += buffer[: _PACKET - len(data)]
        try:
            return self._channel.send(data)
        except TimeoutError:
            raise BlockingIOError from None
        except (
            OSError,
            EOFError,
            paramiko.SSHException,
        ) as error:  # EOFError: a transport that is going down
            raise ConnectionResetError(str(error)) from error

    def why(self) -> CloudMLError | None:
        """Return the cause of the end as far as it is known; None before the end or when there is none to tell."""
        self._drain_stderr()
        if self._transport.watched.silent:
            return exit_status.lost(self.target, silent=True)
        if self._ended:
            self._channel.status_event.wait(1)
        if self._channel.exit_status_ready() and self._channel.exit_status >= 0:
            return exit_status.explain(
                self.target, self._channel.exit_status, self._stderr.decode(errors="replace")
            )
        if self._ended or not self._transport.is_active():
            return exit_status.lost(self.target, silent=False)
        return None

    def close(self) -> None:
        """Hang up and close everything on the way to the host."""
        self._way.close()
        self._channel.close()

    def _takes_more(self) -> bool:
        """Whether the network takes a packet without making us wait, as far as can be seen from here."""
        stream = self._transport.watched.stream
        if not isinstance(stream, socket.socket) or stream.fileno() < 0:
            return True
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([], [stream], [], 0)[1])
        poll = select.poll()  # select() refuses the descriptors of a server that has over 1024 open
        poll.register(stream, select.POLLOUT)
        return bool(poll.poll(0))

    def _drain_stderr(self) -> None:
        try:
            while self._channel.recv_stderr_ready():
                data = self._channel.recv_stderr(_READ)
                if not data:
                    break
                self._stderr = (self._stderr + data)[-_KEPT:]
        except (OSError, EOFError, paramiko.SSHException):
            return


def read_host_key(
    target: SSHTarget, timeout: float, cancelled: threading.Event, family: str | None
) -> HostKey:
    """Exchange keys with the host, see which it has, and hang up before any authentication; see `dial.scan`."""
    route = ssh_route.find(target)

    def work(way: Way) -> HostKey:
        if family is None:
            return shown_key(handshake(target, route, way))
        return shown_key(handshake(target, route, way, only=family.split(",")))

    key, way = attempt(target, timeout, cancelled, work)
    way.close()
    return key
