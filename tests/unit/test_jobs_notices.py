"""People are told of the ends of runs: once, by one of many servers, later where it fails, and never with a password on record. On both databases."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from databases import empty, hurry

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.notices.delivery import without
from jupyter_cloudml.jobs.notices.notifier import TAKEN_MS, TRIES, Notifier, again_ms, text_of
from jupyter_cloudml.jobs.results import Results
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.moving import Move
from jupyter_cloudml.store.jobs.notices import about_of
from jupyter_cloudml.store.jobs.records import RunRecord

ADA, BOB = "mailto://localhost:2525?to=ada@example.org", "env:BOBS_ADDRESS"


class Wall:
    def __init__(self) -> None:
        self.ms = 1_767_225_600_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class World:
    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.clock = store, Wall()
        self.results = Results(store, home)
        self.jobs = Jobs(store, clock=self.clock)
        self.said: list[tuple[str, str, str]] = []
        self.error: str | None = None
        self.one, self.two = self.notifier(), self.notifier()

    def notifier(self) -> Notifier:
        return Notifier(self.store, self.results, clock=self.clock, deliver=self.deliver)

    def deliver(self, address: str, title: str, body: str) -> str | None:
        self.said.append((address, title, body))
        return self.error

    def job(self, *notify: dict[str, Any], **more: Any) -> None:
        definition = {"name": "nightly", "notebook": "a.ipynb", "overlap": "allow"}
        self.jobs.apply(definition | {"notify": list(notify)} | more)

    def run(self, state: str = "failed", reason: str | None = None) -> RunRecord:
        """A run that ends like this."""
        made = self.jobs.run("nightly")
        claims, _ = self.store.claims.claim("a", 0, 1, 10, lambda run, n: {"name": run.id})
        via = ("provisioning", "running")
        self.store.claims.move([Move(each.run, state, via, reason) for each in claims], 5)
        return self.store.runs.get(made.id)

    def tell(self, ms: int = 0) -> None:
        self.clock.ms += ms
        while self.one.tick() or self.two.tick():
            pass

    def notices(self, run: RunRecord) -> list[Any]:
        told: Any = self.results.look(run.id)["notices"]
        return list(told)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database(server, "jobs_notices"))
        store = Store.open(Config(home=tmp_path_factory.mktemp("notices"), database=url))
        stack.callback(store.close)
        hurry(store)
        yield store


@pytest.fixture
def world(opened: Store, tmp_path: Path) -> World:
    empty(opened)
    return World(opened, tmp_path)


def test_each_is_told_once_of_what_they_want_to_hear(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOBS_ADDRESS", "tgram://secret-7/1234")
    world.job({"to": ADA}, {"to": BOB, "on": ["success"]})
    for state in ("succeeded", "failed", "timed_out", "succeeded", "cancelled", "succeeded"):
        world.run(state, "ValueError: no" if state == "failed" else None)
    world.tell()
    assert [(to, title) for to, title, _ in world.said] == [
        ("tgram://secret-7/1234", "nightly: succeeded"),
        (ADA, "nightly: failed"),
        (ADA, "nightly: timed out"),
        (ADA, "nightly: succeeded again"),
        ("tgram://secret-7/1234", "nightly: succeeded"),
        ("tgram://secret-7/1234", "nightly: succeeded"),
    ]
    assert "Reason: ValueError: no" in world.said[1][2]
    world.tell(TAKEN_MS * 10)
    assert len(world.said) == 6
    (run, *_) = world.store.runs.page(states=["succeeded"])
    assert [each["to"] for each in world.notices(run)] == [BOB], "the reference, not what it is"


def test_a_server_that_dies_while_it_tells_is_followed_by_another(world: World) -> None:
    world.job({"to": ADA})
    run = world.run()
    now = world.clock.ms
    (taken,) = world.store.notices.take(now, now + TAKEN_MS, 5)  # and it is killed
    world.tell(TAKEN_MS - 1)
    assert world.said == []
    world.tell(1)
    assert len(world.said) == 1
    world.store.notices.failed(taken, "late word of who was taken for dead", None)
    (notice,) = world.notices(run)
    assert (notice["state"], notice["error"], notice["tries"]) == ("sent", None, 2)


def test_what_cannot_be_delivered_is_shown_and_tried_again_and_given_up(world: World) -> None:
    world.job({"to": ADA}, {"to": "env:NOT_SET_ANYWHERE"})
    run = world.run()
    world.error = "connection refused"
    world.tell()
    first, second = world.notices(run)
    assert (first["state"], first["error"]) == ("waiting", "connection refused")
    assert "env:NOT_SET_ANYWHERE" in second["error"]
    world.tell(29_999)
    assert len(world.said) == 1
    world.tell(1)
    assert len(world.said) == 2
    for _ in range(TRIES):
        world.tell(3_600_000)
    assert len(world.said) == TRIES
    assert [each["state"] for each in world.notices(run)] == ["given_up"] * 2
    assert [again_ms(n) for n in (1, 2, 3, 11, 12)] == [30_000, 60_000, 120_000, 3_600_000, None]


def test_a_sweep_is_told_of_once(world: World) -> None:
    world.job({"to": ADA}, sweep={"alpha": [1, 2, 3]})
    run = world.run()
    assert run.state == "failed"
    world.tell()
    assert [title for _, title, _ in world.said] == ["nightly: failed"]
    assert "of 3 runs: 3 failed" in world.said[0][2]


def test_an_address_with_a_secret_in_it_is_refused_and_repeated_nowhere() -> None:
    for address in (
        "mailto://ada:pw-7@example.org",
        "mailtos://example.org?user=ada&pass=pw-7",
        "slack://pw-7/pw-7/pw-7",
        "tgram://pw-7/1",
        "not an address pw-7",
        "json://[pw-7",
    ):
        with pytest.raises(UsageError) as raised:
            JobSpec.from_dict({"name": "x", "notebook": "a", "notify": [{"to": address}]})
        assert "pw-7" not in json.dumps(raised.value.to_dict()), address
    for address in (ADA, BOB, "json://localhost:8080/hook", "keyring:mail/ada", "file:~/to"):
        spec = JobSpec.from_dict({"name": "x", "notebook": "a", "notify": [{"to": address}]})
        assert JobSpec.from_dict(spec.to_dict()) == spec


def test_what_is_told_of_which_end() -> None:
    assert about_of("failed", None, None) == "failure"
    assert about_of("failed", None, ["success"]) is None
    assert about_of("succeeded", "failed", None) == "recovery"
    assert about_of("succeeded", "failed", ["success"]) == "success"
    assert about_of("succeeded", "succeeded", None) is None
    assert about_of("succeeded", None, ["recovery"]) is None


def test_no_error_has_a_part_of_the_address() -> None:
    address = "mailto://ada:p%40ss-7@mail.example.org:25?to=bob@example.net"
    said = "login of ada with p@ss-7 (p%40ss-7) at mail.example.org was refused"
    assert without(address, said) == "login of … with … (…) at mail.example.org was refused"


def test_a_text_is_bounded_whatever_the_run_has_said() -> None:
    shown = dict.fromkeys(("job", "run", "state", "machine"), "x") | {"reason": "r" * 100_000}
    title, body = text_of("failure", shown, (3, "code\n" * 10_000))
    assert len(body) <= 3000 and len(title) <= 200 and "Cell 3:" in body


def test_an_error_of_the_notifier_is_a_try(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(address: str, title: str, body: str) -> str | None:
        raise KeyError(address)

    world.job({"to": "mailto://localhost:2525?to=ada@example.org"})
    run = world.run()
    monkeypatch.setattr(world.one, "_deliver", broken)
    assert world.one.tick()
    (notice,) = world.notices(run)
    assert (notice["tries"], notice["error"]) == (1, "an error of the notifier: KeyError")
    assert not world.one.tick(), "it waits for its next try"
