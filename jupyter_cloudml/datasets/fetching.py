"""From S3 to a folder: lists and signs here, has the machine fetch, gives new addresses for those that have expired."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from .address import File, Folder, Object, Refused, arrange
from .listing import found, head
from .program import Program
from .sync import Sync

BATCH = 1000  # files told at once
UNANSWERED = 8  # batches: the program takes as long to begin as some pages to come
AHEAD = 16_000  # files that may be listed and neither there nor given up


class Fetch(Sync):
    """From S3 to a folder."""

    verb = "fetch"

    @cached_property
    def digest(self) -> hashlib._Hash:
        """Of what was listed so far."""
        return hashlib.sha256()

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
            while (
                not self.progress.listed and len(pending) < AHEAD and len(unanswered) < UNANSWERED
            ):
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
            self.state = self.digest.hexdigest()
            program.tell(listed=True)
            return
        files, folders = batch
        pending.update({number: file.object.name for number, file in files})
        if files:
            unanswered.append([number for number, _ in files])
        rows = [[n, file.path, *_identity(file.object)] for n, file in files]
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
            signed = self._signing()
            program.tell(urls=[[n, signed(pending[n])] for n in numbers])
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
                size, etag, version = _identity(each.object)
                self.digest.update(f"{each.path}\0{size}\0{etag}\0{version}\n".encode())
            if len(files) + len(folders) >= BATCH:
                yield files, folders
                files, folders = [], []
        if files or folders:
            yield files, folders

    def _signing(self) -> Callable[[str], str]:
        return self.endpoint.signer(self.address.bucket).urls(
            "GET",
            self.address.bucket,
            now_s=self.endpoint.now_s(),
            expires_s=self.options.expires_s,
        )

    def _again(self, program: Program, number: int, key: str, why: Any) -> None:
        """Give another address for one that the service has refused; end it all for what no other address will help."""
        error = self.refusal(why)
        if error.is_final:
            raise error
        program.tell(urls=[[number, self._signing()(key)]])

    def _changed(self, program: Program, number: int, key: str) -> None:
        now = head(self.endpoint, self.address, key)
        self.state = ""
        if now is None:
            program.tell(gone=number)
        else:
            program.tell(new=[number, *_identity(now), self._signing()(key)])


def _identity(object: Object) -> tuple[int, str, str]:
    """What tells that an object is another one."""
    return object.size, object.etag, object.version
