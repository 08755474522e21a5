"""The runner on a machine: its program below the cache folder, and a Python that has nbclient. Made at first use."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ...environments import lock, probe
from ...environments.builder import Builder, facts_of
from ...environments.program import Program, Tell, ignore
from ...errors import AgentError, NoSpace
from ...link.link import Link
from ...machines.model import LOCAL

PUT_S = 60.0
MODULES = (
    "__init__",
    "records",
    "limits",
    "memory",
    "provenance",
    "copy",
    "kernel",
    "execution",
    "ends",
    "spec",
    "starting",
    "run",
    "keeping",
    "warm",
    "main",
)
# What it has said is written by then: taking the interpreter apart would only delay its end.
START = """\
import os, sys
from runner.main import main
code = main(sys.argv[1:])
sys.stderr.flush()
os._exit(code)
"""
# Whole or not at all: a folder beside its place, compiled, renamed. One that is there stays.
PUT = """\
import compileall, errno, json, os, secrets, shutil, sys
os.umask(0o077)
digest, texts = json.loads(sys.stdin.buffer.read())
base = os.path.join(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "runner")
place = os.path.join(base, digest)
if not os.path.exists(os.path.join(place, "__main__.py")):
    new = place + ".new-" + secrets.token_hex(4)
    try:
        for name, text in texts.items():
            path = os.path.join(new, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        compileall.compile_dir(new, quiet=2)
        os.rename(new, place)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(28)
        if not os.path.exists(os.path.join(place, "__main__.py")):
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
print(place)
"""


@dataclass(frozen=True)
class Installed:
    """Where the runner is on a machine."""

    python: str
    folder: str

    @property
    def argv(self) -> list[str]:
        """The command that runs what it reads from its standard input."""
        return [self.python, "-I", self.folder]


class Installations:
    """Installs the runner, and remembers where. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, object], Installed] = {}
        self._lock = threading.Lock()

    def on(
        self,
        link: Link,
        progress: Tell = ignore,
        log: Tell = ignore,
        cancelled: threading.Event | None = None,
    ) -> Installed:
        """Return where it is; installs it where it isn't. Raises NoPython, NoEnvironment, NoSpace, Cancelled, LinkDown."""
        key = (link.machine, link.info.get("epoch"))
        found = self._known.get(key)
        if found is None:
            python = python_for_runs(link, progress, log, cancelled or threading.Event())
            found = Installed(python, put(link, python))
            with self._lock:
                self._known[key] = found
        return found

    def forget(self, link: Link) -> None:
        """Look again the next time: it is not where it was."""
        with self._lock:
            self._known.pop((link.machine, link.info.get("epoch")), None)


def python_for_runs(link: Link, progress: Tell, log: Tell, cancelled: threading.Event) -> str:
    """Return a Python of the machine that has nbclient: this one on this computer, else that of an environment of its own."""
    if link.machine == LOCAL:
        return sys.executable
    progress("looking for a Python for runs")
    base = probe.choose(probe.find(link)).python.path
    program = Program(link, base, progress, log, cancelled)
    facts = facts_of(program)
    pins = lock.select(pins_of_runner(), facts.markers)
    name = f"{facts.executable} {facts.markers['python_full_version']}"
    key = lock.key(pins, name, facts.platform)
    progress("making the environment that runs notebooks")
    builder = Builder(link.machine, program, cancelled)
    if facts.uv is None:
        builder.have_uv(facts)
    return str(builder.build(key, pins, facts, imports="nbclient")["ready"])


@cache
def pins_of_runner() -> tuple[lock.Pin, ...]:
    """Return the lock of that environment."""
    return tuple(lock.parse(files("jupyter_cloudml.jobs").joinpath("runner.lock").read_text()))


def _texts() -> Iterator[tuple[str, str]]:
    folder = files("jupyter_cloudml.jobs").joinpath("runner")
    yield "__main__.py", START
    for name in MODULES:
        yield f"runner/{name}.py", folder.joinpath(f"{name}.py").read_text(encoding="utf-8")


@cache
def package() -> bytes:
    """Return what is sent: a digest, and the files of which it is one."""
    texts = dict(_texts())
    text = json.dumps(texts, sort_keys=True)
    return json.dumps([hashlib.sha256(text.encode()).hexdigest()[:16], texts]).encode()


def put(link: Link, python: str) -> str:
    """Have the program on the machine; return its folder. Raises NoSpace, AgentError, LinkDown."""
    done = link.run([python, "-I", "-c", PUT], input=package(), timeout=PUT_S)
    if done.code == 28:
        raise NoSpace(
            f"no space left on {link.machine} for the program that runs notebooks",
            hint="free some space in the home folder there",
        )
    folder = done.stdout.decode(errors="replace").strip()
    if done.code or not probe.is_plain_path(folder):
        why = done.stderr.decode(errors="replace").strip()[-300:]
        raise AgentError(f"{link.machine} cannot keep the program that runs notebooks: {why}")
    return folder
