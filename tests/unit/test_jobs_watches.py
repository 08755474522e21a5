"""Triggers that look at something: one of many servers looks, news make one run, and what goes wrong is told and stops no other. On both databases."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from typing import Any

import postgres
import pytest
from databases import empty, hurry
from jupyter_events.schema import EventSchema

from jupyter_cloudml.config import Config
from jupyter_cloudml.datasets.address import Object
from jupyter_cloudml.errors import CloudMLError, LinkDown, NotFound, UsageError
from jupyter_cloudml.jobs.definition import schedule
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.lists import Lists
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.jobs.watching import manifests
from jupyter_cloudml.jobs.watching.git_look import candidates, sight
from jupyter_cloudml.jobs.watching.watcher import TAKEN_MS, Watcher, wait_ms
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.records import RunRecord
from jupyter_cloudml.store.jobs.watches import Sight

MINUTE, HOUR = 60_000, 3_600_000
BEGIN = 1_767_225_600_000  # 2026-01-01T00:00Z
GIT = {"git": "https://example.org/digits.git", "ref": "main", "every": "1m"}


class Wall:
    def __init__(self) -> None:
        self.ms = BEGIN

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Inline(Pool):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Place:
    """What the triggers look at: a test says what is there, or what goes wrong."""

    def __init__(self) -> None:
        self.there: dict[str, str | CloudMLError] = {}
        self.looks = 0
        self.meanwhile: Any = None

    def __call__(
        self, trigger_id: str, trigger: Trigger, mark: str | None, cancelled: threading.Event
    ) -> Sight:
        self.looks += 1
        found = self.there[trigger.git or ""]
        if self.meanwhile is not None:
            do, self.meanwhile = self.meanwhile, None
            do()
        if isinstance(found, CloudMLError):
            raise found
        return Sight(found, mark is not None and mark != found, {"kind": "git", "commit": found})


class World:
    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.home, self.clock, self.place = store, home, Wall(), Place()
        self.place.there[str(GIT["git"])] = "a1"
        self.one, self.two = self.watcher(), self.watcher()
        self.jobs = Jobs(store, clock=self.clock, look=self.one.look_now)

    def watcher(self) -> Watcher:
        looks = {"git": self.place}
        return Watcher(self.store, self.home, clock=self.clock, looks=looks, pool=Inline())

    def job(self, name: str = "train", *triggers: dict[str, Any], **more: Any) -> None:
        triggers = triggers or (GIT,)
        self.jobs.apply({"name": name, "notebook": "a.ipynb", "triggers": list(triggers)} | more)

    def tick(self, ms: int = 0) -> None:
        self.clock.ms += ms
        for each in (self.one, self.two):
            each.tick()

    def runs(self, name: str = "train") -> list[RunRecord]:
        return self.store.runs.page(job_id=self.store.jobs.get(name).id, limit=1000)[::-1]

    def trigger(self, name: str = "train") -> dict[str, Any]:
        triggers: Any = Lists(self.store).job(name)["triggers"]
        (found,) = triggers
        return dict(found)

    def told(self) -> list[str]:
        return [each.state for each in self.store.events.since(0) if each.noun == "job"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database(server, "jobs_watches"))
        home = tmp_path_factory.mktemp("watches")
        store = Store.open(Config(home=home, database=url))
        stack.callback(store.close)
        hurry(store)
        yield store


@pytest.fixture
def world(opened: Store, tmp_path: Path) -> World:
    empty(opened)
    return World(opened, tmp_path)


def test_the_first_look_sets_the_mark_and_each_news_makes_one_run_on_one_of_the_servers(
    world: World,
) -> None:
    world.job()
    world.tick()
    assert world.runs() == [] and world.trigger()["mark"] == "a1"
    assert world.place.looks == 1, "the other server has not looked as well"
    world.tick(MINUTE - 1)
    assert world.place.looks == 1
    world.tick(1)
    assert world.place.looks == 2 and world.runs() == [], "nothing new is nothing"
    world.place.there[str(GIT["git"])] = "b2"
    world.tick(MINUTE)
    (run,) = world.runs()
    assert (run.state, run.fire_key, run.cause) == (
        "queued",
        "b2",
        {"kind": "git", "commit": "b2"},
    )
    assert world.trigger()["last_key"] == "b2"
    world.tick(MINUTE)
    assert len(world.runs()) == 1
    assert "At each new commit on main" in world.trigger()["words"]
    assert world.store.jobs.triggers(run.job_id)[0].next_due_ms is None, "no time fires it"


def test_an_error_of_its_own_leaves_the_places_for_looks_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.job()

    def broken(*_: object) -> list[Any]:
        raise ValueError("a row that cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.watches, "take", broken)
        with pytest.raises(ValueError, match="row"):
            world.one.tick()
    world.one.tick()
    assert world.place.looks == 1


def test_a_server_that_dies_while_it_looks_is_followed_by_another_and_its_word_counts_no_more(
    world: World,
) -> None:
    world.job()
    world.tick()
    world.place.there[str(GIT["git"])] = "b2"
    world.clock.ms += MINUTE

    def meanwhile() -> None:  # the first one is stopped for so long that it counts as dead
        world.clock.ms += TAKEN_MS
        world.two.tick()
        world.place.there[str(GIT["git"])] = "c3"
        world.clock.ms += MINUTE
        world.two.tick()

    world.place.meanwhile = meanwhile
    world.one.tick()
    assert [(run.fire_key, run.state) for run in world.runs()] == [
        ("b2", "queued"),
        ("c3", "skipped"),
    ], "and b2 was not made again"
    assert world.trigger()["mark"] == "c3"


def test_what_goes_wrong_is_told_once_backed_off_and_stops_no_other(world: World) -> None:
    world.place.there["https://example.org/other.git"] = "x"
    world.job()
    world.job("other", {"git": "https://example.org/other.git"})
    world.place.there[str(GIT["git"])] = LinkDown("no route to example.org", hint="wait")
    looked = []
    for _ in range(20):
        world.tick(MINUTE)
        looked.append(world.trigger()["failures"])
    assert looked[:4] == [1, 1, 2, 2] and max(looked) <= 5, looked
    error = world.trigger()["error"]
    assert error["message"] == "no route to example.org" and error["since_ms"] == BEGIN + MINUTE
    assert world.told().count("trigger_failed") == 1, "the same again is not told again"
    (told,) = (each for each in world.store.events.since(0) if each.state == "trigger_failed")
    assert (told.data["rev"], told.data["trigger"]) == (1, world.trigger()["key"])
    assert dict(told.data["error"])["message"] == "no route to example.org"  # type: ignore[arg-type]
    assert world.trigger("other")["failures"] == 0 and world.trigger("other")["mark"] == "x"
    world.place.there[str(GIT["git"])] = "a1"
    world.tick(HOUR)
    assert world.trigger()["error"] is None and world.told()[-1] == "trigger_works"
    schema = EventSchema(schema=Path(str(files("jupyter_cloudml_server") / "events" / "job.yaml")))
    for each in world.store.events.since(0):
        if each.noun == "job":
            schema.validate(dict(each.data))  # what does not fit no page is told
    assert [wait_ms(MINUTE, n) for n in (0, 1, 3, 99)] == [MINUTE, 2 * MINUTE, 8 * MINUTE, HOUR]
    assert wait_ms(24 * HOUR, 3) == 24 * HOUR, "never sooner than without failures"


def test_a_clock_that_is_set_back_keeps_no_trigger_from_looking(world: World) -> None:
    world.job()
    world.tick()
    world.clock.ms -= 24 * HOUR
    world.tick()
    assert world.place.looks == 2
    world.tick(MINUTE)
    assert world.place.looks == 3


def test_a_paused_job_and_one_that_is_busy_record_what_they_skip(world: World) -> None:
    world.job()
    world.tick()
    world.jobs.pause("train")
    for n in range(2):
        world.place.there[str(GIT["git"])] = f"b{n}"
        world.tick(MINUTE)
        world.jobs.pause("train", False)
    world.place.there[str(GIT["git"])] = "c"
    world.tick(MINUTE)
    assert [(run.fire_key, run.state, run.reason) for run in world.runs()] == [
        ("b0", "skipped", "the job is paused"),
        ("b1", "queued", None),
        ("c", "skipped", "overlap: the run before it is not over"),
    ]


def test_a_look_that_is_asked_for_runs_what_is_new_or_says_that_nothing_is(world: World) -> None:
    world.job()
    for _ in range(2):
        (run,) = world.jobs.look("train")
        assert (run.state, run.reason) == ("skipped", "no new data")
    world.place.there[str(GIT["git"])] = "b2"
    (run,) = world.jobs.look("train")
    assert (run.state, run.fire_key) == ("queued", "b2")
    world.tick()
    assert len(world.runs()) == 3, "the look that was due is done"
    (run,) = world.jobs.backfill("train", BEGIN, BEGIN + HOUR)
    assert (run.state, run.reason) == ("skipped", "no new data")
    world.place.there[str(GIT["git"])] = NotFound("gone", code="no_ref")
    with pytest.raises(NotFound, match="gone"):
        world.jobs.look("train")
    assert world.trigger()["error"]["code"] == "no_ref"
    world.job("plain", {"every": "1h"})
    with pytest.raises(UsageError, match="no trigger that looks"):
        world.jobs.look("plain")
    assert len(world.jobs.backfill("plain", BEGIN, BEGIN + HOUR)) == 2


def test_a_trigger_that_was_taken_out_looks_no_more_and_begins_anew(world: World) -> None:
    world.job()
    world.tick()
    world.job("train", {"every": "1h"})
    world.tick(MINUTE)
    assert world.place.looks == 1 and world.store.watches.of(world.store.jobs.get("train").id) == []
    world.place.there[str(GIT["git"])] = "b2"
    world.job("train", GIT)
    world.tick(MINUTE)
    assert world.runs() == [] and world.trigger()["mark"] == "b2"
    world.jobs.delete("train")
    world.tick(MINUTE)
    assert world.place.looks == 2


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"git": "https://ada:pw-7@example.org/x.git"}, "password"),
        ({"git": "https://github_pat_11AAAAAAA0123456789abcdef@example.org/x.git"}, "token"),
        ({"git": "ext::sh -c true"}, "no Git URL"),
        ({"git": "-u/x"}, "no Git URL"),
        ({"git": "/srv/x", "ref": "--all"}, "no branch"),
        ({"s3": "bucket/x"}, "address of S3"),
        ({"s3": "s3://bucket/x", "git": "/srv/x"}, "has git and s3"),
        ({"cron": "* * * * *", "ref": "main"}, "means nothing beside cron"),
        ({"s3": "s3://bucket/x", "every": "soon"}, "no interval"),
    ],
)
def test_a_trigger_that_cannot_be_is_refused_and_its_password_repeated_nowhere(
    trigger: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        JobSpec.from_dict({"name": "x", "notebook": "a.ipynb", "triggers": [trigger]})
    text = json.dumps(raised.value.to_dict())
    assert said in text and "pw-7" not in text and "github_pat" not in text


def test_the_ref_that_counts_and_the_commit_of_a_tag() -> None:
    trigger = Trigger(git="/srv/x", ref="v1")
    heads = {"refs/tags/v1": "tag", "refs/tags/v1^{}": "commit"}
    assert sight(trigger, "/srv/x", heads, None) == Sight(
        "commit", False, {"kind": "git", "git": "/srv/x", "ref": "v1", "commit": "commit", "before": None}
    )  # fmt: skip
    assert sight(trigger, "/srv/x", {"refs/heads/v1": "head"} | heads, "commit").mark == "head"
    assert sight(trigger, "/srv/x", heads, "older").news is True
    with pytest.raises(NotFound, match="no branch or tag 'v1'"):
        sight(trigger, "/srv/x", {"refs/heads/x/v1": "no"}, None)
    assert candidates("refs/heads/main") == ["refs/heads/main^{}", "refs/heads/main"]
    assert schedule.next_after(trigger, 0) is None


class TestManifests:
    def made(self, path: Path, *objects: tuple[str, str]) -> manifests.Written:
        return manifests.write(path, (Object(name, 1, etag) for name, etag in objects))

    def test_what_is_new_or_differs_is_named_and_what_is_gone_is_not(self, tmp_path: Path) -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        self.made(old, ("a", "1"), ("b", "1"), ("c", "1"), ("ž", "1"))
        self.made(new, ("a", "1"), ("b", "2"), ("bb", "1"), ("ž", "1"), ("žž", "1"))
        found = manifests.changed(manifests.read(old), manifests.read(new))
        assert list(found) == ["b", "bb", "žž"]

    def test_the_hash_is_that_of_what_is_there_in_whatever_order(self, tmp_path: Path) -> None:
        path = tmp_path / "m"
        one = self.made(path, ("a", "1"), ("b", "2"))
        other = self.made(path, ("b", "2"), ("a", "1"))
        assert (one.key, one.ordered, other.ordered) == (other.key, True, False)
        assert self.made(path, ("a", "2"), ("b", "1")).key != one.key
        assert self.made(path).key != one.key

    def test_a_notebook_is_told_of_so_many_and_no_more(self) -> None:
        kept, more = manifests.bounded(f"key-{n}" for n in range(5000))
        assert (len(kept), more) == (manifests.MOST_KEYS, 5000 - manifests.MOST_KEYS)
        kept, more = manifests.bounded("k" * 1000 for _ in range(100))
        assert len(json.dumps(kept)) <= manifests.MOST_BYTES and len(kept) + more == 100
