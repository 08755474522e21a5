"""Uploads that the machine makes with signed addresses: small files at once, large ones in parts that are put together here."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from xml.sax.saxutils import escape

from ..errors import CloudMLError, ProtocolError
from .endpoint import Endpoint, document, said
from .errors import DataError

WHOLE = 32 << 20  # what is smaller is sent at once
PART = 16 << 20
MAX_PARTS = 10_000


class Multipart:
    """The uploads of one sync, by the numbers of their files. What was not finished is dropped at the end, so that it costs nothing."""

    def __init__(self, endpoint: Endpoint, bucket: str, expires_s: int) -> None:
        self._endpoint, self._bucket, self._expires_s = endpoint, bucket, expires_s
        self.known: dict[int, tuple[str, int, str]] = {}  # key, size, upload ("": whole)

    def __enter__(self) -> Multipart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in list(self.known):
            with suppress(CloudMLError):  # it is unreachable: the bucket's own rules will do it
                self.abandon(number)

    def begin(self, number: int, key: str, size: int) -> tuple[int, list[str]]:
        """Return the size of a part, and an address for each. Raises DataError."""
        self.abandon(number)
        upload = ""
        if size > WHOLE:
            answer = self._endpoint.ask("POST", self._bucket, key, {"uploads": ""})
            upload = document(answer.body).findtext("UploadId") or ""
            if not upload:
                raise ProtocolError(f"{self._endpoint.url} gave no name to an upload")
        self.known[number] = key, size, upload
        return self._addresses(number)

    def again(self, number: int, error: DataError) -> tuple[int, list[str]]:
        """Return other addresses for those that the service has refused. Raises `error` where they will not help."""
        if error.is_final:
            raise error
        return self._addresses(number)

    def _addresses(self, number: int) -> tuple[int, list[str]]:
        key, size, upload = self.known[number]
        signer, now_s = self._endpoint.signer(self._bucket), self._endpoint.now_s()
        if not upload:
            url = signer.url("PUT", self._bucket, key, now_s=now_s, expires_s=self._expires_s)
            return max(size, 1), [url]
        part = part_size(size)
        urls = [
            signer.url(
                "PUT",
                self._bucket,
                key,
                {"partNumber": str(n + 1), "uploadId": upload},
                now_s=now_s,
                expires_s=self._expires_s,
            )
            for n in range(-(-size // part))
        ]
        return part, urls

    def finish(self, number: int, etags: list[str]) -> str:
        """Have the service make the object of its parts; return its ETag. Raises DataError: what has come is there until it is abandoned."""
        key, _, upload = self.known[number]
        if not upload:
            del self.known[number]
            return etags[0]
        parts = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for n, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._endpoint.ask("POST", self._bucket, key, {"uploadId": upload}, body)
        code, message = said(answer.body)  # S3 may say 200 and mean no
        if code:
            raise DataError(f"{key} could not be put together: {code}: {message}", code="s3_error")
        del self.known[number]
        return (document(answer.body).findtext("ETag") or "").strip('"')

    def abandon(self, number: int) -> None:
        """Drop what has come of a file."""
        key, _, upload = self.known.pop(number, ("", 0, ""))
        if upload:
            self._endpoint.ask(
                "DELETE", self._bucket, key, {"uploadId": upload}, accept=(200, 204, 404)
            )


def part_size(size: int) -> int:
    """Return a size of parts of which there are not too many, in whole MB."""
    least = -(-size // MAX_PARTS)
    return max(PART, -(-least // (1 << 20)) << 20)
