"""One question to a kernel over a link, without ZMQ: what does this expression give?"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.protocol import ABORT, BEGINS, SHELL
from jupyter_cloudml.errors import AgentError

from .link import Link

_DELIMITER = b"<IDS|MSG>"
_IDENTITY = b"cloudml-check"
_MAX_REPLY = 1 << 20


def evaluate(link: Link, process: Mapping[str, Any], expression: str, timeout: float = 60.0) -> str:
    """Return the text/plain of an expression in a kernel, given the kernel's row.

    Raises AgentError when the kernel ends, does not answer in time, or answers with an error.
    """
    asked = uuid.uuid4().hex
    content = {
        "code": "",
        "silent": True,
        "store_history": False,
        "user_expressions": {"x": expression},
        "allow_stdin": False,
        "stop_on_error": False,
    }
    key = str(process["connection"]["key"]).encode()
    waiting = _Reply(asked)
    attachment = link.attach(str(process["id"]), 0, waiting)
    try:
        attachment.send_soon(SHELL, _message(key, asked, content), timeout)
        if not waiting.came.wait(timeout):
            raise AgentError(f"the kernel did not answer within {timeout:.0f} s", code="timeout")
    finally:
        attachment.detach()
    if waiting.value is None:
        raise AgentError(f"the kernel did not evaluate {expression!r}: {waiting.problem}")
    return waiting.value


class _Reply:
    """Waits for one execute_reply (a Sink)."""

    def __init__(self, asked: str) -> None:
        self.came = threading.Event()
        self.value: str | None = None
        self.problem = ""
        self._asked = asked
        self._data = b""

    def record(self, channel: int, flags: int, seq: int, data: bytes) -> None:
        """Look for the reply among what the kernel says on its shell channel."""
        if channel != SHELL or self.came.is_set():
            return
        self._data = (b"" if flags & BEGINS else self._data) + data
        if flags & ABORT or len(self._data) > _MAX_REPLY:
            self._data = b""
            return
        for header, content in _messages(self._data):
            if header.get("msg_id") == self._asked:
                self._take(content)
                return

    def _take(self, content: Mapping[str, Any]) -> None:
        try:
            answer = content["user_expressions"]["x"]
            if answer["status"] == "ok":
                self.value = str(answer["data"]["text/plain"])
            else:
                self.problem = str(answer.get("evalue"))[:200]
        except (KeyError, TypeError):
            self.problem = "its answer is out of shape"
        self.came.set()

    def attached(self, info: dict[str, Any]) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """Nothing to do: the link comes back by itself."""

    def gone(self, exit: dict[str, Any] | None) -> None:
        """Give up: the kernel has ended."""
        why = (exit or {}).get("reason") or (exit or {}).get("code")
        self.problem = f"it ended ({why})" if exit else "it ended"
        self.came.set()


def _message(key: bytes, identity: str, content: Mapping[str, Any]) -> bytes:
    header = {
        "msg_id": identity,
        "msg_type": "execute_request",
        "username": "cloudml",
        "session": identity,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.3",
    }
    parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
    digest = hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode()
    return zmtp.message([_IDENTITY, _DELIMITER, digest, *parts])


def _messages(data: bytes) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the parent header and the content of each message that can be read."""
    try:
        for _, _, parts in zmtp.messages(data):
            at = parts.index(_DELIMITER)
            parent, content = json.loads(parts[at + 3]), json.loads(parts[at + 5])
            if isinstance(parent, dict) and isinstance(content, dict):
                yield parent, content
    except (ValueError, IndexError, RecursionError):
        return
