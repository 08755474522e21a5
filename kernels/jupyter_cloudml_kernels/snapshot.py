"""The executions of a recorder as a page is given them: what changed since a position, with the messages read from the log."""

from __future__ import annotations

import base64
import bisect
import heapq
from collections.abc import Callable, Iterable, Iterator

from .execution import Entry, Execution, JSONObject
from .messages import Assembler, Message, Record
from .recorder import Recorder

LIMIT = 8 << 20  # bytes of content in one answer

Select = Callable[[Iterable[tuple[int, int]]], Iterator[Record]]  # RecordLog.select
Item = tuple[int, Execution, JSONObject, int]  # position, owner, message, size


def snapshot(recorder: Recorder, since: int, select: Select, limit: int = LIMIT) -> JSONObject:
    """Return {seq, more, executions} with every change behind `since`, adjacent chunks of a stream joined.

    About `limit` bytes at a time: with `more`, the rest follows from `seq` on. An execution whose end is not in this answer is given as
    running until it is. Feeding the answers in turn gives what one would: messages come once, in the order of the log.
    """
    changed = [e for e in recorder.executions if e.seq > since and not e.hidden]
    messages: dict[str, _Joined] = {e.msg_id: _Joined() for e in changed}
    seq, total, more = since, 0, False
    for position, execution, message, size in _items(changed, since, select):
        if total > limit and position > seq:
            more = True
            break
        messages[execution.msg_id].add(message)
        seq, total = position, total + size
    seq = seq if more else max(since, recorder.position)
    return {
        "seq": seq,
        "more": more,
        "executions": [_row(e, e.seq <= seq, messages[e.msg_id].close()) for e in changed],
    }


def _row(e: Execution, complete: bool, messages: list[JSONObject]) -> JSONObject:
    return {
        "msg_id": e.msg_id,
        "cell_id": e.cell_id,
        "code": e.code,
        "status": e.status if complete or not e.done else "running",
        "execution_count": e.execution_count,
        "started": e.started,
        "ended": e.ended if complete else None,
        "input_request": e.input_request if complete else None,
        "payload": e.payload,
        "messages": messages,
    }


# -- reading ---------------------------------------------------------------------------------------


def _items(changed: list[Execution], since: int, select: Select) -> Iterator[Item]:
    noted = [
        (entry.end, e, _note(entry), entry.size)
        for e in changed
        for entry in e.entries
        if entry.text is not None and entry.end > since
    ]
    noted.sort(key=_position)
    return heapq.merge(noted, _logged(changed, since, select), key=_position)


def _position(item: Item) -> int:
    return item[0]


def _note(entry: Entry) -> JSONObject:
    name = "stdin" if entry.kind == "stdin" else "stderr"
    return {"type": "stream", "content": {"name": name, "text": entry.text}, "metadata": {}}


def _logged(changed: list[Execution], since: int, select: Select) -> Iterator[Item]:
    single: dict[int, list[Execution]] = {}
    runs: dict[str, tuple[Execution, list[int], list[int]]] = {}
    ranges = []
    for e in changed:
        for entry in e.entries:
            if entry.text is not None or entry.end <= since:
                continue
            if entry.run:
                ranges.append((max(entry.start, since), entry.end))
                _, starts, ends = runs.setdefault(e.msg_id, (e, [], []))
                starts.append(entry.start)
                ends.append(entry.end)
            else:
                ranges.append((entry.start, entry.end))
                single.setdefault(entry.end, []).append(e)
    assembler = Assembler()
    for record in select(merged(ranges)):
        for m in assembler.feed(record):
            for owner in single.get(m.end) or _runner(m, since, runs):
                yield m.end, owner, _plain(m), m.size


def _runner(
    m: Message, since: int, runs: dict[str, tuple[Execution, list[int], list[int]]]
) -> Iterator[Execution]:
    """Yield the execution that has this stream chunk in one of its runs, if any."""
    if not runs or m.end <= since or not m.whole or m.client:
        return
    try:
        found = runs.get(str(m.parent.get("msg_id", "")))
        if found is None or m.type != "stream":
            return
    except ValueError:
        return
    execution, starts, ends = found
    at = bisect.bisect_left(ends, m.end)
    if at < len(ends) and m.end > starts[at]:
        yield execution


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges sorted, those that touch or overlap as one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


# -- rendering -------------------------------------------------------------------------------------


def _plain(m: Message) -> JSONObject:
    try:
        message = {"type": m.type, "content": m.content, "metadata": m.metadata}
    except ValueError:
        return {"type": "stream", "content": _UNREADABLE, "metadata": {}}
    if m.buffers:
        message["buffers"] = [base64.b64encode(b).decode() for b in m.buffers]
    return message


_UNREADABLE = {"name": "stderr", "text": "[an output that could not be read]\n"}


class _Joined:
    """Messages of one execution; adjacent chunks of one stream become one, in linear time."""

    def __init__(self) -> None:
        self._messages: list[JSONObject] = []
        self._chunks: list[str] = []  # of the last message

    def add(self, message: JSONObject) -> None:
        content = message["content"]
        if message["type"] != "stream" or not isinstance(content.get("text"), str):
            self._flush()
            self._messages.append(message)
            return
        last = self._messages[-1] if self._chunks else None
        if (
            last is None
            or last["content"].get("name") != content.get("name")
            or content.get("name") == "stdin"
        ):
            self._flush()
            self._messages.append(message)
        self._chunks.append(content["text"])

    def _flush(self) -> None:
        if self._chunks:
            text = without_overwritten("".join(self._chunks))
            last = self._messages[-1]
            self._messages[-1] = {**last, "content": {**last["content"], "text": text}}
            self._chunks = []

    def close(self) -> list[JSONObject]:
        self._flush()
        return self._messages


def without_overwritten(text: str) -> str:
    """Return terminal text without the parts of lines that carriage returns have overwritten whole.

    A progress bar that was drawn 100,000 times comes down to its last state. Parts with escapes or backspaces are left alone, and so is
    the first part, which may go on with a line of an earlier text.
    """
    if "\r" not in text:
        return text
    return "\n".join(
        _last_state(line) if line.count("\r") > 1 else line for line in text.split("\n")
    )


def _last_state(line: str) -> str:
    first, *parts = line.split("\r")
    kept: list[str] = []
    for part in parts:
        while kept and len(part) >= len(kept[-1]) and _is_plain(kept[-1]) and _is_plain(part):
            kept.pop()
        kept.append(part)
    return "\r".join([first, *kept])


def _is_plain(part: str) -> bool:
    return "\x1b" not in part and "\b" not in part
