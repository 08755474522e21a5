"""The carrier over the system's `ssh`: all of the user's ~/.ssh/config, agents, FIDO keys; its cipher in its own process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from typing import IO

from jupyter_cloudml.errors import Cancelled, CloudMLError, HostKeyUnknown, Unreachable, UsageError

from . import openssh_says
from .carrier import SocketCarrier, SSHTarget
from .command import RemoteCommand
from .host_keys import HostKey
from .openssh_config import argv, version

__all__ = ["OpenSSHCarrier", "read_host_key", "version"]

_BUFFER = 1 << 20  # bytes that wait in the socket to and from ssh
_KEPT = 32 << 10  # bytes of standard error kept from its beginning, and as many from its end
_KEY_MARK = "cloudml-host-key"


class Stderr:
    """What ssh wrote to standard error: read as it comes, so that ssh never blocks on it, and bounded."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._head = bytearray()
        self._tail = bytearray()
        self.news = threading.Event()  # ssh has signed in, or will say nothing more
        self._thread = threading.Thread(target=self._read, name="cloudml-ssh-stderr", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe as pipe:
            while data := os.read(pipe.fileno(), 1 << 16):
                room = _KEPT - len(self._head)
                self._head += data[:room]
                self._tail = (self._tail + data[room:])[-_KEPT:] if len(data) > room else self._tail
                if not self.news.is_set() and self.signed_in():
                    self.news.set()
        self.news.set()

    def signed_in(self) -> bool:
        """Return whether ssh has said that the host let us in."""
        return openssh_says.SIGNED_IN.search(self._head.decode(errors="replace")) is not None

    def text(self) -> str:
        """Return the beginning and the end of what was written."""
        return (self._head + self._tail).decode(errors="replace").replace("\r\n", "\n")

    def finish(self, timeout: float) -> None:
        """Wait until nothing more can come."""
        self._thread.join(timeout)


class OpenSSHCarrier(SocketCarrier):
    """A running `ssh HOST COMMAND`, its standard input and output one socket of ours."""

    def __init__(self, target: SSHTarget, words: list[str]) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        super().__init__(ours)
        self.target = target
        try:
            # Its own session: Ctrl-C in the terminal of the server is not meant for it.
            self._process = subprocess.Popen(
                words,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise UsageError(
                f"ssh does not start: {error}",
                code="no_ssh",
                hint="install the OpenSSH client, or use --carrier paramiko",
            ) from error
        finally:
            theirs.close()
        assert self._process.stderr is not None  # noqa: S101
        self.stderr = Stderr(self._process.stderr)

    @classmethod
    def open(
        cls, target: SSHTarget, command: RemoteCommand, timeout: float, cancelled: threading.Event
    ) -> OpenSSHCarrier:
        """Start ssh and return when the host has let it in; see `dial.open_carrier`. HostKeyUnknown names no key: ssh does not show it."""
        deadline = time.monotonic() + timeout
        carrier = cls(target, argv(target, command.shell(), deadline - time.monotonic()))
        try:
            carrier.await_sign_in(deadline, cancelled)
        except BaseException:
            carrier.close()
            raise
        return carrier

    def await_sign_in(self, deadline: float, cancelled: threading.Event) -> None:
        """Wait until ssh has signed in. Raises the cause when it ends before, Unreachable (`timeout`), Cancelled."""
        while not self.stderr.news.wait(0.05) and self._process.poll() is None:
            if cancelled.is_set():
                raise Cancelled(f"the connection to {self.target} was called off")
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"{self.target} did not let us in in time",
                    code="timeout",
                    hint="check that the host is not overloaded",
                )
        if not self.stderr.signed_in():
            self._settle()
            if not self.stderr.signed_in():
                raise openssh_says.before_sign_in(self.stderr.text(), self.target)

    def why(self) -> CloudMLError | None:
        """Return the cause of the end as far as it is known; None before the end or when there is none to tell."""
        status = self._settle()
        if status is None:
            return None
        if not self.stderr.signed_in():
            return openssh_says.before_sign_in(self.stderr.text(), self.target)
        return openssh_says.after_sign_in(self.stderr.text(), status, self.target)

    def _settle(self, timeout: float = 1.0) -> int | None:
        """Give ssh, whose streams have ended, the moment it needs to end itself; returns its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            self.stderr.finish(timeout)
        status: int | None = self._process.returncode
        return status

    def close(self) -> None:
        """End ssh and all it has started: politely, after two seconds by force."""
        super().close()
        # The group's number cannot be another's: the leader is waited for last.
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(2)
        self.stderr.finish(1)


def read_host_key(
    target: SSHTarget, timeout: float, cancelled: threading.Event, family: str | None
) -> HostKey:
    """Have ssh connect along its usual way and show the key that the host offers; see `dial.scan`.

    ssh asks a command for the keys it should know: ours knows none and writes down the one that is looked for. ssh
    then hangs up, before any authentication. Needs OpenSSH 8.5.
    """
    options = [
        f'KnownHostsCommand=/bin/sh -c "echo $0 $1 $2 $3 >&2" {_KEY_MARK} %I %t %K',
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        *([f"HostKeyAlgorithms={family}"] if family else []),
    ]
    asked = SSHTarget(target.host, target.user, target.port, known_hosts=target.known_hosts)
    carrier = OpenSSHCarrier(asked, argv(asked, "exit", timeout, *options))
    try:
        carrier.await_sign_in(time.monotonic() + timeout, cancelled)
    except HostKeyUnknown:
        for line in carrier.stderr.text().splitlines():
            if line.startswith(f"{_KEY_MARK} HOSTNAME "):
                return HostKey.from_line(line.split(" ", 2)[2])
        raise
    finally:
        carrier.close()
    raise Unreachable(
        f"{target} let us in without showing a host key",
        code="not_ssh",
        hint="use --carrier paramiko, which asks for the key itself",
    )
