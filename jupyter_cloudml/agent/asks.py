"""What programs of this machine ask of the user's own computer, which has the keys: to sync a dataset.

A program connects to the agent's socket, says ``q`` and one line of JSON, and is answered in lines: ``{"waiting": true}`` while no Jupyter server has
taken its question up, ``{"progress": …}``, and at the end ``{"done": …}`` or ``{"error": …}``. It takes the question back by hanging up.

A client that answers asks ``questions`` with the ids that it works at. The agent answers once there is one that it does not know, or one of its own has
gone; so nothing is lost by a cut, whichever way it falls. A client of which nothing is heard for a while has its questions offered to others.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection
    from .server import Agent

JSON = dict[str, Any]
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
WORD = b"q"
MAX_LINE = 64 << 10
MAX_ASKED = 64
ASKED_IN = 10.0  # seconds in which a program has to say what it wants
SILENT = 10.0  # seconds without a word of its client, after which a question is offered to others
YOUNG = 15.0  # seconds in which programs come back to an agent that has taken over
LOOK = 1.0  # seconds between two looks at what is left alone
BUSY = {
    "code": "busy",
    "message": f"{MAX_ASKED} requests of this machine are open already",
    "hint": "wait for one to end",
}
_ID = re.compile(r"[0-9a-f]{16,64}")


class Question:
    """One program's question, over its own connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.id = sock, ""
        self.what: JSON = {}
        self.client: str | None = None  # who answers it
        self.heard = 0.0  # when that one said something last
        self.rest = bytearray()
        self.out = bytearray()
        self.last = False  # its answer is in `out`

    def tell(self, what: JSON) -> None:
        """Say something to the program; what is only news is left out while it does not read."""
        if not self.out or self.last:
            self.out += json.dumps(what).encode() + b"\n"

    def may_be_taken_by(self, client: str, now: float) -> bool:
        """Whether a client may answer it."""
        return self.client in (None, client) or now - self.heard > SILENT


class Asks:
    """All questions of this machine, and the clients that wait for them."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.loop = agent, agent.loop
        self.open: dict[str, Question] = {}
        self._begun = time.monotonic()
        self._count = 0  # connections, also those that have not asked yet
        self._waiting: dict[str, tuple[Connection, Any, list[str]]] = {}  # by client
        self._looks = False

    # -- programs -------------------------------------------------------------------------------------------------------------------
    def accept(self, sock: socket.socket) -> None:
        """Take a program's connection."""
        if self._count >= MAX_ASKED:
            try:
                sock.send(json.dumps({"error": BUSY}).encode() + b"\n")
            except OSError:
                pass
            sock.close()
            return
        self._count += 1
        question = Question(sock)
        self.loop.register(sock, READ, lambda mask: self._ready(question, mask))
        self.loop.after(ASKED_IN, lambda: None if question.id else self._drop(question))

    def _ready(self, question: Question, mask: int) -> None:
        if mask & WRITE:
            self._flush(question)
        if not mask & READ or question.sock.fileno() < 0:
            return
        try:
            data = question.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(question)
        elif not question.id:
            question.rest += data
            line, end, _ = question.rest.partition(b"\n")
            if end:
                self._asked(question, bytes(line))
            elif len(question.rest) > MAX_LINE:
                self._refuse(question, "the question is too long")

    def _asked(self, question: Question, line: bytes) -> None:
        try:
            what = json.loads(line) if len(line) <= MAX_LINE else None
        except (ValueError, RecursionError):
            what = None
        if not isinstance(what, dict) or not _ID.fullmatch(str(what.get("id"))):
            self._refuse(question, "that is no question")
            return
        question.what, question.id = what, str(what["id"])
        before = self.open.pop(question.id, None)
        if before is not None:  # it has connected again before its end was seen
            question.client, question.heard = before.client, before.heard
            self._drop(before)
        self.open[question.id] = question
        self._offer()
        if question.client is None:
            question.tell({"waiting": True})
            self._flush(question)
        self._look_later()

    def _refuse(self, question: Question, why: str) -> None:
        question.id = question.id or "refused"
        self._end(question, {"error": {"code": "usage", "message": why, "hint": ""}})

    def _end(self, question: Question, what: JSON) -> None:
        self.open.pop(question.id, None)
        question.last = True
        question.tell(what)
        self._flush(question)

    def _flush(self, question: Question) -> None:
        sock, out = question.sock, question.out
        if sock.fileno() < 0:
            return
        try:
            while out:
                del out[: sock.send(out)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(question)
            return
        self.loop.modify(sock, READ | (WRITE if out else 0))
        if question.last and not out:
            self._drop(question)

    def _drop(self, question: Question) -> None:
        """The program has gone, or has its answer."""
        if question.sock.fileno() < 0:
            return
        self._count -= 1
        self.loop.unregister(question.sock)
        question.sock.close()
        if self.open.get(question.id) is question:
            del self.open[question.id]
            self._offer()

    # -- clients ----------------------------------------------------------------------------------------------------------------------
    def wait(self, connection: Connection, number: Any, params: Any) -> None:
        """A client waits for questions, or for the end of one that it knows."""
        known = params.get("known") if isinstance(params, dict) else None
        ids = [str(each) for each in known] if isinstance(known, list) else []
        self._waiting[connection.client] = (connection, number, ids[:MAX_ASKED])
        now = time.monotonic()
        for id in ids:
            question = self.open.get(id)
            if question is not None and question.client is None:  # the agent before gave it
                question.client, question.heard = connection.client, now
        self._offer()
        if self._is_young():  # what has gone is told later
            self._look_later()

    def say(self, connection: Connection, question: str, what: Any) -> bool:
        """Pass on what a client says to a question; False when nobody waits for it any more. Raises ValueError."""
        asked = self.open.get(question)
        if asked is None:
            return self._is_young()
        now = time.monotonic()
        if not asked.may_be_taken_by(connection.client, now):
            return False
        if not isinstance(what, dict) or len(json.dumps(what)) > MAX_LINE:
            raise ValueError("an answer of at most 64 KB is wanted")
        asked.client, asked.heard = connection.client, now
        if "done" in what or "error" in what:
            self._end(asked, what)
        else:
            asked.tell(what)
            self._flush(asked)
        return True

    def _is_young(self) -> bool:
        return time.monotonic() - self._begun < YOUNG

    def _offer(self) -> None:
        """Answer each client that waits, if there is something for it."""
        now = time.monotonic()
        self._waiting = {c: w for c, w in self._waiting.items() if not w[0].closed}
        for client in list(self._waiting):
            connection, number, known = self._waiting[client]
            gone = [] if self._is_young() else [id for id in known if id not in self.open]
            new = [q for q in self.open.values() if self._is_for(q, client, known, now)]
            if not new and not gone:
                continue
            del self._waiting[client]
            for question in new:
                question.client, question.heard = client, now
            result = {"new": [question.what for question in new], "gone": gone}
            self.agent.answer_later(connection, number, {"result": result})

    def _is_for(self, question: Question, client: str, known: list[str], now: float) -> bool:
        """Whether to offer it to a client. The one that the program's own kernel is attached to comes first."""
        if question.id in known or not question.may_be_taken_by(client, now):
            return False
        owned = self.agent.owned.get(str(question.what.get("process")))
        at = owned.client if owned is not None and owned.connection is not None else None
        return at in (None, client) or at not in self._waiting

    def _look_later(self) -> None:
        if not self._looks:
            self._looks = True
            self.loop.after(LOOK, self._look)

    def _look(self) -> None:
        """Offer what is left alone; its program is told that it waits."""
        self._looks = False
        now = time.monotonic()
        for question in list(self.open.values()):
            if question.client is not None and now - question.heard > SILENT:
                question.client = None
                question.tell({"waiting": True})
                self._flush(question)
        self._offer()
        if self.open or (self._waiting and self._is_young()):
            self._look_later()
