"""A command on a machine whose output is read as it comes; it goes on through cuts of the link."""

from __future__ import annotations

import functools
import queue
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..agent.protocol import EOF, STDERR, STDIN, STDOUT
from ..errors import CloudMLError, LinkDown, NotFound
from .completed import exit_status
from .link import Link
from .state import is_final

LOOK = 0.5  # seconds between two looks at a link that says nothing


@dataclass(frozen=True)
class Output:
    """A piece of what a command wrote; `stderr` says on which of its two streams, `seq` what its number is in the machine's journal."""

    stderr: bool
    data: bytes
    seq: int = field(default=0, compare=False)


@dataclass(frozen=True)
class LinkChange:
    """The link went down or is up again; the command goes on."""

    up: bool


@dataclass(frozen=True)
class Ended:
    """The command has ended. `status` is as a shell tells it: the exit code, or 128 + n for signal n."""

    status: int
    exit: dict[str, Any]


class RemoteProcess:
    """One command. Read it from one thread; output that was not read is kept by the machine, at most 32 MB, then the command waits."""

    def __init__(
        self, link: Link, row: Mapping[str, Any], since: int = 0, *, keep: bool = False
    ) -> None:
        """Read what is newer than number `since`. `keep`: the machine keeps what was read until it is acknowledged with `ack`."""
        self.link, self.id, self._keep = link, str(row["id"]), keep
        self._said: queue.SimpleQueue[tuple[int, Output | LinkChange | Ended | None]] = (
            queue.SimpleQueue()
        )
        self._live: bool | None = None
        self._attachment = link.attach(self.id, since, self)
        # What was handed over is acknowledged, not what has arrived.
        self._attachment.auto_ack = False
        self._attachment.ack_end = not keep

    @classmethod
    def start(
        cls,
        link: Link,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        cwd: str | None = None,
        stdin: bool = False,
        labels: Mapping[str, str] = {},
        orphan_s: float | None = None,
    ) -> RemoteProcess:
        """Start a command, once, also across a cut. Raises AgentError (`cannot_start`), LinkDown.

        After `orphan_s` seconds with nobody attached it is ended and forgotten; None: it goes on, and is kept until asked for.
        """
        token = uuid.uuid4().hex
        extra = {} if orphan_s is None else {"orphan_s": orphan_s}
        row = link.call(
            "start",
            argv=list(argv),
            kind="command",
            env=dict(env),
            cwd=cwd or "~",
            stdin=stdin,
            token=token,
            labels=dict(labels),
            **extra,
        )
        return cls(link, row)

    def read(self, timeout: float | None = None) -> Output | LinkChange | Ended | None:
        """Return the next thing that happens, None when nothing does within `timeout` seconds.

        Raises the link's error once it is one that trying again cannot cure, and NotFound when the machine has forgotten the command.
        """
        while True:
            wait = LOOK if timeout is None else min(LOOK, timeout)
            try:
                seq, said = self._said.get(timeout=wait)
            except queue.Empty:
                self._check_link()
                if timeout is not None:
                    timeout -= wait
                    if timeout <= 0:
                        return None
                continue
            if said is None:
                raise NotFound(
                    f"{self.link.machine} knows nothing of process {self.id} any more",
                    hint="it was restarted, or its cache folder was emptied; run the command again",
                )
            if isinstance(said, Output) and not self._keep:
                self.ack(seq)
            return said

    def ack(self, seq: int) -> None:
        """Let the machine drop what it keeps up to this number."""
        self.link.call_soon(functools.partial(self._attachment.ack, seq))

    def _check_link(self) -> None:
        state = self.link.state
        if state.phase == "closed":
            raise LinkDown(
                f"the link to {self.link.machine} was closed", hint="run the command again"
            )
        if is_final(state.error) and state.error is not None:
            raise state.error

    def write(self, data: bytes, timeout: float) -> bool:
        """Send to its standard input; False when it takes nothing more within `timeout` seconds."""
        return self._attachment.send_soon(STDIN, data, timeout)

    def close_stdin(self) -> None:
        """End its standard input."""
        self.link.call_soon(lambda: self._attachment.send(EOF, b""))

    def signal(self, signum: int) -> None:
        """Send a signal to the command and what it has started; delivered when the link is up, not waited for."""
        self.link.submit("signal", {"id": self.id, "signum": signum, "group": True})

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, and end it by force after `grace_s` seconds; not waited for."""
        self.link.submit("stop", {"id": self.id, "grace_s": grace_s})

    def detach(self) -> None:
        """Hear no more of the command, which goes on."""
        self._attachment.detach()

    def forget(self, timeout: float = 5.0) -> None:
        """Have the machine delete what it keeps of the command, once it has ended."""
        self.detach()
        try:
            self.link.call("forget", timeout=timeout, id=self.id)
        except CloudMLError:
            return  # it stays listed as ended; nothing depends on it

    # -- what the link says (Sink): on its own thread --------------------------------------------------
    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Hand over a piece of output."""
        if channel in (STDOUT, STDERR):
            self._said.put((seq, Output(channel == STDERR, data, seq)))

    def attached(self, info: dict[str, Any]) -> None:
        """Say that the link is up again."""
        if self._live is False:
            self._said.put((0, LinkChange(up=True)))
        self._live = True

    def lost(self) -> None:
        """Say that the link is down."""
        if self._live:
            self._said.put((0, LinkChange(up=False)))
        self._live = False

    def gone(self, exit: dict[str, Any] | None) -> None:
        """Hand over the end."""
        self._said.put((0, None if exit is None else Ended(exit_status(exit), exit)))
