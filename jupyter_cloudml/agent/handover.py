"""An agent becomes a newer one: same process, same children, same sockets. Nothing that a kernel says meanwhile is lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .process import Process, write_json

if TYPE_CHECKING:
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


def check(package: Path, module: str) -> None:
    """Raise ValueError when there is no agent in ``package``."""
    if not (package.joinpath(*module.split(".")) / "__main__.py").is_file():
        raise ValueError(f"there is no agent in {package}")


def become(agent: Agent, package: Path, module: str, digest: str) -> None:
    """Replace this agent by the one in ``package``, which check() has found there; does not return."""
    for connection in list(agent.connections):
        connection.close()
    for owned in agent.owned.values():
        if owned.process.exit is None:
            write_json(owned.process.folder / FILE, {"pid": os.getpid(), **owned.end.hand_over()})
        owned.journal.close()
    os.set_inheritable(agent.lock, True)
    argv = program(package, module, "serve", str(agent.base), digest)
    agent.keeper.next_agent(argv)
    keeper = agent.keeper.fd
    if keeper is not None:
        os.set_inheritable(keeper, True)
    argv += [str(agent.lock), str(-1 if keeper is None else keeper)]
    os.execv(argv[0], argv)  # noqa: S606 - our own interpreter


def left_by_itself(process: Process) -> dict[str, Any] | None:
    """What the agent that this process was before its upgrade has left about one of its processes; None when there was no upgrade."""
    path = process.folder / FILE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        path.unlink()
    except (OSError, ValueError):
        return None
    if state.get("pid") != os.getpid():
        return None  # left by an agent that did not come to it
    return state
