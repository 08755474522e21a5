"""What carries a link: a byte stream to a command on another machine, whatever makes it."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from jupyter_cloudml.errors import CloudMLError, UsageError
from jupyter_cloudml.paths import home

from .command import check_name

CarrierName = Literal["auto", "openssh", "paramiko"]

# Both carriers take a host for gone that has said nothing for this long although it was asked every KEEPALIVE seconds.
KEEPALIVE = 5.0
SILENCE = 15.0

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_BUFFERS = 1024  # IOV_MAX: more in one call is an error


@dataclass(frozen=True)
class SSHTarget:
    """Where and how to enter a machine over SSH; what is None comes from the user's ssh configuration.

    `host_key` is the fingerprint a person confirmed (`SHA256:…`): no other key will do. Raises UsageError (`bad_name`,
    `bad_port`, `bad_fingerprint`, `bad_identity`, `bad_carrier`): what passes here is safe in an argv.
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    host_key: str | None = None
    carrier: CarrierName = "auto"
    known_hosts: Path = field(default_factory=lambda: home() / "known_hosts")
    python: str | None = None

    def __post_init__(self) -> None:
        check_name("host", self.host)
        if self.user is not None:
            check_name("user", self.user)
        if self.port is not None and not 0 < self.port < 65536:
            raise UsageError(f"{self.port} is not a port", code="bad_port", hint="give 1 to 65535")
        if self.host_key is not None and not _FINGERPRINT.fullmatch(self.host_key):
            raise UsageError(
                f"{self.host_key[:60]!r} is not the fingerprint of a host key",
                code="bad_fingerprint",
                hint="give SHA256: and 43 characters, as `ssh-keygen -lf` prints it on the host",
            )
        if self.identity is not None and not (self.identity and self.identity.isprintable()):
            raise UsageError(
                f"{self.identity[:60]!r} is not a path", code="bad_identity", hint="give a key file"
            )
        if self.carrier not in ("auto", "openssh", "paramiko"):
            raise UsageError(
                f"{self.carrier!r} is not a carrier",
                code="bad_carrier",
                hint="use auto, openssh or paramiko",
            )

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        host = f"[{self.host}]" if ":" in self.host and port else self.host
        return f"{user}{host}{port}"


class Carrier(Protocol):
    """A byte stream to a command on the machine, used by one thread."""

    # False: poll() cannot say when the carrier takes more, so its user looks again every few milliseconds.
    writable_by_poll: bool

    def fileno(self) -> int:
        """Return the descriptor that is readable when bytes wait, or when the end has come."""

    def readv(self, bufs: Sequence[bytearray | memoryview]) -> int:
        """Fill the buffers and return the count, 0 at the end. Raises BlockingIOError when none wait, ConnectionError."""

    def writev(self, bufs: Sequence[bytes | memoryview]) -> int:
        """Send from the buffers and return the count. Raises BlockingIOError when full, ConnectionError."""

    def why(self) -> CloudMLError | None:
        """Return the cause of the end as far as it is known; None before the end or when there is none to tell."""

    def close(self) -> None:
        """End it within seconds and leave nothing behind; may be called again."""


class SocketCarrier:
    """The part of a carrier that is a stream socket of ours."""

    writable_by_poll = True

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def readv(self, bufs: Sequence[bytearray | memoryview]) -> int:
        """Fill the buffers and return the count, 0 at the end. Raises BlockingIOError when none wait, ConnectionError."""
        return self._sock.recvmsg_into(list(bufs))[0]

    def writev(self, bufs: Sequence[bytes | memoryview]) -> int:
        """Send from the buffers and return the count. Raises BlockingIOError when full, ConnectionError."""
        return self._sock.sendmsg(bufs[:_BUFFERS])

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def carrier_for(target: SSHTarget) -> Literal["openssh", "paramiko"]:
    """Return which carrier a target gets: the named one, else openssh wherever there is an `ssh` that takes a socket."""
    if target.carrier != "auto":
        return target.carrier
    return "openssh" if os.name == "posix" and shutil.which("ssh") else "paramiko"
