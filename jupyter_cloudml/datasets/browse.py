"""Shows what is in a bucket, a page at a time: for people, who look before they sync. Nothing is kept between two pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from ..errors import JSON, ProtocolError, UsageError
from .address import Address, usual_folder
from .endpoint import Endpoint, document
from .errors import DataError
from .listing import is_size

PAGE = 1000  # names; a service gives no more at once
MEASURED_PAGES = 5  # of one call: a prefix can hold millions of objects


@dataclass(frozen=True)
class Entry:
    """A name below a prefix: an object, or a folder, whose key ends with `/`. A key that is not UTF-8 (`is_text`) is only shown."""

    key: str
    is_folder: bool
    size: int
    modified_ms: int | None
    is_text: bool = True

    def to_dict(self) -> dict[str, JSON]:
        """Return it for REST."""
        return dict(vars(self))


@dataclass(frozen=True)
class Listing:
    """The names of one page in the order of S3, and what the next page is asked with; None after the last."""

    entries: list[Entry]
    after: str | None


@dataclass(frozen=True)
class Measure:
    """How many objects of how many bytes so far; `after` as in Listing. `folder`: where `dataset()` in a notebook would have it, if a folder can."""

    files: int
    bytes: int
    after: str | None
    folder: str | None = None


@dataclass(frozen=True)
class Bucket:
    """A bucket of the user's."""

    name: str
    created_ms: int | None


def buckets(endpoint: Endpoint) -> list[Bucket]:
    """List the buckets that the credentials own. Raises DataError."""
    try:
        root = document(endpoint.ask("GET", "").body)
    except DataError as exc:
        if exc.code != "refused":
            raise
        hint = "type the address of one, as s3://BUCKET/PREFIX: that may be allowed all the same"
        raise DataError(
            f"the buckets may not be listed: {exc.message}",
            code="refused",
            hint=hint,
            **exc.details,
        ) from exc
    if root.tag != "ListAllMyBucketsResult":
        raise ProtocolError(f"{endpoint.url} listed the buckets as <{root.tag[:40]}>")
    return [
        Bucket(each.findtext("Name") or "", _time(each.findtext("CreationDate")))
        for each in root.iter("Bucket")
    ]


def listing(endpoint: Endpoint, bucket: str, prefix: str, after: str | None = None) -> Listing:
    """Return one page of what lies below a prefix; what lies deeper is one folder. `prefix` is taken as it is. Raises DataError."""
    root = _page(endpoint, bucket, prefix, after, delimiter="/")
    encoded = root.findtext("EncodingType") == "url"
    found = [_object(each, encoded) for each in root.iter("Contents")]
    found += [_folder(each, encoded) for each in root.iter("CommonPrefixes")]
    entries = [entry for entry in found if entry.key != prefix]  # the marker of the folder itself
    entries.sort(key=lambda entry: entry.key.encode(errors="surrogateescape"))
    return Listing(entries, _after(root, after))


def measure(endpoint: Endpoint, bucket: str, prefix: str, after: str | None = None) -> Measure:
    """Count what lies below a prefix, at any depth, some pages further. Raises DataError."""
    files = total = 0
    for _ in range(MEASURED_PAGES):
        root = _page(endpoint, bucket, prefix, after)
        sizes = [_number(each.text) for each in root.iter("Size")]
        files, total, after = files + len(sizes), total + sum(sizes), _after(root, after)
        if after is None:
            break
    return Measure(files, total, after, _folder_of(endpoint, bucket, prefix))


def _folder_of(endpoint: Endpoint, bucket: str, prefix: str) -> str | None:
    above = prefix[: prefix.rfind("/") + 1]
    try:
        return usual_folder(endpoint.url, Address(bucket, prefix.rstrip("/")), above)
    except UsageError:
        return None


def _page(
    endpoint: Endpoint, bucket: str, prefix: str, after: str | None, delimiter: str = ""
) -> ElementTree.Element:
    query = {"list-type": "2", "encoding-type": "url", "max-keys": str(PAGE), "prefix": prefix}
    if delimiter:
        query["delimiter"] = delimiter
    if after is not None:
        query["continuation-token"] = after
    root = document(endpoint.ask("GET", bucket, query=query).body)
    if root.tag != "ListBucketResult":
        raise ProtocolError(f"{endpoint.url} listed s3://{bucket} as <{root.tag[:40]}>")
    return root


def _after(root: ElementTree.Element, before: str | None) -> str | None:
    following = root.findtext("NextContinuationToken")
    if root.findtext("IsTruncated") != "true":
        return None
    if not following or following == before:
        raise ProtocolError("the S3 service does not tell how the list goes on")
    return following


def _object(each: ElementTree.Element, encoded: bool) -> Entry:
    key, is_text = _key(each.findtext("Key"), encoded)
    size, modified = _number(each.findtext("Size")), _time(each.findtext("LastModified"))
    return Entry(key, False, size, modified, is_text)


def _folder(each: ElementTree.Element, encoded: bool) -> Entry:
    key, is_text = _key(each.findtext("Prefix"), encoded)
    return Entry(key, True, 0, None, is_text)


def _key(text: str | None, encoded: bool) -> tuple[str, bool]:
    if text is None:
        raise ProtocolError("the S3 service listed something without a name")
    raw = unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode()
    try:
        return raw.decode(), True
    except UnicodeDecodeError:
        return raw.decode(errors="replace"), False


def _number(text: str | None) -> int:
    if text is None or not is_size(text):
        raise ProtocolError(f"the S3 service told a size as {str(text)[:40]!r}")
    return int(text)


def _time(text: str | None) -> int | None:
    """Return a time of S3, as 2026-11-21T23:00:00.000Z, in UTC ms; None where it is none."""
    try:
        moment = datetime.fromisoformat((text or "").removesuffix("Z"))
    except ValueError:
        return None
    return int(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)
