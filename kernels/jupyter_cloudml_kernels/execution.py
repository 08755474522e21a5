"""One cell's execution as the recorder keeps it: where in the log its messages lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

JSONObject = dict[str, Any]

ENDED = frozenset({"ok", "error", "aborted"})


@dataclass(slots=True)
class Entry:
    """One message of an execution, or a run of its stream chunks, in the bytes (start, end] of the log.

    The run holds all stream messages of the execution that lie there. `text` is set for what is in no log: an echo of input ("stdin"),
    a notice ("stderr").
    """

    kind: str
    start: int
    end: int
    size: int = 0
    display: str = ""
    run: bool = False
    text: str | None = None


@dataclass(slots=True)
class Execution:
    """One execute_request that came from a cell. Times are UTC epoch ms; `seq` is the position of its last change."""

    msg_id: str
    cell_id: str
    code: str
    status: str = "queued"  # queued | running | ok | error | aborted
    execution_count: int | None = None
    started: int | None = None
    ended: int | None = None
    seq: int = 0
    entries: list[Entry] = field(default_factory=list)
    input_request: JSONObject | None = None  # header and content, while the kernel waits for it
    payload: list[JSONObject] = field(default_factory=list)  # of the reply: pager, set_next_input
    reply: str = ""  # the reply's status, when it came before the idle
    failed: bool = False
    clear_next: bool = False
    hidden: bool = False  # acknowledged: the notebook file has it, until something changes

    @property
    def done(self) -> bool:
        """Whether the kernel has finished with it. Threads of it may still put something out."""
        return self.status in ENDED


def drop_update(entries: list[Entry], display: str) -> None:
    """Drop the older update of a display; the runs around it become one."""
    for i in range(len(entries) - 1, -1, -1):
        if entries[i].kind == "update_display_data" and entries[i].display == display:
            del entries[i]
            if 0 < i < len(entries) and entries[i - 1].run and entries[i].run:
                entries[i - 1].end = entries[i].end
                entries[i - 1].size += entries[i].size
                del entries[i]
            return


def drop_older(entries: list[Entry], before: int, *, streams: bool) -> int:
    """Drop what lies in front of a position, or stream output alone; a notice of how much stands where the first of it began."""
    kept: list[Entry] = []
    dropped, earlier = 0, 0
    place: int | None = None
    for entry in entries:
        if entry.kind == "dropped":
            earlier, place = entry.size, entry.end
        elif (
            (entry.kind == "stream" or not streams)
            and entry.start < before
            and (entry.run or entry.end <= before)
        ):
            place = entry.start + 1 if place is None else place
            share = min(1.0, (before - entry.start) / max(1, entry.end - entry.start))
            part = int(entry.size * share)
            dropped += part
            if entry.end > before:
                kept.append(replace(entry, start=before, size=entry.size - part))
        else:
            kept.append(entry)
    if dropped and place is not None:
        total = (earlier + dropped) / 1e6
        text = f"[{total:.1f} MB of older output dropped: the record of this kernel is full]\n"
        note = Entry("dropped", place, place, earlier + dropped, text=text)
        entries[:] = sorted([note, *kept], key=lambda e: e.end)
    return dropped
