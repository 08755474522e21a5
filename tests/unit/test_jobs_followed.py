"""How attempts are followed, without machines: no error of ours leaves a run without an end, and none is followed twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jupyter_cloudml.errors import LinkDown, NoSpace, NotFound, ProtocolError, UsageError
from jupyter_cloudml.jobs.attempts import data, followed
from jupyter_cloudml.jobs.attempts.attempt import Attempt, Attempts
from jupyter_cloudml.jobs.attempts.machine_executor import MachineExecutor
from jupyter_cloudml.jobs.attempts.outcome import Outcome
from jupyter_cloudml.jobs.attempts.work import Work
from jupyter_cloudml.jobs.scheduling.executor import NotStarted, Order, Phase
from jupyter_cloudml.store import StoreError

WORK = Work("r1", 1, 1, "", {"cells": []}, {})
WAIT_S = 60


class Process:
    """An attempt on a machine; several objects can stand for it, as after a cut."""

    def __init__(self) -> None:
        self.state, self.waits, self.given = "running", False, 0
        self.trouble: Callable[[], None] = lambda: None  # met when it is followed
        self.over, self.asked = threading.Event(), threading.Event()
        self.outcome = Outcome("succeeded", "", "", began=True)
        self.followers = 0

    def exit(self) -> None:
        self.state = "exited"
        self.over.set()


class Fake:
    """What an executor has of it."""

    has_begun = False

    def __init__(self, process: Process) -> None:
        self.process, self.has_left = process, threading.Event()

    @property
    def row(self) -> dict[str, Any]:
        return {"state": self.process.state, "warm": False}

    @property
    def waits(self) -> bool:
        return self.process.waits

    def give(self, work: Work) -> None:
        self.process.given += 1

    def cancel(self) -> None:
        self.process.asked.set()

    def end(self) -> None:
        self.process.exit()

    def leave(self) -> None:
        self.has_left.set()

    def follow(self, sink: Any, stop: threading.Event, before: Any) -> Outcome | None:
        process = self.process
        process.followers += 1
        try:
            while not stop.wait(0.005):
                process.trouble()
                if process.asked.is_set():
                    process.exit()
                    return Outcome("cancelled", "cancelled", "it was cancelled", began=False)
                if process.over.is_set():
                    return process.outcome
            return None
        finally:
            process.followers -= 1


class World:
    def __init__(self, folder: Path) -> None:
        self.process = Process()
        self.found: list[Fake] = []
        self.news, self.kept = threading.Event(), 0
        self.keep: Callable[[int], None] = lambda tries: None
        self.compose: Callable[[], Work] = lambda: WORK
        attempts = SimpleNamespace(
            prepare=lambda link: None,
            start=lambda link, work: self.find(),
            find=lambda link, name, cursor=None: self.find(),
        )
        self.link_of: Callable[[str], Any] = lambda name: SimpleNamespace(machine=name)
        self.executor = MachineExecutor(
            lambda name: cast(Any, self.link_of(name)),
            lambda order, link: self.compose(),
            folder,
            cast(Attempts, attempts),
            ended=self.ended,
        )
        self.executor.subscribe(self.news.set)

    def find(self) -> Attempt:
        self.found.append(Fake(self.process))
        return cast(Attempt, self.found[-1])

    def ended(self, order: Order) -> None:
        self.kept += 1
        self.keep(self.kept)

    def wait(self, order: Order, phase: Phase) -> Any:
        seen = self.executor.observe([order])[order.name]
        for _ in range(WAIT_S * 10):
            if seen.phase is phase:
                return seen
            self.news.wait(0.1)
            self.news.clear()
            seen = self.executor.observe([order])[order.name]
        raise AssertionError(f"it is {seen}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(followed, "AGAIN_S", 0.01)
    made = World(tmp_path)
    yield made
    made.executor.close()


def order(fence: int = 1) -> Order:
    return Order("run-r1-1", "r1", 1, fence, "box", "nightly", {})


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), KeyError("x"), OSError("disk")])
def test_an_error_of_ours_ends_no_following(world: World, error: Exception) -> None:
    errors = [error, error, error, error]

    def trouble() -> None:
        if errors:
            raise errors.pop()

    world.process.trouble = trouble
    world.executor.start(order())
    world.process.over.set()
    assert world.wait(order(), Phase.ENDED).exit.outcome == "succeeded"
    assert len(world.found) == 5, "it was looked for after each"


@pytest.mark.parametrize("error", [ProtocolError("no record"), ValueError("bug")])
def test_what_cannot_be_read_is_ended_when_somebody_asks(world: World, error: Exception) -> None:
    def trouble() -> None:
        raise error

    world.process.trouble = trouble
    world.executor.start(order())
    world.wait(order(), Phase.UNREACHABLE)
    assert world.process.state == "running"
    world.executor.cancel(order())
    world.wait(order(), Phase.GONE)
    assert world.process.state == "exited", "said only of a process that is dead"


@pytest.mark.parametrize("error", [StoreError("locked", code="store_busy"), NoSpace("full")])
def test_results_are_kept_before_the_end_once_there_is_room(world: World, error: Exception) -> None:
    phases = []

    def keep(tries: int) -> None:
        phases.append(world.executor.observe([order()])[order().name].phase)
        if tries < 4:
            raise error

    world.keep = keep
    world.executor.start(order())
    world.process.over.set()
    world.wait(order(), Phase.ENDED)
    assert world.kept == 4 and Phase.ENDED not in phases
    assert len(world.found) == 1


@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "x", 0, 1, ""), UsageError("no")])
def test_results_that_cannot_be_made_hold_up_no_end(world: World, error: Exception) -> None:
    def keep(tries: int) -> None:
        raise error

    world.keep = keep
    world.executor.start(order())
    world.process.over.set()
    world.wait(order(), Phase.ENDED)
    assert world.kept == 1


def test_results_that_a_database_never_takes_hold_up_no_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(tries: int) -> None:
        raise StoreError("it takes no such value")

    monkeypatch.setattr(followed, "KEEP_TRIES", 3)
    world.keep = keep
    world.executor.start(order())
    world.process.over.set()
    world.wait(order(), Phase.ENDED)
    assert world.kept == 3


def test_a_run_that_was_taken_back_is_followed_anew(world: World) -> None:
    world.executor.start(order())
    world.wait(order(), Phase.STARTING)
    world.executor.drop(order())
    world.wait(order(), Phase.UNREACHABLE)
    assert world.executor.settle(order(3)).phase is Phase.STARTING
    assert world.found[0].has_left.is_set() and world.process.followers <= 1
    world.executor.drop(order(1))  # said late
    world.process.over.set()
    world.wait(order(3), Phase.ENDED)
    assert len(world.found) == 2


def test_one_that_nobody_let_go_of_is_followed_for_its_owner_of_now(world: World) -> None:
    world.executor.start(order())
    world.executor.settle(order(2))
    assert world.found[0].has_left.wait(WAIT_S)
    assert len(world.found) == 2 and world.process.followers <= 1
    assert world.executor.settle(order(2)).phase is Phase.STARTING
    assert len(world.found) == 2


def test_an_error_of_ours_before_a_start_ends_the_run(world: World) -> None:
    def broken() -> Work:
        raise RuntimeError("a secret")

    world.compose = broken
    with pytest.raises(NotStarted) as caught:
        world.executor.start(order())
    assert not caught.value.again and "RuntimeError" in caught.value.message
    assert "secret" not in caught.value.message and world.found == []


def test_one_that_cannot_be_given_its_work_is_ended(world: World) -> None:
    def broken() -> Work:
        raise UsageError("the secret env:X is not there", code="no_secret")

    world.process.waits = True
    world.compose = broken
    world.executor.settle(order())
    exit_ = world.wait(order(), Phase.ENDED).exit
    assert (exit_.outcome, exit_.message) == ("failed", "the secret env:X is not there")
    assert world.process.state == "exited" and world.process.given == 0


def test_one_that_was_called_off_while_it_waited_or_was_made_ready_runs_nothing(
    world: World,
) -> None:
    off = replace(order(), wanted=lambda: False)
    with pytest.raises(NotStarted):
        world.executor.start(off)
    assert world.found == [], "making it ready may have taken minutes"
    world.process.waits = True
    world.executor.settle(off)
    assert world.wait(off, Phase.ENDED).exit.outcome == "cancelled"
    assert world.process.given == 0


@pytest.mark.parametrize("followed_before", [False, True])
def test_a_run_of_a_machine_that_was_taken_out_ends_once_it_is_cancelled(
    world: World, followed_before: bool
) -> None:
    def unknown(name: str) -> Any:
        raise NotFound(f"there is no machine {name!r}")

    def closed() -> None:
        raise LinkDown("its link was closed")

    if followed_before:
        world.executor.start(order())
        world.process.trouble = closed
    world.link_of = unknown
    if followed_before:
        world.wait(order(), Phase.UNREACHABLE)
    else:
        assert world.executor.settle(order()).phase is Phase.UNREACHABLE
    off = replace(order(), wanted=lambda: False)
    world.executor.cancel(off)
    seen = world.wait(off, Phase.ENDED) if followed_before else world.executor.settle(off)
    assert seen.phase is Phase.ENDED and seen.exit is not None
    assert seen.exit.outcome == "cancelled" and "no machine" in seen.exit.message


def test_one_that_cannot_be_given_its_work_now_is_given_it_later(world: World) -> None:
    def busy() -> Work:
        raise StoreError("locked", code="store_busy")

    world.process.waits = True
    world.compose = busy
    assert world.executor.settle(order()).phase is Phase.UNREACHABLE
    world.compose = lambda: WORK
    assert world.executor.settle(order()).phase is Phase.STARTING
    assert world.process.given == 1 and not world.process.asked.is_set()


def test_data_that_cannot_be_imported_leaves_no_run_unfollowed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        followed_first.append("run-r1-1" in world.executor._followed)
        raise ImportError(name)

    followed_first: list[bool] = []
    monkeypatch.setattr(data, "import_module", broken)
    runs = data.DataOfRuns(tmp_path, cast(Any, None), ())
    world.executor._attend = runs.attend
    world.executor.start(order())
    world.process.over.set()
    assert world.wait(order(), Phase.ENDED).exit.outcome == "succeeded"
    assert followed_first == [True]
    runs.close()
