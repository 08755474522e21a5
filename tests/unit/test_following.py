"""What pages hear of jobs and runs, and the scheduler inside a server: on both databases, without a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import postgres
import pytest
from databases import empty, hurry
from sqlalchemy import text

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.jobs.notebooks.snapshots import Snapshots
from jupyter_cloudml.jobs.scheduler import Scheduler
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.store import Store, StoreError
from jupyter_cloudml.store.events import append
from jupyter_cloudml_server.following import WATCHED, Follower, Place
from jupyter_cloudml_server.scheduling import Scheduling


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("following")
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database(server, "following"))
        store = Store.open(Config(home=home, database=url))
        stack.callback(store.close)
        hurry(store)
        yield store


class Pages:
    """What was told, and who tells it."""

    def __init__(self, store: Store) -> None:
        empty(store)
        self.heard: list[tuple[str, Mapping[str, JSON]]] = []
        self.at = 0.0
        self.follower = Follower(store, self.hear, lambda: self.at)
        self.follower.look()

    def hear(self, noun: str, data: Mapping[str, JSON]) -> None:
        self.heard.append((noun, data))

    def told(self) -> list[tuple[str, JSON]]:
        self.heard.clear()
        while self.follower.look():
            pass
        return [(noun, data.get("state", data.get("name"))) for noun, data in self.heard]


def test_a_page_hears_once_of_what_anybody_did_and_only_how_it_is_now(opened: Store) -> None:
    pages = Pages(opened)
    jobs = Jobs(opened)
    jobs.apply({"name": "nightly", "notebook": "a.ipynb"})
    assert pages.told() == [("job", "nightly")]
    run = jobs.run("nightly")
    jobs.cancel(run.id)
    jobs.pause("nightly")
    assert pages.told() == [("run", "cancelled"), ("job", "nightly")]
    (_, about), (_, job) = pages.heard
    assert (about["id"], about["job"], about["attempts"]) == (run.id, "nightly", 0)
    assert (job["paused"], job["deleted"], job["rev"]) == (True, False, 1)
    assert pages.told() == []
    jobs.run("nightly")
    jobs.delete("nightly")
    assert pages.told() == [("run", "cancelled"), ("job", "nightly")]
    assert pages.heard[0][1]["job"] == "nightly" and pages.heard[1][1]["deleted"] is True


def test_an_event_that_is_seen_after_a_later_one_is_told_as_well(opened: Store) -> None:
    if opened.database.engine.dialect.name == "sqlite":
        pytest.skip("who writes there does so alone")
    pages = Pages(opened)
    first, second = (Event("job", name, "changed", 1, 0, {"name": name}) for name in "ab")
    with opened.database.engine.connect() as slow, slow.begin():
        append(slow, first)
        opened.events.append(second)
        assert pages.told() == [("job", "b")]
    assert pages.told() == [("job", "a")] and pages.told() == []


def test_a_number_that_never_comes_is_waited_for_a_minute_and_many_are_bounded() -> None:
    place = Place(5)
    place.went_on([7, 10], at=0.0)
    assert (place.seq, sorted(place.missing)) == (10, [6, 8, 9])
    place.went_on([8], at=59.0)
    assert sorted(place.missing) == [6, 9]
    place.went_on([], at=60.0)
    assert place.missing == {}
    place.went_on([10_000_000], at=61.0)
    assert len(place.missing) == 1000 and min(place.missing) == 9_999_000


def test_records_are_told_of_when_they_grow_until_the_run_is_over(
    opened: Store, tmp_path: Path
) -> None:
    pages = Pages(opened)
    jobs = Jobs(opened)
    jobs.apply({"name": "nightly", "notebook": "a.ipynb"})
    run = jobs.run("nightly")
    file = tmp_path / "1.jsonl"

    def there() -> int:
        return file.stat().st_size

    pages.follower.watch(run.id, there, 0)
    pages.told()
    pages.heard.clear()
    for size, news in ((0, 0), (10, 1), (10, 1), (30, 2)):
        file.write_bytes(b"x" * size)
        pages.follower.look_at_records()
        assert pages.heard == [("run-records", {"id": run.id})] * news
    file.write_bytes(b"x" * 40)
    jobs.cancel(run.id)
    assert [noun for noun, _ in pages.told()] == ["run-records", "run"], "what it said comes first"
    file.write_bytes(b"x" * 50)
    pages.follower.look_at_records()
    assert len(pages.heard) == 2
    for number in range(WATCHED + 1):
        pages.follower.watch(f"run-{number}", there, 0)
    pages.heard.clear()
    pages.follower.look_at_records()
    assert len(pages.heard) == WATCHED


@pytest.mark.asyncio
async def test_the_scheduler_of_a_server_waits_for_a_database_that_fails_and_says_so(
    tmp_path: Path,
) -> None:
    store = Store.open(Config(home=tmp_path))
    hurry(store)

    def broken(work: str) -> None:
        with store.database.engine.connect() as connection, connection.begin():
            connection.execute(text(work))

    def none(machine: str) -> Link:
        raise AssertionError("nothing runs here")

    def make() -> Scheduler:
        snapshots = Snapshots(store, tmp_path, lambda *where: None)
        return Scheduler(store, tmp_path, none, snapshots, lambda specs: [])

    async def reach(state: str) -> JSON:
        while (told := scheduling.to_dict())["state"] != state:
            scheduling.wake()
            await asyncio.sleep(0.01)
        return told["cause"]

    scheduling = Scheduling(make, again_s=0.05)
    assert scheduling.to_dict() == {"state": "starting", "cause": None}
    broken("ALTER TABLE server RENAME TO away")
    starting = asyncio.create_task(scheduling.run())
    try:
        assert "database" in str(await asyncio.wait_for(reach("waiting"), 60))
        broken("ALTER TABLE away RENAME TO server")
        assert await asyncio.wait_for(reach("working"), 60) is None
        await starting
        broken("ALTER TABLE run RENAME TO away")
        with pytest.raises(StoreError):
            store.runs.page()
        assert "database" in str(await asyncio.wait_for(reach("waiting"), 60))
        broken("ALTER TABLE away RENAME TO run")
        assert await asyncio.wait_for(reach("working"), 60) is None
    finally:
        starting.cancel()
        await scheduling.close()
    assert store.servers.list() == [], "it has said goodbye"
    store.close()
    assert Scheduling(None).to_dict() == {"state": "off", "cause": None}
