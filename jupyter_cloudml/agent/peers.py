"""The agent's connections to one kernel, by channel: made, kept, and taken up where the agent before left them."""

from __future__ import annotations

import functools
import os
import selectors
import socket
from typing import TYPE_CHECKING, Any, Callable

from . import endpoints, zmtp
from .kept import KeptPeer
from .protocol import IOPUB

if TYPE_CHECKING:
    from .journal import Journal
    from .keeper import Keeper
    from .loop import Loop

Ready = Callable[[int, zmtp.Peer, int], None]


class Peers(dict[int, zmtp.Peer]):
    """The connections that there are. ``ready(channel, peer, mask)`` is called when one can be read from or written to."""

    def __init__(
        self, loop: Loop, process: str, journal: Journal, keeper: Keeper, ready: Ready
    ) -> None:
        super().__init__()
        self.loop, self.process, self.journal, self.keeper = loop, process, journal, keeper
        self._ready = ready

    def _name(self, channel: int) -> str:
        return f"{self.process}/{channel}"

    def add(self, channel: int, peer: zmtp.Peer) -> None:
        """Read from this one."""
        self[channel] = peer
        ready = functools.partial(self._ready, channel, peer)
        self.loop.register(peer.sock, selectors.EVENT_READ, ready)

    def connect(
        self, channel: int, connection: endpoints.Connection, identity: bytes
    ) -> zmtp.Peer | None:
        """Connect to the socket of a channel; None while nobody listens there."""
        sock = endpoints.connect(connection, channel)
        if sock is None:
            return None
        kind, merge = (b"SUB", True) if channel == IOPUB else (b"DEALER", False)
        peer: zmtp.Peer | None = None
        if self.keeper.fd is not None and sock.family == socket.AF_UNIX:
            try:
                peer = KeptPeer(sock, kind, identity, merge)
            except OSError:
                peer = None  # no memory for it: this one goes with the agent
        peer = peer or zmtp.Peer(sock, kind, identity, through=True, merge=merge)
        self.add(channel, peer)
        return peer

    def keep(self) -> None:
        """From here on the next agent could go on with these."""
        for channel, peer in self.items():
            if isinstance(peer, KeptPeer) and not peer.kept:
                self.keeper.keep(self._name(channel), [peer.fd, peer.memory])
                peer.kept = True

    def restore(self, channel: int, before: dict[str, Any] | None) -> zmtp.Peer | None:
        """Go on with a connection of the agent before; None when nothing of it is left.

        ``before`` is what that agent handed over, if it was this very process. Raises OSError or ProtocolError.
        """
        if before and "fd" in before:
            os.set_inheritable(before["fd"], False)
            peer = zmtp.Peer.restored(socket.socket(fileno=before["fd"]), before)
        else:
            kept = self._kept(channel)
            if kept is None:
                return None
            if before:
                kept.out.append(bytes.fromhex(before["out"]))
            elif kept.half_sent:  # where it broke off is not known: the client sends it again
                kept.close()
                self.keeper.drop(self._name(channel))
                return None
            peer = kept
        self.add(channel, peer)
        return peer

    def _kept(self, channel: int) -> KeptPeer | None:
        fds = self.keeper.take(self._name(channel))
        if len(fds) != 2:
            return None
        journalled = functools.partial(self.journal.bytes_since, channel=channel)
        sock = socket.socket(fileno=fds[0])
        return KeptPeer.restored_from(sock, fds[1], channel == IOPUB, journalled)

    def let_go(self, channel: int) -> None:
        """Close this one, here and at the keeper."""
        peer = self.pop(channel, None)
        if peer is not None:
            self.loop.unregister(peer.sock)
            peer.close()
        self.keeper.drop(self._name(channel))

    def hand_over(self) -> dict[str, Any]:
        """What restore() needs after an upgrade, by channel."""
        handed = {}
        for channel, peer in self.items():
            handed[str(channel)] = state = peer.state()
            if "waiting" in state:  # no keeper has the socket
                os.set_inheritable(peer.fd, True)
                state["fd"] = peer.fd
        return handed
