"""The relay: five ipc sockets that an unmodified KernelManager connects to, and a kernel at the other end of a link.

It lives on the link's thread. A client's identity travels in front of its message and the kernel echoes it (as behind any ZMQ proxy), so
the answer finds its way back and nothing is remembered per message. Heartbeats are answered here: a cut is not a dead kernel.
"""

from __future__ import annotations

import collections
import functools
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.protocol import (
    ABORT,
    BEGINS,
    CONTROL,
    ENDS,
    IOPUB,
    SHELL,
    STDIN,
    WHOLE,
    ProtocolError,
)
from jupyter_cloudml.errors import CloudMLError, LinkDown
from jupyter_cloudml.link.attachment import Attachment
from jupyter_cloudml.link.link import Link

from . import local_sockets
from .record_log import CLIENT

READ, WRITE = 1, 2
BEAT = 99
PORTS = {SHELL: 1, IOPUB: 2, STDIN: 3, CONTROL: 4, BEAT: 5}
KINDS = {SHELL: b"ROUTER", CONTROL: b"ROUTER", STDIN: b"ROUTER", IOPUB: b"XPUB", BEAT: b"REP"}
SLOW = 32 << 20  # bytes waiting for one local client before the agent is asked for no more
TOO_SLOW = 60.0  # seconds after which such a client is let go, as ZMQ would
ABSENT = 64  # answers kept for a client that is away (a server that starts again)
ABSENT_SECONDS = 120.0
OWN = b"\0"  # identities that begin so are the agent's own

State = Literal["starting", "connected", "reconnecting", "ended"]


class Log(Protocol):
    """What keeps the records of both directions for later (record_log.RecordLog)."""

    last_seq: int

    def append(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Keep one record; on the link's thread, must not raise."""


@dataclass(frozen=True)
class RelayState:
    """``exit`` is the agent's word on how the kernel ended; nothing else ends one."""

    state: State
    since: float
    cause: CloudMLError | None = None
    exit: dict[str, Any] | None = None


class Client(zmtp.Peer):
    """One connection of a local ZMQ socket."""

    # What a client sends is small, and there are five or six of them for each kernel.
    read_size = 1 << 13

    def __init__(self, sock: socket.socket, channel: int) -> None:
        super().__init__(sock, KINDS[channel])
        self.channel = channel
        self.name = os.urandom(5)
        self.wants = False  # IOPUB: has subscribed
        self.inside_message = False  # has the beginning of the message that is arriving in pieces
        self.waiting = 0  # bytes in the outbox, about
        self.slow_since: float | None = None


class Relay:
    """One kernel's relay. Thread-safe: start, close, state. ``where`` is their place (local_sockets.py)."""

    def __init__(
        self,
        link: Link,
        process: str,
        where: str,
        log: Log | None = None,
        on_state: Callable[[RelayState], None] = lambda state: None,
        on_control: Callable[[bytes], None] = lambda message: None,
    ) -> None:
        """`on_control` hears what a client says on the control channel before the kernel does; on the link's thread, must not raise."""
        self.link, self.process, self.where = link, process, where
        self.log, self.on_state, self.on_control = log, on_state, on_control
        self.state = RelayState("starting", time.time())
        self.attachment: Attachment | None = None
        self.clients: dict[int, dict[bytes, Client]] = {channel: {} for channel in PORTS}
        self._listeners: list[socket.socket] = []
        self._target: dict[int, Client | None] = {}  # of a message that is arriving in pieces
        self._absent: collections.deque[tuple[float, int, bytes, bytes]] = collections.deque(
            maxlen=ABSENT
        )
        self._slow: set[Client] = set()
        self._ended = threading.Event()
        self._closed = False

    # -- from any thread --------------------------------------------------------------------------------------------------------------
    def start(self, since: int = 0) -> None:
        """Listen on the five sockets, then attach to the kernel. Raises OSError when the sockets cannot be made."""
        for channel, port in PORTS.items():
            listener = local_sockets.listen(self.where, port)
            self._listeners.append(listener)
            self._on_thread(
                functools.partial(
                    self.link.loop.register,
                    listener,
                    READ,
                    functools.partial(self._accept, channel, listener),
                )
            )
        self.attach(self.process, since)

    def attach(self, process: str, since: int = 0) -> None:
        """Carry another process's messages from here on: the kernel was started anew."""
        if self.attachment is not None:
            self.attachment.detach()
        self.process = process
        self._ended.clear()
        self._set("starting")
        self.attachment = self.link.attach(process, since, self)

    @property
    def exit(self) -> dict[str, Any] | None:
        """How the kernel ended, or None: it runs, as far as anybody knows."""
        return self.state.exit

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Wait for the agent's word that the kernel has ended."""
        return self._ended.wait(timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Let go of the kernel, which lives on, and remove the sockets."""
        if self._closed:
            return
        self._closed = True
        if self.attachment is not None:
            self.attachment.detach()
        done = threading.Event()

        def end() -> None:
            self._close_sockets()
            done.set()

        self._on_thread(end)
        if self.link.state.phase != "closed":
            done.wait(timeout)
        if not done.is_set() and self.link.state.phase == "closed":
            end()  # there is no thread any more that could do it
        local_sockets.remove(self.where)

    def _on_thread(self, what: Callable[[], Any]) -> None:
        self.link.call_soon(what)

    def _set(
        self, state: State, cause: CloudMLError | None = None, exit: dict[str, Any] | None = None
    ) -> None:
        self.state = RelayState(state, time.time(), cause, exit)
        self.on_state(self.state)

    # -- the kernel's side (a Sink) ---------------------------------------------------------------------------------------------------------
    def attached(self, info: dict[str, Any]) -> None:
        """The agent sends from here on; of a kernel that has ended, what it said last and how it ended."""
        if not info.get("finished"):
            self._set("connected")

    def lost(self) -> None:
        """The link is down; the kernel goes on."""
        if self.state.state != "ended":
            self._set(
                "reconnecting",
                self.link.state.error or LinkDown(f"the link to {self.link.machine} is down"),
            )

    def gone(self, exit: dict[str, Any] | None) -> None:
        """The kernel has ended."""
        self._set(
            "ended",
            exit=exit
            or {
                "code": None,
                "signal": None,
                "oom": False,
                "reason": "the machine no longer knows it",
            },
        )
        self._ended.set()

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """A record from the kernel: kept, then handed to the clients."""
        if self.log is not None:
            self.log.append(channel, flags, seq, data)
        if flags & ABORT:
            self._abort(channel)
        elif channel == IOPUB:
            self._publish(flags, data)
        elif channel in KINDS:
            self._route(channel, flags, data)

    def _publish(self, flags: int, data: bytes) -> None:
        for client in list(self.clients[IOPUB].values()):
            if client.wants and (flags & BEGINS or client.inside_message):
                client.inside_message = not flags & ENDS
                self._put(client, data)

    def _route(self, channel: int, flags: int, data: bytes) -> None:
        if flags & BEGINS:
            size = data[1]
            name, data = data[2 : 2 + size], data[2 + size :]
            self._target[channel] = self.clients[channel].get(name)
            if self._target[channel] is None and flags == WHOLE and not name.startswith(OWN):
                self._absent.append((time.monotonic(), channel, name, data))
        client = self._target.get(channel)
        if client is not None:
            client.inside_message = not flags & ENDS
            self._put(client, data)

    def _abort(self, channel: int) -> None:
        """The rest of a message will not come: whoever has its beginning has to connect anew."""
        for client in [c for c in self.clients.get(channel, {}).values() if c.inside_message]:
            self._drop(client)
        self._target.pop(channel, None)

    def _put(self, client: Client, data: bytes) -> None:
        client.out.append(data)
        client.waiting += len(data)
        self._flush(client)

    # -- the clients' side -------------------------------------------------------------------------------------------------------------------
    def _accept(self, channel: int, listener: socket.socket, mask: int) -> None:
        try:
            sock = listener.accept()[0]
        except OSError:
            return  # it has left again, or no descriptor is free: it waits to be accepted
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(sock, channel)
        self.clients[channel][client.name] = client
        self.link.loop.register(sock, READ, functools.partial(self._ready, client))
        self._flush(client)

    def _ready(self, client: Client, mask: int) -> None:
        if mask & WRITE:
            self._flush(client)
        if not mask & READ:
            return
        try:
            items = client.read()
        except (OSError, ProtocolError):
            items = None
        if items is None:
            self._drop(client)
            return
        if client.identity and client.name != client.identity:
            self._rename(client)
        for _, data in items:
            self._from_client(client, data)

    def _rename(self, client: Client) -> None:
        """The name that a client gave itself in its handshake; what waited for that name is delivered."""
        clients = self.clients[client.channel]
        clients.pop(client.name, None)
        client.name = client.identity
        clients[client.name] = client
        now, waiting = time.monotonic(), list(self._absent)
        self._absent.clear()
        for at, channel, name, data in waiting:
            if name == client.name and channel == client.channel:
                self._put(client, data)
            elif now - at < ABSENT_SECONDS:
                self._absent.append((at, channel, name, data))

    def _from_client(self, client: Client, data: bytes) -> None:
        if client.channel == IOPUB:
            # Whoever subscribes to anything gets all, and filters.
            client.wants = data[2:3] == b"\x01"
        elif client.channel == BEAT:
            self._put(client, data)
        elif self.attachment is not None:
            if client.channel == CONTROL:
                self.on_control(data)
            message = bytes([zmtp.MORE, len(client.name)]) + client.name + data
            if self.log is not None:
                self.log.append(client.channel, WHOLE | CLIENT, 0, message)
            self.attachment.send(client.channel, message)

    def _flush(self, client: Client) -> None:
        was = client.blocked
        try:
            client.flush()
        except OSError:
            client.out.clear()  # its end is read as well, and handled there
        if client.blocked != was:
            self.link.loop.modify(client.sock, READ | (WRITE if client.blocked else 0))
        if not client.blocked:
            client.waiting = 0
            if client.slow_since is not None:
                self._keeps_up(client)
        elif client.waiting > SLOW and client.slow_since is None:
            client.waiting = sum(len(data) for data in client.out)
            if client.waiting > SLOW:
                client.slow_since = time.monotonic()
                self._slow.add(client)
                self._hold_or_go_on()
                self.link.loop.after(TOO_SLOW, functools.partial(self._let_go_if_slow, client))

    def _keeps_up(self, client: Client) -> None:
        client.slow_since = None
        self._slow.discard(client)
        self._hold_or_go_on()

    def _hold_or_go_on(self) -> None:
        """While a client does not keep up, the rest waits in the agent's journal, not here."""
        attachment = self.attachment
        if attachment is not None and attachment.auto_ack == bool(self._slow):
            attachment.auto_ack = not self._slow
            attachment.ack_if_due(idle=True)

    def _let_go_if_slow(self, client: Client) -> None:
        if client.slow_since is not None and time.monotonic() - client.slow_since >= TOO_SLOW - 1:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self.link.loop.unregister(client.sock)
        client.sock.close()
        if client.slow_since is not None:
            self._keeps_up(client)
        if self.clients[client.channel].get(client.name) is client:
            del self.clients[client.channel][client.name]
        for channel, target in self._target.items():
            if target is client:
                self._target[channel] = None

    def _close_sockets(self) -> None:
        for listener in self._listeners:
            self.link.loop.unregister(listener)
            listener.close()
        for channel in self.clients.values():
            for client in list(channel.values()):
                self._drop(client)
