"""A small HTTP/1.1 client for signed addresses: connections are kept, and large bodies go from the socket to the file without copies in between.

http.client takes half a millisecond of processor time for a small object, most of it for headers; this takes a fifth.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

CONNECT_S, SILENT_S = 10.0, 30.0
MAX_HEAD = 1 << 16
MAX_SAID = 1 << 16  # of an answer that is no object
RECEIVE = 1 << 16


class WireError(Exception):
    """The connection broke, or what came is not HTTP: trying again may help."""


def why_insecure(exc: ssl.SSLError) -> tuple[str, str]:
    """Code and text for a connection that could not be made secure."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "endpoint_untrusted", exc.verify_message
    return "endpoint_unreachable", f"TLS: {exc.reason or exc}"


class Peer(NamedTuple):
    """Whom to connect to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> tuple[Peer, str, str]:
        """Whom an address is for, what to ask for, and the name for the header Host."""
        start, _, rest = url.partition("://")
        netloc, _, target = rest.partition("/")
        return _peer(start, netloc), "/" + target, netloc


@lru_cache(16)
def _peer(scheme: str, netloc: str) -> Peer:
    split = urlsplit(f"{scheme}://{netloc}")
    return Peer(scheme, split.hostname or "", split.port or (443 if scheme == "https" else 80))


def dial(peer: Peer, context: ssl.SSLContext | None, silent_s: float) -> socket.socket:
    """A connection. Raises ConnectionError, OSError."""
    try:
        sock = socket.create_connection((peer.host, peer.port), CONNECT_S)
    except socket.gaierror as exc:
        raise ConnectionError(exc.errno, f"the name {peer.host} is not known there") from exc
    except socket.timeout as exc:
        raise ConnectionError(0, f"{peer.host} does not answer") from exc
    except OSError as exc:
        raise ConnectionError(exc.errno, f"{peer.host}: {exc.strerror}") from exc
    try:
        sock.settimeout(silent_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer.scheme == "https":
            context = context or ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=peer.host)
    except BaseException:
        sock.close()
        raise
    return sock


def request(method: str, target: str, host: str, headers: dict[str, str]) -> bytes:
    """The head of a request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer, names in lower case. Raises WireError for what is not HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise WireError("the answer is not HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length" and headers.get(name, value) != value:
            raise WireError("the answer has two lengths")
        headers[name] = value
    return int(words[1]), headers


class Reply:
    """An answer whose body is yet to be read, from `pieces` or `text`."""

    def __init__(self, status: int, headers: dict[str, str], wire: Wire, empty: bool) -> None:
        self.status, self.headers, self._wire = status, headers, wire
        length = headers.get("content-length")
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        if length is not None and not length.isdecimal():
            raise WireError("the length of the answer is no number")
        self.length: int | None = int(length) if length is not None else None
        if empty:
            self.length = 0
        elif self.chunked:  # the other is then not of the body
            self.length = None

    def pieces(self, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the body, in pieces that are good until the next; it must have a length. Raises WireError when it is cut short."""
        if self.length is None:
            raise WireError("an object without a length")
        left = self.length
        while left:
            got = self._wire.read_into(buffer[: min(left, len(buffer))])
            if not got:
                raise WireError(f"the answer ended {left} bytes too early")
            left -= got
            yield buffer[:got]

    def text(self) -> str:
        """Return the body of a short answer, as far as it goes. The connection is good for more only where it was all of it."""
        if self.length is not None and self.length <= MAX_SAID:
            data = self._wire.read(self.length)
        else:
            data = self._wire.read_some(MAX_SAID)
            self._wire.close()
        return data.decode(errors="replace")


class Wire:
    """The connections of one thread, one to each service."""

    def __init__(self, context: ssl.SSLContext | None, silent_s: float = SILENT_S) -> None:
        self._context, self._silent_s = context, silent_s
        self._sock: socket.socket | None = None
        self._peer: Peer | None = None
        self._rest = b""
        self._buffer = memoryview(bytearray(RECEIVE))

    def ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: BinaryIO | None = None,
        length: int = 0,
    ) -> Reply:
        """Send a request and read the head of the answer. Raises WireError, OSError."""
        peer, target, host = Peer.of(url)
        if method == "PUT":
            headers = {"Content-Length": str(length), **headers}
        head = request(method, target, host, headers)
        begin = body.tell() if body else 0
        for fresh in (False, True):
            # What came after the last answer belongs to none.
            kept = self._sock is not None and peer == self._peer and not self._rest
            try:
                if fresh or not kept:
                    self._connect(peer)
                self._send(head, body, length)
                return self._head(method)
            except (OSError, WireError) as exc:
                self.close()
                if fresh or not kept or isinstance(exc, socket.timeout):
                    raise
                if body:
                    body.seek(
                        begin
                    )  # the service had closed a connection that was not used for long
        raise AssertionError("unreachable")

    def _connect(self, peer: Peer) -> None:
        self.close()
        self._sock, self._peer = dial(peer, self._context, self._silent_s), peer

    def _send(self, head: bytes, body: BinaryIO | None, length: int) -> None:
        assert self._sock is not None  # noqa: S101 - just connected
        self._sock.sendall(head)
        while length and body:
            data = body.read(min(1 << 18, length))
            if not data:
                raise WireError("the file has become shorter")
            self._sock.sendall(data)
            length -= len(data)

    def _head(self, method: str) -> Reply:
        while True:
            data = self._rest
            while (end := data.find(b"\r\n\r\n")) < 0:
                if len(data) > MAX_HEAD:
                    raise WireError("the head of the answer does not end")
                data += self._receive()
            self._rest = data[end + 4 :]
            status, headers = parsed(data[:end])
            if status >= 200:
                break
        if headers.get("connection", "").lower() == "close" or data.startswith(b"HTTP/1.0"):
            self._peer = None  # not for another request
        return Reply(status, headers, self, method == "HEAD" or status in (204, 304))

    def _receive(self) -> bytes:
        assert self._sock is not None  # noqa: S101 - a request was sent
        got = self._sock.recv_into(self._buffer)
        if not got:
            raise WireError("the connection was closed")
        return bytes(self._buffer[:got])

    def read_into(self, view: memoryview) -> int:
        """Read a piece of the body; 0 at its end."""
        if self._rest:
            got = min(len(view), len(self._rest))
            view[:got] = self._rest[:got]
            self._rest = self._rest[got:]
            return got
        if self._sock is None:
            return 0
        return self._sock.recv_into(view)

    def read(self, length: int) -> bytes:
        """Read that much. Raises WireError when it is cut short."""
        view = memoryview(bytearray(length))
        at = 0
        while at < length:
            got = self.read_into(view[at:])
            if not got:
                raise WireError("the answer was cut short")
            at += got
        return bytes(view)

    def read_some(self, limit: int) -> bytes:
        """Read what comes, up to a limit."""
        data = b""
        view = memoryview(bytearray(limit))
        while len(data) < limit and (got := self.read_into(view[: limit - len(data)])):
            data += bytes(view[:got])
            if b"</Error>" in data:
                break
        return data

    def close(self) -> None:
        """Let go of the connection."""
        self._rest = b""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
