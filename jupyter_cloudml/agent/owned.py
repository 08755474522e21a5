"""A process together with its journal, its streams and the client that it is attached to."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from . import endpoints, handover, joined
from .command import Command
from .journal import Journal
from .kernel import CONNECTION_FILE, Kernel
from .process import Process, now_ms
from .protocol import ACK, EXITED, WHOLE, pack

if TYPE_CHECKING:
    from .connection import Connection
    from .server import Agent

ACK_BYTES, ACK_RECORDS = 1 << 20, 64
DRAIN = 1.0  # seconds after its end in which a process's last output may still come
LOG_LIMIT = 16 << 20


class Owned:
    """One process that the agent owns."""

    def __init__(self, agent: Agent, process: Process) -> None:
        self.agent, self.loop, self.process = agent, agent.loop, process
        self.journal = Journal(process.folder, process.number)
        self.connection: Connection | None = None
        self.client: str | None = None
        self.finished = False
        self.end: Kernel | Command
        if process.kind == "kernel":
            self.end = Kernel(self.loop, process, self.journal, self._said, agent.keeper)
            self.journal.thin = self.end.thin
        else:
            self.end = Command(self.loop, process, self.journal, self._said, agent.keeper)
        self.end.note = self._note_taken
        self._ack_bytes = self._ack_records = 0  # came from the client since all was acknowledged
        self._told = 0  # the newest record that was acknowledged
        self._taken_file = process.folder / "taken"
        self._said_exit = process.folder / "said-exit"
        self._drain_until = 0.0
        self.alone_since = time.monotonic()  # when nobody was attached any more
        self._taken_fd: int | None = None
        self._again: Callable[[], None] | None = None  # launches this kernel once more
        if process.spec.get("joins"):
            process.why_over = functools.partial(joined.why_over, agent, process.spec["joins"])

    # -- start, and taking up after another agent ---------------------------------------------------------------------------------------
    def launch(
        self, spec: dict[str, Any], env: dict[str, str], cwd: str, sockets: str, key: str | None
    ) -> None:
        """Start the process. Raises OSError or ValueError, and keeps nothing open then."""
        try:
            if isinstance(self.end, Kernel):
                self.end.load(endpoints.ipc(sockets, key))
                self._again = functools.partial(self._launch_kernel, spec, env, cwd)
                self._again()
            else:
                self.end.launch(list(spec["argv"]), env, cwd, bool(spec.get("stdin")))
        except (OSError, ValueError):
            self.end.close()
            raise
        self.take_up()

    def join(self, joins: dict[str, Any]) -> None:
        """Be the client of a kernel that is there. Raises OSError or ValueError, and has touched nothing then."""
        assert isinstance(self.end, Kernel)  # noqa: S101 - by the spec, see new_spec
        connection = joined.connection_of(str(joins["connection_file"]))
        self.process.join(int(joins["pid"]))
        self.end.load(connection)
        self.take_up()

    def _launch_kernel(self, spec: dict[str, Any], env: dict[str, str], cwd: str) -> None:
        keep_history_private(env)
        file = str(self.process.folder / CONNECTION_FILE)
        argv = [str(arg).replace("{connection_file}", file) for arg in spec["argv"]]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log = os.open(self.process.folder / "log", flags, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self.process.launch(argv, env, cwd, null, log, log)
        finally:
            os.close(log)
            os.close(null)

    def _fell_back(self) -> bool:
        """Start a kernel anew that ended before it had opened its ipc sockets: it may not know them. Whether it was."""
        exit, again, self._again = self.process.exit, self._again, None
        if again is None or exit is None or not isinstance(self.end, Kernel):
            return False
        if self.end.was_joined or exit["asked"] or not exit["code"]:
            return False
        try:
            self.end.fall_back()
            self.process.start_over()
            self._drain_until = 0.0
            again()
        except OSError:
            self.process.exit = exit
            return False
        self.take_up()
        return True

    def adopt(self) -> None:
        """Take up a process of an agent before this one."""
        try:
            self.end.taken = self.end.received = int(self._taken_file.read_text() or 0)
        except (OSError, ValueError):
            self.end.taken = self.end.received = 0
        if isinstance(self.end, Kernel):
            self.end.load()
        self.finished = self._said_exit.exists()
        if self.finished:
            return
        self.end.restore(handover.left_by_itself(self.process))
        if self.process.exit is None:
            self.take_up()
        else:  # meanwhile; what it said last may still be there
            self.loop.after(0, self._ended)

    def take_up(self) -> None:
        """Watch the process and join its sockets."""
        if isinstance(self.end, Kernel):
            self.end.join()
        fd = self.process.watch_fd()
        if fd is not None:
            self.loop.register(fd, 1, lambda mask: self._look(fd))
        else:
            self.loop.after(0.25, self._look_by_timer)

    def _look(self, fd: int) -> None:
        self.loop.unregister(fd)
        self.process.unwatch()
        if self.process.poll():
            self._ended()
        else:  # readable, yet not reaped: look again
            self.loop.after(0.05, self._look_by_timer)

    def _look_by_timer(self) -> None:
        if self.process.poll():
            self._ended()
        else:
            self.loop.after(0.25, self._look_by_timer)

    # -- end -------------------------------------------------------------------------------------------------------------------------------
    def _ended(self) -> None:
        if not self._drain_until:
            self._drain_until = time.monotonic() + DRAIN
        drained = not self.end.peers if isinstance(self.end, Kernel) else self.end.drained
        if not drained and time.monotonic() < self._drain_until:
            self.loop.after(0.01, self._ended)
            return
        if self.finished or self._fell_back():
            return
        self.finished = True
        self.end.close()
        if self.process.spec.get("whole") or (self.process.exit and self.process.exit["asked"]):
            self.process.end_session()
        self._say_exit()
        self.agent.changed(self)

    def _say_exit(self) -> None:
        self.journal.append(EXITED, WHOLE, json.dumps(self.process.exit).encode(), self.end.taken)
        try:
            self._said_exit.touch(0o600)
        except OSError:
            self.agent.log(f"no room to note the end of {self.process.id}")
        self._said(self.end)
        self._close_files()

    def _close_files(self) -> None:
        self.journal.close()
        if self._taken_fd is not None:
            os.close(self._taken_fd)
            self._taken_fd = None

    def forget(self) -> None:
        """Remove an ended process and its journal."""
        if self.connection is not None:
            self.connection.detach(self)
        self._close_files()
        shutil.rmtree(self.process.folder, ignore_errors=True)

    # -- records -----------------------------------------------------------------------------------------------------------------------------
    def _said(self, end: Any) -> None:
        if self.connection is not None:
            self.connection.pump()

    def acked(self) -> None:
        """The client has taken some of the journal."""
        if isinstance(self.end, Command):
            self.end.acked()

    def upstream(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """A record from the client."""
        self.end.upstream(channel, flags, seq, data)
        self._ack_bytes += len(data)
        self._ack_records += 1
        self._ack_if_due()

    def _note_taken(self, seq: int) -> None:
        """An agent after this one must not pass it on again."""
        try:
            if self._taken_fd is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._taken_fd = os.open(self._taken_file, flags, 0o600)
            os.pwrite(self._taken_fd, b"%020d" % seq, 0)
        except OSError:
            pass  # the disk is full: only an agent's death at this moment would send it twice
        self._ack_if_due()

    def _ack_if_due(self) -> None:
        """Tell the client what the process has taken; one that reads slowly is acknowledged as it reads."""
        due = self._ack_bytes >= ACK_BYTES or self._ack_records >= ACK_RECORDS
        if not due or self.end.taken <= self._told:
            return
        self._told = self.end.taken
        if self._told == self.end.received:
            self._ack_bytes = self._ack_records = 0
        if self.connection is not None:
            self.connection.stream.out.append(
                pack(self.process.number, ACK, b"", ack=self.end.taken)
            )
            self.connection.pump()

    def client_changed(self, client: str) -> None:
        """Another client attaches."""
        if self.client is not None:
            self.end.client_changed()
        self.client = client

    # -- what is told ----------------------------------------------------------------------------------------------------------------------------
    def row(self) -> dict[str, Any]:
        """What the agent tells of it."""
        row = self.process.row()
        row["attached"] = self.connection is not None
        row["seq"], row["acked"], row["taken"] = (
            self.journal.seq,
            self.journal.acked,
            self.end.taken,
        )
        row["received"], row["finished"] = self.end.received, self.finished
        if isinstance(self.end, Kernel):
            row["connection"] = {k: v for k, v in self.end.connection.items() if k != "identity"}
            row["execution_state"] = self.end.state() if self.process.exit is None else "dead"
            row["last_activity_ms"] = self.end.last_activity_ms
        return row

    def trim_log(self) -> None:
        """Keep the log of a kernel's own standard streams bounded."""
        path = self.process.folder / "log"
        try:
            if path.stat().st_size > LOG_LIMIT:
                os.truncate(path, 0)
        except OSError:
            return

    def stop(self, grace: float) -> None:
        """Ask it to end; after ``grace`` seconds, end it and all that it started."""
        if self.process.exit is not None:
            return
        if grace > 0:
            self._signal(signal.SIGTERM)
            self.loop.after(grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        if self.process.exit is None:
            self._signal(signal.SIGKILL)
            self.process.end_session()

    def _signal(self, number: int) -> None:
        try:
            self.process.signal(number)
        except PermissionError:  # it has become another user's, as under sudo
            self.agent.log(f"process {self.process.id} may not be ended by this user")


def keep_history_private(env: dict[str, str]) -> None:
    """Make IPython's folder, where there is none, for the user alone: its history holds whatever was typed."""
    folder = env.get("IPYTHONDIR") or os.path.join(os.path.expanduser("~"), ".ipython")
    try:
        os.mkdir(folder, 0o700)
    except OSError:
        return  # it is there, or the kernel will say what is wrong with the place


def folder_of(base: Path, process_id: str) -> Path:
    """Where a process's files are."""
    return base / "p" / process_id


def new_spec(params: dict[str, Any], process_id: str, number: int, cwd: str) -> dict[str, Any]:
    """What is written before a process is started. Raises ValueError."""
    argv: list[str] = [str(arg) for arg in params["argv"]]
    if not argv:
        raise ValueError("argv is empty")
    return {
        "id": process_id,
        "number": number,
        "token": params.get("token"),
        "kind": params.get("kind", "command"),
        "argv": argv,
        "cwd": cwd,
        "labels": dict(params.get("labels") or {}),
        "stdin": bool(params.get("stdin")),
        "orphan_s": params.get("orphan_s"),
        "patient": bool(params.get("patient")),
        "whole": bool(params.get("whole")),
        "started_ms": now_ms(),
        **({"joins": params["joins"], "kind": "kernel"} if params.get("joins") else {}),
    }
