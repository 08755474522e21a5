"""Notebooks of runs: parameters, what is sent, what is made of records. And the runner's own pure parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import notebook

from jupyter_cloudml.errors import ProtocolError, UsageError
from jupyter_cloudml.jobs.notebooks import parameters
from jupyter_cloudml.jobs.notebooks.notebook import executed, html, parse, without_outputs
from jupyter_cloudml.jobs.notebooks.records import START, Cursor, Reader
from jupyter_cloudml.jobs.notebooks.snapshots import read_notebook
from jupyter_cloudml.jobs.runner.limits import TAIL, Limits
from jupyter_cloudml.jobs.runner.memory import memory_limit, oom_kills, was_for_memory
from jupyter_cloudml.jobs.runner.records import Records

STATE = "application/vnd.jupyter.widget-state+json"
DECLARED = """\
n: int = 3  # how often
rate = 0.5
flag = True
name = "a"
items = [1, 2]
table = {"k": 1}
maybe = None
other: int | None = 2
made = open
a, b = 1, 2
"""


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def test_parameters_are_read_from_the_tagged_cell() -> None:
    found = parameters.find(notebook("1", DECLARED, tags=[[], ["parameters"]]))
    assert found is not None
    kinds = {each.name: (each.kind, each.optional) for each in found}
    assert kinds == {
        "n": ("int", False),
        "rate": ("float", False),
        "flag": ("bool", False),
        "name": ("str", False),
        "items": ("list", False),
        "table": ("dict", False),
        "maybe": ("", True),
        "other": ("int", True),
        "made": ("", True),
    }
    assert found[0].help == "how often" and found[4].default == [1, 2]
    assert parameters.find(notebook("1")) is None
    assert parameters.find(notebook("x = (", tags=[["parameters"]])) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n": "3"}, "n has to be int"),
        ({"n": True}, "n has to be int"),
        ({"n": 1.5}, "n has to be int"),
        ({"flag": 1}, "flag has to be bool"),
        ({"items": {"a": 1}}, "items has to be list"),
        ({"nn": 1}, "has no parameter 'nn'"),
        ({"no name": 1}, "no name of a parameter"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(values: dict[str, Any], says: str) -> None:
    declared = parameters.find(notebook(DECLARED, tags=[["parameters"]]))
    with pytest.raises(UsageError, match=says) as caught:
        parameters.check(declared, values, "the notebook")
    assert caught.value.code == "bad_parameter"


def test_what_fits_is_taken_as_it_is_meant() -> None:
    declared = parameters.find(notebook(DECLARED, tags=[["parameters"]]))
    given_ = {"rate": 2, "other": None, "n": 4, "made": "x"}
    assert parameters.check(declared, given_, "it") == {**given_, "rate": 2.0}
    assert parameters.check(None, {"x": [1]}, "it") == {"x": [1]}
    by_name = {each.name: each for each in declared or ()}
    typed = [("n", "4"), ("name", "4"), ("flag", "yes"), ("items", "(1, 2)"), ("maybe", "None")]
    assert [parameters.from_text(by_name[name], text) for name, text in typed] == [
        4,
        "4",
        True,
        [1, 2],
        None,
    ]


def test_values_go_behind_the_tagged_cell_and_replace_those_of_before() -> None:
    nb = notebook("1", "n = 3", "2", tags=[[], ["parameters"]])
    once = parameters.inject(nb, {"n": 4, "s": 'quo"te', "x": float("inf")})
    twice = parameters.inject(once, {"n": 5})
    assert [cell["source"] for cell in twice["cells"]] == ["1", "n = 3", "# Parameters\nn = 5", "2"]
    scope: dict[str, Any] = {}
    exec(once["cells"][2]["source"], scope)
    assert (scope["n"], scope["s"], scope["x"]) == (4, 'quo"te', float("inf"))
    assert parameters.inject(notebook("1"), {"n": 1})["cells"][0]["source"] == "# Parameters\nn = 1"
    odd = {**nb, "metadata": {"kernelspec": {"language": "cobol"}}}
    with pytest.raises(UsageError, match="cobol"):
        parameters.inject(odd, {"n": 1})


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_value_arrives_in_python_as_it_is(value: Any) -> None:
    scope: dict[str, Any] = {}
    exec(parameters.inject(notebook("1"), {"x": value})["cells"][0]["source"], scope)
    assert scope["x"] == value and type(scope["x"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", '{"nbformat": 3, "cells": []}', '{"nbformat": 4, "cells": [{}]}', "[" * 9999),
        '{"nbformat": 4, "cells": [], "metadata": "x"}',
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": ["x"]}]}',
    ],
)
def test_what_is_no_notebook_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"plan\.ipynb cannot be run") as caught:
        parse(text, "plan.ipynb")
    assert caught.value.code == "bad_notebook"


def test_a_kernelspec_that_is_none_counts_as_not_there() -> None:
    metadata = {"kernelspec": "python3", "language_info": ["x"], "title": "kept"}
    made = parse(json.dumps({"nbformat": 4, "cells": [], "metadata": metadata}), "n")
    assert made["metadata"] == {"title": "kept"} and parameters.language_of(made) == "python"


def test_outputs_are_not_sent_and_size_counts_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nb = notebook("1")
    nb["cells"][0].update(outputs=[stream("x" * 10_000)], source=["1\n", "2"])
    monkeypatch.setattr("jupyter_cloudml.jobs.notebooks.notebook.MAX_BYTES", 5_000)
    bare = without_outputs(parse(json.dumps(nb), "n"), "n")
    assert bare["cells"][0]["outputs"] == [] and bare["cells"][0]["source"] == "1\n2"
    with pytest.raises(UsageError, match="without its outputs"):
        without_outputs(notebook("x" * 6_000), "n")


def test_records_make_the_executed_notebook() -> None:
    records: list[dict[str, Any]] = [
        {"record": "begun"},
        {"record": "kernel", "info": {"language_info": {"name": "python"}}},
        {"record": "cell", "index": 0, "state": "started"},
        {"record": "output", "index": 0, "output": stream("a")},
        {"record": "output", "index": 0, "output": stream("b")},
        {"record": "output", "index": 0, "output": stream("c", "stderr")},
        {
            "record": "output",
            "index": 0,
            "output": {"output_type": "display_data", "data": {"text/plain": "1"}, "metadata": {}},
        },
        {"record": "update", "index": 0, "at": [2], "data": {"text/plain": "2"}, "metadata": {}},
        {"record": "cell", "index": 0, "state": "done", "execution_count": 1, "timing": {"t": "1"}},
        {"record": "cell", "index": 1, "state": "started"},
        {"record": "output", "index": 1, "output": stream("old")},
        {"record": "clear", "index": 1},
        {"record": "output", "index": 1, "output": stream("<script>alert(1)</script>")},
        {"record": "widgets", "state": {STATE: {"state": {}}}},
        {"record": "ended", "state": "failed"},
    ]
    made = executed(notebook("1", "2"), records)
    first, second = made["cells"]
    assert [o.get("text") for o in first["outputs"]] == ["ab", "c", None]
    assert first["outputs"][2]["data"] == {"text/plain": "2"}
    assert (first["execution_count"], first["metadata"]["execution"]) == (1, {"t": "1"})
    assert [o["text"] for o in second["outputs"]] == ["<script>alert(1)</script>"]
    assert made["metadata"] == {
        "language_info": {"name": "python"},
        "widgets": {STATE: {"state": {}}},
    }
    page = html(made, "t")
    assert "<script>alert(1)" not in page and "alert(1)" in page


@pytest.mark.filterwarnings("ignore:No lexer found")
def test_names_with_html_do_nothing_on_the_page() -> None:
    evil = "</title><script>alert(7)</script><img src=x onerror=alert(8)>"
    made = notebook("1", f"# {evil}")
    made["metadata"] = {"title": evil, "kernelspec": {"name": evil, "display_name": evil}}
    made["metadata"]["language_info"] = {"name": evil}
    made["cells"][0]["id"] = evil
    made["cells"].append({"cell_type": "markdown", "id": "m", "metadata": {}, "source": evil})
    page = html(made, evil)
    assert "<script>alert(7)" not in page and "<img src=x onerror" not in page
    assert '<img src="x" onerror' not in page


@pytest.mark.parametrize(
    ("code", "asked", "kills", "peak", "limit", "expected"),
    [
        (-9, False, 1, 10, 1000, True),
        (-9, False, 0, 950, 1000, True),  # nobody counts: it had nearly all
        (-9, False, 0, 500, 1000, False),
        (-9, False, 0, 950, 0, False),  # nobody says how much there is
        (-9, True, 1, 950, 1000, False),
        (-11, False, 1, 950, 1000, False),
        (None, False, 1, 950, 1000, False),
        (0, False, 1, 950, 1000, False),
    ],
)
def test_an_end_for_memory_is_told_from_others(
    code: int | None, asked: bool, kills: int, peak: int, limit: int, expected: bool
) -> None:
    assert was_for_memory(code, asked, kills, peak, limit) is expected
    assert memory_limit() > 1 << 20 and oom_kills() >= 0


def test_a_notebook_of_200_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "large.ipynb"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(UsageError, match="has 210 MB") as caught:
        read_notebook(path)
    assert caught.value.code == "too_large" and "clear its outputs" in caught.value.hint


@settings(deadline=None)  # the computer may be busy
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.data())
def test_reading_on_from_any_cursor_loses_and_doubles_nothing(
    sizes: list[int], data: st.DataObject
) -> None:
    lines = [{"record": "output", "n": n, "text": "x" * size} for n, size in enumerate(sizes)]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    journal = [(3 * n + 2, piece) for n, piece in enumerate(pieces)]  # others lie in between
    reader, seen = Reader(), [(None, START)]
    for seq, piece in journal:
        seen += list(reader.feed(seq, piece))  # type: ignore[arg-type]
    assert [record for record, _ in seen[1:]] == lines
    done = data.draw(st.integers(0, len(lines)))
    cursor: Cursor = seen[done][1]
    again = Reader(cursor)
    rest = [r for seq, piece in journal if seq > cursor.since for r, _ in again.feed(seq, piece)]
    assert rest == lines[done:]


def test_what_is_no_record_is_an_error() -> None:
    for line in (b"hello\n", b"[1]\n", b'{"a": 1}\n'):
        with pytest.raises(ProtocolError, match="no record"):
            list(Reader().feed(1, line))


def test_output_beyond_the_limit_leaves_its_tail_and_a_sentence() -> None:
    limits = Limits(of_run=1000, of_cell=100)
    assert limits.passes(stream("x" * 90))
    assert not limits.passes(stream("y" * 20))
    assert not limits.passes(stream("z"))  # in order: what comes behind what is left out is, too
    assert limits.end_of_cell() == [stream("y" * 20), stream("z")]  # all of it: nothing is said
    assert limits.passes(stream("next cell"))
    for _ in range(3):
        limits.passes(stream("t" * TAIL))
    assert not limits.passes({"output_type": "display_data", "data": {"image/png": "p" * 2000}})
    assert limits.passes({"output_type": "error", "traceback": ["why"]})
    said, *tail = limits.end_of_cell()
    assert "2.1 MB of text and 1 other outputs" in said["text"]
    assert sum(len(t["text"]) for t in tail) == TAIL
    assert limits.end_of_cell() == []


def test_records_are_lines_and_quick_ones_go_together() -> None:
    read, write = os.pipe()
    due: list[Any] = []
    records = Records(write)
    records.say("a", n=1)
    assert os.read(read, 100) == b'{"record":"a","n":1}\n'
    records.later = lambda seconds, call: due.append((seconds, call))
    records.say("b")
    records.say("c")
    ((_, flush),) = due
    flush()
    assert os.read(read, 100) == b'{"record":"b"}\n{"record":"c"}\n'
    os.close(read)
    os.close(write)
