"""The scheduler on SQLite: `python -m benchmarks.jobs [--quick]`. Attempts end at once, so that nothing but the scheduler is measured."""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Connection, insert

from benchmarks.candidates import AGENT
from benchmarks.figures import Figure, Row, percentile
from benchmarks.session import NoAnswer
from jupyter_cloudml.config import Config
from jupyter_cloudml.jobs.definition.definitions import definition
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.scheduling.engine import Engine
from jupyter_cloudml.jobs.scheduling.executor import Exit, Observation, Order, Phase
from jupyter_cloudml.jobs.scheduling.settings import Settings
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store, tables

OURS = AGENT  # on this computer
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    definitions: int = 10_000
    dues: int = 200
    runs: int = 2_000
    kept: int = 100_000
    idle_s: float = 30.0
    rounds: int = 20


QUICK = Amount(1_000, 20, 100, 2_000, 2.0, 3)


class Instant:
    """Attempts that have ended as soon as they are started; notes when that was."""

    fence_s: float | None = None

    def __init__(self) -> None:
        self.started: dict[str, int] = {}

    def start(self, order: Order) -> None:
        """Note the moment."""
        self.started[order.run_id] = time.time_ns()

    def observe(self, orders: Sequence[Order]) -> Mapping[str, Observation]:
        """Say that all have ended well."""
        return {each.name: self.settle(each) for each in orders}

    def settle(self, order: Order) -> Observation:
        """Say that it has ended well."""
        return Observation(Phase.ENDED, exit=Exit("succeeded"))

    def cancel(self, order: Order) -> None:
        """There is nothing to end."""

    def forget(self, order: Order) -> None:
        """There is nothing to forget."""

    def drop(self, order: Order) -> None:
        """Nothing is followed."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Say nothing: there is nothing to wait for."""
        return lambda: None


def measure(folder: Path, amount: Amount) -> list[Row]:
    """Measure everything, on a database of its own in this folder, which has to be on a disk. Raises NoAnswer."""
    folder.mkdir(exist_ok=True)
    if kind_of_disk(folder) in ("tmpfs", "ramfs"):
        raise NoAnswer(f"{folder} is in memory: set TMPDIR to a folder on a disk")
    store = Store.open(Config(home=folder))
    try:
        define(store, amount.definitions)
        return [
            *_idle(store, amount),
            _due(store, amount),
            *_throughput(store, amount),
            *_pages(store, amount),
        ]
    finally:
        store.close()


def kind_of_disk(folder: Path) -> str:
    """Return the file system of a folder; "" where the system does not tell."""
    found = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if folder.resolve().is_relative_to(each.mountpoint)
    ]
    return max(found, default=(0, ""))[1]


def define(store: Store, count: int) -> None:
    """Write definitions that are due once a day, none of them within the next hours."""
    now = time.time_ns() // 1_000_000
    hour = time.gmtime(now // 1000 + 12 * 3600).tm_hour
    made = [
        definition(JobSpec(f"job-{n}", "a.ipynb", triggers=(Trigger(cron=f"{n % 60} {hour} * * *"),)), now)
        for n in range(count)
    ]  # fmt: skip

    def work(connection: Connection) -> None:
        jobs, revisions, triggers = [], [], []
        for n, each in enumerate(made):
            job_id, (trigger,) = f"{n:028x}", each.triggers
            jobs.append(_job(job_id, each.name, now))
            spec = f'{{"name": "job-{n}", "notebook": "a.ipynb"}}'
            revisions.append({"job_id": job_id, "rev": 1, "spec_json": spec, "author": ""})
            triggers.append(_trigger(job_id, trigger.cron or "", trigger.next_due_ms or 0))
        for table, rows in (
            (tables.job, jobs),
            (tables.job_rev, revisions),
            (tables.trigger, triggers),
        ):
            connection.execute(insert(table), rows)

    store.database.write(work)


def _job(job_id: str, name: str, now: int) -> dict[str, object]:
    fixed = {
        "project": "",
        "rev": 1,
        "spec_json": '{"name": "job", "notebook": "a.ipynb"}',
        "paused": False,
    }
    policy = {"overlap": "allow", "missed": "one", "catchup_cap": 10, "retry_json": "{}"}
    return {"id": job_id, "name": name, "created_ms": now, **fixed, **policy}


def _trigger(job_id: str, cron: str, next_due_ms: int) -> dict[str, object]:
    return {
        "id": f"{job_id}:cron",
        "job_id": job_id,
        "kind": "cron",
        "cron": cron,
        "tz": "UTC",
        "config_json": f'{{"cron": "{cron}"}}',
        "next_due_ms": next_due_ms,
        "enabled": True,
    }


@contextmanager
def _running(store: Store, executor: Instant) -> Iterator[Engine]:
    engine = Engine(store, executor, settings=Settings())
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def _idle(store: Store, amount: Amount) -> list[Row]:
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    with _running(store, Instant()):
        time.sleep(1)  # the first looks are over
        used = sum(process.cpu_times()[:2])
        time.sleep(amount.idle_s)
        used = sum(process.cpu_times()[:2]) - used
        grown = process.memory_info().rss - before
    title = f"idle at {amount.definitions:,} definitions"
    return [
        _row(f"{title}: of one core", "%", [100 * used / amount.idle_s], 0.5, "≤"),
        _row(f"{title}: memory on top", "MB", [max(0, grown) / 1e6], 20, "≤"),
    ]


def _due(store: Store, amount: Amount) -> Row:
    """Have definitions come due one by one, some at the same moment, and see when each is started."""
    first = time.time_ns() // 1_000_000 + 1_500
    table = tables.trigger

    def work(connection: Connection) -> dict[str, int]:
        due = {}
        for n in range(amount.dues):
            job_id = f"{n * (amount.definitions // amount.dues):028x}"
            due[job_id] = first + n // 4 * 137
            where = table.c.job_id == job_id
            connection.execute(table.update().where(where).values(next_due_ms=due[job_id]))
        return due

    due, executor = store.database.write(work), Instant()
    with _running(store, executor):
        _until(lambda: len(executor.started) >= amount.dues, "not all that was due was started")
    runs = {run.id: run.due_ms for run in store.runs.page(limit=amount.dues)}
    late = [executor.started[run] / 1e6 - at for run, at in runs.items()]
    if len(late) != len(due):
        raise RuntimeError(f"{len(late)} runs of {len(due)} due times")
    title = f"due → started at {amount.definitions:,} definitions, 95th percentile of {len(late)}"
    return _row(title, "ms", [percentile(late, 95)], 250, "≤")


def _throughput(store: Store, amount: Amount) -> list[Row]:
    jobs, executor = Jobs(store), Instant()
    began = time.perf_counter()
    for n in range(amount.runs):
        jobs.run(f"job-{n % amount.definitions}")
    submitted = amount.runs / (time.perf_counter() - began)
    began = time.perf_counter()
    with _running(store, executor):
        _until(lambda: not _open(store), "not all runs ended")
        finished = amount.runs / (time.perf_counter() - began)
    return [
        _row("submit, one by one", "/s", [submitted], 500, "≥"),
        _row("claim, start and finish", "/s", [finished], 500, "≥"),
    ]


def _open(store: Store) -> bool:
    waiting = ["queued", "claimed", "provisioning", "running"]
    return any(store.runs.page(states=[state], limit=1) for state in waiting)


def _pages(store: Store, amount: Amount) -> list[Row]:
    """Write many runs that are over, and show pages of them."""
    now = time.time_ns() // 1_000_000

    def work(connection: Connection) -> None:
        for start in range(0, amount.kept, 5_000):
            rows = [_over(n, amount, now) for n in range(start, min(start + 5_000, amount.kept))]
            connection.execute(insert(tables.run), rows)

    store.database.write(work)
    middle = f"{now - amount.kept * 500:012x}"
    shown: dict[str, Callable[[], object]] = {
        "newest": store.runs.page,
        "in the middle": lambda: store.runs.page(before=middle),
        "of one job": lambda: store.runs.page(job_id=f"{7:028x}"),
        "failed ones": lambda: store.runs.page(states=["failed"]),
        "of one job, failed": lambda: store.runs.page(job_id=f"{7:028x}", states=["failed"]),
        "running ones": lambda: store.runs.page(states=["running", "queued", "lost"]),
        "jobs by name": store.jobs.page,
    }
    worst = {}
    for name, page in shown.items():
        taken = []
        for _ in range(amount.rounds):
            began = time.perf_counter()
            page()
            taken.append((time.perf_counter() - began) * 1000)
        worst[name] = taken
    slowest = max(worst, key=lambda name: statistics.median(worst[name]))
    title = f"a page over {amount.kept:,} runs, the slowest kind ({slowest})"
    return [_row(title, "ms", worst[slowest], 50, "≤")]


def _over(n: int, amount: Amount, now: int) -> dict[str, object]:
    at = now - (amount.kept - n) * 1000
    job_id = f"{n % min(amount.definitions, 500):028x}"
    return {
        "id": f"{at:012x}{n:016x}", "job_id": job_id, "job_rev": 1, "trigger_id": f"{job_id}:cron", "fire_key": str(n),
        "due_ms": at, "params_json": "{}", "state": "failed" if n % 50 == 0 else "succeeded", "fence": 1,
        "cancel_requested": False, "attempts": 1, "not_before_ms": at, "priority": 0,
        "created_ms": at, "started_ms": at, "ended_ms": at,
    }  # fmt: skip


def _until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NoAnswer(what)
        time.sleep(0.05)


def _row(title: str, unit: str, rounds: Sequence[float], limit: float, sign: str) -> Row:
    row = Row(title, unit, f"{sign} {limit:g} {unit}", digits=1 if limit >= 1 else 2, tool="")
    row.bounds = {OURS: lambda ours, _: ours <= limit if sign == "≤" else ours >= limit}
    row.figures = {OURS: Figure.of(rounds)}
    return row


def main(argv: list[str]) -> int:
    """Print the figures; return 1 when a promise was not kept in a full run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prove the harness")
    options = parser.parse_args(argv)
    print(f"Load average {os.getloadavg()[0]:.2f} before.")
    with tempfile.TemporaryDirectory(prefix="cmlbench-") as folder:
        rows = measure(Path(folder), QUICK if options.quick else Amount())
    for row in rows:
        figure = row.figures[OURS]
        kept = "✓" if row.kept(OURS) else "✗"
        print(
            f"{row.title}: {figure.value:,.{row.digits}f} {row.unit}, must be {row.promise} {kept}"
        )
    return 0 if options.quick or all(row.kept(OURS) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
