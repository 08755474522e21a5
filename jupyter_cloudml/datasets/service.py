"""The user's datasets: what the command line, the Client and REST use."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JSON, Busy, ProtocolError, UsageError
from ..locks import FileLock
from ..machines.model import LOCAL
from ..machines.service import Machines
from ..paths import private_dir, write_private
from . import browse
from .address import Address, is_address, usual_folder
from .endpoint import Asked, Endpoint
from .errors import DataError
from .fetching import Fetch
from .listing import found
from .program import manage
from .progress import Progress
from .sending import Send
from .sync import Done, Options, Sync

MAX_TEXT = 4096
MAX_ENDPOINTS = 16
# What other credentials, or the same ones later, may be spared: they are read anew then.
STALE = ("wrong_endpoint", "refused", "expired", "no_credentials", "clock_skew", "wrong_region")


@dataclass(frozen=True)
class Dataset:
    """A prefix and the folder of a machine that it was synced with."""

    machine: str
    folder: str
    source: str
    upward: bool
    pinned: bool
    there: bool
    files: int
    bytes: int
    synced_ms: int

    def to_dict(self) -> dict[str, JSON]:
        """Return it for `--json` and REST."""
        return dict(vars(self))


@dataclass(frozen=True)
class Cache:
    """What a machine has of datasets: these, and how many bytes its cache holds of how many it may. `evicted`: objects, bytes."""

    machine: str
    datasets: list[Dataset]
    used: int
    quota: int
    evicted: tuple[int, int] = (0, 0)

    def to_dict(self) -> dict[str, JSON]:
        """Return it for `--json` and REST."""
        return {
            "machine": self.machine,
            "datasets": [each.to_dict() for each in self.datasets],
            "cache": {"used": self.used, "quota": self.quota},
        }


def ignore(progress: Progress) -> None:
    """Take how far it is and tell nobody."""


class Datasets:
    """S3 prefixes in folders of machines. Thread-safe; a folder is synced by one thread at a time. The keys stay in this process.

    `changed` hears the name of a machine whose datasets have changed, from any thread.
    """

    def __init__(
        self,
        home: Path,
        machines: Machines,
        now_s: Callable[[], float] = time.time,
        changed: Callable[[str], None] = lambda machine: None,
    ) -> None:
        self._home, self._machines, self._now_s = home, machines, now_s
        self._changed = changed
        self._endpoints: dict[Asked, Endpoint] = {}
        self._lock = threading.Lock()

    def sync(
        self,
        source: str,
        target: str,
        machine: str = LOCAL,
        *,
        asked: Asked | None = None,
        options: Options | None = None,
        progress: Callable[[Progress], None] = ignore,
        cancelled: threading.Event | None = None,
    ) -> Done:
        """Bring a prefix to a folder of a machine, or a folder there to a prefix: one of `source` and `target` is `s3://…`.

        Files that could not be had are in the answer. Raises UsageError, NotFound, DataError, NoSpace, Busy, Cancelled, LinkDown, and why the
        machine cannot be reached.
        """
        upward, address, folder = directed(source, target)
        kind: type[Sync] = Send if upward else Fetch
        try:
            with (
                self._alone(machine, folder) as installation,
                self._service(asked or Asked()) as endpoint,
            ):
                link = self._machines.link(machine)
                return kind(
                    endpoint,
                    link,
                    address,
                    folder,
                    installation,
                    options or Options(),
                    progress,
                    cancelled or threading.Event(),
                ).run()
        finally:
            self._changed(machine)

    def buckets(self, asked: Asked) -> list[browse.Bucket]:
        """Return the buckets of the user's credentials. Raises DataError."""
        with self._service(asked) as endpoint:
            return browse.buckets(endpoint)

    def listing(
        self, asked: Asked, bucket: str, prefix: str, after: str | None = None
    ) -> browse.Listing:
        """Return a page of the names below a prefix, which is taken as it is. Raises DataError."""
        with self._service(asked) as endpoint:
            return browse.listing(endpoint, bucket, prefix, after)

    def measure(
        self, asked: Asked, bucket: str, prefix: str, after: str | None = None
    ) -> browse.Measure:
        """Count objects and bytes below a prefix, some thousands at a time. Raises DataError."""
        with self._service(asked) as endpoint:
            return browse.measure(endpoint, bucket, prefix, after)

    def place(
        self, source: str, asked: Asked, cancelled: threading.Event | None = None
    ) -> tuple[str, str | None]:
        """Return the usual folder of a prefix, below the home folder of any machine; of a single object also its file's name there.

        Raises UsageError, NotFound, DataError.
        """
        address = Address.parse(source)
        with self._service(asked) as endpoint:
            below, _ = found(endpoint, address, cancelled)
        name = None if below == address.below else address.prefix.removeprefix(below)
        return usual_folder(endpoint.url, address, below), name

    def list(self, machine: str) -> Cache:
        """Return the datasets of a machine, and how full its cache is."""
        return self._manage(machine, "list")

    def pin(self, machine: str, dataset: str, pinned: bool = True) -> Cache:
        """Keep what a dataset has in the cache whatever comes, or no longer. `dataset` is its folder or `s3://…`. Raises NotFound."""
        return self._manage(machine, "pin" if pinned else "unpin", dataset=dataset)

    def evict(self, machine: str, dataset: str | None = None) -> Cache:
        """Drop from the cache what no pinned dataset has: of one dataset, or of all. Files in folders stay. Raises NotFound."""
        return self._manage(machine, "evict", dataset=dataset or "")

    def set_quota(self, machine: str, quota: int) -> Cache:
        """Let the cache of a machine hold so many bytes; what is too much goes, least recently used first."""
        if quota < 0:
            raise UsageError("a quota is 0 bytes or more")
        return self._manage(machine, "quota", quota=quota)

    def _manage(self, machine: str, verb: str, **args: JSON) -> Cache:
        told = manage(self._machines.link(machine), verb, **args)
        if verb != "list":
            self._changed(machine)
        try:
            evicted = told.get("evicted") or {"objects": 0, "bytes": 0}
            return Cache(
                machine,
                [_dataset(machine, each) for each in told["datasets"]],
                int(told["used"]),
                int(told["quota"]),
                (int(evicted["objects"]), int(evicted["bytes"])),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ProtocolError(f"{machine} told of its datasets what cannot be read") from exc

    @contextmanager
    def _service(self, asked: Asked) -> Iterator[Endpoint]:
        """Give what reaches a service; it is kept, for it takes half a second to make, until the service says no to it."""
        with self._lock:
            endpoint = self._endpoints.pop(asked, None) or Endpoint(asked, self._now_s)
            self._endpoints[asked] = endpoint
            if len(self._endpoints) > MAX_ENDPOINTS:
                del self._endpoints[next(iter(self._endpoints))]
        try:
            yield endpoint
        except DataError as exc:
            if exc.code in STALE:
                with self._lock:
                    self._endpoints.pop(asked, None)
            raise

    @contextmanager
    def _alone(self, machine: str, folder: str) -> Iterator[str]:
        """Hold the lock of a folder on a machine, so that a sync which still runs there has lost who began it; give this installation's name."""
        place = private_dir(self._home / "datasets")
        digest = hashlib.sha256(f"{machine}\0{folder}".encode()).hexdigest()[:24]
        lock = FileLock(place / f"{digest}.lock")
        if not lock.take():
            raise Busy(f"{folder} on {machine} is being synced already", hint="wait for it")
        try:
            yield self._installation(place)
        finally:
            lock.release()

    def _installation(self, place: Path) -> str:
        with self._lock:
            file = place / "installation"
            try:
                return file.read_text()
            except FileNotFoundError:
                name = secrets.token_hex(8)
                write_private(file, name.encode())
                return name


def directed(source: str, target: str) -> tuple[bool, Address, str]:
    """Return whether a sync goes to S3, its prefix and its folder. Raises UsageError."""
    upward = is_address(target)
    if upward == is_address(source):
        raise UsageError(
            "one of the two must be in S3, and the other a folder",
            hint="write s3://BUCKET/PREFIX for the one in S3",
        )
    folder = source if upward else target
    if not folder or "\0" in folder or len(folder) > MAX_TEXT:
        raise UsageError("that is no folder", code="bad_path")
    return upward, Address.parse(target if upward else source), folder


def _dataset(machine: str, told: dict[str, Any]) -> Dataset:
    return Dataset(
        machine,
        str(told["folder"])[:MAX_TEXT],
        str(told["source"])[:MAX_TEXT],
        bool(told["upward"]),
        bool(told["pinned"]),
        bool(told["there"]),
        int(told["files"]),
        int(told["bytes"]),
        int(told["synced_ms"]),
    )
