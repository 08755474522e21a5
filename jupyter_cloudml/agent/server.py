"""The agent itself: one per user and machine, listening on a unix socket in a 0700 folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any, Callable

from . import gauges, handover, hosts_program, importable, joined, kept, process, sockets
from .asks import WORD as QUESTION
from .asks import Asks
from .connection import Connection
from .keeper import Keeper, keep
from .loop import Loop
from .owned import Owned, folder_of, new_spec
from .policy import Policy
from .prewarm import Prewarm
from .process import Process, now_ms, working_folder, write_json
from .protocol import RELEASE, RPC, VERSION

JSON = dict[str, Any]
REFUSED = 4096  # tokens
REMEMBERED = 256  # answers kept, for a client that asks again after a cut
LOCK_PATIENCE = 1.0  # seconds; the keeper of an agent that has just left is about to go
LEAVE_AFTER = 60.0  # seconds without a process and without a client


class RPCError(Exception):
    """What the client did wrong, or what this machine refuses."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Agent:
    """Owns processes, keeps their journals, answers clients."""

    def __init__(self, base: Path, digest: str, lock: int, keeper: Keeper) -> None:
        """``lock`` is the open file that makes it the only one."""
        self.keeper = keeper
        self.base, self.digest, self.lock, self.loop = base, digest, lock, Loop()
        self.epoch = secrets.token_hex(8)
        self.started_ms = now_ms()
        self.owned: dict[str, Owned] = {}
        self.connections: set[Connection] = set()
        self.answers: dict[str, JSON] = {}
        self.gauges = gauges.Gauges()
        self.policy = Policy(self)
        self.prewarm = Prewarm(self)
        self.asks = Asks(self)
        self._number = 0
        self._of_use = time.monotonic()
        (base / "p").mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            importable.write(base)
        except OSError as exc:
            self.log(f"notebooks cannot import jupyter_cloudml: {exc}")
        self._listen()
        self._adopt_all()
        keeper.drop_left()
        self.loop.after(30, self._housekeeping)

    # -- start ---------------------------------------------------------------------------------------------------------------------------
    def _listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        path = sockets.control(self.base)
        path.unlink(missing_ok=True)
        self.listener.bind(str(path))
        self.listener.listen(16)
        self.listener.setblocking(False)
        self.loop.register(self.listener, 1, lambda mask: self._accept())

    def _adopt_all(self) -> None:
        for folder in sorted((self.base / "p").iterdir()):
            try:
                process = Process.adopt(folder)
                owned = Owned(self, process)
                owned.adopt()
            except (OSError, ValueError, KeyError) as exc:
                self.log(f"nothing to take up in {folder.name}: {exc}")
                if not isinstance(exc, OSError) or isinstance(exc, FileNotFoundError):
                    shutil.rmtree(folder, ignore_errors=True)
                continue  # what could not be read this time is left to the next agent
            self.owned[process.id] = owned
            self._number = max(self._number, process.number)

    def hello(self) -> JSON:
        """What a client is told at once."""
        return {
            "version": VERSION,
            "release": RELEASE,
            "digest": self.digest,
            "epoch": self.epoch,
            "pid": os.getpid(),
            "started_ms": self.started_ms,
            "now_ms": now_ms(),
            "python": sys.executable,
            "python_version": platform.python_version(),
            "hostname": socket.gethostname(),
            "user": os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid()),
            "home": os.path.expanduser("~"),
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpus": os.cpu_count() or 1,
            "memory_bytes": gauges.memory_total(),
            "gpus": self.gauges.gpu_names(),
        }

    def log(self, text: str) -> None:
        """A line for the agent's log; never code, output or environment."""
        sys.stderr.write(f"{time.strftime('%F %T')} {text}\n")
        sys.stderr.flush()

    # -- clients ----------------------------------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        try:
            sock = self.listener.accept()[0]
        except OSError:
            return
        sock.setblocking(False)
        self.loop.register(sock, 1, lambda mask: self._greet(sock))

    def _greet(self, sock: socket.socket) -> None:
        """The first byte says whether two descriptors come with it ("a": from an attach process), the socket is the stream ("s") or a program asks something ("q")."""
        self.loop.unregister(sock)
        try:
            word, fds, _, _ = socket.recv_fds(sock, 1, 2)
        except OSError:
            word, fds = b"", []
        if word == b"a" and len(fds) == 2:
            self._welcome(Connection(self, list(fds), sock))
        elif word == b"s":
            self._welcome(Connection(self, [sock.detach()], None))
        elif word == QUESTION:
            self.asks.accept(sock)
        else:
            for fd in fds:
                os.close(fd)
            sock.close()

    def _welcome(self, connection: Connection) -> None:
        if not connection.closed:  # its client had gone before it was greeted
            self.connections.add(connection)

    def answer(self, connection: Connection, request: JSON) -> None:
        """Carry out a request; one that comes again after a cut gets the answer it had."""
        number = request.get("id")
        if request.get("method") == "specs":  # takes seconds where many Pythons are asked
            params = request.get("params")
            hosts_program.run(
                self.loop,
                lambda answer: self.answer_later(connection, number, answer),
                pythons=not (isinstance(params, dict) and params.get("pythons") is False),
            )
            return
        if (
            request.get("method") == "questions"
        ):  # answered once there are some, and anew after a cut
            self.asks.wait(connection, number, request.get("params"))
            return
        known = f"{connection.client}/{number}"
        if known not in self.answers:
            self.answers[known] = self._carry_out(connection, request)
            for old in list(self.answers)[:-REMEMBERED]:
                del self.answers[old]
        elif request.get("method") == "attach":
            self._carry_out(connection, request)
        connection.tell(RPC, {"id": number, **self.answers[known]})

    @staticmethod
    def answer_later(connection: Connection, number: Any, answer: JSON) -> None:
        """Give the answer to a request that was left open."""
        if not connection.closed:
            connection.tell(RPC, {"id": number, **answer})
            connection.pump()

    def _carry_out(self, connection: Connection, request: JSON) -> JSON:
        methods: dict[str, Callable[..., Any]] = {
            "start": self.start,
            "list": lambda: [owned.row() for owned in self.owned.values()],
            "signal": self.signal,
            "stop": self.stop,
            "forget": self.forget,
            "refuse": self.refuse,
            "attach": lambda **p: self.attach(connection, **p),
            "detach": lambda id: connection.detach(self.find(id)),
            "gauges": lambda: self.gauges.read(self.owned.values()),
            "say": lambda **p: self.asks.say(connection, **p),
            "prewarm": self.prewarm.configure,
            "offer": self.prewarm.offer,
            "policy": self.policy.configure,
            "lease": self.policy.lease,
            "shutdown": self.shutdown,
            "upgrade": self.upgrade,
        }
        try:
            method = methods[str(request.get("method"))]
            return {"result": method(**(request.get("params") or {}))}
        except RPCError as exc:
            return {"error": {"code": exc.code, "message": str(exc)}}
        except KeyError as exc:
            return {"error": {"code": "usage", "message": f"unknown: {exc}"}}
        except (TypeError, ValueError, AttributeError) as exc:
            return {"error": {"code": "usage", "message": str(exc)}}
        except OSError as exc:
            code = "no_space" if exc.errno == errno.ENOSPC else "os_error"
            return {
                "error": {
                    "code": code,
                    "message": f"{exc.strerror}: {exc.filename or self.base}",
                }
            }

    # -- what it does -------------------------------------------------------------------------------------------------------------------------
    def find(self, id: str) -> Owned:
        """The process of this id. Raises RPCError."""
        if id not in self.owned:
            raise RPCError("not_found", f"there is no process {id!r} on this machine")
        return self.owned[id]

    def start(self, argv: list[str], **params: Any) -> JSON:
        """Start a process, or find the one that this token has started before."""
        token = params.get("token")
        for owned in self.owned.values():
            if token and owned.process.spec.get("token") == token:
                return owned.row()
        if token and token in self._refused():
            raise RPCError("refused", f"nothing is to be started under the name {token}")
        params["argv"] = argv
        if params.get("joins"):
            owned = self._join(params)
        else:
            warm = self.prewarm.claim(params) if key_of(params) is None else None
            owned = warm or self.launch(params)
        self.policy.expect(owned)
        return owned.row()

    def launch(self, params: JSON) -> Owned:
        """Start a process. Raises RPCError naming what could not be started and why."""
        process_id = secrets.token_hex(4)
        folder = folder_of(self.base, process_id)
        try:
            cwd = working_folder(params.get("cwd"))
        except OSError as exc:
            raise RPCError("cannot_start", f"{exc.filename}: {exc.strerror}") from exc
        self._number += 1
        spec = new_spec(params, process_id, self._number, cwd)
        folder.mkdir(mode=0o700)
        try:
            write_json(folder / "spec.json", spec)
            owned = Owned(self, Process(folder, spec))
            env = {**os.environ, **{str(k): str(v) for k, v in (params.get("env") or {}).items()}}
            if spec["kind"] == "kernel" or params.get("notebook"):
                env = importable.with_path(self.base, env)
            owned.launch(spec, env, cwd, sockets.of_kernel(folder), key_of(params))
        except (OSError, ValueError) as exc:
            shutil.rmtree(folder, ignore_errors=True)
            if getattr(exc, "errno", None) == errno.ENOSPC:
                raise RPCError("no_space", f"no space left for {folder}") from exc
            why = getattr(exc, "strerror", None) or exc
            raise RPCError("cannot_start", f"{spec['argv'][0]}: {why}") from exc
        self.owned[process_id] = owned
        return owned

    def _join(self, params: JSON) -> Owned:
        """Take up a kernel that a process of ours holds. Raises RPCError (`gone`)."""
        try:
            joins = joined.check(self, params["joins"])
        except ValueError as exc:
            raise RPCError("gone", str(exc)) from exc
        process_id = secrets.token_hex(4)
        folder = folder_of(self.base, process_id)
        self._number += 1
        cwd = str(self.owned[joins["process"]].process.spec.get("cwd"))
        spec = new_spec({**params, "joins": joins}, process_id, self._number, cwd)
        folder.mkdir(mode=0o700)
        try:
            write_json(folder / "spec.json", spec)
            owned = Owned(self, Process(folder, spec))
            owned.join(joins)
        except (OSError, ValueError) as exc:
            shutil.rmtree(folder, ignore_errors=True)
            code = "no_space" if getattr(exc, "errno", None) == errno.ENOSPC else "gone"
            raise RPCError(code, f"the kernel cannot be joined: {exc}") from exc
        self.owned[process_id] = owned
        return owned

    def signal(self, id: str, signum: int, group: bool = True) -> None:
        """Send a signal."""
        self.find(id).process.signal(int(signum), bool(group))

    def stop(self, id: str, grace_s: float = 5.0) -> JSON:
        """End a process: asked first, then by force."""
        owned = self.find(id)
        owned.stop(float(grace_s))
        return owned.row()

    def forget(self, id: str) -> None:
        """Remove an ended process. One that is not known is forgotten already."""
        owned = self.owned.get(id)
        if owned is None:
            return
        if owned.process.exit is None:
            raise RPCError("in_use", f"process {id} still runs: stop it first")
        del self.owned[id]
        owned.forget()

    def refuse(self, token: str) -> JSON | None:
        """The process that has this token; where none has, none will: a start with it that comes late is refused."""
        for owned in self.owned.values():
            if owned.process.spec.get("token") == token:
                return owned.row()
        write_json(
            self.base / "refused.json", {"tokens": [*self._refused(), str(token)][-REFUSED:]}
        )
        return None

    def _refused(self) -> list[str]:
        try:
            return list(json.loads((self.base / "refused.json").read_text())["tokens"])
        except FileNotFoundError:
            return []

    def attach(self, connection: Connection, id: str, since: int = 0) -> JSON:
        """Send this process's journal over this connection."""
        owned = self.find(id)
        connection.attach(owned, int(since))
        return owned.row()

    def changed(self, owned: Owned) -> None:
        """A process has ended."""
        self.prewarm.refill()

    def shutdown(self, stop_processes: bool = False, grace_s: float = 5.0) -> None:
        """End the agent, with or without its processes."""
        if stop_processes:
            for owned in self.owned.values():
                owned.stop(float(grace_s))
        self.prewarm.off()
        self.loop.after(0.05, self._leave_when_done if stop_processes else self._leave)

    def upgrade(self, package: str, module: str, digest: str) -> None:
        """Become the agent whose code is there; processes and their sockets stay. Raises ValueError when there is none."""
        path = Path(os.path.expanduser(package))
        handover.check(path, module)
        self.loop.after(0.01, lambda: handover.become(self, path, module, digest))

    def _leave_when_done(self) -> None:
        if all(owned.finished for owned in self.owned.values()):
            self._leave()
        else:
            self.loop.after(0.05, self._leave_when_done)

    def _leave(self) -> None:
        self.loop.running = False
        sockets.control(self.base).unlink(missing_ok=True)

    def _housekeeping(self) -> None:
        for owned in self.owned.values():
            owned.trim_log()
        self.policy.look()
        running = any(owned.process.exit is None for owned in self.owned.values())
        if self.connections or running:
            self._of_use = time.monotonic()
        elif time.monotonic() - self._of_use > LEAVE_AFTER:
            self.log("nothing runs and nobody is here: the next client starts an agent again")
            self._leave()
        self.loop.after(30, self._housekeeping)


def key_of(params: JSON) -> str | None:
    """The key that the new kernel is to sign with, where its client knows one already. Raises ValueError."""
    key = params.get("key")
    if key is not None and not (isinstance(key, str) and 16 <= len(key) <= 256):
        raise ValueError("a key has 16 to 256 characters")
    return key


def serve(base: Path, digest: str, lock: int, keeper: int) -> int:
    """Run the agent until it is told to end; 0. ``lock`` is held; ``keeper`` is the descriptor of its keeper's socket, or -1."""
    before = os.umask(0o077)
    if before != 0o077:  # else it was an agent's or an attach program's: the user's is not known
        process.user_umask = before
    os.set_inheritable(lock, False)
    os.environ.pop("JPY_PARENT_PID", None)
    Agent(base, digest, lock, Keeper(None if keeper < 0 else keeper)).loop.run()
    return 0


def keep_serving(base: Path, digest: str) -> int:
    """Run the agent under a keeper, where this system allows one; 0, also when another one runs already."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while not _locked(lock):
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.01)
    if not kept.supported():
        return serve(base, digest, lock, -1)
    return keep(lock, lambda fd: serve(base, digest, lock, fd))


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
