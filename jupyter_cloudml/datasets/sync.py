"""What a sync in either direction is: how it is meant, what it has done, and how it is told to a machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import JSON, Cancelled, ProtocolError
from ..link.link import Link
from .address import Address, Object
from .endpoint import Answer, Endpoint
from .errors import DataError
from .globs import Choice
from .program import Program, running
from .progress import Progress

MAX_NAMED = 200
THREADS = 16
SILENT_S = 30.0
EXPIRES_S = 3600


@dataclass(frozen=True)
class Options:
    """How a sync is meant. `compare` is "etag", "size" or "checksum"."""

    choice: Choice = field(default_factory=Choice)
    compare: str = "etag"
    delete: bool = False
    preview: bool = False
    cache: bool = True
    expires_s: int = EXPIRES_S
    silent_s: float = SILENT_S


@dataclass(frozen=True)
class Done:
    """What a sync has done. `failed` holds [name, code, why], `would` of a preview ["fetch"|"send"|"delete", path, bytes].

    `state` is a digest of the names, sizes, ETags and versions that were listed: what the data was; "" where it changed meanwhile, and of a sync to S3.
    """

    machine: str
    source: str
    folder: str
    counts: dict[str, int]
    failed: list[list[str]]
    kept: list[str]
    would: list[list[Any]]
    seconds: float
    state: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Return it for `--json` and REST."""
        counts = self.counts
        names = ("files", "same", "cached", "deleted", "gone", "bytes", "retried", "resumed")
        return {
            "machine": self.machine,
            "source": self.source,
            "folder": self.folder,
            "state": self.state,
            **{name: counts.get(name, 0) for name in names},
            "total_files": counts.get("total_files", 0),
            "total_bytes": counts.get("total_bytes", 0),
            "failed": [{"name": name, "code": code, "why": why} for name, code, why in self.failed],
            "failed_count": max(counts.get("failed", 0), len(self.failed)),
            "kept": self.kept,
            "would": [
                {"action": what, "path": path, "bytes": size} for what, path, size in self.would
            ],
            "would_fetch": counts.get("would_fetch", 0),
            "would_send": counts.get("would_send", 0),
            "would_delete": counts.get("would_delete", 0),
            "seconds": round(self.seconds, 3),
        }


class Sync:
    """What both directions share. Used by one thread, once."""

    verb = ""

    def __init__(
        self,
        endpoint: Endpoint,
        link: Link,
        address: Address,
        folder: str,
        installation: str,
        options: Options,
        told: Callable[[Progress], None],
        cancelled: threading.Event,
    ) -> None:
        self.endpoint, self.link, self.address, self.folder = endpoint, link, address, folder
        self.installation, self.options = installation, options
        self.told, self.cancelled = told, cancelled
        self.progress = Progress()
        self.failed: list[list[str]] = []
        self.refused = 0
        self.place = folder
        self.state = ""

    def run(self) -> Done:
        """Do it. Raises DataError, CloudMLError why it could not; files that failed alone are in the answer."""
        began = time.monotonic()
        with running(self.link) as program:  # which starts while the first names come
            below, listed = self.listing()
            program.tell(
                verb=self.verb,
                folder=self.folder,
                source=str(self.address),
                where=f"{self.endpoint.url}/{self.address.bucket}/{below}",
                installation=self.installation,
                choice=self.options.choice.told,
                compare=self.options.compare,
                delete=self.options.delete,
                preview=self.options.preview,
                cache=self.options.cache,
                threads=THREADS,
                silent_s=self.options.silent_s,
                ca=self.endpoint.ca,
            )
            ended = self.converse(program, below, listed)
        counts = {name: n for name, n in ended.items() if type(n) is int}
        counts["failed"] = counts.get("failed", 0) + self.refused
        return Done(
            self.link.machine,
            str(self.address),
            self.place,
            counts,
            self.failed[:MAX_NAMED],
            [str(path) for path in ended.get("kept", [])],
            [[str(what), str(path), int(size)] for what, path, size in ended.get("would", [])],
            time.monotonic() - began,
            self.state,
        )

    def listing(self) -> tuple[str, Iterator[list[Object]]]:
        """Return what keys begin with, and what is there."""
        raise NotImplementedError

    def converse(
        self, program: Program, below: str, listed: Iterator[list[Object]]
    ) -> dict[str, Any]:
        """Talk to the program until it has ended; return its last word."""
        raise NotImplementedError

    def take(self, said: dict[str, Any]) -> dict[str, Any] | None:
        """Take what both kinds of program say; the last word is returned."""
        if isinstance(said.get("folder"), str):
            self.place = said["folder"]
        if isinstance(said.get("error"), list) and len(self.failed) < MAX_NAMED:
            self.failed.append([str(part) for part in said["error"][:3]])
        if isinstance(said.get("at"), dict):
            self.progress.take(said["at"], time.monotonic())
            self.told(self.progress)
        if isinstance(said.get("ended"), dict):
            return dict(said["ended"])
        return None

    def check_cancelled(self) -> None:
        """Raise Cancelled when it was called off."""
        if self.cancelled.is_set():
            raise Cancelled(f"the sync of {self.address} was called off")

    def refuse(self, name: str, code: str, why: str) -> None:
        """Name what cannot be had."""
        self.refused += 1
        if len(self.failed) < MAX_NAMED:
            self.failed.append([name, code, why])

    def number(self, value: Any, known: dict[int, Any]) -> int:
        """Return a number that the machine has said. Raises ProtocolError for one that it was not told."""
        if type(value) is not int or value not in known:
            raise ProtocolError(f"{self.link.machine} asked for a file that it was not told of")
        return value

    def refusal(self, said: Any) -> DataError:
        """Return why the service refused a signed address, as the machine has it."""
        body = str(said).encode()
        return self.endpoint.refusal(f"{self.address}", Answer(403, {}, body))
