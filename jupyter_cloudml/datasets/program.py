"""Runs the program of onhost/ on a machine and talks to it in lines of JSON. It goes on through cuts of the link; one that is abandoned ends by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import (
    JSON,
    AgentError,
    Busy,
    Cancelled,
    CloudMLError,
    Conflict,
    NoSpace,
    NotFound,
    ProtocolError,
)
from ..link.link import Link
from ..link.process import Ended, LinkChange, Output, RemoteProcess
from ..link.sent_program import SentProgram
from .errors import DataError

NAMES = (
    *(
        "wire",
        "matching",
        "talk",
        "folder",
        "holding",
        "book",
        "cache",
        "job",
        "compare",
        "landing",
        "asking",
    ),
    *("ranges", "durable", "quick", "fetch", "bring", "send", "main"),
)
PROGRAM = SentProgram(("onhost.folder", *(f"datasets.onhost.{name}" for name in NAMES)))
LOOK_S = 0.2
WRITE_S = 600.0  # for a machine that takes nothing more
ORPHAN_S = 600.0
STOP_S = 2.0
MAX_LINE = 32 << 20


class Program:
    """The program on one machine while it runs; it gets ready until it is told what to do. Used by one thread."""

    def __init__(self, link: Link) -> None:
        self.machine = link.machine
        self._process = RemoteProcess.start(
            link,
            [str(link.info["python"]), "-I", "-c", PROGRAM.loader],
            stdin=True,
            labels={"purpose": "data"},
            orphan_s=ORPHAN_S,
        )
        self._rest = bytearray()
        self._complaint = b""
        self.link_is_up = True
        self._write(PROGRAM.source)

    def tell(self, **what: Any) -> None:
        """Say one thing to it. Raises Cancelled for a machine that takes nothing."""
        self._write(json.dumps(what).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        if not self._process.write(data, WRITE_S):
            raise Cancelled(f"{self.machine} takes nothing more")

    def hear(self, timeout: float = LOOK_S) -> Iterator[dict[str, Any]]:
        """Yield what it has said within some time. Raises why it ended, ProtocolError."""
        got = self._process.read(timeout)
        if isinstance(got, Ended):
            raise self._ended(got.status)
        if isinstance(got, LinkChange):
            self.link_is_up = got.up
        if not isinstance(got, Output):
            return
        if got.stderr:
            self._complaint = (self._complaint + got.data)[-4000:]
            return
        *lines, rest = (bytes(self._rest) + got.data).split(b"\n")
        self._rest = bytearray(rest)
        if len(rest) > MAX_LINE:
            raise ProtocolError(f"{self.machine} said a line that does not end")
        for line in lines:
            yield self._parsed(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise ProtocolError(f"{self.machine} said what is no JSON: {line[:100]!r}")
        if "failed" in said:
            raise failure(self.machine, str(said["failed"]), str(said.get("message"))[:500])
        return said

    def _ended(self, status: int) -> CloudMLError:
        why = self._complaint.decode(errors="replace").strip().splitlines()
        if why and why[-1].startswith("ModuleNotFoundError") and "sqlite3" in why[-1]:
            return AgentError(
                f"the Python of the agent on {self.machine} has no sqlite3",
                code="no_sqlite",
                hint="have the machine's administrator install it, or add the machine anew with another Python (--python)",
            )
        return DataError(
            f"the transfer on {self.machine} ended with {status}" + (f": {why[-1]}" if why else ""),
            code="transfer_failed",
            hint="what has come is kept: say it again to go on",
        )

    def close(self) -> None:
        """End it, where it has not ended, and have the machine forget it."""
        self._process.stop(STOP_S)
        self._process.forget()


@contextmanager
def running(link: Link) -> Iterator[Program]:
    """Run the program for a while; the first that it is told are its arguments."""
    program = Program(link)
    try:
        yield program
    finally:
        program.close()


def manage(link: Link, verb: str, **args: JSON) -> dict[str, Any]:
    """Have it do one thing that takes no time: list, pin, unpin, evict, quota."""
    with running(link) as program:
        program.tell(verb=verb, **args)
        while True:
            for said in program.hear():
                if isinstance(said.get("ended"), dict):
                    return dict(said["ended"])


def failure(machine: str, code: str, message: str) -> CloudMLError:
    """Return the error for what the program could not do."""
    if code == "no_space":
        return NoSpace(f"no space left on {machine}: {message}", hint="free some space there")
    if code == "not_found":
        return NotFound(f"{message} on {machine}", hint="see `jupyter cloudml data list`")
    if code == "pinned":
        hint = "unpin some, or give the cache more"
        return Conflict(f"{message} on {machine}", code=code, hint=hint)
    if code == "busy":
        return Busy(f"{machine}: {message}", hint="wait for it")
    if code == "endpoint_unreachable":
        return DataError(
            f"{machine} cannot reach the S3 service: {message}",
            code=code,
            hint="the files go to the machine directly: it needs a way to the service",
        )
    if code == "endpoint_untrusted":
        dated = "not yet valid" in message or "expired" in message
        return DataError(
            f"{machine} does not trust the S3 service: {message}",
            code=code,
            hint="look at the clock of the machine"
            if dated
            else "name the file of its authority here, with AWS_CA_BUNDLE or ca_bundle in ~/.aws/config: it goes along",
        )
    return AgentError(f"{machine}: {message}", code=code)
