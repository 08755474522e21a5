"""From a folder to S3: says what is there, signs what the machine sends, puts parts together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ProtocolError
from .address import Object, flaw
from .errors import DataError
from .listing import pages
from .multipart import Multipart
from .program import Program
from .sync import Sync


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
        extra = ended.get("extra", ()) if self.options.delete else ()
        keys = [there[self.number(n, there)] for n in extra]
        below, choice = self.address.below, self.options.choice
        keys = [key for key in keys if choice.has(key.removeprefix(below))]
        if self.options.preview:
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
