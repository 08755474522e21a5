"""The carrier to the agent of this computer: its unix socket."""

from __future__ import annotations

import socket
from pathlib import Path

from jupyter_cloudml.errors import CloudMLError, Unreachable

from .carrier import SocketCarrier


class UnixCarrier(SocketCarrier):
    """A connected unix socket as a carrier."""

    @classmethod
    def open(cls, path: Path, timeout: float = 5.0) -> UnixCarrier:
        """Connect to the socket at `path`. Raises Unreachable (`refused`, `timeout`)."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            code = "timeout" if isinstance(error, (TimeoutError, BlockingIOError)) else "refused"
            raise Unreachable(
                f"no agent answers at {path}: {error.strerror or error}",
                code=code,
                hint="it is started again at the next try",
            ) from error
        return cls(sock)

    def why(self) -> CloudMLError | None:
        """Return None: a unix socket ends only when the agent does, and that tells nothing more."""
        return None
