"""The few Jupyter messages that the agent reads or writes itself (https://jupyter-client.readthedocs.io/en/stable/messaging.html)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from . import zmtp
from .protocol import ABORT, BEGINS, ENDS, IOPUB, WHOLE, Record

DELIMITER = b"<IDS|MSG>"
# In front of the agent's own requests; a relay drops what comes back for it.
OWN_IDENTITY = b"\0agent"


def sign(key: bytes, parts: list[bytes]) -> bytes:
    """The signature over header, parent header, metadata and content."""
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def build(
    key: bytes,
    kind: str,
    content: dict[str, Any],
    prefix: list[bytes],
    parent: dict[str, Any] | None = None,
) -> bytes:
    """A signed message as ZMTP frames, behind ``prefix`` frames (identities, or a topic)."""
    header = {
        "msg_id": os.urandom(16).hex(),
        "msg_type": kind,
        "username": "cloudml",
        "session": "cloudml-agent",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.3",
    }
    parts = [json.dumps(part).encode() for part in (header, parent or {}, {}, content)]
    return zmtp.message([*prefix, DELIMITER, sign(key, parts), *parts])


def split(parts: list[bytes]) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """(header, parent header, content) of a message's frames. Raises ValueError for anything else."""
    at = parts.index(DELIMITER)
    header, parent = json.loads(parts[at + 2]), json.loads(parts[at + 3])
    if not isinstance(header, dict) or not isinstance(parent, dict):
        raise ValueError("a header that is no object")
    return header, parent, parts[at + 5]


def execution_state(data: bytes) -> str | None:
    """The state after these IOPub messages: that of a status message at their end, "busy" after any other; None when unreadable."""
    state = None
    try:
        for _, _, parts in zmtp.messages(data):
            header, _, content = split(parts)
            state = (
                json.loads(content)["execution_state"] if header["msg_type"] == "status" else "busy"
            )
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return state


def last_parent(data: bytes) -> dict[str, Any]:
    """The parent header of the last of these messages; {} when unreadable."""
    parent: dict[str, Any] = {}
    for _, _, parts in zmtp.messages(data):
        parent = _kind(parts)[1]
    return parent


def thin_kernel(records: list[Record], key: bytes) -> list[Record]:
    """Drop the stream output among a kernel's journalled records; a notice takes its place.

    A message whose pieces are not all here stays.
    """
    kept: list[Record] = []
    dropped = 0
    last: Record | None = None
    parent: dict[str, Any] = {}
    for group in _groups(records):
        rest = []
        for begin, end, parts in zmtp.messages(b"".join(record.data for record in group)):
            kind, its_parent = _kind(parts)
            if kind == "stream":
                dropped += end - begin
                parent, last = its_parent, group[-1]
            else:
                rest.append((begin, end))
        if last is not group[-1]:
            kept += group
        elif rest:
            data = group[0].data  # several messages in one record: a message in pieces is alone
            kept.append(group[0]._replace(data=b"".join(data[i:j] for i, j in rest)))
    if last is None:
        return sorted(kept, key=lambda record: record.seq)
    notice = (
        f"\n[{dropped / 1e6:.1f} MB of output dropped here: the journal of this kernel is full]\n"
    )
    content = {"name": "stderr", "text": notice}
    kept.append(last._replace(data=build(key, "stream", content, [b"stream"], parent), flags=WHOLE))
    # Stable: where the notice shares its number with what is left of a record, it comes behind that.
    return _one_per_number(sorted(kept, key=lambda record: record.seq))


def _groups(records: list[Record]) -> Iterator[list[Record]]:
    """The records that make up whole messages, together; others alone."""
    open_: list[Record] = []
    for record in records:
        if record.channel != IOPUB or record.flags & ABORT:
            yield [record]
        elif record.flags & BEGINS and not record.flags & ENDS:
            yield from ([r] for r in open_)
            open_ = [record]
        elif open_:
            open_.append(record)
            if record.flags & ENDS:
                yield open_
                open_ = []
        else:
            yield [record]
    yield from ([r] for r in open_)


def _kind(parts: list[bytes]) -> tuple[str, dict[str, Any]]:
    """(message type, parent header) of a message; ("", {}) when unreadable."""
    try:
        header, parent, _ = split(parts)
    except (ValueError, IndexError):
        return "", {}
    return str(header.get("msg_type")), parent


def _one_per_number(records: list[Record]) -> list[Record]:
    """Join the records that came to bear the same number, so that numbers stay strictly rising."""
    joined: list[Record] = []
    for record in records:
        if joined and joined[-1].seq == record.seq:
            joined[-1] = joined[-1]._replace(data=joined[-1].data + record.data)
        else:
            joined.append(record)
    return joined
