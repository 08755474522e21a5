"""From a machine that answers to a stream that its agent speaks on: ships the agent where it is missing and starts it where none runs."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import selectors
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..agent import attach as agent_attach
from ..agent.handover import own_package
from ..errors import AgentError, Cancelled, CloudMLError, NoisyShell, NoPython, NoSpace, Unreachable
from ..paths import socket_dir
from .carrier import Carrier, SSHTarget
from .command import RemoteCommand
from .unix import UnixCarrier

WORD = b"\0cloudml-boot "
NOISE_LIMIT = 1 << 20  # bytes a login shell may print before we speak
LIMIT = 40.0  # seconds from the open carrier to the agent's first word
PYTHONS = (
    "python3",
    "python",
    *(f"python3.{minor}" for minor in range(14, 8, -1)),
    "/usr/bin/python3",
    "/usr/local/bin/python3",
)

# One line, so that every login shell takes it. 77: this Python is too old for the agent.
SHELL = (
    'b=$1; d=$2; shift 2; for p in "$@"; do if command -v "$p" >/dev/null 2>&1; then "$p" -I -S -c "$b" "$d"; r=$?; '
    'if [ $r -ne 77 ]; then exit $r; fi; fi; done; echo "cloudml: no Python 3.9 or later" >&2; exit 78'
)

# Runs on the machine. Reads standard input by os.read alone: what follows the archive belongs to the agent.
BOOT = r"""
import sys, os
if sys.version_info < (3, 9):
    sys.exit(77)
import io, shutil, tarfile
from pathlib import Path
def say(text):
    os.write(1, b"\0cloudml-boot " + text.encode() + b"\n")
def read(count):
    parts = []
    while count:
        data = os.read(0, min(count, 65536))
        if not data:
            sys.exit(1)
        parts.append(data)
        count -= len(data)
    return b"".join(parts)
users = os.umask(0o077)
base = Path(os.path.expanduser("~")) / ".cache" / "jupyter-cloudml"
code = base / "agent" / sys.argv[1]
try:
    if not (code / "agent" / "__main__.py").is_file():
        say("need")
        archive = read(int(read(8), 16))
        scratch = Path(str(code) + ".%d" % os.getpid())
        scratch.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                (scratch / "agent").mkdir(exist_ok=True)
                (scratch / "agent" / os.path.basename(member.name)).write_bytes(tar.extractfile(member).read())
        try:
            scratch.rename(code)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not (code / "agent" / "__main__.py").is_file():
                raise
except OSError as exc:
    try:
        free = shutil.disk_usage(os.path.expanduser("~")).free
    except OSError:
        free = -1
    say("error %d %d %s: %s" % (exc.errno or 0, free, exc.strerror, exc.filename or base))
    sys.exit(1)
say("have")
os.umask(users)
sys.path.insert(0, str(code))
from agent.attach import attach
sys.exit(attach(base / "a", sys.argv[1]))
"""


@dataclass(frozen=True)
class Opened:
    """A carrier on which the agent's hello is about to come, or has begun to: ``received`` is what came already."""

    carrier: Carrier
    received: bytes
    package: str = (
        ""  # where the agent's code of this release is on the machine, and its name there
    )
    module: str = ""


Connect = Callable[[threading.Event], Opened]


@functools.cache
def agent_archive() -> tuple[str, bytes]:
    """(digest, tar) of the agent's sources; the same sources give the same digest everywhere."""
    folder = Path(agent_attach.__file__).parent
    digest, buffer = hashlib.sha256(), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.glob("*.py")):
            data = path.read_bytes()
            digest.update(path.name.encode() + b"\0" + data)
            entry = tarfile.TarInfo(path.name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return digest.hexdigest()[:12], buffer.getvalue()


def local_connect() -> Connect:
    """How to reach the agent of this computer: its own unix socket, no SSH."""

    def connect(cancelled: threading.Event) -> Opened:
        if not hasattr(socket, "AF_UNIX"):
            raise Unreachable(
                "no agent can run on this computer: its system has no unix sockets",
                code="no_agent_here",
                hint="add a machine over SSH; Jupyter's own kernels run here as ever",
            )
        base = socket_dir("agent")
        try:
            sock = agent_attach.connect(base, agent_archive()[0])
            try:
                sock.sendall(b"s")
            except OSError:
                sock.close()
                raise
        except OSError as exc:
            raise AgentError(
                f"the agent of this computer does not start: {exc}",
                hint=f"its log is {base / 'log'}",
            ) from exc
        package, module = own_package()
        return Opened(UnixCarrier(sock), b"", str(package), module)

    return connect


def ssh_connect(
    target: SSHTarget, on_step: Callable[[str], None] = lambda step: None, limit: float = LIMIT
) -> Connect:
    """How to reach the agent of a machine over SSH. ``on_step`` hears "signing in" and "starting the agent"."""

    def connect(cancelled: threading.Event) -> Opened:
        from .dial import open_carrier

        digest, archive = agent_archive()
        pythons = ([target.python] if target.python else []) + list(PYTHONS)
        on_step("signing in")
        boot = f'exec(__import__("base64").b64decode("{_base64(BOOT)}"))'
        command = RemoteCommand(["/bin/sh", "-c", SHELL, "cloudml", boot, digest, *pythons])
        carrier = open_carrier(target, command, cancelled=cancelled)
        try:
            received = _greet(
                carrier, target, archive, cancelled, on_step, time.monotonic() + limit
            )
        except BaseException:
            carrier.close()
            raise
        return Opened(carrier, received, f"~/.cache/jupyter-cloudml/agent/{digest}", "agent")

    return connect


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _greet(
    carrier: Carrier,
    target: SSHTarget,
    archive: bytes,
    cancelled: threading.Event,
    on_step: Callable[[str], None],
    deadline: float,
) -> bytes:
    """Answer the bootstrap program until it hands over to the agent; returns what the agent has said already."""
    seen = b""
    while True:
        word, seen = _word(carrier, target, seen, cancelled, deadline)
        if word == "need":
            on_step("starting the agent")
            _send(carrier, [b"%08x" % len(archive), archive], cancelled, deadline)
        elif word == "have":
            on_step("starting the agent")
            return seen
        elif word.startswith("error "):
            _, number, free, text = word.split(" ", 3)
            if number in ("28", "122"):
                raise NoSpace(
                    f"no space left on {target.host}: {text} ({int(free) / 1e6:.1f} MB free)",
                    hint="free some space in your home folder there",
                    free_bytes=int(free),
                )
            raise AgentError(
                f"{target.host} refuses the agent: {text}",
                hint="your home folder there has to be writable",
            )
        else:
            raise AgentError(f"{target.host} answered {word[:80]!r} to the start of the agent")


def _word(
    carrier: Carrier, target: SSHTarget, seen: bytes, cancelled: threading.Event, deadline: float
) -> tuple[str, bytes]:
    """The bootstrap program's next word, and what follows it."""
    noise = 0
    while True:
        at = seen.find(WORD)
        end = seen.find(b"\n", at + len(WORD)) if at >= 0 else -1
        if end >= 0:
            return seen[at + len(WORD) : end].decode("utf-8", "replace"), seen[end + 1 :]
        if at < 0 and len(seen) > len(WORD):
            noise += len(seen) - len(WORD)
            seen = seen[-len(WORD) :]
        if noise > NOISE_LIMIT or len(seen) > NOISE_LIMIT:
            raise NoisyShell(
                f"the login shell of {target.host} prints more than {NOISE_LIMIT >> 20} MB before the agent can speak",
                hint="silence its start-up files (.bashrc, .profile) for sessions without a terminal",
            )
        data = _receive(carrier, cancelled, deadline, target.host)
        if not data:
            raise _ended(carrier, target)
        seen += data


def _ended(carrier: Carrier, target: SSHTarget) -> CloudMLError:
    cause = carrier.why()
    if cause is not None and "no Python" in cause.message + str(cause.details):
        return NoPython(
            f"{target.host} has no Python 3.9 or later (tried {', '.join(PYTHONS[:3])}, …)",
            hint="install one there, or name it with --python PATH",
        )
    return cause or Unreachable(
        f"{target.host} ended the session before the agent had started",
        code="closed",
        hint="see where it hangs: jupyter cloudml machine check",
    )


def _receive(carrier: Carrier, cancelled: threading.Event, deadline: float, host: str) -> bytes:
    """What comes next; empty at the end of the stream."""
    chunk = bytearray(1 << 16)
    while True:
        try:
            return bytes(chunk[: carrier.readv([chunk])])
        except BlockingIOError:
            _wait(carrier, selectors.EVENT_READ, cancelled, deadline, host)
        except ConnectionError:
            return b""


def _send(
    carrier: Carrier, buffers: Iterable[bytes], cancelled: threading.Event, deadline: float
) -> None:
    view = memoryview(b"".join(buffers))
    while view:
        try:
            view = view[carrier.writev([view]) :]
        except BlockingIOError:
            _wait(carrier, selectors.EVENT_WRITE, cancelled, deadline, "the machine")


def _wait(
    carrier: Carrier, events: int, cancelled: threading.Event, deadline: float, host: str
) -> None:
    if cancelled.is_set():
        raise Cancelled("the connection was called off")
    if time.monotonic() > deadline:
        raise Unreachable(
            f"{host} let us in but the agent did not answer in time",
            code="timeout",
            hint="try again",
        )
    if events == selectors.EVENT_WRITE and not carrier.writable_by_poll:
        cancelled.wait(0.005)
        return
    with selectors.DefaultSelector() as selector:
        selector.register(carrier.fileno(), events)
        selector.select(0.1)
