"""Runs the program of onhost/ on a machine. It goes on through cuts of the link, and a call that is abandoned ends by itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import AgentError, Cancelled, CloudMLError, NoSpace, ProtocolError
from ..link.link import Link
from ..link.process import Ended, Output, RemoteProcess
from ..link.sent_program import SentProgram
from ..paths import unusable
from .coming import Came, Coming, Damaged
from .onhost.tree import good_path

NAMES = ("tree", "state", "apply", "main")
PROGRAM = SentProgram(("onhost.folder", *(f"workspaces.onhost.{name}" for name in NAMES)))
LOOK_S = 0.2
WRITE_S = 600.0  # for a machine that takes nothing more
ORPHAN_S = 600.0
END_S = 30.0
PIECE = 1 << 18
MAX_ANSWER = 64 << 20  # of JSON
MAX_CONTENTS = 64 << 30


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
        return self._call("apply", args, contents)

    def changes(self) -> dict[str, Any]:
        """See onhost/main.py. Raises ProtocolError for a file that it cannot have."""
        told = self._call("changes", {}, ())
        self._check([path for path, _, _ in told["changed"]] + told["gone"])
        return told

    def get(self, paths: list[str], folder: Path, told: Callable[[int], None]) -> list[Came]:
        """Fetch those of the files that are there into `folder`; `told` is called with the bytes that have come.

        Raises NoSpace, AgentError, ProtocolError, Cancelled, LinkDown.
        """
        coming = Coming(folder, len(paths))
        try:
            self._call("get", {"paths": paths}, (), lambda data: self._fed(coming, data, told))
        except OSError as exc:
            raise unusable(folder, exc, "free some space, or see that it may be written") from exc
        finally:
            coming.close()
        self._check([each.path for each in coming.files], paths)
        if coming.told is None:
            raise ProtocolError(f"{self.link.machine} could not send the code: it ended too soon")
        self._check_answer(coming.told)
        return coming.files

    def _fed(self, coming: Coming, data: bytes, told: Callable[[int], None]) -> None:
        try:
            coming.feed(data)
        except Damaged as exc:
            raise ProtocolError(f"{self.link.machine} could not send the code: {exc}") from exc
        told(coming.bytes)
        if coming.bytes > MAX_CONTENTS:
            raise Cancelled(f"{self.link.machine} sends more than {MAX_CONTENTS >> 30} GB of code")

    def _check(self, told: list[Any], asked: list[str] | None = None) -> None:
        wanted = None if asked is None else set(asked)
        for path in told:
            if not good_path(path) or (wanted is not None and path not in wanted):
                raise ProtocolError(
                    f"{self.link.machine} told of {path!r:.100}, which is not in its folder"
                )

    def _call(
        self,
        verb: str,
        args: dict[str, Any],
        contents: Iterable[bytes],
        take: Callable[[bytes], None] | None = None,
    ) -> dict[str, Any]:
        """Run one verb; returns its answer. What follows that goes to `take`."""
        args = {**args, "workspace": self.workspace, "folder": self.folder}
        if self._ready is not None and self._ready[0] == verb:
            (_, started), self._ready = self._ready, None
            process = started.result()
        else:
            process = self._start(verb)
        try:
            self._send(process, json.dumps(args).encode() + b"\n", contents)
            answer = self._receive(process, take)
        except BaseException:
            process.stop(1.0)
            raise
        finally:
            process.forget()
        self._check_answer(answer)
        return answer

    def _check_answer(self, answer: Mapping[str, Any]) -> None:
        if "failed" in answer:
            raise failure(
                self.link.machine, str(answer["failed"]), str(answer.get("message"))[:500]
            )

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

    def _receive(
        self, process: RemoteProcess, take: Callable[[bytes], None] | None
    ) -> dict[str, Any]:
        line, complaint, is_whole = bytearray(), b"", False
        while True:
            got = process.read(LOOK_S)
            if isinstance(got, Ended):
                return self._parsed(bytes(line), complaint, got.status)
            if isinstance(got, Output) and got.stderr:
                complaint = (complaint + got.data)[-2000:]
            elif isinstance(got, Output) and is_whole and take:
                take(got.data)
            elif isinstance(got, Output):
                line += got.data
                end = line.find(b"\n")
                if take and end >= 0:
                    is_whole = True
                    take(bytes(line[end + 1 :]))
                    del line[end:]
            if self._cancelled.is_set() or len(line) > MAX_ANSWER:
                raise Cancelled(f"the copying of code from {self.link.machine} was called off")

    def _parsed(self, line: bytes, complaint: bytes, status: int) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if status or not isinstance(answer, dict):
            why = complaint.decode(errors="replace").strip() or f"it ended with {status}"
            raise ProtocolError(f"{self.link.machine} could not keep the code: {why[-500:]}")
        return answer


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


def failure(machine: str, code: str, message: str) -> CloudMLError:
    """Return the error for what a program of a machine says that it failed with."""
    if code == "no_space":
        return NoSpace(f"no space left on {machine}", hint="free some space there")
    return AgentError(f"{machine}: {message}", code=code)
