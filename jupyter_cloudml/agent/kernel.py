"""A kernel on ipc sockets in a 0700 folder, which the agent speaks ZMTP to; its messages go to and from the journal unread."""

from __future__ import annotations

import base64
import json
import selectors
import time
from typing import TYPE_CHECKING, Any, Callable

from . import endpoints, messages, zmtp
from .journal import Journal
from .peers import Peers
from .process import Process, now_ms, write_json
from .protocol import (
    ABORT,
    CONTROL,
    ENDS,
    IOPUB,
    KERNEL_CHANNELS,
    SHELL,
    STDIN,
    WHOLE,
    ProtocolError,
    Record,
)

if TYPE_CHECKING:
    from .keeper import Keeper
    from .loop import Loop

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
CONNECTION_FILE = "connection.json"  # kept, for the agent after this one
JOIN_EVERY = 0.005  # seconds between two looks for the sockets of a kernel that starts
JOIN_SLOWLY = 0.2
PIECE = b"\0"  # stands for a part of a large message, of which nothing can be told


class Kernel:
    """The agent's end of one kernel's sockets."""

    def __init__(
        self, loop: Loop, process: Process, journal: Journal, said: Any, keeper: Keeper
    ) -> None:
        """``said(kernel)`` is called after records were journalled."""
        self.loop, self.process, self.journal, self.said = loop, process, journal, said
        self.peers = Peers(loop, process.id, journal, keeper, self._ready)
        self.early: list[tuple[int, bytes]] | None = []  # sent before the kernel was there
        self.joined = self.was_joined = False
        self.warning: str | None = None  # for the first cell that runs
        self.received = 0  # the newest record that came from the client
        self.taken = 0  # the newest with nothing before it left to be written to the kernel
        self.note: Callable[[int], None] = lambda seq: None  # told when that changes
        self.open: dict[int, bool] = {}  # channel -> a message from the client is under way
        self.void: set[int] = set()  # channels on which the rest of a message has nowhere to go
        self.last_iopub = b""
        self.last_activity_ms = now_ms()
        self._deadline = time.monotonic() + 60
        self.connection: dict[str, Any] = {}

    # -- files ----------------------------------------------------------------------------------------------------------------------
    def load(self, connection: dict[str, Any] | None = None) -> None:
        """Take up a connection, new or that of the agent before."""
        path = self.process.folder / CONNECTION_FILE
        if connection is not None:
            write_json(path, connection)
        self.connection = json.loads(path.read_text())

    @property
    def key(self) -> bytes:
        """The key that signs this kernel's messages."""
        return str(self.connection["key"]).encode()

    def thin(self, records: list[Record]) -> list[Record]:
        """See journal.Thin."""
        return messages.thin_kernel(records, self.key)

    # -- the kernel's side ------------------------------------------------------------------------------------------------------------
    def join(self) -> None:
        """Connect to the sockets as they appear; looks again by timer until all four are ready."""
        if self.joined or self.process.exit is not None:
            return
        # One identity on all: an input_request comes to the shell's.
        identity = bytes.fromhex(self.connection["identity"])
        for channel in (IOPUB, SHELL, CONTROL, STDIN):
            if channel not in self.peers and not self._connect(channel, identity):
                break
        if len(self.peers) == len(KERNEL_CHANNELS) and all(p.ready for p in self.peers.values()):
            self.joined = self.was_joined = True
            self.peers.keep()
            early, self.early = self.early or [], None
            for channel, data in early:
                self.to_kernel(channel, data)
            self._settle()
            return
        self.loop.after(JOIN_EVERY if time.monotonic() < self._deadline else JOIN_SLOWLY, self.join)

    def _connect(self, channel: int, identity: bytes) -> bool:
        peer = self.peers.connect(channel, self.connection, identity)
        if peer is not None:
            self._flush(peer)
        return peer is not None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on with the connections of the agent before: a killed one, or this very process before its upgrade (its ``state``)."""
        peers = state["peers"] if state else {}
        for channel in KERNEL_CHANNELS:
            before = peers.get(str(channel))
            try:
                peer = self.peers.restore(channel, before)
                if peer is not None:
                    self._take(channel, peer, peer.take())
                    self._flush(peer)
                    continue
            except (OSError, ProtocolError):
                self.peers.let_go(channel)
            self.journal.break_off(channel)
        self.last_iopub = self.journal.newest(IOPUB)
        if IOPUB not in self.peers and self.process.exit is None:
            self._say_gap()
        if state:
            self.early = [(channel, base64.b64decode(data)) for channel, data in state["early"]]
            self.received = int(state["received"])

    def hand_over(self) -> dict[str, Any]:
        """What restore() needs after an upgrade."""
        early = [[channel, base64.b64encode(data).decode()] for channel, data in self.early or []]
        return {"peers": self.peers.hand_over(), "early": early, "received": self.received}

    def _say_gap(self) -> None:
        """Tell the cell that was running that no agent was there: what a kernel publishes to nobody is nowhere."""
        last = self.journal.newest(IOPUB)
        if not last or messages.execution_state(last) == "idle":
            return
        text = (
            "\n[the agent of this machine was killed: output printed until it was back is lost]\n"
        )
        self._say(text, messages.last_parent(last))

    def _warn(self, data: bytes) -> None:
        parent = messages.last_parent(data)
        if self.warning is not None and parent.get("msg_type") == "execute_request":
            self._say(self.warning, parent)
            self.warning = None

    def _say(self, text: str, parent: dict[str, Any]) -> None:
        """Print to the cell whose request has the header ``parent``."""
        content = {"name": "stderr", "text": text}
        data = messages.build(self.key, "stream", content, [b"stream"], parent)
        self.journal.append(IOPUB, WHOLE, data, self.taken)

    def fall_back(self) -> None:
        """Have the kernel listen on loopback when it is started again; its key stays."""
        for channel in list(self.peers):
            self.peers.let_go(channel)
        endpoints.remove(self.connection)
        self.load(endpoints.loopback(self.connection["key"]))
        self.warning = (
            "[this kernel cannot use ipc sockets and listens on TCP ports of its machine's loopback: "
            "other users of that machine can read what it prints]\n"
        )
        self._deadline = time.monotonic() + 60

    def _ready(self, channel: int, peer: zmtp.Peer, mask: int) -> None:
        if mask & WRITE:
            self._flush(peer)
            self._mark_half(channel)
            self._settle()
        if not mask & READ:
            return
        was_ready = peer.ready
        try:
            items = peer.read()
        except (OSError, ProtocolError):
            items = None
        if items is None:
            self._gone(channel, peer)
            return
        if channel == IOPUB and peer.ready and not was_ready:
            peer.out.append(zmtp.SUBSCRIBE_ALL)
            self._flush(peer)
        self._take(channel, peer, items)

    def _take(self, channel: int, peer: zmtp.Peer, items: list[zmtp.Item]) -> None:
        for flags, data in items:
            self.journal.append(channel, flags, data, self.taken)
        if channel == IOPUB and items:
            flags, data = items[-1]
            self.last_iopub = bytes(data) if flags == WHOLE else PIECE
        peer.settle(self.journal.seq)
        if not items:
            return
        if channel == IOPUB and self.warning is not None:
            self._warn(self.last_iopub)
        self.last_activity_ms = now_ms()
        self.said(self)

    def _gone(self, channel: int, peer: zmtp.Peer) -> None:
        """The kernel ended (its exit follows), or binds anew while it starts."""
        self.peers.let_go(channel)
        if self.open.get(channel):
            self.void.add(channel)
        if peer.inside:
            self.journal.append(channel, ABORT | WHOLE, b"", self.taken)
            self.said(self)
        if self.early is None:
            self.early = []
        self.joined = False
        self._deadline = time.monotonic() + 10
        self.loop.after(JOIN_EVERY, self.join)

    # -- the client's side ---------------------------------------------------------------------------------------------------------------
    def upstream(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """A record from the client; one that was taken before is passed over."""
        if seq <= self.received or channel not in (SHELL, CONTROL, STDIN):
            return
        self.received = seq
        self.last_activity_ms = now_ms()
        if flags & ABORT:
            self._drop_half(channel)
            return
        self.open[channel] = not flags & ENDS
        if channel not in self.void:
            self.to_kernel(channel, data)
            self._mark_half(channel)
        elif flags & ENDS:
            self.void.discard(channel)
        self._settle()

    def _settle(self) -> None:
        """Once everything is written to the kernel, an agent after this one must not pass it on again."""
        written = self.early is None and not any(peer.out for peer in self.peers.values())
        if written and self.taken < self.received:
            self.taken = self.received
            self.note(self.taken)

    def client_changed(self) -> None:
        """Another client attaches: what its predecessor left unfinished is void."""
        for channel in [c for c, half in self.open.items() if half]:
            self._drop_half(channel)

    def _drop_half(self, channel: int) -> None:
        self.open[channel] = False
        peer = self.peers.get(channel)
        if peer is not None:
            self._gone(channel, peer)

    def to_kernel(self, channel: int, data: bytes) -> None:
        """Bytes for one of the kernel's sockets, now or once it is there."""
        peer = self.peers.get(channel)
        if self.early is not None or peer is None:
            if self.early is None:
                self.early = []
            self.early.append((channel, data))
            return
        peer.out.append(data)
        self._flush(peer)

    def execute(self, code: str) -> None:
        """Run code silently; its reply is nobody's."""
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
        }
        self.to_kernel(
            SHELL, messages.build(self.key, "execute_request", content, [messages.OWN_IDENTITY])
        )

    def _flush(self, peer: zmtp.Peer) -> None:
        was = peer.blocked
        try:
            peer.flush()
        except OSError:
            peer.out.clear()  # its end is read as well, and handled there
        if peer.blocked != was:
            self.loop.modify(peer.sock, READ | (WRITE if peer.blocked else 0))

    def _mark_half(self, channel: int) -> None:
        peer = self.peers.get(channel)
        if peer is not None:
            peer.mark_half(bool(peer.out) or self.open.get(channel, False))

    # -- what is told -----------------------------------------------------------------------------------------------------------------------
    def state(self) -> str:
        """Tell "starting", "busy" or "idle", as far as its last messages tell."""
        if not self.joined:
            return "starting"
        said = messages.execution_state(self.last_iopub) or ("busy" if self.last_iopub else "idle")
        return "idle" if said == "starting" else said  # it takes requests, and has had none yet

    def close(self) -> None:
        """Let go of the sockets and remove them."""
        for channel, peer in list(self.peers.items()):
            if peer.inside:
                self.journal.append(channel, ABORT | WHOLE, b"", self.taken)
            self.peers.let_go(channel)
        endpoints.remove(self.connection)
