"""A command on a machine, run to its end."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..agent.protocol import EOF, STDERR, STDIN, STDOUT
from ..errors import AgentError

if TYPE_CHECKING:
    from .link import Link

OUTPUT_LIMIT = 16 << 20
PIECE = 1 << 20


@dataclass(frozen=True)
class Completed:
    """``code``: the exit status, 128 + n for signal n."""

    code: int
    stdout: bytes
    stderr: bytes
    exit: dict[str, Any]


class Collector:
    """Gathers a command's output (a Sink)."""

    def __init__(self) -> None:
        self.parts: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        self.size = 0
        self.exit: dict[str, Any] | None = None
        self.ended = threading.Event()

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Keep output up to the limit."""
        if channel in self.parts and self.size < OUTPUT_LIMIT:
            self.size += len(data)
            self.parts[channel].append(data)

    def attached(self, info: dict[str, Any]) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """Nothing to do: it goes on by itself."""

    def gone(self, exit: dict[str, Any] | None) -> None:
        """The command has ended."""
        self.exit = exit
        self.ended.set()


def exit_status(exit: dict[str, Any] | None) -> int:
    """An exit row as a shell would tell it: the code, 128 + n for signal n, 255 when it is not known."""
    if exit is None:
        return 255
    if exit.get("signal") is not None:
        return 128 + int(exit["signal"])
    return 255 if exit.get("code") is None else int(exit["code"])


def run_command(
    link: Link, argv: list[str], input: bytes, env: dict[str, str], cwd: str | None, timeout: float
) -> Completed:
    """See Link.run."""
    row = link.call(
        "start",
        timeout=timeout,
        argv=argv,
        kind="command",
        env=env,
        cwd=cwd or "~",
        stdin=bool(input),
        token=uuid.uuid4().hex,
        labels={"purpose": "run"},
        orphan_s=timeout,  # whatever becomes of us, nothing of it stays there
    )
    collector = Collector()
    attachment = link.attach(row["id"], 0, collector)
    try:
        for at in range(0, len(input), PIECE):
            if not attachment.send_soon(STDIN, input[at : at + PIECE], timeout):
                link.submit("stop", {"id": row["id"], "grace_s": 1})
                raise AgentError(
                    f"{argv[0]} on {link.machine} does not read its input", code="timeout"
                )
        if input:
            attachment.send_soon(EOF, b"", timeout)
        if not collector.ended.wait(timeout):
            link.submit("stop", {"id": row["id"], "grace_s": 1})
            raise AgentError(
                f"{argv[0]} on {link.machine} did not end within {timeout:.0f} s", code="timeout"
            )
    finally:
        attachment.detach()
        if collector.ended.is_set():
            link.submit("forget", {"id": row["id"]})
    stdout, stderr = (b"".join(collector.parts[channel]) for channel in (STDOUT, STDERR))
    return Completed(exit_status(collector.exit), stdout, stderr, collector.exit or {})
