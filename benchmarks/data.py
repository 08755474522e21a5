"""Datasets: one large object, many small ones, and nothing new, each beside the tool that is quickest at it; Ceph's RGW is the service."""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import s3
from benchmarks.candidates import LOCAL, OPENSSH, Candidate
from benchmarks.figures import Figure, Row
from benchmarks.session import NoAnswer
from jupyter_cloudml.datasets.service import Datasets
from jupyter_cloudml.datasets.sync import Done
from jupyter_cloudml.link.link import Link
from jupyter_cloudml_kernels.machines import current

BUCKET = "bench"
SMALL = 10_000
IN_FLIGHT = 32
MB = 1_000_000
LOOK_S = 0.25


@dataclass(frozen=True)
class Amount:
    """How much is measured: rounds, MB of the large object, small objects."""

    rounds: int = 5
    large_mb: int = 1000
    files: int = 10_000


def measure(folder: Path, candidates: list[Candidate], amount: Amount) -> list[Row]:
    """Measure each kind of sync in turn with another tool's, into an empty folder and with an empty cache where something has to come."""
    over_ssh = next((each for each in candidates if each.name == OPENSSH), None)
    if over_ssh is None:
        return []
    folder.mkdir()
    with s3.server() as service, _environ(service):
        _fill(service, folder, amount)
        return Bench(service, folder, over_ssh.name, amount).rows()


class Bench:
    """One service, and a machine on the same computer."""

    def __init__(self, service: s3.S3, folder: Path, machine: str, amount: Amount) -> None:
        self._service, self._folder, self._machine = service, folder, machine
        self._amount = amount
        self._data = Datasets(folder, current())
        self._folders = 0

    def rows(self) -> list[Row]:
        """Measure everything."""
        small = self._folder / "again"
        ours, s5cmd = self._in_turn(
            lambda: self._fetch("large", self._new("large")),
            lambda: self._s5cmd("cp", "large/*", self._new("large")),
            2 * self._amount.large_mb * MB,
        )
        title = f"one object of {self._amount.large_mb:,} MB to an empty folder"
        rows = [_row(title, "≤ 1.2 × s5cmd", 1.2, ours, s5cmd, "s5cmd")]
        peak: list[float] = []

        def fetch_small() -> float:
            with _peak_mb(current().link(self._machine), peak):
                return self._fetch("small", self._new("small"))

        title = f"{self._amount.files:,} objects of 10 kB to an empty folder, listing included"
        if "obstore" in sys.modules:
            ours, obstore = self._in_turn(fetch_small, lambda: self._obstore(self._new("small")))
            rows.append(_row(title, "≤ 1.0 × obstore", 1.0, ours, obstore, "obstore, 32 in flight"))
        else:
            fetch_small()
        title = "memory of the machine's program meanwhile"
        memory = Row(title, "MB", "≤ 100 MB", digits=0, tool="")
        memory.bounds = {OPENSSH: lambda ours, _: ours <= 100}
        memory.figures = {OPENSSH: Figure.of(peak)}
        rows.append(memory)
        self._fetch("small", small)
        title = f"{self._amount.files:,} objects, none of them new"
        again, rclone = self._in_turn(lambda: self._again(small), lambda: self._rclone(small))
        rows.append(_row(title, "≤ 1.0 × rclone", 1.0, again, rclone, "rclone --size-only"))
        again, s5cmd = self._in_turn(
            lambda: self._again(small), lambda: self._s5cmd("sync", "small/*", small)
        )
        return [*rows, _row(title, "≤ s5cmd", 1.0, again, s5cmd, "s5cmd sync")]

    def _new(self, prefix: str) -> Path:
        """A folder that is not there yet. Small files are not deleted before the end: ext4 looks long for a place where many were deleted lately."""
        self._folders += 1
        return self._folder / f"{prefix}-{self._folders}"

    def _in_turn(
        self, ours: Callable[[], float], theirs: Callable[[], float], memory: int = 0
    ) -> tuple[list[float], list[float]]:
        taken: tuple[list[float], list[float]] = ([], [])
        for turn in range(self._amount.rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                if which == 0:
                    self._data.evict(self._machine)
                for old in self._folder.glob("large-*"):
                    shutil.rmtree(old)
                os.sync()  # what the one before has left to write is not this one's
                if memory:
                    _touch(memory)
                taken[which].append((ours, theirs)[which]())
        return taken

    def _fetch(self, prefix: str, target: Path) -> float:
        done, seconds = self._sync(prefix, target)
        if not done.counts.get("files") or done.counts.get("same"):
            raise NoAnswer(f"nothing came: {done.counts}")
        return seconds

    def _again(self, target: Path) -> float:
        done, seconds = self._sync("small", target)
        if done.counts.get("same") != self._amount.files:
            raise NoAnswer(f"something came: {done.counts}")
        return seconds

    def _sync(self, prefix: str, target: Path) -> tuple[Done, float]:
        began = time.monotonic()
        done = self._data.sync(f"s3://{BUCKET}/{prefix}", str(target), self._machine)
        if done.failed:
            raise NoAnswer(f"not all came: {done.failed[:3]}")
        return done, time.monotonic() - began

    def _s5cmd(self, verb: str, source: str, target: Path) -> float:
        argv = ["s5cmd", "--endpoint-url", self._service.url, verb, f"s3://{BUCKET}/{source}"]
        return _run([*argv, f"{target}/"])

    def _rclone(self, target: Path) -> float:
        place = f":s3,provider=Ceph,env_auth=true,endpoint='{self._service.url}':{BUCKET}/small"
        words = ["copy", "--size-only", "--transfers", "32", "--config", os.devnull]
        return _run(["rclone", *words, place, str(target)])

    def _obstore(self, target: Path) -> float:
        target.mkdir()
        began = time.monotonic()
        asyncio.run(_obstore_fetch(self._service, target))
        return time.monotonic() - began


def _row(
    title: str, promise: str, times: float, ours: list[float], theirs: list[float], tool: str
) -> Row:
    row = Row(title, "s", promise, tool=tool)
    row.bounds = {OPENSSH: lambda mine, other: mine <= times * other}
    row.figures = {LOCAL: Figure.of(theirs), OPENSSH: Figure.of(ours)}
    return row


def _run(argv: list[str]) -> float:
    program = str(Path(sys.executable).with_name(argv[0]))
    began = time.monotonic()
    done = subprocess.run(
        [program, *argv[1:]], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise NoAnswer(f"{argv[0]} failed: {done.stderr[-500:]}")
    return time.monotonic() - began


def _store(service: s3.S3) -> Any:
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=service.url,
        region="us-east-1",
        access_key_id=s3.ACCESS_KEY,
        secret_access_key=s3.SECRET_KEY,
        client_options={"allow_http": True},
    )


async def _obstore_fetch(service: s3.S3, target: Path) -> None:
    import obstore

    store, free = _store(service), asyncio.Semaphore(IN_FLIGHT)

    async def one(key: str) -> None:
        async with free:
            data = await (await obstore.get_async(store, key)).bytes_async()
            (target / key.rpartition("/")[2]).write_bytes(data)

    waiting = []
    async for page in obstore.list(store, "small"):
        waiting += [asyncio.create_task(one(each["path"])) for each in page]
    await asyncio.gather(*waiting)


def _fill(service: s3.S3, folder: Path, amount: Amount) -> None:
    """Make the objects: the large one in parts, as tools do."""
    client = service.client()
    client.create_bucket(Bucket=BUCKET)
    large = folder / "object"
    with open(large, "wb") as file:
        for _ in range(amount.large_mb):
            file.write(os.urandom(MB))
    _run(["s5cmd", "--endpoint-url", service.url, "cp", str(large), f"s3://{BUCKET}/large/object"])
    large.unlink()
    small = folder / "objects"
    small.mkdir()
    for number in range(amount.files):
        (small / f"{number:06}").write_bytes(os.urandom(SMALL))
    _run(["s5cmd", "--endpoint-url", service.url, "cp", f"{small}/", f"s3://{BUCKET}/small/"])
    shutil.rmtree(small)


@contextmanager
def _environ(service: s3.S3) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {**service.environ(), "AWS_REGION": "us-east-1"}
    try:
        import obstore  # noqa: F401 - there is none for Python 3.10
    except ImportError:
        pass
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def _peak_mb(link: Link, peaks: list[float]) -> Iterator[None]:
    """Add the most memory that the program on the machine has held meanwhile; it is looked at seldom, for that takes time as well."""
    stop, most = threading.Event(), [0.0]

    def look() -> None:
        while not stop.wait(LOOK_S):
            for row in link.call("list"):
                if row["labels"].get("purpose") == "data" and row["state"] == "running":
                    most[0] = max(most[0], _highest_mb(row["pid"]))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        peaks.append(most[0])


def _highest_mb(pid: int) -> float:
    """The most that a process has held until now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / MB if found else 0.0


def _touch(size: int) -> None:
    """Have the computer give its memory to this virtual one before the time is taken: which of two tools would have to wait for it is chance."""
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
