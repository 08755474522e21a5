"""Jobs and runs are kept: each due time makes one run, each run has one owner, what is over stays over. On both databases."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import postgres
import pytest
from databases import empty, hurry
from sqlalchemy import event as sa_event
from sqlalchemy import text

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import Conflict, NotFound, UsageError
from jupyter_cloudml.store import (
    MachineRecord,
    Store,
    StoreError,
    migrations,
    tables,
)
from jupyter_cloudml.store.jobs import room
from jupyter_cloudml.store.jobs.applying import Author, Definition, Edges
from jupyter_cloudml.store.jobs.claims import LONGEST_DELAY_MS, Claiming
from jupyter_cloudml.store.jobs.ends import fire_after
from jupyter_cloudml.store.jobs.firing import Fire, Firing
from jupyter_cloudml.store.jobs.keeping import YOUNG_MS
from jupyter_cloudml.store.jobs.moving import Move
from jupyter_cloudml.store.jobs.records import (
    Claim,
    JobRecord,
    NewRun,
    RunRecord,
    TriggerRecord,
    by_hand,
)
from jupyter_cloudml.store.jobs.results import Artifact, CellResult, Snapshot
from jupyter_cloudml.store.jobs.servers import ServerRecord

MINUTE = 60_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """One database for all tests of this file: making the tables takes longer than most of them."""
    home = tmp_path_factory.mktemp("jobs")
    with contextlib.ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(postgres.database(server, "jobs_store"))
        store = Store.open(Config(home=home, database=url))
        stack.callback(store.close)
        hurry(store)
        yield store


@pytest.fixture
def store(opened: Store) -> Store:
    """The store, empty."""
    empty(opened)
    return opened


def wanted(name: str = "nightly", **more: Any) -> Definition:
    values: dict[str, Any] = {
        "project": "digits",
        "spec": {"notebook": "train.ipynb"},
        "overlap": "queue",
        "missed": "one",
        "catchup_cap": 10,
        "timeout_s": None,
        "retry": {},
        "pool": None,
    }
    return Definition(name=name, **(values | more))


def each_minute(due_ms: int = MINUTE, **more: Any) -> TriggerRecord:
    return TriggerRecord(
        id="cron-1", job_id="", kind="cron", cron="* * * * *", next_due_ms=due_ms, **more
    )


def after(on: str = "success") -> TriggerRecord:
    return TriggerRecord(id=f"after-{on}", job_id="", kind="after", config={"on": on})


def every_minute(trigger: TriggerRecord, job: JobRecord, now: int) -> Firing:
    assert trigger.next_due_ms is not None
    return Firing([Fire(trigger.next_due_ms)], (now // MINUTE + 1) * MINUTE)


def made(store: Store, name: str = "nightly", **more: Any) -> JobRecord:
    return store.jobs.apply(wanted(name, **more), 1).record


def asked(job: JobRecord, key: str = "a", **more: Any) -> NewRun:
    return NewRun(job.id, job.rev, by_hand(job.id), key, 5, pool=job.pool, **more)


def submitted(store: Store, job: JobRecord, key: str = "a", **more: Any) -> RunRecord:
    (run,), _ = store.runs.submit([asked(job, key, **more)], 5)
    return run


def claimed(store: Store, server: str = "one", limit: int = 10, at_ms: int = 10) -> list[Claim]:
    while True:
        with contextlib.suppress(Claiming):
            claims, _ = store.claims.claim(
                server, at_ms, at_ms + 30_000, limit, lambda run, n: {"name": f"{run.id}-{n}"}
            )
            return claims


def moved(store: Store, run: RunRecord, *states: str, **more: Any) -> RunRecord:
    for state in states:
        (done,) = store.claims.move([Move(run, state, **more)], 20)
        assert done.run is not None, f"{run.state} → {state} was refused"
        run = done.run
    return run


class TestDefinitions:
    def test_what_is_kept_is_what_comes_back(self, store: Store) -> None:
        spec = {"notebook": "é.ipynb", "parameters": {"a": [1, None, {"b": "'\"\n"}]}}
        secrets = {"TOKEN": "keyring:digits"}
        job = made(
            store,
            spec=spec,
            pool="gpu",
            retry={"count": 2},
            secrets=secrets,
            triggers=[each_minute()],
        )
        assert store.jobs.get("nightly") == store.jobs.get(job.id) == job
        assert (job.rev, job.spec, job.retry, job.pool) == (1, spec, {"count": 2}, "gpu")
        assert store.jobs.secrets(job.id) == secrets
        (trigger,) = store.jobs.triggers(job.id)
        assert (trigger.cron, trigger.next_due_ms) == ("* * * * *", MINUTE)

    def test_the_same_again_changes_nothing_and_tells_nothing(self, store: Store) -> None:
        job = made(store)
        again = store.jobs.apply(wanted(), 99)
        assert (again.record, again.event) == (job, None)

    def test_a_change_of_another_revision_than_was_seen_is_refused(self, store: Store) -> None:
        def change(value: int, rev: int) -> JobRecord:
            return store.jobs.apply(wanted(spec={"v": value}), 2, rev=rev).record

        job = change(1, 0)
        for rev in (0, 2):
            with pytest.raises(Conflict) as caught:
                change(2, rev)
            assert (caught.value.code, caught.value.details["rev"]) == ("changed", 1)
            assert caught.value.hint
        assert store.jobs.get("nightly") == job
        assert change(2, 1).rev == 2
        store.jobs.delete("nightly", 3)
        with pytest.raises(Conflict, match="any more"):
            change(3, 2)
        assert change(3, 0).rev == 1

    def test_the_same_is_no_conflict_when_it_is_said_again(self, store: Store) -> None:
        first = store.jobs.apply(wanted(), 1, rev=0)
        again = store.jobs.apply(wanted(), 2, rev=0)  # the answer was lost
        assert again.record == first.record and again.event is None

    def test_of_many_who_make_a_new_job_at_once_one_does(self, store: Store) -> None:
        def make(n: int) -> str:
            try:
                store.jobs.apply(wanted(spec={"v": n}), 1, rev=0)
            except Conflict as exc:
                return exc.code
            return "made"

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(make, range(4))) == ["changed"] * 3 + ["made"]

    def test_a_change_is_a_revision_and_runs_know_theirs(self, store: Store) -> None:
        job = made(store)
        run = submitted(store, job)
        changed = made(store, spec={"notebook": "other.ipynb"})
        assert (changed.id, changed.rev) == (job.id, 2)
        assert store.jobs.revision(job.id, 1) == {"notebook": "train.ipynb"}
        assert claimed(store)[0].spec == {"notebook": "train.ipynb"}
        assert store.runs.get(run.id).job_rev == 1
        with pytest.raises(NotFound):
            store.jobs.revision(job.id, 3)

    def test_a_trigger_that_stays_keeps_its_due_time(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()])
        store.firing.fire(MINUTE, every_minute)
        made(
            store,
            spec={"v": 2},
            triggers=[each_minute(), after()],
            after={"after-success": "nightly"},
        )
        assert [each.next_due_ms for each in store.jobs.triggers(job.id)] == [None, 2 * MINUTE]
        made(store, spec={"v": 3})
        assert store.jobs.triggers(job.id) == []
        assert store.firing.fire(9 * MINUTE, every_minute)[0] == 0

    def test_a_job_that_many_make_at_the_same_time_is_made_once(self, store: Store) -> None:
        """The first runs of a notebook, asked for at once."""
        with ThreadPoolExecutor(4) as pool:
            for name in ("a", "b", "c", "d", "e"):
                found = list(pool.map(lambda _, name=name: made(store, name), range(4)))
                assert len({(job.id, job.rev) for job in found}) == 1

    def test_a_refused_order_of_jobs_leaves_nothing(self, store: Store) -> None:
        def refuse(edges: Edges) -> None:
            assert edges == [("nightly", "nightly")]
            raise UsageError("a circle")

        circle = wanted(triggers=[after()], after={"after-success": "nightly"})
        with pytest.raises(UsageError):
            store.jobs.apply(circle, 1, refuse=refuse)
        assert store.jobs.page() == []

    def test_a_job_after_one_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            made(store, triggers=[after()], after={"after-success": "nowhere"})
        assert store.jobs.page() == []

    def test_a_deleted_job_gives_its_name_back_and_keeps_its_runs(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()], secrets={"A": "env:A"})
        waiting = submitted(store, job)
        made(store, "later", triggers=[after()], after={"after-success": "nightly"})
        store.jobs.delete("nightly", 7)
        with pytest.raises(NotFound):
            store.jobs.get("nightly")
        run = store.runs.get(waiting.id)
        assert (run.state, run.reason) == ("cancelled", "the job was deleted")
        assert store.firing.fire(9 * MINUTE, every_minute)[0] == 0
        assert store.jobs.secrets(job.id) == {}
        new = made(store)
        assert new.id != job.id
        submitted(store, new)
        moved(store, claimed(store)[0].run, "running", "succeeded")
        (later,) = store.runs.page(job_id=store.jobs.get("later").id)
        assert later.state == "queued", "what ran after the old job runs after the new one"

    def test_jobs_come_in_pages(self, store: Store) -> None:
        for name in ("c", "a", "b"):
            made(store, name, project="p" if name == "b" else "q")
        assert [job.name for job in store.jobs.page(limit=2)] == ["a", "b"]
        assert [job.name for job in store.jobs.page(after="b")] == ["c"]
        assert [job.name for job in store.jobs.page(project="p")] == ["b"]

    def test_lists_are_narrowed_to_what_needs_somebody_and_counted(self, store: Store) -> None:
        jobs = {name: made(store, name) for name in ("a1", "a2", "b1", "b2")}
        store.jobs.pause("a1", True, 2)
        for name, ends in (("a2", ["succeeded", "failed"]), ("b1", ["failed", "succeeded"])):
            for n, end in enumerate(ends):
                run = submitted(store, jobs[name], f"{name}-{n}")
                moved(store, claimed(store)[0].run, "running", end)
                assert store.runs.get(run.id).state == end
        submitted(store, jobs["b1"], "waits")

        def names(only: str, text: str = "") -> list[str]:
            return [job.name for job in store.jobs.page(only=only, text=text)]

        assert [names(only) for only in ("paused", "running", "failing")] == [
            ["a1"],
            ["b1"],
            ["a2"],
        ]
        assert names("failing", "b") == []
        assert store.counts.jobs() == {"all": 4, "paused": 1, "running": 1, "failing": 1}
        assert store.counts.jobs("A") == {"all": 2, "paused": 1, "running": 0, "failing": 1}
        assert store.counts.runs(jobs["b1"].id) == {"failed": 1, "succeeded": 1, "queued": 1}
        keys = ["b1-0", *map(str, range(1000)), "waits"]
        assert store.runs.fired(by_hand(jobs["b1"].id), keys) == 2


class TestFiring:
    def test_a_due_time_makes_one_run_and_the_next_is_set_with_it(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()])
        count, told = store.firing.fire(MINUTE + 5, every_minute)
        assert (count, [event.state for event in told]) == (1, ["queued"])
        assert store.firing.fire(MINUTE + 5, every_minute) == (0, [])
        (run,) = store.runs.page(job_id=job.id)
        assert (run.due_ms, run.fire_key, run.state) == (MINUTE, str(MINUTE), "queued")
        (trigger,) = store.jobs.triggers(job.id)
        assert (trigger.next_due_ms, trigger.last_key) == (2 * MINUTE, str(MINUTE))

    def test_what_fails_on_the_way_makes_no_run_and_moves_no_due_time(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()])

        def fails(trigger: TriggerRecord, job: JobRecord, now: int) -> Firing:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.firing.fire(MINUTE, fails)
        assert store.runs.page() == []
        assert store.jobs.triggers(job.id)[0].next_due_ms == MINUTE

    def test_many_at_once_make_each_run_once(self, store: Store) -> None:
        for number in range(30):
            made(store, f"job-{number}", triggers=[each_minute()])
        with ThreadPoolExecutor(6) as pool:
            counts = list(
                pool.map(lambda _: store.firing.fire(MINUTE, every_minute, 7)[0], range(24))
            )
        assert sum(counts) == 30
        assert len(store.runs.page(limit=100)) == 30

    def test_a_clock_set_back_repeats_nothing_and_silences_nothing(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()])
        store.firing.fire(MINUTE, every_minute)
        store.firing.fire(600 * MINUTE, lambda *_: Firing([Fire(600 * MINUTE)], 601 * MINUTE))
        assert store.firing.recompute(0, lambda trigger: MINUTE) == 1
        store.firing.fire(MINUTE, every_minute)
        assert len(store.runs.page(job_id=job.id)) == 2, "the first minute had its run"
        store.firing.fire(2 * MINUTE, every_minute)
        assert len(store.runs.page(job_id=job.id)) == 3

    @pytest.mark.parametrize(
        ("overlap", "states"),
        [
            ("skip", ["skipped", "queued"]),
            ("queue", ["queued", "queued"]),
            ("allow", ["queued", "queued"]),
            ("replace", ["queued", "cancelled"]),
        ],
    )
    def test_overlap(self, store: Store, overlap: str, states: list[str]) -> None:
        job = made(store, overlap=overlap, triggers=[each_minute()])
        store.firing.fire(MINUTE, every_minute)
        store.firing.fire(2 * MINUTE, every_minute)
        runs = store.runs.page(job_id=job.id)
        assert sorted(run.state for run in runs) == sorted(states)
        assert len(claimed(store)) == (2 if overlap == "allow" else 1)

    def test_a_running_one_that_is_replaced_is_asked_to_end(self, store: Store) -> None:
        made(store, overlap="replace", triggers=[each_minute()])
        store.firing.fire(MINUTE, every_minute)
        (claim,) = claimed(store)
        store.firing.fire(2 * MINUTE, every_minute)
        old = store.runs.get(claim.run.id)
        assert (old.state, old.cancel_requested) == ("claimed", True)
        assert claimed(store) == [], "the new one waits until the old one has ended"
        moved(store, claim.run, "cancelled")
        assert len(claimed(store)) == 1

    def test_triggers_of_the_same_times_are_reckoned_once(self, store: Store) -> None:
        for number in range(20):
            made(store, f"job-{number}", triggers=[each_minute(5 * MINUTE)])
        asked: list[str] = []

        def next_due(trigger: TriggerRecord) -> int:
            asked.append(trigger.id)
            return MINUTE

        assert store.firing.recompute(0, next_due) == 20 and len(asked) == 1

    def test_a_due_time_that_had_its_run_replaces_nothing(self, store: Store) -> None:
        job = made(store, overlap="replace", triggers=[each_minute()])
        store.firing.fire(MINUTE, every_minute)
        store.firing.fire(2 * MINUTE, every_minute)
        going = store.runs.page(job_id=job.id)[0]
        assert store.firing.recompute(0, lambda trigger: MINUTE) == 1
        assert store.firing.fire(MINUTE, every_minute) == (1, [])
        assert store.runs.get(going.id) == going, "it was not replaced by nothing"

    def test_an_end_that_was_told_twice_replaces_nothing(self, store: Store) -> None:
        up = made(store)
        down = made(
            store,
            "down",
            overlap="replace",
            triggers=[after()],
            after={"after-success": "nightly"},
        )
        submitted(store, up)
        ended = moved(store, claimed(store)[0].run, "running", "succeeded")
        (first,) = store.runs.page(job_id=down.id)
        told = store.database.write(lambda connection: fire_after(connection, ended, 30))
        assert (told, store.runs.get(first.id)) == ([], first)

    @pytest.mark.parametrize(
        ("on", "end", "fires"),
        [
            ("success", "succeeded", True),
            ("success", "failed", False),
            ("failure", "failed", True),
            ("failure", "timed_out", True),
            ("failure", "succeeded", False),
            ("failure", "cancelled", False),
            ("always", "cancelled", True),
        ],
    )
    def test_a_job_runs_after_another(self, store: Store, on: str, end: str, fires: bool) -> None:
        job = made(store)
        later = made(store, "later", triggers=[after(on)], after={f"after-{on}": "nightly"})
        submitted(store, job)
        ended = moved(store, claimed(store)[0].run, "running", end)
        runs = store.runs.page(job_id=later.id)
        assert [run.fire_key for run in runs] == ([ended.id] if fires else [])
        for run in runs:
            assert store.runs.ups(run.id) == [ended.id]

    def test_what_was_asked_for_twice_is_made_once(self, store: Store) -> None:
        job = made(store)
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda _: submitted(store, job, "token").id, range(8)))
        assert len(set(runs)) == 1
        assert len(store.runs.page()) == 1


class TestClaims:
    def test_a_claim_names_its_process_before_anything_starts(self, store: Store) -> None:
        job = made(store, spec={"machine": "box-2"})
        run = submitted(store, job)
        (claim,) = claimed(store)
        assert (claim.run.state, claim.run.fence, claim.run.attempts, claim.run.owner) == (
            "claimed",
            1,
            1,
            "one",
        )
        (attempt,) = store.runs.attempts(run.id)
        assert attempt == claim.attempt
        assert (attempt.machine, attempt.handle, attempt.state) == (
            "box-2",
            {"name": f"{run.id}-1"},
            "intended",
        )
        assert store.runs.get(run.id) == claim.run

    def test_of_many_servers_one_gets_a_run(self, store: Store) -> None:
        for number in range(40):
            submitted(store, made(store, f"job-{number}"))
        with ThreadPoolExecutor(6) as pool:
            claims = [
                c
                for found in pool.map(lambda n: claimed(store, f"server-{n}", 3), range(30))
                for c in found
            ]
        ids = [claim.run.id for claim in claims]
        assert len(ids) == len(set(ids)) == 40

    def test_urgent_ones_first_then_in_order(self, store: Store) -> None:
        jobs = [made(store, f"job-{number}") for number in range(4)]
        order = [(0, 5), (0, 4), (-1, 9), (7, 1)]
        for job, (priority, since) in zip(jobs, order, strict=True):
            submitted(store, job, priority=priority, not_before_ms=since)
        assert [claim.job_name for claim in claimed(store)] == ["job-2", "job-1", "job-0", "job-3"]

    def test_job_pool_and_machine_have_their_caps(self, store: Store) -> None:
        wide = made(store, "wide", overlap="allow", spec={"max_running": 2, "machine": "a"})
        free = made(store, "free", overlap="allow", spec={"machine": "b"})
        pooled = made(store, "pooled", overlap="allow", spec={"machine": "c"}, pool="gpu")
        for job in (wide, free, pooled):
            for number in range(5):
                submitted(store, job, str(number))
        store.pools.set_cap("gpu", 1)
        store.pools.set_cap("machine:b", 3)
        names = sorted(claim.job_name for claim in claimed(store, limit=100))
        assert names == ["free"] * 3 + ["pooled"] + ["wide"] * 2
        assert claimed(store, limit=100) == []
        store.pools.set_cap("gpu", None)
        assert [claim.job_name for claim in claimed(store, limit=100)] == ["pooled"] * 4

    def test_many_that_wait_for_room_hold_up_nobody(self, store: Store) -> None:
        full = made(store, "full")
        for number in range(150):
            submitted(store, full, str(number))
        assert len(claimed(store)) == 1
        submitted(store, made(store, "other"))
        assert [claim.job_name for claim in claimed(store)] == ["other"]

    def test_what_waits_for_a_full_pool_or_machine_is_not_even_looked_at(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.pools.set_cap("gpu", 1)
        store.pools.set_cap("machine:full", 1)
        for number in range(10):
            made(store, f"full-{number}", spec={"machine": "full"}, overlap="allow")
            made(store, f"pooled-{number}", pool="gpu", overlap="allow")
        jobs = store.jobs.page()
        for number in range(400):
            job = jobs[number % len(jobs)]
            submitted(store, job, f"{number}", machine=job.spec.get("machine", "free"))
        assert len(claimed(store)) == 2
        submitted(store, made(store, "other"), machine="free")
        looked: list[str] = []
        candidate = room._candidate

        def looking(row: Any) -> Any:
            looked.append(row.id)
            return candidate(row)

        monkeypatch.setattr(room, "_candidate", looking)
        assert [claim.job_name for claim in claimed(store)] == ["other"]
        assert len(looked) == 1

    def test_a_queue_that_has_no_room_hides_nothing_for_ever(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "_PAGE", 2)
        monkeypatch.setattr(room, "_PAGES", 4)
        store.pools.set_cap("machine:full", 1)
        for number in range(15):
            submitted(store, made(store, f"full-{number}", spec={"machine": "full"}))
        submitted(store, made(store, "other"))
        names = [claim.job_name for _ in range(6) for claim in claimed(store)]
        assert names == ["full-0", "other"]
        (first,) = store.runs.page(states=["claimed"], job_id=store.jobs.get("full-0").id)
        moved(store, first, "running", "succeeded")
        assert [claim.job_name for claim in claimed(store)] == ["full-1"], "the first of the queue"

    def test_a_stranger_and_a_former_owner_change_nothing(self, store: Store) -> None:
        submitted(store, made(store))
        (claim,) = claimed(store, "one")
        running = moved(store, claim.run, "running")
        ((taken,), _) = store.claims.take_over("two", {"one"}, 50, 60, 10)
        assert (taken.run.state, taken.run.fence, taken.run.owner) == ("lost", 2, "two")
        assert taken.attempt.handle == claim.attempt.handle
        (late,) = store.claims.move([Move(running, "succeeded")], 51)
        assert late.run is None and list(late.events) == []
        with pytest.raises(Conflict):
            store.results.record_cells(running.id, 1, running.fence, [CellResult("c", 0, "ok")])
        assert moved(store, taken.run, "running", "succeeded").state == "succeeded"

    def test_what_is_over_stays_over(self, store: Store) -> None:
        submitted(store, made(store))
        (claim,) = claimed(store)
        over = moved(store, claim.run, "running", "failed")
        assert over.ended_ms == 20 and over.owner is None
        for state in ("running", "queued", "succeeded"):
            for seen in (over, replace(over, state="running"), replace(over, fence=2)):
                assert store.claims.move([Move(seen, state)], 30)[0].run is None
        assert store.runs.cancel(over.id, 31) == (store.runs.get(over.id), [])
        assert store.runs.get(over.id).state == "failed"

    def test_each_change_has_its_event_and_no_other(self, store: Store) -> None:
        run = submitted(store, made(store))
        since = store.events.last_seq()
        (claim,) = claimed(store)
        moved(store, claim.run, "running", "succeeded")
        store.claims.move([Move(claim.run, "failed")], 30)
        told = store.events.since(since)
        assert [(each.noun, each.name, each.state) for each in told] == [
            ("run", run.id, state) for state in ("claimed", "running", "succeeded")
        ]

    def test_the_end_that_was_asked_for_is_not_forgotten_by_a_retry(self, store: Store) -> None:
        submitted(store, made(store))
        (claim,) = claimed(store)
        running = moved(store, claim.run, "running")
        asked_for, told = store.runs.cancel(running.id, 15)
        assert (asked_for.state, asked_for.cancel_requested, len(told)) == ("running", True, 1)
        assert store.claims.look("one", 15).to_cancel == {running.id: "cancelled"}
        assert moved(store, running, "retry_wait", not_before_ms=99).state == "cancelled"

    def test_what_a_notebook_said_is_written_whatever_it_is(self, store: Store) -> None:
        """A reason that a database refuses would hold up all other ends, for ever."""
        submitted(store, made(store))
        (claim,) = claimed(store)
        said = "a\0b \ud800 é" + "x" * 5000
        over = moved(store, claim.run, "failed", reason=said, exit={"message": said})
        assert over.reason is not None and over.reason.startswith("a\N{REPLACEMENT CHARACTER}b ? é")
        assert len(over.reason) == 2000
        assert store.runs.get(over.id) == over

    def test_what_the_database_refuses_is_told_from_a_database_that_is_away(
        self, store: Store
    ) -> None:
        run = submitted(store, made(store))
        twice = tables.run_edge.insert()
        values = [{"up": run.id, "down": run.id, "on": "success"}] * 2
        with pytest.raises(StoreError) as raised:
            store.database.write(lambda connection: connection.execute(twice, values))
        assert raised.value.code == "store_refused"

    def test_a_retry_that_waits_for_a_time_that_is_far_off_is_queued(self, store: Store) -> None:
        """The clock was a year ahead when it was written."""
        submitted(store, made(store))
        (claim,) = claimed(store)
        waiting = moved(store, claim.run, "retry_wait", not_before_ms=LONGEST_DELAY_MS + 20)
        look = store.claims.look("one", 20)
        assert (look.ripe, store.claims.ripen(20)) == (False, []), "as long as a retry can wait"
        assert store.claims.look("one", 19).ripe
        assert [event.name for event in store.claims.ripen(19)] == [waiting.id]
        assert store.claims.look("one", 19).queued

    def test_a_server_takes_back_what_it_owns_and_nothing_else(self, store: Store) -> None:
        for name in ("a", "b"):
            submitted(store, made(store, name))
        (mine,) = claimed(store, "one", 1)
        (other,) = claimed(store, "two", 1)
        claims, told = store.claims.take_back("one", [mine.run.id, other.run.id], 50, 60)
        taken = claims[0].run
        assert (len(claims), taken.id, taken.state, taken.fence) == (1, mine.run.id, "lost", 2)
        assert [each.state for each in told] == ["lost"]
        assert store.runs.get(other.run.id).fence == 1

    def test_a_run_that_waits_is_cancelled_at_once(self, store: Store) -> None:
        run = submitted(store, made(store), state="scheduled", not_before_ms=99)
        assert store.runs.cancel(run.id, 6)[0].state == "cancelled"
        assert store.claims.ripen(100) == []

    def test_what_waits_for_a_time_is_queued_then(self, store: Store) -> None:
        run = submitted(store, made(store), state="scheduled", not_before_ms=99)
        look = store.claims.look("one", 98)
        assert (look.queued, look.ripe, look.next_ripe_ms) == (False, False, 99)
        assert store.claims.ripen(98) == []
        assert [event.name for event in store.claims.ripen(99)] == [run.id]
        assert store.claims.look("one", 99).queued


class TestServers:
    def test_each_beat_differs_even_when_the_clock_stands_still_or_goes_back(
        self, store: Store
    ) -> None:
        server = ServerRecord("one", "here", 1, "boot", 100, "0")
        seen = []
        for at_ms in (100, 100, 40, 200):
            store.servers.beat(replace(server, heartbeat_ms=at_ms))
            seen.append(store.servers.list()[0].heartbeat_ms)
        assert len(set(seen)) == 4

    def test_renewing_leases_says_what_is_still_owned(self, store: Store) -> None:
        submitted(store, made(store))
        (claim,) = claimed(store, "one")
        assert store.servers.renew("one", 777) == {claim.run.id: 1}
        assert store.runs.get(claim.run.id).lease_until_ms == 777
        assert store.servers.owners() == {"one"}
        store.claims.take_over("two", {"one"}, 50, 60, 10)
        assert store.servers.renew("one", 888) == {}

    def test_a_server_is_not_forgotten_while_it_owns_a_run(self, store: Store) -> None:
        submitted(store, made(store))
        server = ServerRecord("one", "here", 1, "boot", 100, "0")
        store.servers.beat(server)
        (claim,) = claimed(store, "one")
        store.servers.forget("one")
        assert store.servers.list()
        moved(store, claim.run, "failed")
        store.servers.forget("one")
        assert store.servers.list() == []


class TestResults:
    def test_cells_artifacts_and_snapshot_are_kept(self, store: Store) -> None:
        submitted(store, made(store))
        (claim,) = claimed(store)
        run = claim.run
        cells = [CellResult("x", 0, "running", 1), CellResult("y", 1, "waiting")]
        store.results.record_cells(run.id, 1, run.fence, cells)
        done = CellResult("x", 0, "ok", 1, 2, "outputs/0")
        store.results.record_cells(run.id, 1, run.fence, [done])
        assert store.results.cells(run.id, 1) == [done, cells[1]]
        file = Artifact("f1", run.id, 1, "html", "file:///x", "ab", 12)
        store.results.add_artifact(file, run.fence)
        assert store.results.artifacts(run.id) == [file]
        had = Snapshot("", "digest", "nb", {"tree": "t"}, "lock", {"s3://x": "etag"})
        kept = store.results.keep_snapshot(run.id, had, 5)
        assert store.results.keep_snapshot(run.id, had, 6) == kept
        assert store.results.snapshot(kept.id) == replace(had, id=kept.id)
        assert store.runs.get(run.id).snapshot_id == kept.id

    def test_old_runs_go_with_all_that_hangs_on_them(self, store: Store) -> None:
        job = made(store)
        submitted(store, job)
        (claim,) = claimed(store)
        store.results.record_cells(claim.run.id, 1, 1, [CellResult("x", 0, "ok")])
        moved(store, claim.run, "succeeded")
        waiting = submitted(store, job, "b")
        assert store.keeping.delete_runs([claim.run.id, waiting.id], LATER) == 1
        assert [run.id for run in store.runs.page()] == [waiting.id]
        assert store.results.cells(claim.run.id, 1) == [] == store.runs.attempts(claim.run.id)


class TestMany:
    """What is asked every second, and what a page shows, is read from an index, whatever the number of runs."""

    @pytest.mark.parametrize("opened", ["sqlite"], indirect=True)  # PostgreSQL scans small tables
    def test_look_ups_scan_no_table(self, store: Store) -> None:
        job = made(store, triggers=[each_minute()])
        asked_for: list[tuple[str, Any]] = []

        def listen(
            _c: object, _cursor: object, statement: str, parameters: Any, *_more: object
        ) -> None:
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE")):
                asked_for.append((statement, parameters))

        sa_event.listen(store.database.engine, "before_cursor_execute", listen)
        store.claims.look("one", 5)
        store.firing.fire(1, every_minute)
        submitted(store, job)
        claimed(store)
        store.claims.ripen(10)
        store.claims.take_over("two", {"one"}, 1, 2, 5)
        store.servers.beat(ServerRecord("one", "here", 1, "boot", 100, "0"))
        store.servers.renew("one", 5)
        for query in ({}, {"job_id": job.id}, {"states": ["failed", "running"]}, {"before": "f"}):
            store.runs.page(**query)
        sa_event.remove(store.database.engine, "before_cursor_execute", listen)

        def plans(connection: Any) -> list[tuple[str, str]]:
            found = []
            for statement, parameters in asked_for:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found += [(row[3], statement) for row in rows.all()]
            return found

        bad = [
            (plan, statement)
            for plan, statement in store.database.read(plans)
            if (
                "SCAN" in plan
                and "INDEX" not in plan
                and plan not in ("SCAN pool", "SCAN CONSTANT ROW")
            )
            or "TEMP B-TREE FOR ORDER" in plan
        ]
        assert len(asked_for) > 20
        assert bad == []

    @pytest.mark.parametrize("opened", ["sqlite"], indirect=True)
    def test_lists_pass_over_no_parts_of_sweeps(self, store: Store) -> None:
        """A sweep of a thousand runs would be read for each page otherwise."""
        job = made(store)
        asked_for: list[tuple[str, Any]] = []

        def listen(_c: object, _cursor: object, sql: str, parameters: Any, *_more: object) -> None:
            if sql.startswith("SELECT"):
                asked_for.append((sql, parameters))

        sa_event.listen(store.database.engine, "before_cursor_execute", listen)
        for query in ({}, {"job_id": job.id}, {"states": ["failed"]}, {"before": "f"}):
            store.runs.page(**query)
        store.pages.strips([job.id])
        sa_event.remove(store.database.engine, "before_cursor_execute", listen)
        plans = store.database.read(
            lambda connection: [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()[0][3]
                for sql, parameters in asked_for
            ]
        )
        assert len(plans) == 5
        assert [plan for plan in plans if "ix_run_whole" not in plan] == []


def test_the_table_itself_refuses_a_second_run_of_a_due_time(store: Store) -> None:
    job = made(store, triggers=[each_minute()])
    store.firing.fire(MINUTE, every_minute)
    columns = tables.run.c.keys()
    copied = ", ".join("'copy'" if name == "id" else name for name in columns)
    again = text(f"INSERT INTO run ({', '.join(columns)}) SELECT {copied} FROM run")
    with pytest.raises(StoreError, match=r"(?i)unique"):
        store.database.write(lambda connection: connection.execute(again))
    assert len(store.runs.page(job_id=job.id)) == 1


def test_a_database_from_before_jobs_keeps_its_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "HEAD", "0001")
        old = Store.open(Config(home=tmp_path))
        box = MachineRecord("box-2", "ssh", "box-2", 1, "running")
        values = "'box-2', 'ssh', 'box-2', '{}', 1, 1, 'running', 0"
        columns = "name, provider, label, spec_json, created_ms, version, desired, prewarm"
        row = text(f"INSERT INTO machine ({columns}) VALUES ({values})")
        old.database.write(lambda connection: connection.execute(row))
        old.close()
    new = Store.open(Config(home=tmp_path))
    assert new.machines.list() == [box]
    assert new.jobs.page() == []
    new.close()


def test_ten_thousand_cells_hold_the_database_up_for_a_few_statements(store: Store) -> None:
    run = submitted(store, made(store))
    cells = [CellResult(f"c{n}", n, "ok", 1, 2) for n in range(10_000)]
    said: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *more: Any) -> None:
        said.append(statement)

    sa_event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        for _ in range(2):
            store.results.record_cells(run.id, 1, run.fence, cells)
    finally:
        sa_event.remove(store.database.engine, "before_cursor_execute", note)
    assert store.results.cells(run.id, 1) == cells
    assert len(said) < 300


def test_a_database_from_before_computers_keeps_its_jobs_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "HEAD", "0002")
        old = Store.open(Config(home=tmp_path))
        rows = (
            "INSERT INTO job (id, project, name, rev, spec_json, paused, overlap, missed, catchup_cap, retry_json, created_ms)"
            " VALUES ('j1', '', 'nightly', 1, '{}', 0, 'skip', 'one', 10, '{}', 1)",
            "INSERT INTO run (id, job_id, job_rev, trigger_id, fire_key, due_ms, params_json, state, fence, cancel_requested, attempts,"
            " not_before_ms, priority, created_ms) VALUES ('r1', 'j1', 1, 'now:j1', 'a', 1, '{}', 'queued', 0, 0, 0, 1, 0, 1)",
            *(
                f"INSERT INTO trigger (id, job_id, kind, config_json, enabled) VALUES ('j1:{kind}', 'j1', '{kind}', '{{}}', 1)"
                for kind in ("git", "s3")
            ),
            "INSERT INTO watch (trigger_id, next_look_ms, wait_ms, mark, failures) SELECT id, 1, 1, 'old', 0 FROM trigger",
        )
        for row in rows:
            old.database.write(lambda connection, row=row: connection.exec_driver_sql(row))  # type: ignore[misc]
        old.close()
    new = Store.open(Config(home=tmp_path))
    assert new.jobs.get("nightly").computer is None
    assert [(run.id, run.computer) for run in new.runs.page()] == [("r1", None)]
    # What is in S3 has another mark than before: it is no news for that.
    marks = {each.trigger_id: each.mark for each in new.watches.of("j1")}
    assert marks == {"j1:git": "old", "j1:s3": None}
    new.close()


# --- pools ---


def test_a_cap_that_many_set_at_once_is_that_of_one_of_them(store: Store) -> None:
    together = threading.Barrier(6)

    def work(cap: int) -> None:
        for name in ("a", "b", "c"):
            together.wait(30)
            store.pools.set_cap(name, cap)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert [each.name for each in store.pools.all()] == ["a", "b", "c"]
    assert all(each.cap in range(6) for each in store.pools.all())
    store.pools.set_cap("a", 9)
    store.pools.set_cap("b", None)
    first, _ = store.pools.all()
    assert (first.name, first.cap) == ("a", 9)


# --- a file of jobs ---


def test_a_file_is_applied_in_one_transaction(store: Store) -> None:
    """In any order of what runs after what, with what it deletes; an error leaves all as it was."""
    down = wanted("down", triggers=[after()], after={"after-success": "up"})
    who = Author("ada", "c0ffee")

    def refuse(edges: Edges) -> None:
        if ("up", "up") in edges:
            raise UsageError("a circle")

    applied, gone, _ = store.jobs.apply_file([down, wanted("up")], 5, author=who, refuse=refuse)
    assert [(each.record.name, each.event is not None) for each in applied] == [
        ("down", True),
        ("up", True),
    ]
    assert not gone
    assert store.jobs.author(applied[0].record.id, 1) == who
    circle = wanted("up", spec={"n": 1}, triggers=[after()], after={"after-success": "up"})
    with pytest.raises(UsageError):
        store.jobs.apply_file([wanted("new"), circle], 6, author=who, refuse=refuse, prune="digits")
    assert [(job.name, job.rev) for job in store.jobs.page()] == [("down", 1), ("up", 1)]
    with pytest.raises(Conflict):
        store.jobs.apply_file(
            [wanted("x"), wanted("up", project="b")], 6, author=who, refuse=refuse
        )
    lost = wanted("y", triggers=[after()], after={"after-success": "none"})
    with pytest.raises(NotFound):
        store.jobs.apply_file([wanted("x"), lost], 6, author=who, refuse=refuse)
    _, gone, told = store.jobs.apply_file(
        [wanted("up")], 7, author=who, refuse=refuse, prune="digits"
    )
    assert [job.name for job in gone] == ["down"]
    assert [(event.name, event.state) for event in told] == [("down", "deleted")]
    assert [(job.name, job.rev) for job in store.jobs.page()] == [("up", 1)]


LATER = 10 * YOUNG_MS


class TestKeeping:
    """What a job keeps no more is found and let go of; what goes on, what is young and the last success are not."""

    @staticmethod
    def ended(store: Store, job: JobRecord, key: str, state: str) -> RunRecord:
        """Make a run that was asked for and is over since 20."""
        submitted(store, job, key)
        (claim,) = claimed(store)
        return moved(store, claim.run, state)

    def surplus(self, store: Store, job: JobRecord, **how: Any) -> list[str]:
        asked: dict[str, Any] = {"keep": 1000, "ended_before_ms": None, "at_ms": LATER}
        return store.keeping.surplus(job.id, **(asked | how))

    def test_the_newest_the_last_success_and_what_goes_on_are_kept(self, store: Store) -> None:
        job = made(store)
        old = [self.ended(store, job, f"{n}", "failed").id for n in range(3)]
        good = self.ended(store, job, "good", "succeeded").id
        more = [self.ended(store, job, f"m{n}", "failed").id for n in range(3)]
        going = submitted(store, job, "going").id
        assert self.surplus(store, job) == []
        assert self.surplus(store, job, keep=3) == [*old, more[0]]
        assert self.surplus(store, job, keep=1) == [*old, *more]
        assert self.surplus(store, job, keep=1, limit=2, after=old[0]) == [*old[1:], more[0]][:2]
        assert self.surplus(store, job, keep=3, at_ms=YOUNG_MS) == []
        assert self.surplus(store, job, ended_before_ms=20) == []
        assert self.surplus(store, job, ended_before_ms=21) == [*old, *more]
        assert store.keeping.delete_runs([*old, good, going], LATER) == 4
        left = [run.id for run in store.runs.page()]
        assert left == [going, *reversed(more)]
        (kept,) = store.keeping.jobs()
        assert (kept.id, kept.runs, kept.parts) == (job.id, 4, 0)
        assert store.keeping.jobs(after=job.id) == []

    def test_a_run_of_which_somebody_is_still_to_be_told_is_kept(self, store: Store) -> None:
        job = made(store, spec={"notify": [{"to": "env:ADA"}]})
        old = self.ended(store, job, "old", "failed").id
        self.ended(store, job, "new", "succeeded")
        assert self.surplus(store, job, keep=1) == []
        assert store.keeping.delete_runs([old], LATER) == 0
        for notice in store.notices.take(LATER, 2 * LATER, 10):
            store.notices.failed(notice, "nobody\0there \ud800", None)
        assert [each.state for each in store.notices.of(old)] == ["given_up"]
        assert self.surplus(store, job, keep=1) == [old]

    def test_a_sweep_counts_once_and_takes_its_parts_along(self, store: Store) -> None:
        job = made(store)
        sweeps = []
        for key in ("one", "two"):
            new = asked(job, key, sweep=[{"n": 1}, {"n": 2}])
            sweeps.append(store.runs.submit([new], 5)[0][0].id)
            for claim in claimed(store):
                moved(store, claim.run, "failed")
        (kept,) = store.keeping.jobs()
        assert (kept.runs, kept.parts) == (2, 4)
        assert self.surplus(store, job, keep=2) == []
        assert self.surplus(store, job, keep=1) == [sweeps[0]]
        assert store.keeping.delete_runs([sweeps[0]], LATER) == 1
        parts = self.surplus(store, job, keep=1)
        assert len(parts) == 2
        assert store.keeping.delete_runs(parts, LATER) == 2
        assert self.surplus(store, job, keep=1) == []
        (kept,) = store.keeping.jobs()
        assert (kept.runs, kept.parts) == (1, 2)

    def test_what_a_run_that_goes_on_was_made_of_is_kept(self, store: Store) -> None:
        job = made(store)
        first = self.ended(store, job, "a", "failed")
        self.ended(store, job, "b", "succeeded")
        new = NewRun(job.id, 1, by_hand(job.id), "again", 0, parent_run_id=first.id)
        store.runs.submit([new], 0)
        assert self.surplus(store, job, keep=1) == []
        assert store.keeping.delete_runs([first.id], LATER) == 0

    def test_a_snapshot_goes_once_no_run_has_it_and_nobody_has_taken_it_lately(
        self, store: Store
    ) -> None:
        job = made(store)
        had = self.ended(store, job, "a", "failed")
        one = Snapshot("", "one", "sha256:1", {}, None, {})
        two = Snapshot("", "two", "sha256:2", {}, None, {})
        store.results.keep_snapshot(had.id, one, 5)
        store.results.add_snapshot(two, 5)
        assert store.keeping.delete_snapshots(5) == 0
        store.results.add_snapshot(two, 50)  # taken again: a run that has it is on its way
        store.results.add_snapshot(two, 0)
        assert store.keeping.delete_snapshots(50) == 0
        assert store.keeping.notebooks_of_snapshots(["sha256:1", "sha256:2", "x"]) == {
            "sha256:1",
            "sha256:2",
        }
        store.keeping.delete_runs([had.id], LATER)
        assert store.keeping.delete_snapshots(51) == 2
        assert store.keeping.notebooks_of_snapshots(["sha256:1", "sha256:2"]) == set()

    def test_many_servers_let_go_at_once(self, store: Store) -> None:
        job = made(store)
        ids = [self.ended(store, job, f"{n}", "failed").id for n in range(12)]
        with ThreadPoolExecutor(4) as pool:
            turns = [ids, ids[::-1], ids[6:], ids[:6]]
            done = [*pool.map(lambda some: store.keeping.delete_runs(some, LATER), turns)]
        left = store.runs.page()
        assert sum(done) + len(left) == 12
        store.keeping.delete_runs(ids, LATER)
        assert store.runs.page() == []


def test_a_sweep_ends_once_when_its_last_runs_end_at_the_same_time(store: Store) -> None:
    job = made(store, overlap="allow")
    new = NewRun(job.id, job.rev, by_hand(job.id), "k", 0, sweep=[{"n": n} for n in range(4)])
    (parent,), _ = store.runs.submit([new], 0)
    claims, _ = store.claims.claim("a", 0, 1, 10, lambda run, n: {"name": f"{run.id}-{n}"})
    assert len(claims) == 4 and {claim.run.parent_run_id for claim in claims} == {parent.id}

    def end(claim: Claim) -> None:
        store.claims.move([Move(claim.run, "succeeded", via=("provisioning", "running"))], 5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, claims))
    assert store.runs.get(parent.id).state == "succeeded"
    told = [e.state for e in store.events.since(0) if e.name == parent.id]
    assert told == ["running", "succeeded"]
