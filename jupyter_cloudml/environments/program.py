"""Runs the programs of `host/` on a machine and understands what they say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import JSON, AgentError, Cancelled, Conflict, LinkDown, NoEnvironment, NoSpace
from ..link.link import Link
from ..link.process import Ended, Output, RemoteProcess

LOOK_S = 0.2
STOP_S = 10.0
ORPHAN_S = 600.0  # a build that nobody waits for ends; the next one clears up after it
MAX_LINE = 64 << 10  # of the log
MAX_EVENT = 1 << 20  # the packages of a large environment are tens of kilobytes
MAX_REASON = 2000

# What is sent for a verb, in the order in which the modules import each other.
NEEDS = {
    "shelf": ("say", "shelf"),
    "facts": ("say", "shelf", "facts"),
    "packages": ("say", "packages"),
    "removal": ("say", "shelf", "removal"),
    "build": ("say", "shelf", "removal", "install", "build"),
    "image": ("say", "shelf", "removal", "install", "build", "image"),
}

Tell = Callable[[str], None]


def ignore(text: str) -> None:
    """Take a text and tell nobody."""


class InstallerFailed(NoEnvironment):
    """The host's installer gave up for a reason of its own; another way may do."""


@dataclass(frozen=True)
class Program:
    """The programs of `host/` on one host, run by the Python at `python`; `progress` and `log` hear what they say."""

    link: Link
    python: str
    progress: Tell
    log: Tell
    cancelled: threading.Event

    def run(
        self, verb: str, arguments: dict[str, JSON], timeout: float, payload: bytes = b""
    ) -> dict[str, Any]:
        """Run one verb (`module.function`) and return the last event.

        Raises InstallerFailed with the host's reason, NoSpace, Conflict (`in_use`), Cancelled, LinkDown, and AgentError (`timeout`).
        """
        process = self._start(verb, arguments, payload, timeout)
        events = Events(self.progress, self.log)
        try:
            status = self._follow(process, events, timeout)
        finally:
            process.forget()
        return self._outcome(status, events)

    def clean_up(self, verb: str, arguments: dict[str, JSON], timeout: float) -> None:
        """Run one verb although all was called off. Raises LinkDown at once when the link is not up."""
        if self.link.state.phase != "up":
            raise LinkDown(f"the link to {self.link.machine} is down")
        argv = self._argv(verb)
        self.link.run(argv, input=_input(verb, arguments), timeout=timeout)

    def _argv(self, verb: str) -> list[str]:
        read = f"import sys;exec(sys.stdin.buffer.read({len(source_of(verb))}))"
        # Only who looks at a Python's own packages needs them: without, it starts in half the time.
        bare = ["-S"] if verb.startswith(("shelf.", "removal.", "build.", "image.")) else []
        return [self.python, "-I", *bare, "-c", read, verb]

    def _start(
        self, verb: str, arguments: dict[str, JSON], payload: bytes, timeout: float
    ) -> RemoteProcess:
        try:
            process = RemoteProcess.start(
                self.link,
                self._argv(verb),
                stdin=True,
                labels={"purpose": "environment"},
                orphan_s=ORPHAN_S,
            )
        except AgentError as exc:
            if exc.code != "cannot_start":
                raise
            raise InstallerFailed(exc.message) from exc
        process.write(_input(verb, arguments) + payload, timeout)
        process.close_stdin()
        return process

    def _follow(self, process: RemoteProcess, events: Events, timeout: float) -> int:
        """Pass on what it says until it has ended; stop it when called off or when time is over."""
        deadline = time.monotonic() + timeout
        stopped = False
        while True:
            said = process.read(LOOK_S)
            if isinstance(said, Output):
                events.take(said)
            elif isinstance(said, Ended):
                return said.status
            late = time.monotonic() > deadline
            if stopped and late:
                raise self._not_done()
            if not stopped and (late or self.cancelled.is_set()):
                process.stop(STOP_S)
                stopped, deadline = True, time.monotonic() + 2 * STOP_S

    def _not_done(self) -> Cancelled | AgentError:
        if self.cancelled.is_set():
            return Cancelled(f"the work on {self.link.machine} was called off")
        return AgentError(
            f"{self.link.machine} takes too long to get ready",
            code="timeout",
            hint="is its disk or its network slow? Try again",
        )

    def _outcome(self, status: int, events: Events) -> dict[str, Any]:
        last = events.last or {}
        if status == 0 and last:
            return last
        if self.cancelled.is_set():
            raise self._not_done()
        path, reason = last.get("no_space"), last.get("failed")
        if isinstance(last.get("in_use"), list):
            raise Conflict(
                f"{len(last['in_use'])} processes run in it on {self.link.machine}",
                code="in_use",
                hint="shut the kernels down first",
            )
        if isinstance(path, str):
            free = last.get("free")
            raise no_space(self.link.machine, path[:500], free if isinstance(free, int) else 0)
        if not isinstance(reason, str):
            reason = f"{self.python} ended with {status}: {events.tail()}"
        raise InstallerFailed(
            printable(reason[:MAX_REASON]),
            hint="install ipykernel there yourself and name its Python with --python PATH",
        )


def no_space(machine: str, path: str, free: int) -> NoSpace:
    """Return the error for a full disk: where, and how many bytes are free."""
    return NoSpace(
        f"no space left on {machine} for an environment: {printable(path)} has {free / 1e6:.1f} MB free",
        hint="free some space there, or name a Python that has ipykernel with --python PATH",
        path=path,
        free_bytes=free,
    )


class Events:
    """Tells the log of a program (its standard output) and its events (JSON lines on standard error) apart."""

    def __init__(self, progress: Tell, log: Tell) -> None:
        self.last: dict[str, Any] | None = None
        self._progress, self._log = progress, log
        self._rest = {False: b"", True: b""}
        self._odd: list[str] = []

    def take(self, said: Output) -> None:
        """Take a piece of output; what goes beyond the longest line is dropped."""
        longest = MAX_EVENT if said.stderr else MAX_LINE
        lines = (self._rest[said.stderr] + said.data).split(b"\n")
        self._rest[said.stderr] = lines.pop()[:longest]
        for line in lines:
            text = line[:longest].decode(errors="replace").strip()
            if said.stderr:
                self._event(text)
            elif text:
                self._log(printable(text[:1000]))

    def _event(self, text: str) -> None:
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self._odd = [*self._odd[-4:], text[:300]]
        elif isinstance(event.get("step"), str):
            self._progress(printable(event["step"][:200]))
        else:
            self.last = event

    def tail(self) -> str:
        """Return the last lines that were no events: a traceback, a complaint of the loader."""
        return printable(" ".join(self._odd)) or "it said nothing"


def printable(text: str) -> str:
    """Return a text of a host without what could move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


@cache
def source_of(verb: str) -> bytes:
    """Return the text of a program that runs one verb and what that needs."""
    folder = files("jupyter_cloudml.environments").joinpath("host")

    def text(name: str) -> str:
        return folder.joinpath(f"{name}.py").read_text(encoding="utf-8")

    sources = [(name, text(name)) for name in (*NEEDS[verb.partition(".")[0]], "main")]
    start = f"SOURCES = {sources!r}\nsys.exit(load().main(sys.argv[1]))\n"
    return (text("loader") + start).encode()


def _input(verb: str, arguments: dict[str, JSON]) -> bytes:
    return source_of(verb) + json.dumps(arguments).encode() + b"\n"
