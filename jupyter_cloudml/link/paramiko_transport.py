"""paramiko's transport with what a link needs: it notices when the other end has fallen silent."""

from __future__ import annotations

import errno
import logging
import socket
import time
from typing import Protocol

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST

from .carrier import KEEPALIVE, SILENCE

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_LOG = "jupyter_cloudml.paramiko"
READ_AHEAD = 1 << 18  # bytes

# It logs each cut as an error with a traceback; the link reports it as what it is.
if logging.getLogger(_LOG).level == logging.NOTSET:
    logging.getLogger(_LOG).setLevel(logging.CRITICAL)


class Stream(Protocol):
    """What a transport stands on: a socket, or a channel through a jump host."""

    def recv(self, nbytes: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def close(self) -> None: ...


class WatchedStream:
    """A stream that asks the other end when it has been silent, and gives it up when no answer comes.

    paramiko's own keepalive wants no answer and is not sent while something is written, so that a frozen host goes
    unnoticed. paramiko calls recv() ten times a second while it waits: that is the clock here.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.silent = False  # it was given up
        self.transport: Transport | None = None
        self._received = memoryview(b"")
        self._heard = self._moved = self._asked = time.monotonic()
        self._unanswered: float | None = None
        self._gone = False

    @property
    def _closed(self) -> bool:
        return self._gone  # paramiko looks at this name of a socket

    def recv(self, nbytes: int) -> bytes:
        """Receive. Raises TimeoutError as a socket does, ConnectionError when the other end is given up.

        paramiko asks for the head and the body of each packet. Each time it would let go of the interpreter's lock, and wait until the
        link's thread gives it back: so much is read at once, and given out by the piece.
        """
        if not self._received:
            try:
                self._received = memoryview(self.stream.recv(max(nbytes, READ_AHEAD)))
            except TimeoutError:
                self._watch()
                raise
            self._heard = time.monotonic()
            self._unanswered = None
        data, self._received = bytes(self._received[:nbytes]), self._received[nbytes:]
        return data

    def send(self, data: bytes) -> int:
        """Send. Raises TimeoutError as a socket does, ConnectionError when nothing has moved for SILENCE seconds."""
        try:
            sent = self.stream.send(data)
        except TimeoutError:
            if time.monotonic() - max(self._moved, self._heard) > SILENCE:
                self._give_up()
            raise
        self._moved = time.monotonic()
        return sent

    def settimeout(self, timeout: float | None) -> None:
        """Set the timeout of recv and send in seconds."""
        self.stream.settimeout(timeout)

    def close(self) -> None:
        """Close the stream."""
        self._gone = True
        self.stream.close()

    def _watch(self) -> None:
        now = time.monotonic()
        if self._unanswered is not None and now - self._heard > SILENCE:
            self._give_up()
        if (
            now - max(self._heard, self._asked) > KEEPALIVE
            and self.transport
            and self.transport.ask()
        ):
            self._asked = now
            self._unanswered = self._unanswered or now

    def _give_up(self) -> None:
        self.silent = True
        raise ConnectionResetError(errno.ECONNRESET, f"nothing heard for {SILENCE:g} s")


class Transport(paramiko.Transport):
    """A transport tuned for bulk, on a watched stream."""

    def __init__(self, stream: Stream) -> None:
        self.watched = WatchedStream(stream)
        # Documented as "a socket-like object"; the stubs know only some.
        super().__init__(self.watched, default_window_size=2**21, default_max_packet_size=2**15)  # type: ignore[arg-type]
        self.watched.transport = self
        self.set_log_channel(_LOG)
        options = self.get_security_options()
        known = tuple(options.ciphers)
        options.ciphers = tuple(name for name in _CIPHERS if name in known) + tuple(
            name for name in known if name not in _CIPHERS
        )

    def ask(self) -> bool:
        """Send a request that every server answers, unless keys are being exchanged. On the transport's thread only."""
        if not (self.is_authenticated() and self.clear_to_send.is_set()):
            return False
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self._send_message(message)  # type: ignore[attr-defined]
        return True


def tune(sock: socket.socket) -> socket.socket:
    """Prepare a TCP socket: small messages go at once, and data that is not acknowledged ends the connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE * 1000))
    return sock
