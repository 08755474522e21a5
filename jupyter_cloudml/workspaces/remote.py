"""Runs the program of onhost/ on a machine. It goes on through cuts of the link, and a call that is abandoned ends by itself."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ..errors import AgentError, Cancelled, CloudMLError, NoSpace, ProtocolError
from ..link.link import Link
from ..link.process import Ended, Output, RemoteProcess
from ..link.sent_program import SentProgram
from .onhost.tree import good_path

NAMES = ("tree", "state", "apply", "main")
PROGRAM = SentProgram(("onhost.folder", *(f"workspaces.onhost.{name}" for name in NAMES)))
LOOK_S = 0.2
WRITE_S = 600.0  # for a machine that takes nothing more
ORPHAN_S = 600.0
END_S = 30.0
PIECE = 1 << 18
MAX_ANSWER = 64 << 20  # of JSON
MAX_CONTENTS = 4 << 30


class RemoteFolder:
    """One workspace's folder on a machine: `apply`, `changes` and `get` of onhost/main.py."""

    def __init__(
        self, link: Link, workspace: str, folder: str, cancelled: threading.Event | None = None
    ) -> None:
        self.link, self.workspace, self.folder = link, workspace, folder
        self._cancelled = cancelled or threading.Event()
        self._ready: tuple[str, Future[RemoteProcess]] | None = None

    @contextmanager
    def prepared(self, verb: str) -> Iterator[None]:
        """Have the machine start the program meanwhile, for a call of `verb` that is likely to come."""
        started: Future[RemoteProcess] = Future()
        threading.Thread(target=_settle, args=(started, lambda: self._start(verb))).start()
        self._ready = verb, started
        try:
            yield
        finally:
            if self._ready is not None:  # it did not come
                self._ready = None
                threading.Thread(target=_end, args=(started,), daemon=True).start()

    def apply(
        self,
        base: str | None,
        tree: str,
        put: list[list[Any]],
        drop: list[list[Any]],
        contents: Iterable[bytes],
    ) -> dict[str, Any]:
        """See onhost/apply.py; `contents` are compressed, each file by itself. Raises NoSpace, AgentError, Cancelled, LinkDown."""
        args = {"base": base, "tree": tree, "put": put, "drop": drop}
        return self._call("apply", args, contents)[0]

    def changes(self) -> dict[str, Any]:
        """See onhost/main.py. Raises ProtocolError for a file that it cannot have."""
        told = self._call("changes", {}, ())[0]
        self._check([path for path, _, _ in told["changed"]] + told["gone"])
        return told

    def get(self, paths: list[str]) -> Iterator[tuple[str, str, str, bytes]]:
        """Yield path, mode, blob and content of those files that are there."""
        answer, rest = self._call("get", {"paths": paths}, ())
        self._check([path for path, *_ in answer["files"]], paths)
        for path, mode, blob, size in answer["files"]:
            yield str(path), str(mode), str(blob), bytes(rest[:size])
            rest = rest[size:]

    def _check(self, told: list[Any], asked: list[str] | None = None) -> None:
        for path in told:
            if not good_path(path) or (asked is not None and path not in asked):
                raise ProtocolError(
                    f"{self.link.machine} told of {path!r:.100}, which is not in its folder"
                )

    def _call(
        self, verb: str, args: dict[str, Any], contents: Iterable[bytes]
    ) -> tuple[dict[str, Any], memoryview]:
        args = {**args, "workspace": self.workspace, "folder": self.folder}
        if self._ready is not None and self._ready[0] == verb:
            (_, started), self._ready = self._ready, None
            process = started.result()
        else:
            process = self._start(verb)
        try:
            self._send(process, json.dumps(args).encode() + b"\n", contents)
            answer, rest = self._receive(process)
        finally:
            process.forget()
        if "failed" in answer:
            raise _failure(
                self.link.machine, str(answer["failed"]), str(answer.get("message"))[:500]
            )
        return answer, rest

    def _start(self, verb: str) -> RemoteProcess:
        process = RemoteProcess.start(
            self.link,
            [str(self.link.info["python"]), "-I", "-S", "-c", PROGRAM.loader, verb],
            stdin=True,
            labels={"purpose": "code"},
            orphan_s=ORPHAN_S,
        )
        process.write(PROGRAM.source, WRITE_S)
        return process

    def _send(self, process: RemoteProcess, args: bytes, contents: Iterable[bytes]) -> None:
        waiting = bytearray(args)
        for data in contents:
            waiting += data
            while len(waiting) >= PIECE:
                self._write(process, bytes(waiting[:PIECE]))
                del waiting[:PIECE]
        self._write(process, bytes(waiting))
        process.close_stdin()

    def _write(self, process: RemoteProcess, data: bytes) -> None:
        if self._cancelled.is_set() or not process.write(data, WRITE_S):
            process.stop(1.0)
            raise Cancelled(f"the copying of code to {self.link.machine} was called off")

    def _receive(self, process: RemoteProcess) -> tuple[dict[str, Any], memoryview]:
        said, complaint = bytearray(), b""
        while True:
            got = process.read(LOOK_S)
            if isinstance(got, Ended):
                return self._parsed(bytes(said), complaint, got.status)
            if isinstance(got, Output) and got.stderr:
                complaint = (complaint + got.data)[-2000:]
            elif isinstance(got, Output):
                said += got.data
            if self._cancelled.is_set() or len(said) > MAX_CONTENTS:
                process.stop(1.0)
                raise Cancelled(f"the copying of code from {self.link.machine} was called off")

    def _parsed(
        self, said: bytes, complaint: bytes, status: int
    ) -> tuple[dict[str, Any], memoryview]:
        line, _, rest = said.partition(b"\n")
        try:
            answer = json.loads(line[:MAX_ANSWER])
            contents = zlib.decompress(rest) if rest else b""
        except (ValueError, RecursionError, zlib.error):
            answer, contents = None, b""
        if status or not isinstance(answer, dict):
            why = complaint.decode(errors="replace").strip() or f"it ended with {status}"
            raise ProtocolError(f"{self.link.machine} could not keep the code: {why[-500:]}")
        return answer, memoryview(contents)


def _settle(started: Future[RemoteProcess], start: Callable[[], RemoteProcess]) -> None:
    try:
        started.set_result(start())
    except CloudMLError as exc:
        started.set_exception(exc)


def _end(started: Future[RemoteProcess]) -> None:
    """End a program that nobody has called."""
    deadline = time.monotonic() + END_S
    try:
        process = started.result()
        process.stop(0)
        while not isinstance(process.read(LOOK_S), Ended) and time.monotonic() < deadline:
            continue
        process.forget()
    except CloudMLError:
        return  # the machine ends it by itself: nobody is attached


def _failure(machine: str, code: str, message: str) -> CloudMLError:
    if code == "no_space":
        return NoSpace(f"no space left on {machine}", hint="free some space there")
    return AgentError(f"{machine}: {message}", code=code)
