"""`jupyter cloudml run --on NAME -- ARGV…`"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import click

from jupyter_cloudml.cli import INTERRUPTED, render
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.link.process import Ended, LinkChange, Output, RemoteProcess

READ_S = 0.1
PIECE = 1 << 18
PATIENCE_S = 10.0  # from an interrupt to the end by force
FORCE_S = 5.0
PASSED_ON = 2  # signals; the next one stops waiting
BROKEN_PIPE = 128 + 13


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--on", "name", required=True, metavar="NAME", help="The machine.")
@click.option(
    "--cwd",
    metavar="FOLDER",
    help="The folder to run in there, absolute or from your home on; your home where it is left out.",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A variable for the command; without a value, the one that it has here.",
)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, cwd: str | None, env: Sequence[str], argv: Sequence[str]) -> int:
    """Run ARGV on the machine NAME. Input goes there, output and the exit code come here.

    The command goes on through cuts of the network, and no output is lost. Ctrl-C interrupts it; again, ends it.
    The exit status is the command's, 128 + n when signal n ended it, 255 when nobody knows it.
    """
    variables = dict(_variable(text) for text in env)
    with Client() as client:
        process = client.start(argv, on=name, env=variables, cwd=cwd, stdin=True)
        return Session(process, name).follow()


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not given:
        value = os.environ.get(name, "")
    if not name or (not given and name not in os.environ):
        raise UsageError(f"there is no variable {name[:60]!r} here", hint="give NAME=VALUE")
    return name, value


class _NobodyWaits(Exception):
    """Whoever runs this has interrupted it for the third time."""


class Session:
    """One command as this terminal sees it."""

    def __init__(self, process: RemoteProcess, machine: str) -> None:
        self._process = process
        self._machine = machine
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._noted = 0
        self._writing = False
        self._streams = {False: sys.stdout.buffer, True: sys.stderr.buffer}

    def follow(self) -> int:
        """Pass everything on until the command has ended; return the exit status."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, self._note) for number in numbers]
        for work in (lambda: _feed(self._process), self._pass_signals_on):
            threading.Thread(target=work, daemon=True).start()
        try:
            return self._follow()
        except _NobodyWaits:
            render.say(
                f"{self._machine} does not answer: the command may go on there. "
                "See `jupyter cloudml stop --all`."
            )
            return INTERRUPTED
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)
        self._noted += 1
        if self._writing and self._noted > PASSED_ON:
            raise _NobodyWaits  # out of a write that nobody reads

    def _pass_signals_on(self) -> None:
        """Pass the first as it is and the second as an end by force: on a thread, as a write may wait for its reader."""
        self._process.signal(self._signals.get())
        try:
            self._signals.get(timeout=PATIENCE_S)
        except queue.Empty:
            self._process.stop(FORCE_S)
            self._signals.get()
        self._process.stop(FORCE_S)

    def _follow(self) -> int:
        while True:
            said = self._process.read(READ_S)
            if isinstance(said, Output):
                try:
                    self._write(said)
                except BrokenPipeError:
                    return self._reader_gone()
            elif isinstance(said, LinkChange):
                self._tell_link(said)
            elif isinstance(said, Ended):
                self._process.forget()
                if said.exit.get("oom"):
                    render.say(f"{self._machine}: {said.exit.get('reason')}")
                return said.status
            if self._noted > PASSED_ON:
                raise _NobodyWaits

    def _write(self, said: Output) -> None:
        stream = self._streams[said.stderr]
        self._writing = True
        try:
            stream.write(said.data)
            stream.flush()
        except _NobodyWaits:
            _drop(stream.fileno())  # or the end of this process waits for the reader, too
            raise
        finally:
            self._writing = False

    def _reader_gone(self) -> int:
        """End the command when nobody reads its output, as a pipe here would."""
        self._process.signal(signal.SIGPIPE)
        self._process.stop(FORCE_S)
        deadline = time.monotonic() + 2 * FORCE_S
        while time.monotonic() < deadline:
            if isinstance(self._process.read(READ_S), Ended):
                self._process.forget()
                break
        _drop(sys.stdout.fileno())
        return BROKEN_PIPE

    def _tell_link(self, change: LinkChange) -> None:
        if sys.stderr.isatty():  # elsewhere it would be mixed with what the command says
            cause = self._process.link.state.error
            why = f" ({cause.message})" if cause and not change.up else ""
            text = "connected again" if change.up else f"no connection{why}; the command goes on"
            render.say(f"{self._machine}: {text}")


def _drop(stream: int) -> None:
    """Send what is still to be written there nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _feed(process: RemoteProcess) -> None:
    """Send standard input to the command, as it comes and as fast as the command takes it."""
    try:
        while data := os.read(0, PIECE):
            while not process.write(data, 60.0):
                if process.link.state.phase == "closed":
                    return
    except OSError:
        pass  # standard input is closed, or belongs to another job of the shell
    process.close_stdin()
