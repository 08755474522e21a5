"""An agent becomes a newer one: same process, same children, same sockets. Nothing that a kernel says meanwhile is lost."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import zmtp
from .process import write_json

if TYPE_CHECKING:
    from .owned import Owned
    from .server import Agent

FILE = "handover.json"


def program(package: Path, module: str, *arguments: str) -> list[str]:
    """The command line of an agent whose code is the package ``module`` in the folder ``package``."""
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); "
        f"from {module}.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def own_package() -> tuple[Path, str]:
    """Where this agent's code is, as program() wants it."""
    folder = Path(__file__).resolve().parent
    module = __package__ or "agent"
    return folder.parents[module.count(".")], module


def become(agent: Agent, package: Path, module: str, digest: str) -> None:
    """Replace this agent by the one in ``package``; does not return. Raises ValueError when there is none."""
    if not (package.joinpath(*module.split(".")) / "__main__.py").is_file():
        raise ValueError(f"there is no agent in {package}")
    for connection in list(agent.connections):
        connection.close()
    for owned in agent.owned.values():
        if owned.process.exit is None:
            write_json(owned.process.folder / FILE, {"pid": os.getpid(), **_state(owned)})
        owned.journal.close()
    os.set_inheritable(agent.lock, True)
    argv = program(package, module, "serve", str(agent.base), digest, str(agent.lock))
    os.execv(argv[0], argv)  # noqa: S606 - our own interpreter


def _state(owned: Owned) -> dict[str, Any]:
    from .kernel import Kernel

    if not isinstance(owned.end, Kernel):
        state: dict[str, Any] = owned.end.hand_over()
        return state
    peers = {}
    for channel, peer in owned.end.peers.items():
        os.set_inheritable(peer.fd, True)
        peers[str(channel)] = {"fd": peer.fd, **peer.state()}
    early = [[channel, _text(data)] for channel, data in owned.end.early or []]
    return {"peers": peers, "early": early, "received": owned.end.received}


def _text(data: Any) -> str:
    return base64.b64encode(bytes(data)).decode()


def take_over(owned: Owned) -> bool:
    """Take what the agent that this process was before has left for one of its processes; False when it left nothing."""
    from .kernel import Kernel

    path = owned.process.folder / FILE
    try:
        state = json.loads(path.read_text())
        path.unlink()
    except (OSError, ValueError):
        return False
    if state.get("pid") != os.getpid():
        return False  # left by an agent that did not come to it
    if not isinstance(owned.end, Kernel):
        owned.end.take_over(state)
        return True
    for channel, kept in state["peers"].items():
        os.set_inheritable(kept["fd"], False)
        sock = socket.socket(fileno=kept["fd"])
        owned.end.adopt_peer(int(channel), zmtp.Peer.restored(sock, kept))
    owned.end.early = [(channel, base64.b64decode(data)) for channel, data in state["early"]]
    owned.end.received = int(state["received"])
    return True
