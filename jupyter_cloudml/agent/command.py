"""A command with its standard streams: named pipes, so that they outlive the agent that reads them."""

from __future__ import annotations

import collections
import functools
import os
import selectors
from typing import TYPE_CHECKING, Any, Callable

from .journal import DISK_LIMIT, MEMORY_LIMIT, Journal
from .process import Process
from .protocol import EOF, READ_SIZE, STDERR, STDIN, STDOUT, WHOLE

if TYPE_CHECKING:
    from .keeper import Keeper
    from .loop import Loop

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
NAMES = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr"}
PIPE_LIMIT = 1 << 20  # what a pipe can be made to hold without privileges
BACKLOG = 32 << 20  # what may wait for the client before the command has to wait, as at any pipe
PATIENT_BACKLOG = (
    DISK_LIMIT  # of one that is to go on without a client: on disk, beyond what memory holds
)


class Command:
    """The agent's end of one command's streams."""

    def __init__(
        self, loop: Loop, process: Process, journal: Journal, said: Any, keeper: Keeper
    ) -> None:
        """``said(command)`` is called after records were journalled."""
        self.keeper = keeper
        self.loop, self.process, self.journal, self.said = loop, process, journal, said
        self.received = 0  # the newest record that came from the client
        self.taken = 0  # the newest that the command has in its pipe
        self.note: Callable[[int], None] = lambda seq: None  # told when that changes
        self.fds: dict[int, int] = {}
        self.paused = False
        self.spoke = False  # whether it has written to its standard output
        self._to_stdin: collections.deque[tuple[int, bytes]] = collections.deque()
        self._stdin: int | None = None
        self._stdin_ends = False

    def path(self, channel: int) -> str:
        """The named pipe of a channel."""
        return str(self.process.folder / NAMES[channel])

    def launch(self, argv: list[str], env: dict[str, str], cwd: str, wants_stdin: bool) -> None:
        """Start the command. Raises OSError."""
        theirs = []
        try:
            if wants_stdin:
                os.mkfifo(self.path(STDIN), 0o600)
                theirs.append(os.open(self.path(STDIN), os.O_RDONLY | os.O_NONBLOCK))
                self._stdin = os.open(self.path(STDIN), os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(theirs[0], True)
                self.keeper.keep(self._name(STDIN), [self._stdin])
            else:
                theirs.append(os.open(os.devnull, os.O_RDONLY))
            for channel in (STDOUT, STDERR):
                os.mkfifo(self.path(channel), 0o600)
                # Read and write: with no agent the command itself keeps its pipe open, and is not ended by SIGPIPE.
                theirs.append(os.open(self.path(channel), os.O_RDWR))
            self.process.launch(argv, env, cwd, *theirs)
            self.open()
        finally:
            for fd in theirs:
                os.close(fd)

    def open(self) -> None:
        """Read from the pipes (also those of a command that an earlier agent started)."""
        for channel in (STDOUT, STDERR):
            left = self.keeper.take(self._name(channel))
            fd = left[0] if left else os.open(self.path(channel), os.O_RDONLY | os.O_NONBLOCK)
            if not left:  # what the command writes until there is an agent again stays in the pipe
                self.keeper.keep(self._name(channel), [fd])
            self.fds[channel] = fd
            self.loop.register(fd, READ, functools.partial(self._ready, channel, fd))

    def _ready(self, channel: int, fd: int, mask: int) -> None:
        try:
            data = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.journal.append(channel, WHOLE, data, self.taken)
            self.spoke = self.spoke or channel == STDOUT
        else:
            self._close(channel)
        self.said(self)
        if self._full(1.0) and not self.paused:
            self.paused = True
            for other in self.fds.values():
                self.loop.unregister(other)

    def _full(self, share: float) -> bool:
        """Whether more waits for the client than this share of what may."""
        journal = self.journal
        if not self.process.spec.get("patient"):
            return journal.unsent_bytes + journal.unacked_bytes > share * BACKLOG
        # More is in memory alone where the disk is full.
        return journal.memory_bytes > share * (MEMORY_LIMIT + BACKLOG) or (
            journal.disk_bytes > share * PATIENT_BACKLOG
        )

    def acked(self) -> None:
        """The client has taken some: go on reading."""
        if self.paused and not self._full(0.5):
            self.paused = False
            for channel, fd in self.fds.items():
                self.loop.register(fd, READ, functools.partial(self._ready, channel, fd))

    def _read_left(self, channel: int, fd: int) -> None:
        """Read what a command left in a pipe that was paused; no more than a pipe holds, should a child of it write on."""
        left = PIPE_LIMIT
        try:
            while left > 0 and (data := os.read(fd, READ_SIZE)):
                self.journal.append(channel, WHOLE, data, self.taken)
                left -= len(data)
        except OSError:
            return  # empty

    @property
    def drained(self) -> bool:
        """Whether both output streams have ended."""
        return not self.fds

    def _close(self, channel: int) -> None:
        fd = self.fds.pop(channel, None)
        if fd is not None:
            self.loop.unregister(fd)
            os.close(fd)
            self.keeper.drop(self._name(channel))

    # -- the client's side ----------------------------------------------------------------------------------------------------------
    def upstream(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """A record from the client; one that was taken before is passed over."""
        if seq <= self.received:
            return
        self.received = seq
        if channel == STDIN:
            self._to_stdin.append((seq, data))
        elif channel == EOF:
            self._stdin_ends = True
        self._write_stdin(0)

    def client_changed(self) -> None:
        """Another client attaches: nothing of a command's streams is left half-done."""

    def _write_stdin(self, mask: int) -> None:
        fd = self._stdin
        if fd is None:
            self._to_stdin.clear()
            self._settle(self.received)
            return
        try:
            while self._to_stdin:
                seq, data = self._to_stdin[0]
                done = os.write(fd, data)
                if done == len(data):
                    self._to_stdin.popleft()
                    self._settle(seq)
                else:
                    self._to_stdin[0] = (seq, data[done:])
        except BlockingIOError:
            try:
                self.loop.register(fd, WRITE, self._write_stdin)
            except KeyError:
                return  # waits already
            return
        except OSError:
            self._to_stdin.clear()
            self._stdin_ends = True
        self.loop.unregister(fd)
        if self._stdin_ends:
            os.close(fd)
            self._stdin = None
            self.keeper.drop(self._name(STDIN))
        self._settle(self.received)

    def _settle(self, seq: int) -> None:
        if self.taken < seq:
            self.taken = seq
            self.note(seq)

    def hand_over(self) -> dict[str, Any]:
        """What take_over needs: the open end of standard input, and what waits for it."""
        if self._stdin is not None:
            os.set_inheritable(self._stdin, True)
        waiting = b"".join(data for _, data in self._to_stdin).hex()
        return {
            "stdin": self._stdin,
            "waiting": waiting,
            "ends": self._stdin_ends,
            "received": self.received,
        }

    def _name(self, channel: int) -> str:
        return f"{self.process.id}/{NAMES[channel]}"

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on with the streams of the agent before: a killed one, or this very process before its upgrade (its ``state``)."""
        left = self.keeper.take(self._name(STDIN))
        if self.process.spec.get("warm"):
            self.spoke = bool(self.journal.newest(STDOUT))
        if state:
            for fd in left:
                os.close(fd)
            self._restore_stdin(state)
        elif left:
            self._stdin = left[0]
        self.open()

    def _restore_stdin(self, state: dict[str, Any]) -> None:
        self._stdin, self._stdin_ends = state["stdin"], bool(state["ends"])
        self.received = int(state["received"])
        if state["waiting"]:
            self._to_stdin.append((self.received, bytes.fromhex(state["waiting"])))
        if self._stdin is not None:
            os.set_inheritable(self._stdin, False)
            self._write_stdin(0)

    def close(self) -> None:
        """Let go of the streams; what is still in the command's pipes is journalled."""
        for channel, fd in list(self.fds.items()):
            self._read_left(channel, fd)
            self._close(channel)
        if self._stdin is not None:
            self.loop.unregister(self._stdin)
            os.close(self._stdin)
            self._stdin = None
        self.keeper.drop(self._name(STDIN))
