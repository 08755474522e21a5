"""Questions of a machine's programs: taken with care, given to one client, offered to the next when that one falls silent."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import jupyter_cloudml
from jupyter_cloudml.agent import asks, notebook
from jupyter_cloudml.agent.asks import Asks
from jupyter_cloudml.agent.loop import Loop
from jupyter_cloudml.datasets.address import Address, usual_folder
from jupyter_cloudml.datasets.requests import Request, check_allowed
from jupyter_cloudml.errors import Conflict, UsageError

ID = "ab" * 16


class Desk:
    """An agent's questions, without the agent."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.told: list[tuple[str, Any, Any]] = []
        self.asks = Asks(
            cast(Any, SimpleNamespace(loop=self.loop, owned={}, answer_later=self._told))
        )
        self.programs: list[socket.socket] = []

    def _told(self, connection: Any, number: Any, answer: Any) -> None:
        self.told.append((connection.client, number, answer["result"]))

    def program(self, data: bytes | None = None, id: str = ID) -> socket.socket:
        mine, theirs = socket.socketpair()
        theirs.setblocking(False)
        mine.settimeout(5)
        self.asks.accept(theirs)
        self.programs.append(mine)
        if data != b"":
            mine.sendall(data or json.dumps({"id": id}).encode() + b"\n")
        return mine

    def turn(self, seconds: float = 0.0) -> None:
        """Let the loop go round until nothing is ready, and so long."""
        end = time.monotonic() + seconds
        done = False

        def stop() -> None:
            nonlocal done
            done = True
            self.loop.after(0, lambda: None)  # so that the round ends at once

        self.loop.after(max(0.05, end - time.monotonic()), stop)
        while not done:
            self.loop.once()

    def close(self) -> None:
        for each in self.programs:
            each.close()
        self.turn()
        self.loop.close()


def client(name: str) -> Any:
    return SimpleNamespace(client=name, closed=False)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(asks, "YOUNG", 0.0)
    monkeypatch.setattr(asks, "LOOK", 0.05)
    made = Desk()
    yield made
    made.close()


def said(program: socket.socket) -> list[Any]:
    return [json.loads(line) for line in program.recv(1 << 16).splitlines()]


@pytest.mark.parametrize(
    "data",
    [
        b"no json\n",
        b"[]\n",
        b'{"id": "short"}\n',
        b'{"id": 7}\n',
        b'{"id": "' + b"a" * 65 + b'"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_question_is_refused_and_let_go(desk: Desk, data: bytes) -> None:
    program = desk.program(data)
    desk.turn()
    assert said(program)[0]["error"]["code"] == "usage"
    assert program.recv(1) == b"" and not desk.asks.open


def test_who_says_nothing_is_let_go_and_too_many_are_not_let_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asks, "ASKED_IN", 0.05)
    silent = desk.program(b"")
    desk.turn(0.2)
    assert silent.recv(1) == b""
    monkeypatch.setattr(asks, "MAX_ASKED", 1)
    first, second = desk.program(), desk.program(b"")
    desk.turn()
    assert said(first) == [{"waiting": True}]
    assert said(second)[0]["error"]["code"] == "busy" and second.recv(1) == b""


def test_a_question_goes_to_one_client_and_back_with_its_end(desk: Desk) -> None:
    program = desk.program()
    desk.turn()
    one, two = client("one"), client("two")
    desk.asks.wait(one, 1, {"known": []})
    desk.asks.wait(two, 1, {"known": "nonsense"})
    assert desk.told == [("one", 1, {"new": [{"id": ID}], "gone": []})]
    assert desk.asks.say(two, ID, {"done": {}}) is False, "it is not that client's"
    assert desk.asks.say(one, ID, {"progress": "half"}) is True
    with pytest.raises(ValueError, match="64 KB"):
        desk.asks.say(one, ID, {"progress": "x" * 70_000})
    assert desk.asks.say(one, ID, {"done": {"folder": "/d"}}) is True
    desk.turn()
    assert said(program)[1:] == [{"progress": "half"}, {"done": {"folder": "/d"}}]
    assert program.recv(1) == b"" and desk.asks.say(one, ID, {"done": {}}) is False


def test_one_that_has_hung_up_is_told_of(desk: Desk) -> None:
    program = desk.program()
    desk.turn()
    one = client("one")
    desk.asks.wait(one, 1, {"known": []})
    desk.asks.wait(one, 2, {"known": [ID]})
    assert len(desk.told) == 1, "there is nothing new"
    program.close()
    desk.turn()
    assert desk.told[1:] == [("one", 2, {"new": [], "gone": [ID]})]


def test_a_client_that_falls_silent_loses_its_question_to_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asks, "SILENT", 0.3)
    program = desk.program()
    desk.turn()
    one, two = client("one"), client("two")
    desk.asks.wait(one, 1, {"known": []})
    desk.asks.wait(two, 1, {"known": []})
    assert len(desk.told) == 1
    one.closed = True
    desk.turn(0.6)
    assert desk.told[1:] == [("two", 1, {"new": [{"id": ID}], "gone": []})]
    assert {"waiting": True} in said(program)
    assert desk.asks.say(two, ID, {"progress": ""}) is True
    assert desk.asks.say(one, ID, {"progress": ""}) is False


def test_a_program_that_comes_back_keeps_its_question(desk: Desk) -> None:
    before = desk.program()
    desk.turn()
    one = client("one")
    desk.asks.wait(one, 1, {"known": []})
    after = desk.program()  # before the end of the first connection is seen
    desk.turn()
    assert before.recv(100) and before.recv(1) == b""
    assert desk.asks.say(one, ID, {"error": {"code": "x"}}) is True
    desk.turn()
    assert said(after)[-1] == {"error": {"code": "x"}}


def test_the_kernels_own_client_comes_first(desk: Desk) -> None:
    owned = cast(Any, desk.asks.agent.owned)
    owned["k"] = SimpleNamespace(client="two", connection=object())
    one, two = client("one"), client("two")
    desk.asks.wait(one, 1, {"known": []})
    desk.asks.wait(two, 1, {"known": []})
    desk.program(json.dumps({"id": ID, "process": "k"}).encode() + b"\n")
    desk.turn()
    assert [told[0] for told in desk.told] == ["two"]


def test_an_agent_that_has_just_taken_over_says_of_none_that_it_has_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asks, "YOUNG", 0.3)
    one = client("one")
    desk.asks.wait(one, 1, {"known": [ID]})
    assert desk.told == [] and desk.asks.say(one, ID, {"progress": ""}) is True
    desk.turn(1.0)
    assert desk.told == [("one", 1, {"new": [], "gone": [ID]})]


# -- what the other end makes of them ------------------------------------------------------------------

GOOD = {"method": "dataset", "source": "s3://bucket/p/"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "shell"},
        {"source": None},
        {"source": "/etc/passwd"},
        {"source": "s3://"},
        {"source": ["s3://bucket"]},
        {"folder": ""},
        {"folder": "a\0b"},
        {"folder": "x" * 5000},
        {"profile": {"a": 1}},
        {"endpoint_url": 7},
        {"include": "*"},
        {"include": [1]},
        {"include": ["x"] * 101},
        {"exclude": ["x" * 1001]},
        {"include": [""]},
    ],
)
def test_a_request_out_of_shape_is_refused(wrong: dict[str, Any]) -> None:
    assert Request.parse(GOOD).source == "s3://bucket/p"
    with pytest.raises(UsageError):
        Request.parse({**GOOD, **wrong})


@pytest.mark.parametrize(
    ("allowed", "is_allowed"),
    [
        (["s3://"], True),
        ([], False),
        (["s3://bucket"], True),
        (["s3://bucket/"], True),
        (["s3://buck"], False),
        (["s3://bucket/p"], True),
        (["s3://bucket/p/q"], False),
        (["s3://bucket/pp", "s3://bucket/p/"], True),
    ],
)
def test_a_server_syncs_for_kernels_what_it_may_alone(allowed: list[str], is_allowed: bool) -> None:
    request = Request.parse(GOOD)
    with nullcontext() if is_allowed else pytest.raises(Conflict, match="does not sync"):
        check_allowed(request, allowed)


@pytest.mark.parametrize(
    ("url", "source", "folder"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "s3://b1/p/q", "data/b1/p/q"),
        ("http://user@[::1]:9000", "s3://b1", "data/::1_9000/b1"),
        ("https://minio.lab", "s3://b1/p", "data/minio.lab/b1/p"),
    ],
)
def test_a_dataset_has_its_folder(url: str, source: str, folder: str) -> None:
    address = Address.parse(source)
    assert usual_folder(url, address, address.below) == folder


def test_no_folder_leads_out_of_the_home() -> None:
    address = Address.parse("s3://b1/../..")
    with pytest.raises(UsageError, match="folder"):
        usual_folder("https://minio.lab", address, address.below)


def test_a_python_that_no_agent_has_started_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JUPYTER_CLOUDML_AGENT", raising=False)
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    with pytest.raises(jupyter_cloudml.DatasetError) as caught:
        jupyter_cloudml.dataset("s3://bucket/p")
    assert caught.value.code == "no_agent" and "JupyterLab" in caught.value.hint
    monkeypatch.setattr(notebook, "agent_here", None)
    with pytest.raises(jupyter_cloudml.DatasetError, match="data sync"):
        jupyter_cloudml.dataset("s3://bucket/p")
    with pytest.raises(ValueError, match="s3://BUCKET"):
        jupyter_cloudml.dataset("bucket/p")
