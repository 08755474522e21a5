"""The fold of a kernel's records to executions, and what a page is given of it."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from frames import DATE_MS, Row, Talk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_cloudml.agent.protocol import ABORT, BEGINS, IOPUB, SHELL, WHOLE
from jupyter_cloudml_kernels.record_log import CLIENT, RecordLog
from jupyter_cloudml_kernels.recorder import Recorder
from jupyter_cloudml_kernels.snapshot import snapshot, without_overwritten

JSON = dict[str, Any]


class Kernel:
    """A talk, its log and its recorder."""

    def __init__(self, folder: Path, segment: int = 4 << 20) -> None:
        self.talk, self.log = Talk(), RecordLog(folder / "k", segment=segment)
        self.log.begin("p1")
        self.recorder = Recorder()

    def fold(self) -> Recorder:
        self.talk.into(self.log)
        for record in self.log.read(self.recorder.resume_at):
            self.recorder.feed(record)
        return self.recorder

    def answer(self, since: int = 0, limit: int = 8 << 20) -> JSON:
        return snapshot(self.fold(), since, self.log.select, limit)

    def only(self, since: int = 0) -> JSON:
        (execution,) = self.answer(since)["executions"]
        assert isinstance(execution, dict)
        return execution

    def texts(self) -> list[tuple[str, str]]:
        """(name or type, text) of each message of the only execution."""
        return [
            (m["content"].get("name", m["type"]), m["content"].get("text", ""))
            for m in self.only()["messages"]
        ]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    yield made
    made.log.close()


# -- one execution -------------------------------------------------------------------------------------------------------------


def test_an_execution_from_beginning_to_end(kernel: Kernel) -> None:
    talk = kernel.talk
    talk.request("m1", "c1", "print(1)")
    assert kernel.only() == {
        "msg_id": "m1",
        "cell_id": "c1",
        "code": "print(1)",
        "status": "queued",
        "execution_count": None,
        "started": None,
        "ended": None,
        "input_request": None,
        "payload": [],
        "messages": [],
    }
    talk.begins("m1", 7)
    assert (kernel.only()["status"], kernel.only()["execution_count"]) == ("running", 7)
    assert kernel.only()["started"] == DATE_MS
    talk.stream("m1", "a")
    talk.stream("m1", "b")
    talk.stream("m1", "c", name="stderr")
    talk.stream("m1", "d")
    talk.ends("m1")
    assert kernel.texts() == [("stdout", "ab"), ("stderr", "c"), ("stdout", "d")]
    assert (kernel.only()["status"], kernel.only()["ended"]) == ("ok", DATE_MS)


@pytest.mark.parametrize(
    ("play", "status"),
    [
        (lambda t: (t.begins("m"), t.ends("m")), "ok"),
        (
            lambda t: (t.begins("m"), t.says("error", "m", {"ename": "E"}), t.ends("m", "error")),
            "error",
        ),
        (
            lambda t: (t.begins("m"), t.says("error", "m", {"ename": "E"}), t.ends("m", "ok")),
            "error",
        ),
        (lambda t: t.ends("m", "aborted"), "aborted"),
        (lambda t: t.says("status", "m", {"execution_state": "idle"}), "aborted"),
        (lambda t: t.ends("m", "ok"), "ok"),  # a kernel that sends no execute_input
        (lambda t: (t.begins("m"), t.says("error", "m", {"ename": "E"})), "running"),
        (lambda t: t.says("status", "m", {"execution_state": "busy"}), "queued"),
    ],
)
def test_status(kernel: Kernel, play: Callable[[Talk], object], status: str) -> None:
    kernel.talk.request("m", "c")
    play(kernel.talk)
    assert kernel.only()["status"] == status


def test_a_reply_behind_the_idle_corrects_the_guess(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.says("status", "m", {"execution_state": "idle"})
    seen = kernel.answer()["seq"]
    payload = [{"source": "set_next_input", "text": "x"}]
    kernel.talk.says("execute_reply", "m", {"status": "ok", "payload": payload}, channel=SHELL)
    assert (kernel.only(seen)["status"], kernel.only(seen)["payload"]) == ("ok", payload)


def test_only_cells_are_recorded(kernel: Kernel) -> None:
    kernel.talk.runs("m1", "c1", "kept")
    kernel.talk.request("m2", None)
    kernel.talk.stream("m2", "of a console")
    kernel.talk.request("m3", "c3", silent=True)
    kernel.talk.stream("m3", "of an extension")
    assert [e["msg_id"] for e in kernel.answer()["executions"]] == ["m1"]


def test_the_newest_execution_of_a_cell_counts(kernel: Kernel) -> None:
    kernel.talk.runs("m1", "c1", "old")
    kernel.talk.runs("m2", "c1", "new")
    kernel.talk.stream("m1", "a thread of the old one")
    assert kernel.texts() == [("stdout", "new")]


def test_clear_output_wipes_what_was_there(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.stream("m", "1")
    kernel.talk.says("clear_output", "m", {"wait": False})
    assert kernel.texts() == [("clear_output", "")]
    kernel.talk.stream("m", "2")
    kernel.talk.says("clear_output", "m", {"wait": True})
    assert [name for name, _ in kernel.texts()] == ["clear_output", "stdout", "clear_output"]
    kernel.talk.stream("m", "3")
    assert kernel.texts() == [("clear_output", ""), ("stdout", "3")]


def test_a_display_is_updated_where_it_is_shown(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.display("m1", "0 %", "bar")
    kernel.talk.ends("m1")
    seen = kernel.answer()["seq"]
    kernel.talk.runs("m2", "c2", "of another cell")
    for percent in range(1000):
        kernel.talk.display("m2", f"{percent} %", "bar", update=True)
    first, second = kernel.answer()["executions"]
    assert [m["type"] for m in first["messages"]] == ["display_data", "update_display_data"]
    assert first["messages"][1]["content"]["data"] == {"text/plain": "999 %"}
    assert [m["type"] for m in second["messages"]] == ["stream"]
    assert [e["msg_id"] for e in kernel.answer(seen)["executions"]] == ["m1", "m2"]


def test_updates_between_prints_do_not_pile_up(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.display("m1", "x", "bar")
    for i in range(500):
        kernel.talk.stream("m1", f"{i}\n")
        kernel.talk.display("m1", str(i), "bar", update=True)
    assert len(kernel.fold().executions[0].entries) <= 4
    text = "".join(text for name, text in kernel.texts() if name == "stdout")
    assert text == "".join(f"{i}\n" for i in range(500))


def test_input_is_asked_once_and_its_echo_kept(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.begins("m")
    kernel.talk.asks("m", "Name?")
    request = kernel.only()["input_request"]
    assert request["content"] == {"prompt": "Name?", "password": False}
    assert request["header"]["msg_type"] == "input_request"
    kernel.talk.answers("Ada")
    assert kernel.only()["input_request"] is None
    kernel.talk.asks("m", "Password?", password=True)
    kernel.talk.answers("correct horse")
    kernel.talk.ends("m")
    assert kernel.texts() == [("stdin", "Name? Ada\n"), ("stdin", "Password? ········\n")]


def test_an_interrupted_question_is_not_asked_again(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.asks("m", "Name?")
    kernel.talk.says("error", "m", {"ename": "KeyboardInterrupt"})
    kernel.talk.ends("m", "error")
    assert kernel.only()["input_request"] is None


def test_buffers_travel_as_base64(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    big = bytes(range(256)) * 4000
    kernel.talk.says(
        "display_data", "m", {"data": {}, "metadata": {}}, buffers=[b"a\0", big], pieces=5
    )
    (message,) = kernel.only()["messages"]
    assert [base64.b64decode(b) for b in message["buffers"]] == [b"a\0", big]


def test_a_restart_ends_what_ran_and_what_waited(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.begins("m1")
    kernel.talk.request("m2", "c2")
    kernel.talk.asks("m1", "Name?")
    kernel.talk.stream("m1", "half of a mess", pieces=2)
    del kernel.talk.rows[-1]
    kernel.fold()
    kernel.log.begin("p2")
    kernel.talk = Talk()
    kernel.talk.runs("m3", "c3", "goes on")
    assert [(e["status"], e["input_request"]) for e in kernel.answer()["executions"]] == [
        ("aborted", None),
        ("aborted", None),
        ("ok", None),
    ]
    assert kernel.recorder.resume_at == kernel.recorder.position == kernel.log.end


def test_an_end_and_a_gap_are_said_where_it_ran(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.begins("m1")
    kernel.talk.request("m2", "c2")
    kernel.fold()
    kernel.log.mark(ended="The kernel ran out of memory")
    first, second = kernel.answer()["executions"]
    assert "The kernel ran out of memory" in first["messages"][-1]["content"]["text"]
    assert (first["status"], second["status"], second["messages"]) == ("aborted", "aborted", [])


def test_what_was_broken_off_is_void(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.stream("m", "x" * 100, pieces=3)
    channel, _, seq, _ = kernel.talk.rows.pop()
    kernel.talk.rows.append((channel, ABORT | WHOLE, seq, b""))
    kernel.talk.stream("m", "whole", pieces=3)
    assert kernel.texts() == [("stdout", "whole")]
    assert kernel.recorder.resume_at == kernel.log.end


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x05noise",
        b"\x01\x09<IDS|MSG>\x00\x01x",
        b"\x01\x09<IDS|MSG>" + b"\x01\x02{}" * 4 + b"\x00\x02{}",
        b"\x01\x09<IDS|MSG>\x01\x01s\x01\x01[\x01\x02{}\x01\x02{}\x00\x02{}",
        b"\x01\x09<IDS|MSG>\x01\x01s\x01\x02[]\x01\x02{}\x01\x02{}\x00\x02{}",
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xffx",
    ],
)
@pytest.mark.parametrize("channel", [IOPUB, SHELL, SHELL | CLIENT])
def test_what_cannot_be_read_is_passed_over(kernel: Kernel, data: bytes, channel: int) -> None:
    kernel.talk.request("m", "c")
    kernel.talk.rows.append((channel & ~CLIENT, WHOLE | (channel & CLIENT), 1, data))
    kernel.talk.rows.append((IOPUB, BEGINS, 2, data))
    kernel.talk.rows.append((IOPUB, 0, 3, data))
    kernel.talk._seq = iter(range(4, 1000))  # type: ignore[assignment]
    kernel.talk.begins("m")
    kernel.talk.stream("m", "read")
    kernel.talk.ends("m")
    assert kernel.texts() == [("stdout", "read")]
    assert kernel.only()["status"] == "ok"


def test_content_nested_beyond_reason_is_shown_as_unreadable(kernel: Kernel) -> None:
    kernel.talk.request("m", "c")
    depth = 100_000
    data = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
    kernel.talk.says("error", "m", {"DEEP": 1})
    channel, flags, seq, raw = kernel.talk.rows.pop()
    head, _, _ = raw.rpartition(b"\x00\x0b")
    deep = head + b"\x02" + len(data).to_bytes(8, "big") + data
    kernel.talk.rows.append((channel, flags, seq, deep))
    kernel.talk.stream("m", "after")
    assert [text for _, text in kernel.texts()] == ["[an output that could not be read]\n", "after"]


# -- what a page is given ------------------------------------------------------------------------------------------------------


def test_a_large_record_comes_in_several_answers(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.begins("m1")
    for i in range(300):
        kernel.talk.stream("m1", f"{i:04d}" * 100)
    kernel.talk.ends("m1")
    kernel.talk.runs("m2", "c2", "short")
    kernel.fold()
    texts, since, rounds = {"m1": "", "m2": ""}, 0, 0
    while True:
        answer = kernel.answer(since, limit=20_000)
        rounds += 1
        for e in answer["executions"]:
            texts[e["msg_id"]] += "".join(m["content"]["text"] for m in e["messages"])
        statuses = {e["msg_id"]: e["status"] for e in answer["executions"]}
        if not answer["more"]:
            break
        assert answer["seq"] > since
        assert statuses["m1"] == "running", "its end is not in this answer"
        since = answer["seq"]
    assert rounds > 5 and statuses == {"m1": "ok", "m2": "ok"}
    assert texts == {"m1": "".join(f"{i:04d}" * 100 for i in range(300)), "m2": "short"}


def test_nothing_new_is_an_empty_answer(kernel: Kernel) -> None:
    kernel.talk.runs("m1", "c1", "x")
    answer = kernel.answer()
    assert kernel.answer(answer["seq"]) == {"seq": answer["seq"], "more": False, "executions": []}


def test_an_acknowledged_execution_comes_back_when_it_goes_on(kernel: Kernel) -> None:
    kernel.talk.runs("m1", "c1", "one ")
    kernel.talk.request("m2", "c2")
    recorder = kernel.fold()
    assert recorder.acknowledge(["m1", "m2", "unknown"])
    assert not recorder.acknowledge(["m1"]), "it is known already"
    assert [e["msg_id"] for e in kernel.answer()["executions"]] == ["m2"], "only what has ended"
    seen = kernel.answer()["seq"]
    kernel.talk.stream("m1", "two, by a thread")
    assert [e["msg_id"] for e in kernel.answer(seen)["executions"]] == ["m1"]
    assert (
        kernel.answer()["executions"][0]["messages"][0]["content"]["text"] == "one two, by a thread"
    )


def test_a_late_reply_does_not_bring_back_what_was_saved(kernel: Kernel) -> None:
    kernel.talk.runs("m1", "c1", "one")
    recorder = kernel.fold()
    assert recorder.acknowledge(["m1"])
    kernel.talk.says("execute_reply", "m1", {"status": "ok", "payload": []}, channel=SHELL)
    assert kernel.answer()["executions"] == []


def test_old_stream_output_makes_room_with_a_notice(kernel: Kernel) -> None:
    kernel.talk.request("m1", "c1")
    kernel.talk.display("m1", "picture")
    for i in range(100):
        kernel.talk.stream("m1", f"{i:03d}\n")
    records = list(kernel.fold().executions[0].entries)
    run = records[-1]
    middle = list(kernel.log.read())[52].end
    assert kernel.recorder.drop_streams(middle) > 0
    names = [name for name, _ in kernel.texts()]
    assert names == ["display_data", "stderr", "stdout"] and run.start < middle
    (_, notice), (_, text) = kernel.texts()[1:]
    assert "older output dropped" in notice and text == "".join(
        f"{i:03d}\n" for i in range(50, 100)
    )
    kernel.recorder.drop_streams(kernel.log.end)
    assert [name for name, _ in kernel.texts()] == ["display_data", "stderr"]
    assert kernel.texts()[1][1].startswith("[0.0 MB of older output dropped")


def test_more_outputs_than_a_page_can_show_lose_their_older_half(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_cloudml_kernels.recorder.MAX_ENTRIES", 100)
    kernel.talk.request("m1", "c1")
    for i in range(1000):
        kernel.talk.display("m1", str(i), f"d{i}")
    kernel.talk.display("m1", "late", "d999", update=True)
    kernel.talk.display("m1", "nobody shows it any more", "d0", update=True)
    (first, *messages) = kernel.only()["messages"]
    assert "older output dropped" in first["content"]["text"]
    shown = [m["content"]["data"]["text/plain"] for m in messages]
    assert shown[-2:] == ["999", "late"] and 50 <= len(shown) <= 102
    assert shown[:-1] == [str(i) for i in range(int(shown[0]), 1000)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", "abc"),
        ("a\rb", "a\rb"),
        ("10\r20\r30\n", "10\r30\n"),
        ("\r10\r20\r30", "\r30"),
        ("x\r100\r20\r3", "x\r100\r20\r3"),
        ("x\r1\r20\r300", "x\r300"),
        ("x\rab\r\n", "x\rab\r\n"),
        ("x\r\x1b[1mab\rabcdefghijk\r", "x\r\x1b[1mab\rabcdefghijk\r"),
        ("1\r2\r3\n4\r5\r6", "1\r3\n4\r6"),
    ],
)
def test_overwritten_parts_of_lines_are_left_out(text: str, expected: str) -> None:
    assert without_overwritten(text) == expected


# -- any talk, cut and replayed in any way ----------------------------------------------------------------------------------------


class Area:
    """What JupyterLab's OutputArea makes of messages."""

    def __init__(self) -> None:
        self.outputs: list[JSON] = []
        self.displays: dict[str, list[JSON]] = {}
        self.clear_next = False

    def handle(self, kind: str, content: JSON) -> None:
        display = content.get("transient", {}).get("display_id")
        if kind == "clear_output":
            self.clear_next = bool(content["wait"])
            if not self.clear_next:
                self.clear()
        elif kind == "update_display_data":
            for output in self.displays.get(display, []):
                output["data"] = content["data"]
        else:
            if self.clear_next:
                self.clear()
            self.add(kind, content, display)

    def clear(self) -> None:
        self.outputs, self.displays, self.clear_next = [], {}, False

    def add(self, kind: str, content: JSON, display: str | None) -> None:
        last = self.outputs[-1] if self.outputs else {}
        if kind == "stream" and last.get("type") == kind and last["name"] == content["name"]:
            last["text"] += content["text"]
            return
        output = {"type": kind, **content}
        self.outputs.append(output)
        if display:
            self.displays.setdefault(display, []).append(output)


ids = st.sampled_from(["m0", "m1", "m2"])
step = st.one_of(
    st.tuples(st.just("request"), ids, st.sampled_from(["c0", "c1", "c2"])),
    st.tuples(st.just("begins"), ids),
    st.tuples(
        st.just("stream"),
        ids,
        st.text("abc\n", min_size=1, max_size=5),
        st.sampled_from(["stdout", "stderr"]),
        st.integers(1, 3),
    ),
    st.tuples(
        st.just("display"),
        ids,
        st.text("xyz", max_size=3),
        st.sampled_from(["", "d1", "d2"]),
        st.booleans(),
    ),
    st.tuples(st.just("clear"), ids, st.booleans()),
    st.tuples(st.just("ends"), ids),
)


def play(steps: list[tuple[Any, ...]]) -> tuple[list[Row], dict[str, Area], dict[str, str]]:
    """The rows, what each request's area shows, and the newest request of each cell."""
    talk, areas, cells = Talk(), {}, {}
    for name, msg_id, *args in [("request", "m0", "c0"), ("request", "m1", "c1"), *steps]:
        if name == "request":
            if msg_id not in areas:
                talk.request(msg_id, args[0])
                areas[msg_id], cells[args[0]] = Area(), msg_id
            continue
        if msg_id not in areas:
            continue
        if name == "stream":
            talk.stream(msg_id, *args)
            areas[msg_id].handle("stream", {"name": args[1], "text": args[0]})
        elif name == "display":
            data, display, update = args
            update = update and bool(display)
            talk.display(msg_id, data, display, update)
            content = {
                "data": {"text/plain": data},
                "metadata": {},
                "transient": {"display_id": display} if display else {},
            }
            for area in areas.values() if update else [areas[msg_id]]:
                area.handle(
                    "update_display_data" if update else "display_data",
                    json.loads(json.dumps(content)),
                )
        elif name == "clear":
            talk.says("clear_output", msg_id, {"wait": args[0]})
            areas[msg_id].handle("clear_output", {"wait": args[0]})
        else:
            getattr(talk, name)(msg_id)
    return talk.rows, areas, cells


def shown(answers: Iterator[JSON]) -> dict[str, list[JSON]]:
    """What a page shows that is fed these answers in turn."""
    areas: dict[str, Area] = {}
    for answer in answers:
        for execution in answer["executions"]:
            area = areas.setdefault(execution["msg_id"], Area())
            for message in execution["messages"]:
                area.handle(message["type"], message["content"])
    return {msg_id: area.outputs for msg_id, area in areas.items()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(step, max_size=40),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.integers(1, 400),
    st.integers(150, 3000),
)
@example(
    [
        ("display", "m0", "x", "d1", False),
        ("clear", "m0", True),
        ("display", "m0", "y", "d1", True),
        ("stream", "m0", "a", "stdout", 1),
    ],
    [1],
    1,
    500,
)
def test_any_split_of_a_talk_folds_to_what_a_page_would_show(
    steps: list[tuple[Any, ...]], chunks: list[int], limit: int, segment: int
) -> None:
    rows, areas, cells = play(steps)
    expected = {msg_id: areas[msg_id].outputs for msg_id in cells.values()}
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder), segment)
        answers: list[JSON] = []
        at = turn = 0
        while at < len(rows):
            upto = at + chunks[turn % len(chunks)]
            kernel.talk.rows = rows[at:upto]
            kernel.fold()
            if turn % 3 == 0:  # the index is saved and taken up again by another process
                resume_at, state = (
                    kernel.recorder.resume_at,
                    json.loads(json.dumps(kernel.recorder.to_dict())),
                )
                assert state["resume_at"] == resume_at
                kernel.recorder = Recorder.from_dict(state)
                for record in kernel.log.read(resume_at):
                    kernel.recorder.feed(record)
            if turn % 2 == 0:  # a page asks, a little at a time
                answers.append(kernel.answer(answers[-1]["seq"] if answers else 0, limit))
            at, turn = upto, turn + 1
        while not answers or answers[-1]["more"] or answers[-1]["seq"] < kernel.log.end:
            answers.append(kernel.answer(answers[-1]["seq"] if answers else 0, limit))

        whole = Recorder()
        for _ in range(2):  # replaying changes nothing
            for record in kernel.log.read():
                whole.feed(record)
        assert whole.to_dict() == kernel.recorder.to_dict()
        assert shown(iter([kernel.answer()])) == expected
        followed = shown(iter(answers))
        assert {msg_id: followed[msg_id] for msg_id in expected} == expected

        kernel.log.thin(sorted_ranges(kernel.recorder))
        assert shown(iter([kernel.answer()])) == expected
        kernel.log.close()


def sorted_ranges(recorder: Recorder) -> list[tuple[int, int]]:
    from jupyter_cloudml_kernels.snapshot import merged

    return merged([*recorder.ranges(), (recorder.resume_at, 1 << 62)])
