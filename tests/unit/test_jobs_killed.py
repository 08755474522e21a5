"""Scheduler processes are killed where it hurts, and at random: no run happens twice, none is forgotten, within a lease and a look."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import jobs_servers
import postgres
import pytest

from jupyter_cloudml.config import Config
from jupyter_cloudml.jobs.scheduling import crash
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.records import FINAL, RunRecord

Maker = subprocess.Popen[str]


@pytest.fixture(scope="module")
def maker() -> Iterator[Maker]:
    """What makes scheduler processes; all of them end with it."""
    argv = [sys.executable, jobs_servers.__file__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        yield made
        assert made.stdin
        made.stdin.close()
        made.wait(30)


class Installation:
    """A database, a folder for attempts, and scheduler processes on both."""

    def __init__(self, maker: Maker, home: Path, url: str | None, duration_s: float) -> None:
        self.attempts = home / "attempts"
        self.attempts.mkdir()
        self.clock = jobs_servers.SteeredClock(self.attempts)
        self.store = Store.open(Config(home, url), self.clock)
        self.jobs = Jobs(self.store, clock=self.clock)
        self._maker = maker
        self._arguments = {
            "home": str(home),
            "url": url,
            "folder": str(self.attempts),
            "duration_s": duration_s,
        }
        self._pids: list[int] = []

    def server(self, crash_at: str = "") -> int:
        assert self._maker.stdin and self._maker.stdout
        self._maker.stdin.write(json.dumps(self._arguments | {"crash_at": crash_at}) + "\n")
        self._maker.stdin.flush()
        self._pids.append(int(self._maker.stdout.readline()))
        return self._pids[-1]

    def runs(self) -> list[RunRecord]:
        return self.store.runs.page(limit=10_000)

    def due(self) -> list[int]:
        """Return when the triggers are due next."""
        jobs = self.store.jobs.page()
        found = [each.next_due_ms for job in jobs for each in self.store.jobs.triggers(job.id)]
        return [due for due in found if due is not None]

    def starts(self) -> Counter[str]:
        """Count how often something of each run has run."""
        markers = self.attempts.glob("run-*.started")
        real = [each for each in markers if each.read_text().strip() != jobs_servers.NEVER]
        return Counter(each.name.split("-")[1] for each in real)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            left = Counter(run.state for run in self.runs())
            assert time.monotonic() < deadline, f"{what}: {left}"
            time.sleep(0.05)

    def all_over(self) -> bool:
        return all(run.state in FINAL for run in self.runs())

    def close(self) -> None:
        for pid in self._pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        self.store.close()


@contextlib.contextmanager
def installation(
    maker: Maker, home: Path, url: str | None, duration_s: float
) -> Iterator[Installation]:
    made = Installation(maker, home, url, duration_s)
    try:
        yield made
    finally:
        made.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("point", crash.POINTS)
def test_killed_at_each_point_the_next_server_runs_it_once(
    maker: Maker, tmp_path: Path, point: str
) -> None:
    with installation(maker, tmp_path, None, 0.1) as here:
        here.jobs.apply({"name": "soon", "notebook": "a", "triggers": [{"every": "1s"}]})
        if point == "taken_over":
            first = here.server("running")
            here.until(lambda: gone(first), "the first server goes on")
        doomed = here.server(point)
        here.until(lambda: gone(doomed), f"nothing was killed at {point}")
        here.jobs.pause("soon")  # what is due from now on is skipped
        here.server()
        here.until(lambda: bool(here.runs()) and here.all_over(), "a run was forgotten", 30)
        runs = [run for run in here.runs() if run.state != "skipped"]
        assert {run.state for run in runs} <= {"succeeded"}
        assert here.starts() == Counter(run.id for run in runs)
        keys = [run.fire_key for run in here.runs()]
        assert len(keys) == len(set(keys))


def test_killed_while_it_looks_or_tells_the_next_server_goes_on_at_once(
    maker: Maker, tmp_path: Path
) -> None:
    with installation(maker, tmp_path, None, 0.1) as here:
        commit, told = here.attempts / "commit", here.attempts / "told"
        commit.write_text("a1")
        git = {"git": "https://example.org/digits.git", "every": "1h"}
        to = {"to": "json://127.0.0.1/hook", "on": ["success"]}
        here.jobs.apply({"name": "news", "notebook": "a", "triggers": [git], "notify": [to]})
        job = here.store.jobs.get("news")

        def killed(point: str) -> None:
            doomed = here.server(point)
            here.until(lambda: gone(doomed), f"nothing was killed at {point}")

        def mark() -> str | None:
            return here.store.watches.of(job.id)[0].mark

        killed("looking")
        killed("looked")  # it has taken over what the one before was at
        assert mark() is None
        first = here.server()
        here.until(lambda: mark() == "a1", "nobody looks")
        os.kill(first, signal.SIGKILL)
        commit.write_text("b2")
        here.clock.set(off_ms=HOUR_MS)
        killed("looking")
        killed("looked")
        killed("telling")
        assert [run.fire_key for run in here.runs()] == ["b2"] and here.all_over()
        here.clock.set(off_ms=2 * HOUR_MS - 1000)  # who tells has so long, and may be at it
        killed("told")
        here.clock.set(off_ms=2 * HOUR_MS + 300_000)
        here.server()
        (run,) = here.runs()
        here.until(lambda: here.store.notices.of(run.id)[0].state == "sent", "nobody is told")
        assert told.read_text() == "news: succeeded\n" * 2, "it may be told twice, never not"
        here.until(lambda: here.all_over(), "a run was forgotten")
        assert [run.fire_key for run in here.runs()] == ["b2"]
        assert here.starts() == Counter([run.id])


def test_three_servers_killed_at_random_run_everything_once(
    maker: Maker, tmp_path: Path, postgres_server: str
) -> None:
    rng = random.Random(7)
    with (
        postgres.database(postgres_server, "killed") as url,
        installation(maker, tmp_path, url, 0.3) as here,
    ):
        names = [f"job-{number}" for number in range(6)]
        for name in names:
            trigger = {"every": "1s"} if name.endswith(("1", "3")) else {"cron": "* * * * * *"}
            here.jobs.apply(
                {"name": name, "notebook": "a", "overlap": "allow", "missed": "all", "catchup_cap": 100, "triggers": [trigger]}
            )  # fmt: skip
        began = time.time()
        frozen = here.server()  # it will have lost its lease, and not know it, when it goes on
        alive = [here.server() for _ in range(2)]
        here.until(lambda: bool(here.starts()), "nothing begins")
        os.kill(frozen, signal.SIGSTOP)
        deadline = time.monotonic() + jobs_servers.LEASE_S + 1.5
        while time.monotonic() < deadline:
            time.sleep(rng.uniform(0.2, 0.6))
            os.kill(alive.pop(rng.randrange(2)), signal.SIGKILL)
            alive.append(here.server())
        os.kill(frozen, signal.SIGCONT)
        passed = int(time.time()) * 1000
        here.until(lambda: all(due > passed for due in here.due()), "due times were left out")
        for name in names:
            here.jobs.apply({"name": name, "notebook": "a"})
        here.until(here.all_over, "a run was forgotten")
        runs = here.runs()
        ran = [run for run in runs if run.state != "skipped"]
        assert {run.state for run in ran} == {"succeeded"}
        assert here.starts() == Counter(run.id for run in ran), (
            "a run happened twice, or not at all"
        )
        for name in names:
            job = here.store.jobs.get(name)
            due = sorted(run.due_ms for run in runs if run.job_id == job.id)
            assert due == list(range(due[0], due[0] + len(due) * 1000, 1000)), (
                "a due time is missing"
            )
            assert due[0] <= began * 1000 + 1000 and due[-1] >= passed


YEAR_MS, HOUR_MS = 365 * 86_400_000, 3_600_000


def test_three_servers_whose_clock_stops_jumps_and_goes_back_make_no_storm_and_repeat_nothing(
    maker: Maker, tmp_path: Path, postgres_server: str
) -> None:
    with (
        postgres.database(postgres_server, "clocks") as url,
        installation(maker, tmp_path, url, 0.1) as here,
    ):
        clock = here.clock
        here.jobs.apply(
            {"name": "often", "notebook": "a", "overlap": "allow", "triggers": [{"every": "1s"}]}
        )
        servers = [here.server() for _ in range(3)]

        def ran() -> list[int]:
            return [run.due_ms for run in here.runs() if run.state != "skipped"]

        here.until(lambda: len(ran()) >= 2, "nothing begins")
        clock.set(stands_at=clock.now_ms())
        here.jobs.run("often")
        here.until(here.all_over, "a clock that stands still holds up a run")
        before = ran()

        jumped = clock.now_ms() + YEAR_MS
        clock.set(stands_at=jumped)
        os.kill(servers.pop(), signal.SIGKILL)  # perhaps the one that is at it
        here.until(lambda: max(ran()) > jumped - 1000, "the last due time is made up for")
        here.until(here.all_over, "a run was forgotten")
        assert len(ran()) == len(before) + 1, "a year makes one run"
        skipped = [run for run in here.runs() if run.state == "skipped"]
        assert any("due times" in (run.reason or "") for run in skipped), (
            "and says what it left out"
        )

        clock.set(stands_at=jumped - HOUR_MS)
        servers += [here.server()]
        by_hand = here.jobs.run("often")  # once that is over, they have looked at this hour
        here.until(lambda: here.store.runs.get(by_hand.id).state in FINAL, "nobody looks")
        assert len(ran()) == len(before) + 2, "an hour back repeats nothing"
        clock.set()
        now = clock.now_ms()
        here.until(lambda: sum(due > now for due in ran()) >= 2, "they go on by the right clock")
        here.jobs.pause("often")
        here.until(here.all_over, "a run was forgotten")
        runs = here.runs()
        keys = [(run.trigger_id, run.fire_key) for run in runs]
        assert len(keys) == len(set(keys))
        assert here.starts() == Counter(run.id for run in runs if run.state != "skipped")
