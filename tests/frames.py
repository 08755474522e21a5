"""Jupyter messages as the relay records them: ZMTP frames with the identity of a client, or a topic, in front."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_cloudml.agent import zmtp
from jupyter_cloudml.agent.protocol import BEGINS, ENDS, IOPUB, SHELL, STDIN, WHOLE
from jupyter_cloudml_kernels.record_log import CLIENT, RecordLog

JSON = dict[str, Any]
Row = tuple[int, int, int, bytes]  # channel, flags, seq, data
DATE = "2026-11-21T10:00:00.5Z"
DATE_MS = 1795255200500


def frames(
    kind: str,
    content: JSON,
    *,
    msg_id: str = "m",
    parent: JSON | None = None,
    metadata: JSON | None = None,
    buffers: Sequence[bytes] = (),
) -> bytes:
    """The bytes of one message."""
    header = {"msg_id": msg_id, "msg_type": kind, "session": "s", "date": DATE, "version": "5.3"}
    parts = [json.dumps(part).encode() for part in (header, parent or {}, metadata or {}, content)]
    return zmtp.message([b"front", b"<IDS|MSG>", b"signature", *parts, *buffers])


@dataclass
class Talk:
    """A conversation with a kernel; `rows` are what a relay hands to its log."""

    rows: list[Row] = field(default_factory=list)
    _seq: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def request(self, msg_id: str, cell: str | None, code: str = "x", **content: Any) -> None:
        """A client's execute_request."""
        body = {"code": code, "silent": False, **content}
        data = frames(
            "execute_request", body, msg_id=msg_id, metadata={"cellId": cell} if cell else {}
        )
        self.rows.append((SHELL, WHOLE | CLIENT, 0, data))

    def says(
        self,
        kind: str,
        msg_id: str,
        content: JSON,
        *,
        channel: int = IOPUB,
        buffers: Sequence[bytes] = (),
        pieces: int = 1,
    ) -> None:
        """A message from the kernel, in so many pieces."""
        parent = {"msg_id": msg_id, "msg_type": "execute_request"}
        data = frames(kind, content, parent=parent, buffers=buffers)
        step = -(-len(data) // pieces)
        for at in range(0, len(data), step):
            flags = (BEGINS if at == 0 else 0) | (ENDS if at + step >= len(data) else 0)
            self.rows.append((channel, flags, next(self._seq), data[at : at + step]))

    def stream(self, msg_id: str, text: str, name: str = "stdout", pieces: int = 1) -> None:
        self.says("stream", msg_id, {"name": name, "text": text}, pieces=pieces)

    def display(self, msg_id: str, data: Any, display: str = "", update: bool = False) -> None:
        kind = "update_display_data" if update else "display_data"
        content = {
            "data": {"text/plain": data},
            "metadata": {},
            "transient": {"display_id": display} if display else {},
        }
        self.says(kind, msg_id, content)

    def begins(self, msg_id: str, count: int = 1) -> None:
        self.says("status", msg_id, {"execution_state": "busy"})
        self.says("execute_input", msg_id, {"code": "x", "execution_count": count})

    def ends(self, msg_id: str, status: str = "ok") -> None:
        self.says("execute_reply", msg_id, {"status": status, "execution_count": 1}, channel=SHELL)
        self.says("status", msg_id, {"execution_state": "idle"})

    def runs(self, msg_id: str, cell: str, *texts: str) -> None:
        """A whole execution."""
        self.request(msg_id, cell)
        self.begins(msg_id)
        for text in texts:
            self.stream(msg_id, text)
        self.ends(msg_id)

    def asks(self, msg_id: str, prompt: str, password: bool = False) -> None:
        self.says("input_request", msg_id, {"prompt": prompt, "password": password}, channel=STDIN)

    def answers(self, value: str) -> None:
        self.rows.append((STDIN, WHOLE | CLIENT, 0, frames("input_reply", {"value": value})))

    def into(self, log: RecordLog) -> None:
        """Hand everything so far to a log."""
        for row in self.rows:
            log.append(*row)
        self.rows.clear()
