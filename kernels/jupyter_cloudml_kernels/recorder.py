"""What each cell's newest execution put out: a pure fold over the records of one kernel.

The recorder keeps no output. An execution holds *entries*: places in the log, a run of stream chunks being one. What a clear_output
wiped, an older state of a display and an earlier execution of the same cell have no entry, so the log may let go of them. Feeding the
same records again changes nothing, and the state can be put on disk and taken up at any record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from jupyter_cloudml.agent.protocol import IOPUB, SHELL, STDIN

from .execution import ENDED, Entry, Execution, JSONObject, drop_older, drop_update
from .messages import HIDDEN, Assembler, Message, Record
from .record_log import MARK

OUTPUTS = frozenset({"stream", "display_data", "execute_result", "error"})
MAX_ENTRIES = 20_000  # of one execution; runs of stream output count once
MAX_EXECUTIONS = 5000  # of cells that were deleted since, above all: the oldest ended ones go


class Recorder:
    """The executions of one kernel, over its restarts. `position` is how far in the log they were followed."""

    def __init__(self) -> None:
        self.position = 0
        self.unreadable = 0  # messages that were passed over
        self._assembler = Assembler()
        self._executions: dict[str, Execution] = {}
        self._cells: dict[str, str] = {}  # cell -> msg_id
        self._displays: dict[str, dict[str, None]] = {}  # display_id -> msg_ids
        self._parent: tuple[bytes, str] = (b"", "")

    @property
    def executions(self) -> list[Execution]:
        """All executions, oldest request first."""
        return list(self._executions.values())

    @property
    def resume_at(self) -> int:
        """The position to feed from after a restart: that of the oldest unfinished message."""
        since = self._assembler.open_since
        return self.position if since is None else since

    # -- the fold ----------------------------------------------------------------------------------
    def feed(self, record: Record) -> None:
        """Take the next record of the log. What was fed before is passed over."""
        for message in self._assembler.feed(record):
            if message.end > self.position and message.channel != MARK:
                try:
                    self._apply(message)
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.unreadable += 1  # of a kernel that speaks otherwise
        if record.channel == MARK and record.end > self.position:
            self._mark(json.loads(record.data), record.end)
        self.position = max(self.position, record.end)

    def _apply(self, m: Message) -> None:
        if m.channel == IOPUB and not m.client:
            self._iopub(m)
        elif m.channel == SHELL and m.client:
            if m.type == "execute_request":
                self._request(m)
        elif m.channel == SHELL:
            if m.type == "execute_reply":
                self._reply(m)
        elif m.channel == STDIN:
            self._stdin(m)

    def _request(self, m: Message) -> None:
        cell_id, msg_id = m.metadata.get("cellId"), str(m.header["msg_id"])
        if m.content.get("silent") or not isinstance(cell_id, str) or msg_id in self._executions:
            return
        self.forget_cell(cell_id)
        execution = Execution(msg_id, cell_id, str(m.content["code"]))
        self._executions[msg_id] = execution
        self._cells[cell_id] = msg_id
        execution.seq = m.end
        if len(self._executions) > MAX_EXECUTIONS:
            self._forget(next((e for e in self._executions.values() if e.done), execution))

    def _iopub(self, m: Message) -> None:
        if m.type == "update_display_data":
            self._update_display(m)
            return
        execution = self._executions.get(self._parent_id(m))
        if execution is None:
            return
        kind = m.type
        if kind in OUTPUTS:
            self._output(execution, m)
        elif kind == "clear_output":
            self._clear(execution, m)
        elif kind == "execute_input":
            count = m.content.get("execution_count")
            execution.status, execution.started = "running", m.date_ms
            execution.execution_count = count if isinstance(count, int) else None
            _touch(execution, m.end)
        elif kind == "status" and m.content["execution_state"] == "idle" and not execution.done:
            self._end(execution, m)

    def _output(self, execution: Execution, m: Message) -> None:
        if m.type == "error":
            execution.failed = True
        display = ""
        if m.type in ("display_data", "execute_result"):
            display = _display_id(m)
        self._make_room(execution)
        if len(execution.entries) >= MAX_ENTRIES:
            self._halve(execution)
        last = execution.entries[-1] if execution.entries else None
        if m.type != "stream":
            execution.entries.append(Entry(m.type, m.start, m.end, m.size, display))
        elif last is not None and last.run and m.whole:
            last.end, last.size = m.end, last.size + m.size
        else:  # what came in pieces stands alone
            execution.entries.append(Entry("stream", m.start, m.end, m.size, run=m.whole))
        if display:
            self._displays.setdefault(display, {})[execution.msg_id] = None
        _touch(execution, m.end)

    def _halve(self, execution: Execution) -> None:
        """Of so many outputs no page can show all; the newer half is kept."""
        self._disown(execution)
        entries = execution.entries
        drop_older(entries, entries[len(entries) // 2].start, streams=False)
        for display in {
            e.display for e in entries if e.kind != "update_display_data" and e.display
        }:
            self._displays.setdefault(display, {})[execution.msg_id] = None

    def _update_display(self, m: Message) -> None:
        """An update belongs to the execution that shows the display, whoever sends it; the newest one is enough."""
        display = _display_id(m)
        for msg_id in self._displays.get(display, {}):
            execution = self._executions[msg_id]
            drop_update(execution.entries, display)
            execution.entries.append(Entry("update_display_data", m.start, m.end, m.size, display))
            _touch(execution, m.end)

    def _clear(self, execution: Execution, m: Message) -> None:
        if m.content.get("wait"):
            if not execution.clear_next:
                execution.clear_next = True
                execution.entries.append(Entry("clear_output", m.start, m.end))
        else:
            execution.clear_next = False
            self._wipe(execution, Entry("clear_output", m.start, m.end))
        _touch(execution, m.end)

    def _make_room(self, execution: Execution) -> None:
        """A clear_output that waited for the next output takes effect."""
        if execution.clear_next:
            execution.clear_next = False
            clear = [e for e in execution.entries if e.kind == "clear_output"][-1]
            self._wipe(execution, clear)

    def _wipe(self, execution: Execution, clear: Entry) -> None:
        self._disown(execution)
        execution.entries[:] = [clear]

    def _end(self, execution: Execution, m: Message) -> None:
        if execution.failed:
            execution.status = "error"
        elif execution.reply:
            execution.status = execution.reply
        else:  # a queued one that ends without having begun: an earlier cell had failed
            execution.status = "aborted" if execution.status == "queued" else "ok"
        execution.ended = m.date_ms
        execution.input_request = None
        _touch(execution, m.end)

    def _reply(self, m: Message) -> None:
        execution = self._executions.get(self._parent_id(m))
        status = str(m.content.get("status", ""))
        if execution is None or status not in ENDED:
            return
        before = execution.status, execution.payload
        if execution.done:
            execution.status = "error" if execution.failed else status
        else:
            execution.reply = status
        payload = m.content.get("payload")
        if isinstance(payload, list):
            execution.payload = [p for p in payload if isinstance(p, dict)]
        # A reply that says nothing new must not bring back what was saved meanwhile.
        if (execution.status, execution.payload) != before:
            _touch(execution, m.end)

    def _stdin(self, m: Message) -> None:
        if not m.client and m.type == "input_request":
            execution = self._executions.get(self._parent_id(m))
            if execution is not None:
                execution.input_request = {"header": m.header, "content": m.content}
                _touch(execution, m.end)
        elif m.client and m.type == "input_reply":
            for execution in self._executions.values():
                request, execution.input_request = execution.input_request, None
                if request is not None:
                    self._echo(execution, request["content"], m)

    def _echo(self, execution: Execution, request: JSONObject, m: Message) -> None:
        """A page writes the answer into the output area by itself; it is no message of the kernel's."""
        value = HIDDEN if request.get("password") else str(m.content.get("value", ""))
        text = f"{request.get('prompt', '')} {value}\n"
        self._make_room(execution)
        execution.entries.append(Entry("stdin", m.end, m.end, len(text), text=text))
        _touch(execution, m.end)

    # -- marks -------------------------------------------------------------------------------------
    def _mark(self, what: JSONObject, position: int) -> None:
        if "process" in what:
            self._assembler.reset()
            self._abort(position, "")
        elif "ended" in what:
            self._abort(position, str(what["ended"]))
        elif "gap" in what:
            self._abort(position, f"What followed was not recorded: {what['gap']}.")

    def _abort(self, position: int, why: str) -> None:
        """Nothing that ran or waited goes on."""
        for execution in self._executions.values():
            if not execution.done:
                if why and execution.status == "running":
                    note = Entry("stderr", position, position, text=f"\n[{why}]\n")
                    execution.entries.append(note)
                execution.status, execution.input_request = "aborted", None
                _touch(execution, position)

    # -- letting go --------------------------------------------------------------------------------
    def acknowledge(self, msg_ids: list[str]) -> bool:
        """The notebook file holds these as they are now; say whether that was news.

        They stay, hidden: an update of a display or a thread's output brings one back as a whole.
        """
        found = [
            e
            for e in (self._executions.get(msg_id) for msg_id in msg_ids)
            if e is not None and e.done and not e.hidden
        ]
        for execution in found:
            execution.hidden = True
        return bool(found)

    def forget_hidden(self, largest: int = 0) -> None:
        """Forget what was acknowledged, except executions of up to `largest` bytes."""
        for execution in self.executions:
            if execution.hidden and sum(e.size for e in execution.entries) >= largest:
                self._forget(execution)

    def forget_cell(self, cell_id: str) -> None:
        """Forget the execution of a cell, if there is one: a newer one has taken its place."""
        msg_id = self._cells.get(cell_id)
        if msg_id is not None:
            self._forget(self._executions[msg_id])

    def drop_streams(self, before: int) -> int:
        """Drop stream output in front of a position, with a notice in its place; return about how many bytes."""
        dropped = 0
        for execution in self._executions.values():
            dropped += drop_older(execution.entries, before, streams=True)
        return dropped

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the places in the log that are needed, in no order."""
        for execution in self._executions.values():
            for entry in execution.entries:
                if entry.text is None:
                    yield entry.start, entry.end

    def _forget(self, execution: Execution) -> None:
        del self._executions[execution.msg_id]
        if self._cells.get(execution.cell_id) == execution.msg_id:
            del self._cells[execution.cell_id]
        self._disown(execution)

    def _disown(self, execution: Execution) -> None:
        for display in {e.display for e in execution.entries if e.display}:
            owners = self._displays.get(display, {})
            owners.pop(execution.msg_id, None)
            if not owners:
                self._displays.pop(display, None)

    def _parent_id(self, m: Message) -> str:
        if self._parent[0] != m.raw_parent:
            self._parent = (m.raw_parent, str(m.parent.get("msg_id", "")))
        return self._parent[1]

    # -- on disk -----------------------------------------------------------------------------------
    def to_dict(self) -> JSONObject:
        """Return the state as JSON; an unfinished message is not in it, see `resume_at`."""
        return {
            "position": self.position,
            "resume_at": self.resume_at,
            "displays": {display: list(owners) for display, owners in self._displays.items()},
            "executions": [asdict(e) for e in self._executions.values()],
        }

    @classmethod
    def from_dict(cls, state: JSONObject) -> Recorder:
        """Take up a state. Raises ValueError, KeyError or TypeError for what is none."""
        recorder = cls()
        recorder.position = int(state["position"])
        for row in state["executions"]:
            execution = Execution(
                **{**row, "entries": [Entry(**entry) for entry in row["entries"]]}
            )
            recorder._executions[execution.msg_id] = execution
            recorder._cells[execution.cell_id] = execution.msg_id
        for display, owners in state["displays"].items():
            known = {msg_id: None for msg_id in owners if msg_id in recorder._executions}
            if known:
                recorder._displays[display] = known
        return recorder


def _touch(execution: Execution, position: int) -> None:
    execution.seq = position
    execution.hidden = False


def _display_id(m: Message) -> str:
    transient = m.content.get("transient")
    return str(transient.get("display_id") or "") if isinstance(transient, dict) else ""
