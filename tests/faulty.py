"""A proxy in front of a real service that does what networks and services do on bad days."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PIECE = 1 << 16


@dataclass(frozen=True)
class Fault:
    """status, code: answer so instead of asking. cut: end the answer after so many bytes. rate: bytes a second. hold: answer when it is set.
    change: what is made of the whole answer. drain: take the whole question before the answer."""

    status: int | None = None
    code: str = "Injected"
    cut: int | None = None
    rate: float | None = None
    hold: threading.Event | None = None
    change: Callable[[bytes], bytes] | None = None
    drain: bool = False


Rule = Callable[[str, str], Fault | None]  # of method and path with query; None: as it is


@dataclass
class Proxy:
    """Where it listens, what it has been asked, and what it does about it."""

    url: str = ""
    rule: Rule = lambda method, target: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    secure: ssl.SSLContext | None = None  # of connections from now on

    def asked_for(self, part: str, method: str = "GET") -> int:
        """Return how many requests of a method had `part` in their path."""
        return sum(
            part in target.partition("?")[0] for verb, target in self.asked if verb == method
        )


@contextmanager
def proxy(
    upstream: str, address: str = "127.0.0.1", secure: ssl.SSLContext | None = None
) -> Iterator[Proxy]:
    """Run a proxy in front of `http://host:port`; with TLS where a context is given."""
    host, _, port = upstream.removeprefix("http://").partition(":")
    made = Proxy(secure=secure)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with self.request as sock:
                if made.secure is not None:
                    sock = made.secure.wrap_socket(sock, server_side=True)
                with sock:
                    _serve(made, sock, (host, int(port)))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 100

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client has gone, which is what some tests are about."""

    with Server((address, 0), Handler) as server:
        made.url = f"{'https' if secure else 'http'}://{address}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def _serve(made: Proxy, client: socket.socket, upstream: tuple[str, int]) -> None:
    """Serve one request; the connection ends with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = client.recv(PIECE)
        if not got:
            return
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ", 2)
    made.asked.append((method, target))
    fault = made.rule(method, target) or Fault()
    if fault.hold is not None:
        fault.hold.wait(60)
    lines = [line.lower() for line in head.split(b"\r\n")]
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    left = length - len(body)
    if fault.status is not None:
        while fault.drain and left > 0 and (got := client.recv(min(PIECE, left))):
            left -= len(got)
        said = f"<Error><Code>{fault.code}</Code></Error>".encode()
        client.sendall(
            b"HTTP/1.1 %d Injected\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (fault.status, len(said), said)
        )
        return
    with socket.create_connection(upstream, 30) as service:
        service.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        while left > 0:
            got = client.recv(min(PIECE, left))
            if not got:
                return
            left -= len(got)
            service.sendall(got)
        _answer(service, client, fault)


def _answer(service: socket.socket, client: socket.socket, fault: Fault) -> None:
    if fault.change is not None:
        client.sendall(fault.change(b"".join(iter(lambda: service.recv(PIECE), b""))))
        return
    passed, began = 0, time.monotonic()
    while got := service.recv(PIECE):
        if fault.cut is not None:
            got = got[: max(0, fault.cut - passed)]
            if not got:
                return
        client.sendall(got)
        passed += len(got)
        if fault.rate and (ahead := passed / fault.rate - (time.monotonic() - began)) > 0:
            time.sleep(ahead)
