"""The kernel of a run: a child in a session of its own, on sockets in a private folder, that ends with the runner. Standard library only."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

from .memory import memory_limit, oom_kills, was_for_memory
from .provenance import DATA

JSON = dict[str, Any]
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOTES = "CLOUDML_RUN_DATA"  # where the kernel's `dataset(…)` notes which data it had
PASSED = "CLOUDML_PASSED"  # names of variables that a kernel in a container has to have as well
# What ipykernel writes when it starts, also one that is ended before it answers.
NOTE = re.compile(r"NOTE: When using the `ipython kernel`.*?--existing [^\n]*\n?", re.DOTALL)
LOG_LIMIT = 64 << 10  # bytes of what the kernel wrote to its own streams that are told when it dies


def prctl(option: int, value: int) -> None:
    """Ask something of Linux; nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """The parent of each process of this system."""
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    found[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    return found


def descendants(pid: int) -> list[int]:
    """All that a process has started and that is still there."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found += new
        waiting += new
    return found


def end_all() -> None:
    """Kill all that this process has started, however it hid: orphans are its children, too."""
    for _ in range(20):  # what was forked meanwhile
        alive = descendants(os.getpid())
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        threading.Event().wait(0.01)


class KernelProcess:
    """One start of a kernel. `spec` is {argv, env, interrupt_mode}; `{connection_file}` in argv is filled in."""

    def __init__(self, spec: JSON, env: dict[str, str], cwd: str, ipc: bool = True) -> None:
        """Start it. Raises OSError when that cannot be."""
        self.spec, self.ipc = spec, ipc
        self.folder = tempfile.mkdtemp(prefix=f"cloudml-run-{os.getpid()}-", dir=short_folder())
        self.connection = self._connection()
        self.file = os.path.join(self.folder, "connection.json")
        self.log = os.path.join(self.folder, "log")
        self.notes = os.path.join(self.folder, DATA)
        self.code: int | None = None
        self.greeting = 0  # bytes of its log from before it answered: no reason of its end
        self.peak_bytes = 0
        self._ended: asyncio.Event | None = None
        self._oom_before = oom_kills()
        self._killed = False
        self._for_memory: bool | None = None
        try:
            self._start(env, cwd)
        except BaseException:
            self.remove()
            raise

    def _connection(self) -> JSON:
        known: JSON = {"signature_scheme": "hmac-sha256", "key": secrets.token_hex(16)}
        if self.ipc:
            ports = {name: number for number, name in enumerate(PORTS, 1)}
            return {**known, "transport": "ipc", "ip": os.path.join(self.folder, "k"), **ports}
        held = {name: socket.create_server(("127.0.0.1", 0)) for name in PORTS}
        ports = {name: sock.getsockname()[1] for name, sock in held.items()}
        for sock in held.values():
            sock.close()
        return {**known, "transport": "tcp", "ip": "127.0.0.1", **ports}

    def _start(self, env: dict[str, str], cwd: str) -> None:
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(self.connection, file)
        argv = [arg.replace("{connection_file}", self.file) for arg in self.spec["argv"]]
        runner = os.getpid()

        def before_exec() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != runner:
                os._exit(1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)

        with open(os.open(self.log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
            self._child = subprocess.Popen(
                argv,
                env={
                    **os.environ,
                    **self.spec.get("env", {}),
                    **env,
                    NOTES: self.notes,
                    PASSED: ",".join(sorted([*env, NOTES])),
                },
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before_exec,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    def answers(self) -> None:
        """It has started: what it has written so far is what kernels say of themselves."""
        with contextlib.suppress(OSError):
            self.greeting = os.path.getsize(self.log)

    def peak(self) -> int:
        """The most memory that it has used, in bytes; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self.pid}/status") as file:
                found = [line.split()[1] for line in file if line.startswith("VmHWM:")]
        except OSError:
            found = []
        return int(found[0]) * 1024 if found else self.peak_bytes

    @property
    def sockets_are_there(self) -> bool:
        """Whether it listens on all of its sockets, as far as that can be seen without asking."""
        names = (f"{self.connection['ip']}-{self.connection[name]}" for name in PORTS)
        return not self.ipc or all(os.path.exists(name) for name in names)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `end` return when it has ended."""
        ended = self._ended = asyncio.Event()

        def wait() -> None:
            self._wait()
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                return  # the loop is over

        threading.Thread(target=wait, daemon=True, name="kernel").start()

    async def end(self) -> None:
        """Wait until it has ended; it has to be watched."""
        if self._ended is not None:
            await self._ended.wait()

    def _wait(self) -> None:
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            self.code = -signal.SIGKILL
            return
        self.code = self._child.returncode = os.waitstatus_to_exitcode(status)
        self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def interrupt(self) -> None:
        """Interrupt it by signal."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it."""
        self._killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.code is None:
            try:
                os.killpg(self.pid, number)
            except OSError:
                return

    @property
    def out_of_memory(self) -> bool:
        """Whether it was killed because memory ran out."""
        if self._for_memory is None and self.code is not None:  # others are killed later, too
            kills = oom_kills() - self._oom_before
            self._for_memory = was_for_memory(
                self.code, self._killed, kills, self.peak_bytes, memory_limit()
            )
        return bool(self._for_memory)

    def how_it_ended(self) -> str:
        """In words, with what it wrote last."""
        if self.out_of_memory:
            return f"the kernel was killed because the machine ran out of memory (peak {self.peak_bytes / 1e9:.1f} GB)"
        code = self.code or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the kernel {how}{self._last_words()}"

    def _last_words(self) -> str:
        try:
            with open(self.log, "rb") as file:
                file.seek(max(self.greeting, os.path.getsize(self.log) - LOG_LIMIT))
                text = NOTE.sub("", file.read().decode(errors="replace"))
        except OSError:
            return ""
        lines = text.strip().splitlines()
        return f": {' | '.join(line.strip() for line in lines[-5:])[-1000:]}" if lines else ""

    def remove(self) -> None:
        """Delete its sockets and files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def short_folder() -> str:
    """A folder whose sockets have short enough paths. What killed runners have left in it is removed."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = runtime.startswith("/") and len(runtime) < 40 and os.access(runtime, os.W_OK)
    folder = runtime if usable else "/tmp"  # noqa: S108 - for a folder of its own, made by mkdtemp
    for name in os.listdir(folder):
        _, found, rest = name.partition("cloudml-run-")
        pid = rest.partition("-")[0]
        path = os.path.join(folder, name)
        if found and pid.isdigit() and not os.path.exists(f"/proc/{pid}") and mine(path):
            shutil.rmtree(path, ignore_errors=True)
    return folder


def mine(path: str) -> bool:
    """Whether something is this user's, and so is what this system has of processes."""
    try:
        return os.lstat(path).st_uid == os.getuid() and os.path.exists("/proc/self")
    except OSError:
        return False
