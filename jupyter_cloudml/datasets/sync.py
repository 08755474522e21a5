"""One sync: lists and signs here, has the machine fetch or send, gives new addresses for those that have expired, tells how far it is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import JSON, Cancelled, ProtocolError
from ..link.link import Link
from .address import Address, File, Folder, Object, Refused, arrange, flaw
from .endpoint import Answer, Endpoint
from .errors import DataError
from .globs import Choice
from .listing import found, head, pages
from .multipart import Multipart
from .program import Program, running
from .progress import Progress

BATCH = 1000  # files told at once
AHEAD = 4000  # files that may be listed and neither there nor given up
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
    """What a sync has done. `failed` holds [name, code, why], `would` of a preview ["fetch"|"send"|"delete", path, bytes]."""

    machine: str
    source: str
    folder: str
    counts: dict[str, int]
    failed: list[list[str]]
    kept: list[str]
    would: list[list[Any]]
    seconds: float

    def to_dict(self) -> dict[str, JSON]:
        """Return it for `--json` and REST."""
        counts = self.counts
        names = ("files", "same", "cached", "deleted", "gone", "bytes", "retried", "resumed")
        return {
            "machine": self.machine,
            "source": self.source,
            "folder": self.folder,
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

    def run(self) -> Done:
        """Do it. Raises DataError, CloudMLError why it could not; files that failed alone are in the answer."""
        began = time.monotonic()
        below, listed = self.listing()
        args = {
            "verb": self.verb,
            "folder": self.folder,
            "source": str(self.address),
            "where": f"{self.endpoint.url}/{self.address.bucket}/{below}",
            "installation": self.installation,
            "choice": self.options.choice.expressions,
            "compare": self.options.compare,
            "delete": self.options.delete,
            "preview": self.options.preview,
            "cache": self.options.cache,
            "threads": THREADS,
            "silent_s": self.options.silent_s,
            "ca": self.endpoint.ca,
        }
        with running(self.link, args) as program:
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


class Fetch(Sync):
    """From S3 to a folder."""

    verb = "fetch"

    def listing(self) -> tuple[str, Iterator[list[Object]]]:
        """The prefix, or the one object of that name. Raises NotFound."""
        return found(self.endpoint, self.address, self.cancelled)

    def converse(
        self, program: Program, below: str, listed: Iterator[list[Object]]
    ) -> dict[str, Any]:
        """Tell the list, sign what is wanted."""
        pending: dict[int, str] = {}  # the keys of what may still be asked for
        unanswered: deque[list[int]] = deque()
        batches = self._batches(below, listed)
        while True:
            while not self.progress.listed and len(pending) < AHEAD and len(unanswered) < 2:
                self.check_cancelled()
                self._tell(program, next(batches, None), pending, unanswered)
            self.check_cancelled()
            for said in program.hear(0.05 if unanswered else 0.2):
                ended = self.take(said)
                if ended is not None:
                    return ended
                self._serve(program, said, pending, unanswered)

    def _tell(
        self,
        program: Program,
        batch: tuple[list[tuple[int, File]], list[str]] | None,
        pending: dict[int, str],
        unanswered: deque[list[int]],
    ) -> None:
        if batch is None:
            self.progress.listed = True
            program.tell(listed=True)
            return
        files, folders = batch
        pending.update({number: file.object.name for number, file in files})
        if files:
            unanswered.append([number for number, _ in files])
        rows = [[n, file.path, file.object.size, file.object.etag] for n, file in files]
        program.tell(list=rows, folders=folders)

    def _serve(
        self,
        program: Program,
        said: dict[str, Any],
        pending: dict[int, str],
        unanswered: deque[list[int]],
    ) -> None:
        if "want" in said and unanswered:  # of the oldest batch only what is wanted stays
            wanted = set(said["want"])
            for number in unanswered.popleft():
                if number not in wanted:
                    del pending[number]
        if "sign" in said:
            numbers = [self.number(n, pending) for n in said["sign"]]
            program.tell(urls=[[n, self._signed(pending[n])] for n in numbers])
        for number in said.get("settled", ()):
            pending.pop(number, None)
        if "again" in said:
            number = self.number(said["again"], pending)
            self._again(program, number, pending[number], said.get("said"))
        if "changed" in said:
            number = self.number(said["changed"], pending)
            self._changed(program, number, pending[number])

    def _batches(
        self, below: str, listed: Iterator[list[Object]]
    ) -> Iterator[tuple[list[tuple[int, File]], list[str]]]:
        """Put together what is told at once; what cannot be a file is named."""
        files: list[tuple[int, File]] = []
        folders: list[str] = []
        number = 0
        for each in arrange((one for page in listed for one in page), below):
            if isinstance(each, Refused):
                if self.options.choice.has(each.key.removeprefix(below)):
                    self.refuse(each.key, "bad_key", each.why)
            elif isinstance(each, Folder):
                if self.options.choice.has(each.path + "/"):
                    folders.append(each.path)
            elif self.options.choice.has(each.path):
                files.append((number, each))
                number += 1
            if len(files) + len(folders) >= BATCH:
                yield files, folders
                files, folders = [], []
        if files or folders:
            yield files, folders

    def _signed(self, key: str) -> str:
        return self.endpoint.signer(self.address.bucket).url(
            "GET",
            self.address.bucket,
            key,
            now_s=self.endpoint.now_s(),
            expires_s=self.options.expires_s,
        )

    def _again(self, program: Program, number: int, key: str, why: Any) -> None:
        """Give another address for one that the service has refused; end it all for what no other address will help."""
        error = self.refusal(why)
        if error.is_final:
            raise error
        program.tell(urls=[[number, self._signed(key)]])

    def _changed(self, program: Program, number: int, key: str) -> None:
        now = head(self.endpoint, self.address, key)
        if now is None:
            program.tell(gone=number)
        else:
            program.tell(new=[number, now.size, now.etag, self._signed(key)])


class Send(Sync):
    """From a folder to S3."""

    verb = "send"

    def listing(self) -> tuple[str, Iterator[list[Object]]]:
        """What is below the prefix now."""
        return self.address.below, pages(self.endpoint, self.address, self.cancelled)

    def converse(
        self, program: Program, below: str, listed: Iterator[list[Object]]
    ) -> dict[str, Any]:
        """Tell what is there, sign what is to be sent, put parts together."""
        there: dict[int, str] = {}
        number = 0
        for page in listed:
            self.check_cancelled()
            rows = []
            for each in page:
                there[number] = each.name
                rows.append([number, each.name.removeprefix(below), each.size, each.etag])
                number += 1
            program.tell(list=rows)
        program.tell(listed=True)
        self.progress.listed = True
        with Multipart(self.endpoint, self.address.bucket, self.options.expires_s) as uploads:
            while True:
                self.check_cancelled()
                for said in program.hear():
                    ended = self.take(said)
                    if ended is not None:
                        return self._without_extra(ended, there)
                    self._serve(program, uploads, below, said)

    def _serve(
        self, program: Program, uploads: Multipart, below: str, said: dict[str, Any]
    ) -> None:
        urls = []
        for number, path, size in said.get("put", ()):
            if type(number) is not int or type(size) is not int or flaw(str(path)):
                raise ProtocolError(f"{self.link.machine} wants to send {path!r:.100}")
            urls.append([number, *uploads.begin(number, below + path, size)])
        if urls:
            program.tell(urls=urls)
        if "again" in said:
            number = self.number(said["again"], uploads.known)
            program.tell(urls=[[number, *uploads.again(number, self.refusal(said.get("said")))]])
        if "abandoned" in said:
            uploads.abandon(self.number(said["abandoned"], uploads.known))
        if "sent" in said:
            number = self.number(said["sent"], uploads.known)
            try:
                etag = uploads.finish(number, [str(etag) for etag in said["etags"]])
            except DataError as error:
                program.tell(fail=[number, error.code, error.message])
            else:
                program.tell(stored=[number, etag])

    def _without_extra(self, ended: dict[str, Any], there: dict[int, str]) -> dict[str, Any]:
        """Delete the objects that the folder has no files for, if that was asked for."""
        keys = [there[self.number(n, there)] for n in ended.get("extra", ())]
        if self.options.preview:
            below = self.address.below
            would = [["delete", key.removeprefix(below), 0] for key in keys[:1000]]
            return {
                **ended,
                "would": [*ended.get("would", []), *would],
                "would_delete": len(keys),
            }
        for key in keys:
            self.check_cancelled()
            self.endpoint.ask("DELETE", self.address.bucket, key, accept=(200, 204))
        return {**ended, "deleted": len(keys)}
