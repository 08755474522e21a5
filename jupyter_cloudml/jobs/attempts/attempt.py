"""One attempt of a run on a machine: started once under a name, followed from wherever somebody stopped reading, ended for certain."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ...environments.program import Tell, ignore
from ...errors import AgentError, LinkDown
from ...link.link import Link
from ...link.process import Ended, LinkChange, Output, RemoteProcess
from ..notebooks.records import START, Cursor, Reader, Record
from .installation import Installations, Installed
from .outcome import Course, Outcome
from .work import Work

log = logging.getLogger(__name__)
START_S = 60.0
ASK_S = 15.0  # where somebody waits for the answer
BEGIN_S = 60.0  # a runner that has not begun by then will not
LOOK_S = 0.25
RELEASE_S = 3.0
STOP_GRACE_S = 8.0  # the runner itself ends a kernel that ignores its interrupt after 2
PIECE = 1 << 20
BATCH = 256
WARM = "CLOUDML_WARM_KERNEL"  # as runner/main.py reads it
# Ask the runner that holds a kernel for more time, as runner/keeping.py reads it; never for less.
LONGER = """\
import os, sys, time
folder = os.path.dirname(sys.argv[1])
place = os.path.join(folder, "until")
try:
    before = int(open(place).read())
except (OSError, ValueError):
    before = 0
until = max(before, int(1000 * (time.time() + float(sys.argv[2]))))
open(place + ".new", "w").write(str(until))
os.replace(place + ".new", place)
print(until)
"""


class Sink(Protocol):
    """Where an attempt's records go."""

    def take(self, batch: Sequence[Record], cursor: Cursor) -> None:
        """Keep these records, and the place behind them in the same transaction: what is before it is dropped on the machine."""

    def link(self, up: bool) -> None:
        """The machine is out of reach, or back; the run goes on."""


class Attempts:
    """Starts, finds, follows and ends attempts. Thread-safe."""

    def __init__(self, installations: Installations | None = None) -> None:
        self._installations = installations or Installations()

    def prepare(
        self,
        link: Link,
        *,
        progress: Tell = ignore,
        log: Tell = ignore,
        cancelled: threading.Event | None = None,
    ) -> Installed:
        """Have the runner on a machine. Raises as Installations.on."""
        return self._installations.on(link, progress, log, cancelled)

    def keep_ready(
        self,
        link: Link,
        kernel: Mapping[str, Any] | None,
        count: int = 1,
        *,
        who: str | None = None,
        for_s: float = 0.0,
    ) -> None:
        """Have the machine keep runners ready, with a started kernel of this kind or without one; 0: none. Raises LinkDown, AgentError.

        With `who` they are kept for `for_s` seconds, unless that is said again, and no longer than somebody wants them.
        """
        installed = self.prepare(link)
        held: dict[str, Any] = {} if who is None else {"who": who, "for_s": for_s}
        link.call(
            "prewarm",
            key=warm_key(installed, kernel),
            argv=[*installed.argv, "--warm"],
            env={WARM: _kernel(kernel)},
            count=count,
            kind="command",
            **held,
        )

    def start(self, link: Link, work: Work) -> Attempt:
        """Start an attempt, once for each token, also across a cut. Raises LinkDown, AgentError (`cannot_start`)."""
        installed = self.prepare(link)
        row = link.call(
            "start",
            timeout=START_S,
            argv=installed.argv,
            kind="command",
            token=work.token,
            cwd=work.cwd if isinstance(work.cwd, str) else list(work.cwd),
            stdin=True,
            patient=True,
            whole=True,
            notebook=True,
            labels={
                "purpose": "run",
                "run": work.run,
                "attempt": str(work.attempt),
                "fence": str(work.fence),
                "token": work.token,
            },
            prewarm_key=[
                *([_kept_key(work.resume.of)] if work.resume else []),
                warm_key(installed, work.kernel),
                warm_key(installed, None),
            ],
        )
        attempt = Attempt(link, row)
        if attempt.waits:
            attempt.give(work)
        return attempt

    def offer(self, attempt: Attempt, token: str, until_ms: int) -> bool:
        """Have the kernel that an attempt has left taken by who resumes it; False where it is gone by now. Raises LinkDown."""
        left = (until_ms - int(time.time() * 1000)) / 1000
        if left <= 0:
            return False
        try:
            attempt.link.call("offer", id=attempt.id, key=_kept_key(token), for_s=left)
        except AgentError as exc:
            log.info("the kernel of %s is not kept: %s", token, exc)
            return False
        return True

    def holder(self, link: Link, token: str) -> str | None:
        """Return the process that holds the kernel which an attempt has left; None where it is gone, or another run's. Raises LinkDown."""
        for row in link.call("list", timeout=ASK_S):
            held = row["labels"].get("token") == token and row["until_ms"] and row["warm"]
            if held and row["state"] == "running":
                return str(row["id"])
        return None

    def keep_longer(self, link: Link, token: str, file: str, seconds: float) -> int | None:
        """Have a kernel that was left kept for so many seconds from now on, or for as long as it is anyway; None where it is gone.

        `file` is its connection file. Returns until when (UTC ms). Raises LinkDown, AgentError.
        """
        holder = self.holder(link, token)
        if holder is None:
            return None
        done = link.run([str(link.info["python"]), "-I", "-c", LONGER, file, str(seconds)])
        if done.code:
            return None
        until = int(done.stdout)
        left = max(1.0, until / 1000 - time.time())
        try:
            link.call("offer", id=holder, key=_kept_key(token), for_s=left)
        except AgentError as exc:
            log.info("the kernel of %s is not kept: %s", token, exc)
            return None
        return until

    def release(self, link: Link, token: str) -> bool:
        """End the kernel that an attempt has left; False where it has left none, or another run has it. Raises LinkDown."""
        holder = self.holder(link, token)
        if holder is None:
            return False
        link.call("stop", id=holder, grace_s=RELEASE_S)
        return True

    def find(self, link: Link, token: str, cursor: Cursor = START) -> Attempt | None:
        """Return the attempt of this name, to be followed from a cursor on; None when the machine knows none: it never ran, or was forgotten.

        Raises LinkDown: a machine out of reach says nothing about the attempt.
        """
        for row in link.call("list", timeout=START_S):
            if row["labels"].get("token") == token:
                return Attempt(link, row, cursor)
        return None


def _kernel(kernel: Mapping[str, Any] | None) -> str:
    return json.dumps(kernel and dict(kernel), sort_keys=True)


def _kept_key(token: str) -> str:
    return f"kept:{token}"


def warm_key(installed: Installed, kernel: Mapping[str, Any] | None) -> str:
    """Return what runners that can stand in for each other have in common."""
    like = f"{installed.folder}:{installed.python}:{_kernel(kernel)}"
    return f"run:{hashlib.sha256(like.encode()).hexdigest()[:32]}"


class Attempt:
    """The process of one attempt. Followed from one thread; `cancel` from any."""

    def __init__(self, link: Link, row: Mapping[str, Any], cursor: Cursor = START) -> None:
        self.link, self.row, self.id = link, dict(row), str(row["id"])
        seq, received = row.get("base") or (0, 0)  # what is before is of another attempt
        self._first, self._received = Cursor(int(seq)), int(received)
        cursor = self._first if cursor == START else cursor
        self._cursor = self._told = cursor
        self._reader = Reader(cursor)
        self._process = RemoteProcess(link, row, cursor.since, keep=True)
        self._cancelled = threading.Event()
        self._stderr = b""

    @property
    def has_begun(self) -> bool:
        """Whether it has said something, as far as was read."""
        return self._cursor != self._first

    @property
    def waits(self) -> bool:
        """Whether it has not been told yet what to run, when it was found."""
        return self.row["state"] == "running" and int(self.row["received"]) <= self._received

    def give(self, work: Work) -> None:
        """Send what is to be run. Raises LinkDown when the machine takes nothing for long."""
        spec = work.spec(str(self.row["cwd"]))
        for at in range(0, len(spec), PIECE):
            if not self._process.write(spec[at : at + PIECE], START_S):
                raise LinkDown(f"{self.link.machine} does not take the notebook")
        if not work.keep_on_failure_s:  # else there may come more
            self._process.close_stdin()

    def cancel(self) -> None:
        """Have it end; `follow` returns once it has, for certain."""
        self._cancelled.set()

    def end(self) -> None:
        """Have its process ended, also where nobody can read what it says; not waited for."""
        self._process.stop(STOP_GRACE_S)

    def follow(
        self,
        sink: Sink,
        stop: threading.Event | None = None,
        before: Iterable[Record] = (),
    ) -> Outcome | None:
        """Hand over what it says until it has ended, or has left its kernel; None when `stop` was set before: it goes on, and can be found again.

        `before` is what it has said up to the cursor.
        `sink` gets what came together, at most some hundred records; what it has taken is acknowledged. Raises what `sink` raises, NotFound
        when the machine has forgotten the attempt, ProtocolError, and the link's error once that is one that trying again cannot cure.
        """
        state = Course(began=self.has_begun)
        state.look(before)
        deadline = time.monotonic() + BEGIN_S
        stopped = False
        while stop is None or not stop.is_set():
            if state.kept is not None and self.row["state"] == "running":
                return state.outcome(None, self._stderr, cancelled=False)
            said = self._process.read(LOOK_S)
            batch: list[Record] = []
            while said is not None and not isinstance(said, Ended):
                self._take(said, batch, sink)
                if len(batch) >= BATCH or isinstance(said, LinkChange):
                    break
                said = self._process.read(0)
            if batch:
                state.look(batch)
                sink.take(batch, self._cursor)
                self._acknowledge()
            if isinstance(said, Ended):
                return state.outcome(
                    said, self._stderr, cancelled=stopped and self._cancelled.is_set()
                )
            if isinstance(said, LinkChange):
                deadline = time.monotonic() + BEGIN_S
            late = not state.began and time.monotonic() > deadline
            if not stopped and (self._cancelled.is_set() or late):
                self._process.stop(STOP_GRACE_S)
                stopped = True
        return None

    def _take(self, said: Output | LinkChange, batch: list[Record], sink: Sink) -> None:
        if isinstance(said, LinkChange):
            sink.link(said.up)
        elif said.stderr:
            self._stderr = (self._stderr + said.data)[-4000:]
        else:
            for record, cursor in self._reader.feed(said.seq, said.data):
                batch.append(record)
                self._cursor = cursor

    def _acknowledge(self) -> None:
        if self._cursor.since > self._told.since:
            self._process.ack(self._cursor.since)
            self._told = self._cursor

    def leave(self) -> None:
        """Hear no more of it; it goes on."""
        self._process.detach()

    def forget(self) -> None:
        """Have the machine delete what it keeps of an attempt that has ended and whose records are all kept."""
        self._process.forget()
