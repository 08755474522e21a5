"""A process of this machine that the agent owns: started in its own session, named on disk before it runs, found again afterwards.

``<folder>/spec.json``  what was asked for (no environment: it may hold secrets), written before the start
``<folder>/pid``        pid and start time, written by the child itself before it becomes the program
``<folder>/exit.json``  how it ended
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

JSON = dict[str, Any]
# What the user's files get, as under a kernel of their own; the agent's own files are private. See server.serve.
user_umask = 0o022
ASKED_FOR = 60.0  # seconds; a process that ends later than this after it was asked to does so for another reason
MARK = "JUPYTER_CLOUDML_PROCESS"  # in the environment of every process, so that descendants are found wherever they went


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return int(time.time() * 1000)


def start_time(pid: int) -> str | None:
    """When this process started, in the words of the system; None when there is no such process or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return None
    except OSError:
        return None
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if done.returncode or state.startswith("Z") else started.strip()


def session_members(leader: int) -> list[int]:
    """The processes of a session; on a system without /proc, the leader alone."""
    found = []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return [leader]
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[3] == str(leader):
                    found.append(pid)
        except OSError:
            continue
    return found


def marked(process_id: str) -> list[int]:
    """The processes that carry this agent process's mark in their environment: also those that left its session."""
    mark = (f"{MARK}={process_id}").encode()
    found = []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            continue
    return found


def oom_kills() -> int | None:
    """How often this system has killed for memory, or None where it does not tell."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def write_json(path: Path, data: JSON) -> None:
    """Replace a file atomically, readable by its owner alone."""
    scratch = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file)
    os.replace(scratch, path)


def working_folder(wanted: str | list[str] | None) -> str:
    """The folder that a process starts in; relative ones are in the home folder, which is also meant by none.

    One that is named alone has to be there (raises OSError); of several, the first that is, else the home folder.
    """
    home = os.path.expanduser("~")
    for name in [wanted] if isinstance(wanted, str) else wanted or []:
        path = os.path.join(home, os.path.expanduser(name))
        if os.path.isdir(path) and os.access(path, os.X_OK):
            return path
        if name == wanted:
            raise NotADirectoryError(errno.ENOTDIR, "no folder to work in", path)
    return home


class Process:
    """One process. ``row`` is what the agent tells about it."""

    def __init__(self, folder: Path, spec: JSON) -> None:
        self.folder, self.spec = folder, spec
        self.id: str = spec["id"]
        self.number: int = spec["number"]
        self.pid: int | None = None
        self.started: str | None = None
        self.exit: JSON | None = None
        self.peak_bytes = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self.end_reason: str | None = None  # why the agent itself ends it
        self.why_over: Callable[[], str] | None = None  # of a kernel that it has not started
        self._asked: int | None = None  # the last ending signal that somebody asked for
        self._asked_at = 0.0
        self._oom_before = oom_kills()

    @property
    def kind(self) -> str:
        """Either "kernel" or "command"."""
        return str(self.spec["kind"])

    # -- start -------------------------------------------------------------------------------------------------------------------
    def launch(
        self, argv: list[str], env: dict[str, str], cwd: str, stdin: int, stdout: int, stderr: int
    ) -> None:
        """Start the program. Raises OSError when it cannot be started, ValueError for a NUL byte in what it is to get."""
        pid_file = os.fsencode(self.folder / "pid")

        def before_exec() -> None:  # the agent has one thread, so this is safe
            os.umask(user_umask)
            stat = start_time(os.getpid()) or ""
            fd = os.open(pid_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.write(fd, f"{os.getpid()} {stat}".encode())
            os.close(fd)
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        try:
            self._child = subprocess.Popen(
                argv,
                env={**env, MARK: self.id},
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=before_exec,
            )
        except subprocess.SubprocessError as exc:  # of before_exec, which it does not name
            raise OSError(f"cannot write {self.folder / 'pid'}") from exc
        self.pid = self._child.pid
        self._read_pid()

    def join(self, pid: int) -> None:
        """Stand for a process that somebody else has started. Raises OSError when it has ended."""
        started = start_time(pid)
        if started is None:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(self.folder / "pid", flags, 0o600), "w") as file:
            file.write(f"{pid} {started}")
        self._read_pid()

    def start_over(self) -> None:
        """Forget how it ended: it is about to be launched again. Raises OSError."""
        (self.folder / "exit.json").unlink(missing_ok=True)
        self.exit, self.pid, self.started, self._child = None, None, None, None

    def _read_pid(self) -> None:
        try:
            pid, _, started = (self.folder / "pid").read_text().partition(" ")
            self.pid, self.started = int(pid), started
        except (OSError, ValueError):
            self.pid = None

    @classmethod
    def adopt(cls, folder: Path) -> Process:
        """The process of an earlier agent, running or ended. Raises OSError, ValueError or KeyError when nothing usable is on disk."""
        process = cls(folder, json.loads((folder / "spec.json").read_text()))
        process._read_pid()
        try:
            process.exit = json.loads((folder / "exit.json").read_text())
        except (OSError, ValueError):
            if process.pid is None or start_time(process.pid) != process.started:
                process.ended(None, "it ended while the agent was not running")
        return process

    # -- watch -------------------------------------------------------------------------------------------------------------------
    def watch_fd(self) -> int | None:
        """A descriptor that becomes readable when the process ends, where the system has such."""
        if self._pidfd is None and self.pid is not None and hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except OSError:
                return None
        return self._pidfd

    def unwatch(self) -> None:
        """Close that descriptor. It has to stay open for as long as somebody waits for it, also when poll() was quicker."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def poll(self) -> bool:
        """Whether it has ended; the first time, that is written down."""
        if self.exit is not None:
            return True
        if self.pid is None:
            return False
        try:  # a child of this process, also when it was another agent's program then
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass
        else:
            if not pid:
                return False
            code = os.waitstatus_to_exitcode(status)
            if self._child is not None:
                self._child.returncode = code
            self.peak_bytes = max(
                self.peak_bytes, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            )
            self.ended(code, None)
            return True
        if start_time(self.pid) == self.started:
            return False
        self.ended(None, "its exit status is not known: an earlier agent had started it")
        return True

    def ended(self, code: int | None, reason: str | None) -> None:
        """Write down how it ended. ``code`` is negative for a signal, None when unknown."""
        number = -code if code is not None and code < 0 else None
        if time.monotonic() - self._asked_at > ASKED_FOR:
            self._asked = None
        oom = (
            number == signal.SIGKILL
            and self._asked != signal.SIGKILL
            and (oom_kills() or 0) > (self._oom_before or 0)
        )
        joined = self.why_over is not None
        if self.why_over is not None:
            reason = self.end_reason or self.why_over()
        reason = reason or self.end_reason
        if oom:
            reason = (
                "it was killed because the machine ran out of memory "
                f"(peak {self.peak_bytes / 1e9:.1f} GB)"
            )
        self.exit = {
            "code": code if number is None else None,
            "signal": number,
            "oom": bool(oom),
            "asked": self._asked is not None or joined,  # nothing is to take its place
            "peak_bytes": self.peak_bytes,
            "ended_ms": now_ms(),
            "reason": reason,
        }
        try:
            write_json(self.folder / "exit.json", self.exit)
        except OSError:
            pass

    # -- end ---------------------------------------------------------------------------------------------------------------------
    @property
    def ending(self) -> bool:
        """Whether it has ended or was asked to."""
        return self.exit is not None or self._asked is not None

    def signal(self, number: int, group: bool = True) -> None:
        """Send a signal to the process group, or to the process alone; nothing happens when it has ended."""
        if self.pid is None or self.poll():
            return
        if number in (signal.SIGTERM, signal.SIGKILL):
            self._asked, self._asked_at = number, time.monotonic()
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            pass

    def end_session(self) -> None:
        """Kill whatever is left of it: a child may have left the group or the session."""
        if self.pid is None:
            return
        for pid in {*session_members(self.pid), *marked(self.id)}:
            if pid != os.getpid():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue

    def row(self) -> JSON:
        """What the agent tells of it."""
        spec = self.spec
        return {
            "id": self.id,
            "number": self.number,
            "kind": self.kind,
            "labels": spec.get("labels", {}),
            "argv": spec["argv"],
            "cwd": spec.get("cwd"),
            "pid": self.pid,
            "started_ms": spec["started_ms"],
            "state": "running" if self.exit is None else "exited",
            "exit": self.exit,
            "warm": bool(spec.get("warm")),
            "until_ms": spec.get("until_ms"),
            "base": spec.get("base") or [0, 0],
        }
