"""The scheduler, with a clock that the test moves and attempts that do what the test says. One thread, so that nothing is left to chance."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from databases import empty, hurry

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import Conflict, LinkDown, NotFound, UsageError
from jupyter_cloudml.jobs import scheduler
from jupyter_cloudml.jobs.definition.retries import RetryPolicy
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.scheduling.engine import Engine
from jupyter_cloudml.jobs.scheduling.executor import Exit, NotStarted, Observation, Order, Phase
from jupyter_cloudml.jobs.scheduling.presence import Presence, own_boot_id
from jupyter_cloudml.jobs.scheduling.settings import Settings
from jupyter_cloudml.jobs.scheduling.states import State, may_follow
from jupyter_cloudml.jobs.scheduling.verdict import Seen, of_end, of_failed_start
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store, StoreError, tables
from jupyter_cloudml.store.jobs.records import RunRecord
from jupyter_cloudml.store.jobs.servers import ServerRecord

MINUTE, DAY = 60_000, 86_400_000
BEGIN = 1_767_225_600_000  # 2026-01-01T00:00Z
SETTINGS = Settings(lease_s=30, heartbeat_s=10, lost_s=60)
GOOD = Exit("succeeded")


class ManualClock:
    """Stands still until it is moved; `set` moves the wall clock alone."""

    def __init__(self) -> None:
        self.wall, self.mono = BEGIN, 1000.0

    def now_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def go(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.mono += seconds

    def set(self, ms: int) -> None:
        self.wall += ms


class Inline(Pool):
    """Does at once what it is given."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Scripted:
    """The machines of a test: it says what becomes of each process. Several engines can share it, as they share machines."""

    fence_s: float | None = None

    def __init__(self) -> None:
        self.started: list[Order] = []
        self.now: dict[str, Observation] = {}
        self.asked_to_end: list[str] = []
        self.forgotten: list[str] = []
        self.dropped: list[tuple[str, int]] = []
        self.refuse: Callable[[Order], Exception | None] = lambda order: None
        self.revoked: set[str] = set()
        self.unreachable = False

    def start(self, order: Order) -> None:
        if (error := self.refuse(order)) is not None:
            raise error
        if order.name in self.revoked:
            raise NotStarted("it was given up", again=True)
        if order.name not in self.now:
            self.started.append(order)
            self.now[order.name] = Observation(Phase.RUNNING)

    def observe(self, orders: Sequence[Order]) -> Mapping[str, Observation]:
        if self.unreachable:
            return {}
        return {each.name: self.now.get(each.name, Observation(Phase.NEVER)) for each in orders}

    def settle(self, order: Order) -> Observation:
        if self.unreachable:
            raise LinkDown("no link")
        if order.name not in self.now:
            self.revoked.add(order.name)
            return Observation(Phase.NEVER)
        return self.now[order.name]

    def cancel(self, order: Order) -> None:
        self.asked_to_end.append(order.name)

    def forget(self, order: Order) -> None:
        self.forgotten.append(order.name)

    def drop(self, order: Order) -> None:
        self.dropped.append((order.name, order.fence))

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def end(self, run: RunRecord, exit_: Exit = GOOD, attempt: int | None = None) -> None:
        name = f"run-{run.id}-{attempt or run.attempts}"
        assert name in self.now, f"{name} was not started"
        self.now[name] = Observation(Phase.ENDED, exit=exit_)


class World:
    """A store, a clock, machines, and as many servers as a test wants."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock, self.machines = store, ManualClock(), Scripted()
        self.jobs = Jobs(store, clock=self.clock)
        self.one = self.server()

    def server(self, **settings: Any) -> Engine:
        return Engine(
            self.store,
            self.machines,
            clock=self.clock,
            settings=replace(SETTINGS, **settings),
            pool=Inline(),
        )

    def job(self, name: str = "nightly", *triggers: dict[str, Any], **more: Any) -> str:
        self.jobs.apply({"name": name, "notebook": "a.ipynb", "triggers": list(triggers)} | more)
        return name

    def runs(self, name: str = "nightly") -> list[RunRecord]:
        """Return the job's runs, oldest first."""
        return self.store.runs.page(job_id=self.store.jobs.get(name).id, limit=1000)[::-1]

    def states(self, name: str = "nightly") -> list[str]:
        return [run.state for run in self.runs(name)]

    def tick(self, seconds: float = 0, *engines: Engine) -> None:
        """Let time pass, then let each server look three times: a look sees what the one before has begun."""
        self.clock.go(seconds)
        for _ in range(3):
            for engine in engines or (self.one,):
                engine.tick()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(Config(home=tmp_path_factory.mktemp("engine")))
    hurry(store)
    yield store
    store.close()


@pytest.fixture
def world(opened: Store) -> World:
    empty(opened)
    return World(opened)


EVERY_MINUTE = {"cron": "* * * * *"}


class TestComputers:
    """One database for two computers with homes of their own: "local" is another machine on each."""

    def computers(self, opened: Store) -> tuple[World, World]:
        empty(opened)
        one, other = (World(Store(opened.database, computer=name)) for name in ("one", "other"))
        other.clock = one.clock
        other.one = other.server()
        return one, other

    def test_what_runs_on_a_computer_itself_is_left_to_that(self, opened: Store) -> None:
        one, other = self.computers(opened)
        one.job("nightly", EVERY_MINUTE, machine="local")
        one.tick()
        other.tick(60)
        assert one.states() == ["queued"], "the notebook is there, and the other has another local"
        assert not scheduler.is_idle(one.store) and scheduler.is_idle(other.store)
        one.tick()
        other.tick(1)
        for _ in range(4):
            other.tick(SETTINGS.lease_s)  # the first computer says nothing any more
        (run, *_) = one.runs()
        assert (run.state, run.owner) == ("lost", one.one.id)
        assert other.machines.started == [] and other.machines.revoked == set()
        again = one.server()
        one.tick(0, again)
        one.tick(SETTINGS.lease_s, again)
        assert one.runs()[0].state == "running" and len(one.machines.started) == 1
        one.machines.end(run)
        one.tick(1, again)
        assert one.runs()[0].state == "succeeded"

    def test_what_runs_on_a_machine_of_both_is_taken_over_by_the_other(self, opened: Store) -> None:
        one, other = self.computers(opened)
        other.machines = one.machines
        other.one = other.server()
        one.job(machine="box-2")
        one.jobs.run("nightly")
        one.tick()
        other.tick()
        for _ in range(3):
            other.tick(SETTINGS.lease_s)
        (run,) = one.runs()
        assert (run.state, run.owner) == ("running", other.one.id)
        assert len(one.machines.started) == 1

    def test_a_server_that_was_only_slow_goes_on_with_what_counts_as_lost(
        self, opened: Store
    ) -> None:
        one, other = self.computers(opened)
        one.job()
        one.jobs.run("nightly")
        one.tick()
        other.tick()
        other.tick(SETTINGS.lease_s)
        assert one.states() == ["lost"]
        one.machines.end(one.runs()[0])
        for _ in range(2):
            one.tick(SETTINGS.heartbeat_s)
        assert one.states() == ["succeeded"] and len(one.machines.started) == 1

    def test_a_run_of_a_computer_that_never_comes_back_ends_a_day_after_it_was_cancelled(
        self, opened: Store
    ) -> None:
        one, other = self.computers(opened)
        one.job()
        run = one.jobs.run("nightly")
        one.tick()
        other.tick()
        other.tick(SETTINGS.lease_s)
        other.tick(2 * DAY / 1000)
        assert one.states() == ["lost"], "nobody has asked for its end"
        other.jobs.cancel(run.id)
        other.tick(SETTINGS.lease_s)
        (run,) = one.runs()
        assert run.state == "cancelled" and "may go on" in str(run.reason)
        assert one.store.runs.attempts(run.id)[0].state == "lost"

    def test_a_job_goes_to_the_computer_where_it_was_defined_last(self, opened: Store) -> None:
        one, other = self.computers(opened)
        one.job()
        other.jobs.run("nightly")
        assert one.runs()[0].computer == "one", "whoever asks"
        other.job()
        other.jobs.run("nightly")
        assert one.runs()[1].computer == "other" and one.store.jobs.get("nightly").rev == 2
        other.job(machine="box-2")
        one.job(machine="box-2")
        assert one.store.jobs.get("nightly").rev == 3, "a machine is the same for both"
        one.jobs.run("nightly")
        assert one.runs()[2].computer is None
        run = one.jobs.cancel(one.runs()[2].id)
        assert one.jobs.rerun(run.id, {"machine": "local"}).computer == "one"


class TestDue:
    def test_a_due_time_is_run_once_and_ends_as_it_ends(self, world: World) -> None:
        world.job("nightly", EVERY_MINUTE, parameters={"a": 1, "b": 2}, machine="box-2")
        world.tick(59)
        assert world.runs() == []
        world.tick(1)
        (run,) = world.runs()
        assert (run.state, run.due_ms, run.started_ms) == (
            "running",
            BEGIN + MINUTE,
            world.clock.wall,
        )
        (order,) = world.machines.started
        assert (order.machine, order.params, order.attempt) == ("box-2", {"a": 1, "b": 2}, 1)
        assert order.environ == {"CLOUDML_RUN_ID": run.id, "CLOUDML_ATTEMPT": "1"}
        world.machines.end(run)
        world.tick(5)
        assert world.states() == ["succeeded"]
        assert world.machines.forgotten == [order.name]
        assert world.store.runs.attempts(run.id)[0].state == "succeeded"

    def test_each_state_that_was_told_may_follow_the_one_before(self, world: World) -> None:
        world.job(retry={"count": 1, "delay_s": 5})
        run = world.jobs.run("nightly")
        world.tick()
        world.machines.end(world.runs()[0], Exit("failed"))
        world.tick(1)
        world.tick(6)
        world.machines.end(world.runs()[0])
        world.tick(1)
        told = [State(each.state) for each in world.store.events.since(0) if each.name == run.id]
        assert [state.value for state in told] == [
            "queued", "claimed", "provisioning", "running", "retry_wait", "queued", "claimed", "provisioning", "running", "succeeded",
        ]  # fmt: skip
        assert all(may_follow(before, after) for before, after in itertools.pairwise(told))

    def test_it_says_when_it_wants_to_look_again(self, world: World) -> None:
        assert world.one.tick() == SETTINGS.poll_s
        world.clock.go(0)
        world.job("nightly", {"every": "1m"})
        world.clock.go(59.75)
        assert world.one.tick() == pytest.approx(0.25)
        world.clock.go(0.25)
        assert world.one.tick() == 0, "the next due time is another one now"

    def test_what_was_missed_is_recorded_and_the_last_one_run(self, world: World) -> None:
        world.job("nightly", EVERY_MINUTE)
        world.tick(10 * 60 + 30)
        skipped, run = world.runs()
        assert (skipped.state, run.state) == ("skipped", "running")
        assert skipped.reason is not None and "9 due times" in skipped.reason

    def test_a_clock_that_jumps_a_year_and_back_makes_one_run_and_silences_nothing(
        self, world: World
    ) -> None:
        world.job("nightly", EVERY_MINUTE, overlap="allow")
        world.tick()
        world.clock.set(365 * DAY)
        world.tick()
        assert world.states() == ["skipped", "running"]
        world.clock.set(-365 * DAY)
        world.tick()
        assert len(world.runs()) == 2
        world.tick(60)
        assert len(world.runs()) == 2, "that minute is recorded: it counted as missed"
        world.tick(60)
        assert sorted(world.states()) == ["running", "running", "skipped"]

    def test_a_clock_that_is_set_back_an_hour_repeats_nothing(self, world: World) -> None:
        world.job("nightly", {"cron": "*/10 * * * *"}, overlap="allow")
        for _ in range(6):
            world.tick(600)
        keys = [run.fire_key for run in world.runs()]
        assert len(keys) == 6
        world.clock.set(-3_600_000)
        for _ in range(6):
            world.tick(600)
        assert [run.fire_key for run in world.runs()] == keys
        world.tick(600)
        assert len(world.runs()) == 7

    def test_a_clock_that_stands_still_stops_no_run(self, world: World) -> None:
        world.job()
        world.jobs.run("nightly")
        two = world.server()
        for _ in range(10):
            world.clock.mono += 10
            world.one.tick()
            two.tick()
        (run,) = world.runs()
        assert (run.state, run.fence, len(world.machines.started)) == ("running", 1, 1)

    def test_a_paused_job_skips_and_goes_on(self, world: World) -> None:
        world.job("nightly", EVERY_MINUTE)
        world.jobs.pause("nightly")
        world.tick(60)
        world.jobs.pause("nightly", False)
        world.tick(60)
        assert [(run.state, run.reason) for run in world.runs()] == [
            ("skipped", "the job is paused"),
            ("running", None),
        ]

    def test_a_trigger_that_cannot_be_used_stops_no_other(self, world: World) -> None:
        world.job("good", EVERY_MINUTE)
        world.job("bad", EVERY_MINUTE)
        job = world.store.jobs.get("bad")
        broken = tables.trigger.update().where(tables.trigger.c.job_id == job.id)
        world.store.database.write(
            lambda connection: connection.execute(
                broken.values(config_json='{"cron":"* * * * *","tz":"Gone/Zone"}')
            )
        )
        world.tick(60)
        assert world.states("good") == ["running"]
        (run,) = world.runs("bad")
        assert run.state == "skipped" and run.reason is not None and "Gone/Zone" in run.reason

    def test_a_clock_set_back_stops_nothing_where_a_trigger_cannot_be_used(
        self, world: World
    ) -> None:
        world.job("good", EVERY_MINUTE)
        world.job("bad", EVERY_MINUTE)
        job = world.store.jobs.get("bad")
        broken = tables.trigger.update().where(tables.trigger.c.job_id == job.id)
        values = {"config_json": '{"cron":"* * * * *","tz":"Gone/Zone"}'}
        world.store.database.write(lambda connection: connection.execute(broken.values(values)))
        world.tick(60)
        world.clock.set(365 * DAY)
        world.tick()
        world.clock.set(-365 * DAY)
        world.tick(60)
        world.tick(60)
        assert BEGIN + 3 * MINUTE in [run.due_ms for run in world.runs("good")]
        (bad,) = world.store.jobs.triggers(job.id)
        assert bad.next_due_ms is not None and bad.next_due_ms <= world.clock.wall + 60 * MINUTE

    def test_due_times_of_a_clock_that_was_wrong_before_a_restart_are_not_waited_for(
        self, world: World
    ) -> None:
        world.job("nightly", EVERY_MINUTE)
        world.job("late", retry={"count": 1, "delay_s": 5})
        world.tick()
        world.clock.set(365 * DAY)
        world.jobs.run("late")
        world.tick()
        world.machines.end(world.runs("late")[0], Exit("failed"))
        world.machines.end(next(run for run in world.runs() if run.state == "running"))
        world.tick()
        assert world.states("late") == ["retry_wait"]
        world.one.stop()
        world.clock.set(-365 * DAY)
        world.one = world.server()
        world.tick(60)
        world.tick(60)
        assert BEGIN + 2 * MINUTE in [run.due_ms for run in world.runs()]
        assert world.states("late") == ["running"]

    def test_what_was_not_set_anew_for_a_busy_database_is_set_later(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.job("nightly", EVERY_MINUTE)
        world.tick()
        world.clock.set(365 * DAY)
        world.tick()
        world.clock.set(-365 * DAY)

        def busy(*_: object) -> int:
            raise StoreError("locked", code="store_busy")

        with monkeypatch.context() as patch:
            patch.setattr(world.store.firing, "recompute", busy)
            with pytest.raises(StoreError):
                world.one.tick()
        world.one.tick()
        (trigger,) = world.store.jobs.triggers(world.store.jobs.get("nightly").id)
        assert trigger.next_due_ms == BEGIN + MINUTE

    def test_jobs_run_after_each_other(self, world: World) -> None:
        world.job("load")
        world.job("train", {"after": "load"})
        world.job("alarm", {"after": "load", "on": "failure"})
        with pytest.raises(UsageError, match="for ever"):
            world.job("load", {"after": "train"})
        run = world.jobs.run("load")
        world.tick()
        world.machines.end(world.runs("load")[0])
        world.tick(1)
        assert (world.states("train"), world.states("alarm")) == (["running"], [])
        assert world.store.runs.ups(world.runs("train")[0].id) == [run.id]


class TestEnds:
    def begun(self, world: World, **more: Any) -> RunRecord:
        world.job(**more)
        world.jobs.run("nightly")
        world.tick()
        return world.runs()[0]

    def test_a_failure_says_why(self, world: World) -> None:
        run = self.begun(world)
        world.machines.end(
            run, Exit("failed", "error", "ValueError", "ValueError: no rows", 12_000)
        )
        world.tick(1)
        (run,) = world.runs()
        assert (run.state, run.reason) == ("failed", "ValueError: no rows")
        (attempt,) = world.store.runs.attempts(run.id)
        assert attempt.exit == {
            "outcome": "failed",
            "cause": "error",
            "exception": "ValueError",
            "message": "ValueError: no rows",
        }
        assert attempt.cost_micros == 12_000

    def test_retries_wait_longer_each_time_and_end(self, world: World) -> None:
        run = self.begun(world, retry={"count": 2, "delay_s": 10, "factor": 3})
        for delay in (10, 30):
            world.machines.end(world.runs()[0], Exit("failed"))
            world.tick(1)
            assert world.states() == ["retry_wait"]
            world.tick(delay - 2)
            assert world.states() == ["retry_wait"]
            world.tick(3)
            assert world.states() == ["running"]
        world.machines.end(world.runs()[0], Exit("failed"))
        world.tick(1)
        assert world.states() == ["failed"]
        assert [each.state for each in world.store.runs.attempts(run.id)] == ["failed"] * 3
        assert len({order.name for order in world.machines.started}) == 3

    def test_a_run_that_takes_too_long_is_ended_and_called_so(self, world: World) -> None:
        run = self.begun(world, timeout_s=60)
        name = f"run-{run.id}-1"
        world.machines.now[name] = Observation(Phase.RUNNING, age_s=59)
        world.tick(1)
        assert world.machines.asked_to_end == []
        world.machines.now[name] = Observation(Phase.RUNNING, age_s=60)
        world.tick(1)
        world.tick(1)
        assert world.machines.asked_to_end == [name]
        assert world.states() == ["running"], "until its process is dead"
        world.machines.end(run, Exit("failed", "error", message="killed"))
        world.tick(1)
        (run,) = world.runs()
        assert (run.state, run.reason) == ("timed_out", "it took longer than 60 s")

    def test_a_clock_that_jumps_times_nothing_out(self, world: World) -> None:
        self.begun(world, timeout_s=60)
        world.clock.set(DAY)
        world.tick(1)
        assert world.machines.asked_to_end == []

    def test_a_cancelled_run_is_cancelled_when_its_process_is_dead(self, world: World) -> None:
        run = self.begun(world, retry={"count": 5})
        world.jobs.cancel(run.id)
        world.tick(1)
        assert (world.states(), len(world.machines.asked_to_end)) == (["running"], 1)
        world.tick(1)
        assert len(world.machines.asked_to_end) == 1
        world.tick(SETTINGS.end_again_s)
        assert len(world.machines.asked_to_end) == 2, "it is asked again"
        world.machines.end(run, Exit("failed"))
        world.tick(1)
        assert world.states() == ["cancelled"]
        world.tick(3600)
        assert len(world.machines.started) == 1

    def test_a_run_that_is_cancelled_before_it_is_started_is_not_started(
        self, world: World
    ) -> None:
        waiting: list[Callable[[], Any]] = []

        class Later(Inline):
            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
                waiting.append(lambda: fn(*args, **kwargs))
                return Future()

        one = Engine(world.store, world.machines, clock=world.clock, pool=Later())
        world.job()
        run = world.jobs.run("nightly")
        world.tick(0, one)
        world.jobs.cancel(run.id)
        world.tick(1, one)
        for act in waiting:
            act()
        world.tick(1, one)
        assert (world.states(), world.machines.started) == (["cancelled"], [])

    def test_one_end_that_cannot_be_written_holds_up_no_other(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.job(overlap="allow")
        refused, *others = [world.jobs.run("nightly") for _ in range(3)]
        world.tick()
        move, code = world.store.claims.move, "store_refused"

        def picky(moves: Any, at_ms: int) -> Any:
            if any(each.run.id == refused.id for each in moves):
                raise StoreError("no such text", code=code)
            return move(moves, at_ms)

        for run in world.runs():
            world.machines.end(run)
        monkeypatch.setattr(world.store.claims, "move", picky)
        world.tick(1)
        assert {run.state for run in world.runs() if run.id != refused.id} == {"succeeded"}
        assert len(others) == 2 and world.store.runs.get(refused.id).state == "running"
        code = "store_unavailable"
        with pytest.raises(StoreError):
            world.one.tick()
        monkeypatch.undo()
        world.tick(1)
        assert set(world.states()) == {"succeeded"}

    def test_a_run_that_a_newer_one_replaces_says_so(self, world: World) -> None:
        world.job("nightly", EVERY_MINUTE, overlap="replace", timeout_s=60)
        world.tick(60)
        (run,) = world.runs()
        world.tick(60)
        world.machines.now[f"run-{run.id}-1"] = Observation(Phase.RUNNING, age_s=61)
        world.tick(1)
        world.machines.end(run, Exit("cancelled"))
        world.tick(1)
        (old, new) = world.runs()
        assert (old.state, old.reason) == ("cancelled", "a newer run replaces it")
        assert new.state == "running"

    def test_what_ended_well_before_it_was_cancelled_has_succeeded(self, world: World) -> None:
        run = self.begun(world)
        world.jobs.cancel(run.id)
        world.machines.end(run)
        world.tick(1)
        assert world.states() == ["succeeded"]

    def test_nothing_is_begun_of_a_job_that_was_deleted(self, world: World) -> None:
        world.job("nightly", EVERY_MINUTE)
        world.jobs.run("nightly")
        world.jobs.delete("nightly")
        world.tick(300)
        assert world.machines.started == []

    def test_a_run_can_be_run_again_when_it_is_over(self, world: World) -> None:
        run = self.begun(world)
        with pytest.raises(Conflict):
            world.jobs.rerun(run.id)
        world.machines.end(run, Exit("failed"))
        world.tick(1)
        again = world.jobs.rerun(run.id)
        assert (again.parent_run_id, again.job_rev) == (run.id, run.job_rev)
        world.tick()
        assert world.states() == ["failed", "running"]


class TestStarts:
    def test_one_that_cannot_be_fails_and_says_why(self, world: World) -> None:
        world.machines.refuse = lambda order: NotStarted(
            "there is no notebook a.ipynb", hint="see the path", code="no_notebook"
        )
        world.job()
        world.jobs.run("nightly")
        world.tick()
        (run,) = world.runs()
        assert (run.state, run.reason) == (
            "failed",
            "there is no notebook a.ipynb (see the path)",
        )

    def test_one_that_may_pass_is_tried_again_and_uses_up_no_retry(self, world: World) -> None:
        down = True
        world.machines.refuse = lambda order: (
            NotStarted("no link to local", again=True) if down else None
        )
        world.job()
        world.jobs.run("nightly")
        for _ in range(5):
            world.tick(400)
        (run,) = world.runs()
        assert run.state == "retry_wait" and run.attempts >= 4
        down = False
        world.tick(400)
        world.machines.end(world.runs()[0])
        world.tick(1)
        assert world.states() == ["succeeded"]
        states = [each.state for each in world.store.runs.attempts(run.id)]
        assert states == ["never"] * (len(states) - 1) + ["succeeded"]

    @pytest.mark.parametrize("ran", [True, False])
    def test_one_whose_answer_was_lost_is_looked_for(self, world: World, ran: bool) -> None:
        def cut(order: Order) -> Exception | None:
            world.machines.refuse = lambda order: None
            if ran:
                world.machines.start(order)
            return LinkDown("the link was cut")

        world.machines.refuse = cut
        world.job()
        world.jobs.run("nightly")
        world.tick()
        world.tick(2)
        assert world.states() == ["running"]
        assert len(world.machines.started) == 1
        assert world.runs()[0].attempts == (1 if ran else 2)


class TestServers:
    def begun(self, world: World, **more: Any) -> RunRecord:
        world.job(**more)
        world.jobs.run("nightly")
        world.tick()
        assert world.states() == ["running"]
        return world.runs()[0]

    def test_a_dead_server_is_succeeded_within_its_lease_and_the_process_goes_on(
        self, world: World
    ) -> None:
        run = self.begun(world)
        two = world.server()
        world.tick(10, two)
        world.tick(25, two)
        assert world.runs()[0].owner == world.one.id
        world.tick(10, two)
        (taken,) = world.runs()
        assert (taken.state, taken.owner, taken.fence, taken.attempts) == ("running", two.id, 2, 1)
        assert len(world.machines.started) == 1
        world.machines.end(run)
        world.tick(1, two)
        assert world.states() == ["succeeded"]
        world.tick(10, two)
        assert [server.id for server in world.store.servers.list()] == [two.id]

    def test_one_that_was_taken_for_dead_changes_nothing_and_goes_on_with_others(
        self, world: World
    ) -> None:
        run = self.begun(world)
        two = world.server()
        for seconds in (1, 20, 20):
            world.tick(seconds, two)
        world.machines.end(run, Exit("failed"))
        world.one.tick()
        assert world.states() == ["running"], "its word does not count any more"
        world.jobs.run("nightly")
        world.tick(1, two, world.one)
        assert world.states()[0] == "failed"
        assert len(world.machines.started) == 2

    def test_what_was_claimed_and_never_started_is_started_once(self, world: World) -> None:
        world.job()
        world.jobs.run("nightly")
        dead = world.server()
        dead._workers.start = lambda order: None  # type: ignore[method-assign]  # killed just before
        dead.tick()
        assert world.states() == ["claimed"]
        for seconds in (1, 31, 1, 1):
            world.tick(seconds)
        (run,) = world.runs()
        assert (run.state, run.attempts) == ("running", 2)
        assert [each.state for each in world.store.runs.attempts(run.id)] == ["never", "running"]
        (order,) = world.machines.started
        with pytest.raises(NotStarted):
            world.machines.start(replace(order, name=f"run-{run.id}-1"))

    def test_a_process_that_is_gone_is_a_failure_and_by_default_no_second_attempt(
        self, world: World
    ) -> None:
        run = self.begun(world)
        world.machines.now[f"run-{run.id}-1"] = Observation(Phase.GONE)
        world.tick(1)
        (run,) = world.runs()
        assert (run.state, run.reason) == ("failed", "its process ended and left no result")
        assert world.store.runs.attempts(run.id)[0].state == "lost"

    def test_while_the_machine_is_silent_there_is_no_second_attempt(self, world: World) -> None:
        run = self.begun(world, retry={"count": 3, "delay_s": 1})
        world.machines.unreachable = True
        for _ in range(20):
            world.tick(60)
        assert (world.states(), len(world.machines.started)) == (["lost"], 1)
        world.jobs.cancel(run.id)
        world.tick(60)
        assert world.states() == ["lost"], "nobody knows that it is dead"
        world.machines.unreachable = False
        world.tick(10)
        assert world.states() == ["running"]
        world.machines.end(run, Exit("cancelled"))
        world.tick(1)
        assert world.states() == ["cancelled"]

    def test_a_runner_that_has_ended_by_itself_is_followed_by_another_attempt(
        self, world: World
    ) -> None:
        self.begun(world, retry={"count": 1, "delay_s": 1})
        world.machines.fence_s = 300.0
        world.machines.unreachable = True
        world.tick(1)
        world.tick(299)
        assert len(world.machines.started) == 1
        world.tick(2)
        world.machines.unreachable = False
        world.tick(2)
        assert (world.states(), len(world.machines.started)) == (["running"], 2)

    def test_one_that_stops_hands_over_at_once(self, world: World) -> None:
        self.begun(world)
        world.one.stop()
        two = world.server()
        world.tick(0, two)
        (run,) = world.runs()
        assert (run.state, run.owner, run.fence) == ("running", two.id, 2)
        assert len(world.machines.started) == 1

    @pytest.mark.parametrize("ended", [False, True])
    def test_what_another_server_has_taken_is_followed_here_no_more(
        self, world: World, ended: bool
    ) -> None:
        run = self.begun(world)
        two = world.server()
        world.store.claims.take_over(two.id, {world.one.id}, world.clock.wall, BEGIN + DAY, 10)
        if ended:
            world.machines.end(run)
        world.tick(1 if ended else 11)
        assert world.machines.dropped == [(f"run-{run.id}-1", 1)]
        assert world.machines.forgotten == []

    def test_an_attempt_knows_how_many_before_it_have_not_begun(self, world: World) -> None:
        world.machines.refuse = lambda order: (
            NotStarted("no link", again=True) if order.attempt < 3 else None
        )
        world.job()
        world.jobs.run("nightly")
        for _ in range(3):
            world.tick(400)
        (order,) = world.machines.started
        assert (order.attempt, order.failed_starts, order.tries) == (3, 2, 1)

    def test_a_server_that_lost_its_lease_starts_nothing(self, world: World) -> None:
        world.job()
        world.one.tick()
        world.jobs.run("nightly")
        world.clock.go(31)
        order = Order("x", "r", 1, 1, "local", "nightly", {})
        world.one._workers.start(order)
        assert world.machines.started == []

    def test_a_claim_whose_answer_was_lost_is_gone_on_with(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is in the database, with this server as its owner, and this server does not know."""
        world.job()
        world.tick()
        claim = world.store.claims.claim

        def cut(*args: Any) -> Any:
            claim(*args)
            raise StoreError("the connection was cut")

        world.jobs.run("nightly")
        with monkeypatch.context() as patch:
            patch.setattr(world.store.claims, "claim", cut)
            with pytest.raises(StoreError):
                world.one.tick()
        assert world.states() == ["claimed"]
        world.tick(10)
        world.tick(1)
        (run,) = world.runs()
        assert (run.state, run.owner, run.attempts) == ("running", world.one.id, 2)
        assert len(world.machines.started) == 1

    def test_no_more_than_its_capacity(self, world: World) -> None:
        small = world.server(capacity=3)
        world.job(overlap="allow")
        for _ in range(5):
            world.jobs.run("nightly")
        world.tick(0, small)
        assert world.states().count("running") == 3
        world.machines.end(world.runs()[0])
        world.tick(1, small)
        assert world.states().count("running") == 3


class TestPresence:
    def row(self, **more: Any) -> ServerRecord:
        values: dict[str, Any] = {
            "id": "two",
            "host": "elsewhere",
            "pid": 1,
            "boot_id": "b",
            "heartbeat_ms": 5,
            "version": "",
        }
        return ServerRecord(**(values | more))

    def test_only_a_heartbeat_that_does_not_change_for_a_lease_is_a_death(self) -> None:
        presence = Presence("one", 30)
        assert presence.dead([self.row()], {"two"}, 0) == set()
        assert presence.dead([self.row(heartbeat_ms=4)], {"two"}, 29) == set()
        assert presence.dead([self.row(heartbeat_ms=4)], {"two"}, 58) == set()
        assert presence.dead([self.row(heartbeat_ms=4)], {"two"}, 59) == {"two"}

    def test_one_that_said_goodbye_is_gone_and_oneself_never_is(self) -> None:
        presence = Presence("one", 30)
        assert presence.dead([], {"two", "one"}, 0) == {"two"}

    def test_a_process_of_this_computer_that_is_not_there_is_dead_at_once(self) -> None:
        here = self.row(host=socket.gethostname(), boot_id=own_boot_id(), pid=os.getpid())
        presence = Presence("one", 30)
        assert presence.dead([here], set(), 0) == set()
        gone = replace(here, pid=2**22 + 1)  # above the largest pid there is
        assert presence.dead([gone], set(), 0) == {"two"}
        for other in (
            replace(gone, host="x"),
            replace(gone, boot_id="x/y"),
            replace(gone, boot_id=""),
        ):
            assert Presence("one", 30).dead([other], set(), 0) == set()


class TestAsked:
    def test_a_range_is_filled_once(self, world: World) -> None:
        world.job("nightly", {"cron": "0 * * * *"}, overlap="queue")
        first = world.jobs.backfill("nightly", BEGIN - 5 * 3_600_000, BEGIN - 1)
        again = world.jobs.backfill("nightly", BEGIN - 7 * 3_600_000, BEGIN - 1)
        assert [run.due_ms for run in first] == [BEGIN - n * 3_600_000 for n in (5, 4, 3, 2, 1)]
        assert [run.id for run in again[2:]] == [run.id for run in first]
        assert len(world.runs()) == 7
        world.tick()
        assert world.states().count("running") == 1, "one after another"

    def test_a_range_needs_one_trigger_by_time(self, world: World) -> None:
        world.job()
        with pytest.raises(UsageError, match="has no such triggers"):
            world.jobs.backfill("nightly", 0, 1)
        world.job("nightly", {"every": "1h"}, {"every": "2h"})
        with pytest.raises(UsageError) as caught:
            world.jobs.backfill("nightly", 0, 1)
        key = Trigger(every="2h").key
        assert key in caught.value.hint
        assert len(world.jobs.backfill("nightly", BEGIN, BEGIN + 7_200_000, trigger_key=key)) == 2

    def test_parameters_of_a_run_go_over_those_of_the_job(self, world: World) -> None:
        world.job(parameters={"a": 1, "b": 2})
        world.jobs.run("nightly", {"b": [3]})
        world.tick()
        assert world.machines.started[0].params == {"a": 1, "b": [3]}
        for wrong in ({"2b": 1}, {"b": float("nan")}):
            with pytest.raises(UsageError) as caught:
                world.jobs.run("nightly", wrong)
            assert caught.value.code == "bad_parameters"

    def test_what_is_not_there_is_named(self, world: World) -> None:
        acts: list[Callable[[], object]] = [
            lambda: world.jobs.run("nowhere"),
            lambda: world.jobs.cancel("nowhere"),
            lambda: world.jobs.rerun("nowhere"),
            lambda: world.jobs.pause("nowhere"),
            lambda: world.jobs.delete("nowhere"),
            lambda: world.jobs.backfill("nowhere", 0, 1),
        ]
        for act in acts:
            with pytest.raises(NotFound, match="nowhere"):
                act()

    def test_a_preview_has_words_and_times(self, world: World) -> None:
        preview = world.jobs.preview(Trigger(cron="0 9 * * *", tz="Europe/Prague"), 2)
        assert preview.words == "At 09:00 every day (Europe/Prague)"
        assert preview.next_ms == (BEGIN + 8 * 3_600_000, BEGIN + 32 * 3_600_000)


class TestVerdicts:
    def seen(self, **more: Any) -> Seen:
        values: dict[str, Any] = {
            "state": State.RUNNING, "tries": 1, "failed_starts": 0, "cancel_requested": False, "reason": None, "retry": RetryPolicy(count=1), "timeout_s": None,
        }  # fmt: skip
        return Seen(**(values | more))

    @pytest.mark.parametrize(
        "state", [State.CLAIMED, State.PROVISIONING, State.RUNNING, State.LOST]
    )
    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out", "cancelled"])
    @pytest.mark.parametrize("cancel", [False, True])
    @pytest.mark.parametrize("tries", [1, 2])
    def test_every_end_is_reached_by_states_that_may_follow(
        self, state: State, outcome: str, cancel: bool, tries: int
    ) -> None:
        verdict = of_end(
            self.seen(state=state, cancel_requested=cancel, tries=tries), Exit(outcome)
        )
        way = [state, *verdict.via, verdict.state]
        assert all(may_follow(a, b) for a, b in itertools.pairwise(way)), way

    def test_memory_that_ran_out_is_named(self) -> None:
        verdict = of_end(self.seen(tries=2), Exit("failed", "oom"))
        assert verdict.state is State.FAILED
        assert verdict.reason is not None and verdict.reason.startswith("oom: ")
        assert "job retry RUN --on NAME" in verdict.reason

    def test_names_that_never_start_are_tried_less_and_less_often(self) -> None:
        delays = [of_failed_start(self.seen(failed_starts=n), None).delay_ms for n in range(12)]
        assert delays[:3] == [0, 2000, 4000] and delays[-1] == 300_000

    def test_starts_that_fail_are_tried_less_and_less_often(self) -> None:
        error = NotStarted("no link", again=True)
        delays = [of_failed_start(self.seen(failed_starts=n), error).delay_ms for n in range(12)]
        lacks = NotStarted("local has no kernel 'ir'", hint="it has python3")
        told = of_failed_start(self.seen(), lacks)
        assert told.reason == "local has no kernel 'ir' (it has python3)", "with its remedy"
        assert delays == sorted(delays) and delays[0] == 1000 and delays[-1] == 300_000


def test_a_crash_point_does_nothing_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from jupyter_cloudml.jobs.scheduling import crash

    monkeypatch.setenv(crash.VARIABLE, "elsewhere")
    for name in crash.POINTS:
        crash.point(name)


class TestSweeps:
    GRID: ClassVar[dict[str, Any]] = {"alpha": [1, 2, 3], "beta": ["x", "y"]}

    def children(self, world: World, parent: RunRecord) -> list[RunRecord]:
        return world.store.runs.of_sweep(parent.id)

    def test_each_runs_with_its_parameters_so_many_at_a_time_and_the_sweep_follows(
        self, world: World
    ) -> None:
        world.job(sweep=self.GRID, parameters={"gamma": 0}, overlap="skip")
        world.job("then", {"after": "nightly"})
        parent = world.jobs.run("nightly", {"delta": 9})
        assert (parent.state, parent.sweep_count) == ("running", 6)
        world.tick()
        states = [run.state for run in self.children(world, parent)]
        assert states == ["running"] * 4 + ["queued"] * 2, "4 at a time where nothing is said"
        first = world.machines.started[0]
        assert first.params == {"gamma": 0, "delta": 9, "alpha": 1, "beta": "x"}
        assert [run.id for run in world.runs()] == [parent.id], "lists have the sweep alone"
        for _ in range(2):
            for run in self.children(world, parent):
                if run.state == "running":
                    world.machines.end(run)
            assert world.states() == ["running"] and world.states("then") == []
            world.tick(1)
        assert world.states() == ["succeeded"]
        assert len(world.states("then")) == 1, (
            "once, after the sweep and not after each of its runs"
        )
        assert [order.params["alpha"] for order in world.machines.started[:6]] == [1, 1, 2, 2, 3, 3]

    def test_a_sweep_of_which_some_failed_says_how_many_and_runs_again(self, world: World) -> None:
        world.job(sweep=[{"alpha": 1}, {"alpha": 5, "beta": 2}], max_running=2)
        parent = world.jobs.run("nightly")
        world.tick()
        one, two = self.children(world, parent)
        world.machines.end(one)
        world.machines.end(two, Exit("failed", message="ValueError: no"))
        two_servers = world.server()
        world.tick(1, world.one, two_servers)
        (run,) = world.runs()
        assert (run.state, run.reason) == ("failed", "of 2 runs: 1 failed, 1 succeeded")
        again = world.jobs.rerun(run.id)
        assert [each.params for each in self.children(world, again)] == [one.params, two.params]
        single = world.jobs.rerun(two.id)
        assert (single.sweep_count, single.sweep_index, single.params) == (None, None, two.params)

    def test_a_sweep_that_is_cancelled_ends_all_its_runs(self, world: World) -> None:
        world.job(sweep={"alpha": [1, 2, 3]}, max_running=1)
        parent = world.jobs.run("nightly")
        world.tick()
        world.jobs.cancel(parent.id)
        assert [run.state for run in self.children(world, parent)] == [
            "running",
            "cancelled",
            "cancelled",
        ]
        assert world.states() == ["running"], "it is over when the last process is proven dead"
        world.tick(1)
        (name,) = world.machines.asked_to_end
        world.machines.now[name] = Observation(Phase.ENDED, exit=Exit("cancelled"))
        world.tick(1)
        assert world.states() == ["cancelled"]
        assert [e.state for e in world.store.events.since(0) if e.name == parent.id] == [
            "running",
            "running",
            "cancelled",
        ]
        other = world.jobs.run("nightly")
        world.jobs.delete("nightly")
        assert {run.state for run in self.children(world, other)} == {"cancelled"}
        assert world.store.runs.get(other.id).state == "cancelled"

    def test_a_due_time_makes_one_sweep_and_the_next_one_waits_for_its_end(
        self, world: World
    ) -> None:
        world.job("nightly", EVERY_MINUTE, sweep={"alpha": [1, 2]})
        world.tick(60)
        world.tick(60)
        assert world.states() == ["running", "skipped"]
        assert len(world.machines.started) == 2
        dead, world.one = world.one, world.server()
        world.store.servers.goodbye(dead.id)
        world.tick(30)
        for run in self.children(world, world.runs()[0]):
            world.machines.end(run)
        world.tick(10)
        assert world.states()[0] == "succeeded", "another server has gone on with it"

    def test_a_sweep_that_cannot_be_is_refused(self, world: World) -> None:
        for sweep, said in (
            ({"alpha": [1] * 1001}, "1,001 runs"),
            ({f"p{n}": [1, 2] for n in range(10)}, "1,024 runs"),
            ({"alpha": []}, "no list of values"),
            ({"alpha": 3}, "no list of values"),
            ({}, "has no run"),
            ([{"alpha": 1}, 3], "no set of parameters"),
            ({"not a name": [1]}, "cannot be 'not a name'"),
            ("alpha", "is a text"),
        ):
            with pytest.raises(UsageError) as raised:
                world.job(sweep=sweep)
            assert said in str(raised.value.to_dict()), sweep
        world.job()
        with pytest.raises(UsageError, match="the run cannot be made"):
            world.jobs.run("nightly", sweep={"alpha": []})
        assert world.runs() == []
