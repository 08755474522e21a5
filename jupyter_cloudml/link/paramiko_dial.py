"""Sign in to a host with paramiko: the way there, the host's key, our keys; bounded in time, and it can be called off."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Protocol, TypeVar

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from jupyter_cloudml.errors import (
    Cancelled,
    CloudMLError,
    HostKeyUnknown,
    Unreachable,
    UsageError,
)

from . import host_keys, ssh_route
from .carrier import SSHTarget
from .host_keys import HostKey
from .paramiko_auth import authenticate
from .paramiko_transport import Stream, Transport, tune
from .ssh_route import Route

T = TypeVar("T")
_MAX_JUMPS = 8
_NO_ROUTE = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
}


class Closable(Protocol):
    """Something that holds a connection."""

    def close(self) -> None: ...


class Way:
    """Everything that was opened on the way to a host, to be closed together; also while it is being opened."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._lock = threading.Lock()
        self._open: list[Closable] = []
        self._closed = False

    def keep(self, thing: Closable) -> None:
        """Close `thing` with the way. Raises ConnectionAbortedError when that has happened already."""
        with self._lock:
            if not self._closed:
                self._open.append(thing)
                return
        thing.close()
        raise ConnectionAbortedError("called off")

    def left(self) -> float:
        """Return the seconds that are left, at least a little."""
        return max(0.1, self.deadline - time.monotonic())

    def close(self) -> None:
        """Close what is open, the last first."""
        with self._lock:
            self._closed = True
            things, self._open = self._open[::-1], []
        for thing in things:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                thing.close()


class ProxyCommand:
    """The process of a ProxyCommand; `stream` is its standard input and output."""

    def __init__(self, command: str) -> None:
        self.stream, theirs = socket.socketpair()
        with theirs:
            # The user's own configuration, and a shell is what ssh gives it too.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the process."""
        self.stream.close()
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def attempt(
    target: SSHTarget, timeout: float, cancelled: threading.Event, work: Callable[[Way], T]
) -> tuple[T, Way]:
    """Run `work` in a thread of its own, so that it ends in time and can be called off, and translate its errors."""
    way = Way(time.monotonic() + timeout)
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work(way))
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            result.set_exception(error)

    threading.Thread(target=run, name="cloudml-paramiko-dial", daemon=True).start()
    try:
        while True:
            try:
                return result.result(0.05), way
            except FutureTimeout:
                if result.done():
                    raise
            if cancelled.is_set():
                raise Cancelled(f"the connection to {target} was called off")
            if time.monotonic() > way.deadline + 1:
                raise TimeoutError
    except (OSError, EOFError, paramiko.SSHException) as error:
        way.close()
        # paramiko has no error of its own for a host that says nothing
        late = time.monotonic() > way.deadline - 0.2
        raise explain(TimeoutError() if late else error, target) from error
    except BaseException:
        way.close()
        raise


def sign_in(
    target: SSHTarget, way: Way, through: tuple[SSHTarget, ...] = (), depth: int = 0
) -> Transport:
    """Connect, verify the host and authenticate; by the jump hosts of the configuration unless `through` names others."""
    route = ssh_route.find(target)
    if through:
        route = dataclasses.replace(route, jumps=through)
    known, _ = _known(target, route)
    transport = handshake(target, route, way, rather=[key.type for key in known], depth=depth)
    verify(target, route, transport)
    authenticate(target, route, transport)
    return transport


def handshake(
    target: SSHTarget,
    route: Route,
    way: Way,
    *,
    rather: Sequence[str] = (),
    only: Sequence[str] = (),
    depth: int = 0,
) -> Transport:
    """Connect and exchange keys; nothing of ours is shown.

    rather: types of host key that are known and so come first. only: algorithms to insist on.
    """
    transport = Transport(_stream(target, route, way, depth))
    way.keep(transport)
    wanted = [
        name
        for kind in rather
        for name in (["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind])
    ]
    options = transport.get_security_options()
    offered = [name for name in options.key_types if not only or name in only]
    options.key_types = tuple(
        sorted(offered, key=lambda name: wanted.index(name) if name in wanted else len(wanted))
    )
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = way.left()
    transport.start_client(timeout=way.left())
    if not transport.initial_kex_done:
        raise TimeoutError
    return transport


def shown_key(transport: Transport) -> HostKey:
    """Return the key that the host has proved to have."""
    key = transport.get_remote_server_key()
    return HostKey.from_line(f"{key.get_name()} {key.get_base64()}")


def verify(target: SSHTarget, route: Route, transport: Transport) -> None:
    """Raise HostKeyUnknown or HostKeyChanged unless the host shows a key that was confirmed."""
    shown = shown_key(transport)
    known, revoked = _known(target, route)
    if target.host_key and shown.fingerprint != target.host_key:
        raise host_keys.changed(target, shown)
    if shown in revoked or (known and shown not in known):
        raise host_keys.changed(target, shown)
    if not known:
        raise host_keys.unknown(target, shown)


def _known(target: SSHTarget, route: Route) -> tuple[list[HostKey], list[HostKey]]:
    if target.host_key:
        return host_keys.confirmed(target), []
    own = host_keys.confirmed(target)
    good, revoked = host_keys.known([target.known_hosts, *route.known_hosts], route.name)
    return own + good, revoked


def _stream(target: SSHTarget, route: Route, way: Way, depth: int) -> Stream:
    if route.jumps:
        return _jump(target, route, way, depth)
    if route.proxy_command:
        process = ProxyCommand(route.proxy_command)
        way.keep(process)
        return process.stream
    sock = tune(socket.create_connection((route.host, route.port), timeout=way.left()))
    way.keep(sock)
    return sock


def _jump(target: SSHTarget, route: Route, way: Way, depth: int) -> Stream:
    """Open a channel to the host through the last of its jump hosts, itself reached through the others."""
    if depth > _MAX_JUMPS:
        raise UsageError(
            f"the way to {target} jumps in a circle",
            code="bad_ssh_config",
            hint="correct ProxyJump",
        )
    *before, last = route.jumps
    try:
        transport = sign_in(last, way, tuple(before), depth + 1)
    except HostKeyUnknown as error:
        raise Unreachable(
            f"the host key of {last}, on the way to {target}, has not been confirmed",
            code="jump_host_key_unknown",
            hint="add that host as a machine first, or run `ssh` to it once",
            **error.details,
        ) from error
    return transport.open_channel(
        "direct-tcpip", (route.host, route.port), ("127.0.0.1", 0), timeout=way.left()
    )


def explain(error: BaseException, target: SSHTarget) -> CloudMLError:
    """Return what went wrong on the way to `target`, with its remedy."""
    code, what, hint = "unreachable", str(error) or type(error).__name__, "see the log of its sshd"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror):
        code, what, hint = (
            "dns",
            "the name is not known to the DNS",
            "check the spelling, or the VPN",
        )
    elif isinstance(error, ConnectionRefusedError):
        code, what, hint = (
            "refused",
            "no ssh server listens there",
            "check the port, and that sshd runs on the host",
        )
    elif number in _NO_ROUTE:
        code, what = "no_route", "there is no way to the host"
        hint = "check that it is switched on, and this computer's network or VPN"
    elif isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        code, what = "timeout", "it does not answer"
        hint = "check that it is switched on, and that no firewall drops port 22"
    elif isinstance(error, IncompatiblePeer):
        code, hint = "no_common_algorithm", "use --carrier openssh, which knows more of them"
    elif isinstance(error, paramiko.ChannelException):
        code, what = "refused", f"its jump host says: {error.text}"
        hint = "check that the jump host reaches it and allows forwarding"
    elif (
        isinstance(error, (EOFError, ConnectionError))
        or "banner" in what
        or "Negotiation failed" in what
    ):
        code, what = "closed", "it closed the connection"
        hint = "its sshd may be overloaded or may not admit this computer: see its log"
    return Unreachable(f"cannot reach {target}: {what}", code=code, hint=hint)
