"""Lists what lies below a prefix, a thousand objects at a time, in the order of S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_plus, unquote_to_bytes
from xml.etree import ElementTree

from ..errors import NotFound, ProtocolError
from .address import Address, Object
from .endpoint import Endpoint, document, tree
from .errors import DataError

PAGE = 1000
MAX_DIGITS = 18  # of a size: databases hold no more
ANY = (200, 400, 403, 404, 405, 501)


def pages(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None = None
) -> Iterator[list[Object]]:
    """Yield what lies below the prefix, a page after the other; with versions where the bucket has any. Raises DataError, Cancelled."""
    if _is_versioned(endpoint, address.bucket, cancelled):
        listed = _versions(endpoint, address, cancelled)
        try:
            first = next(listed)
        except DataError as exc:
            if exc.code != "refused":
                raise  # else they may be listed without their versions
        else:
            yield first
            yield from listed
            return
    yield from _latest(endpoint, address, cancelled)


def _latest(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None
) -> Iterator[list[Object]]:
    """As pages, without versions; the next page is asked for while one is looked at."""
    query = {
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": str(PAGE),
        "prefix": address.below,
    }

    def asked(query: dict[str, str]) -> bytes:
        return endpoint.ask("GET", address.bucket, query=query, cancelled=cancelled).body

    asked_with: str | None = None
    pool = ThreadPoolExecutor(1, "listing")
    try:
        body: bytes | None = asked(query)
        while body is not None:
            root = tree(body)
            space, _, tag = root.tag.rpartition("}")
            if tag != "ListBucketResult":
                raise ProtocolError(f"{endpoint.url} listed {address} as <{tag[:40]}>")
            space += "}" if space else ""
            following = root.findtext(space + "NextContinuationToken")
            more = root.findtext(space + "IsTruncated") == "true"
            if more and following in (None, "", asked_with):
                raise ProtocolError(
                    f"{endpoint.url} does not tell how the list of {address} goes on"
                )
            asked_with = following
            coming = (
                pool.submit(asked, {**query, "continuation-token": str(following)})
                if more
                else None
            )
            encoded = root.findtext(space + "EncodingType") == "url"
            yield [_object(each, space, encoded) for each in root.iter(space + "Contents")]
            body = coming.result() if coming else None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_versioned(endpoint: Endpoint, bucket: str, cancelled: threading.Event | None) -> bool:
    """Whether to ask for versions; a service that does not tell, or does not know, has none."""
    try:
        answer = endpoint.ask(
            "GET", bucket, query={"versioning": ""}, cancelled=cancelled, accept=ANY
        )
        root = document(answer.body) if answer.status == 200 else None
    except (DataError, ProtocolError):
        return False  # the listing says why
    return root is not None and root.findtext("Status") in ("Enabled", "Suspended")


def _versions(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None
) -> Iterator[list[Object]]:
    """As pages, by the list of all versions: of each key the latest counts, unless it was deleted."""
    query = {
        "versions": "",
        "encoding-type": "url",
        "max-keys": str(PAGE),
        "prefix": address.below,
    }
    while True:
        answer = endpoint.ask("GET", address.bucket, query=query, cancelled=cancelled)
        root = document(answer.body)
        if root.tag != "ListVersionsResult":
            raise ProtocolError(f"{endpoint.url} listed {address} as <{root.tag[:40]}>")
        encoded = root.findtext("EncodingType") == "url"
        yield [
            _object(each, "", encoded)
            for each in root.iter("Version")
            if each.findtext("IsLatest") == "true"
        ]
        if root.findtext("IsTruncated") != "true":
            return
        # Not NextKeyMarker: some services encode it, and some do not.
        key = version = ""
        for each in root:
            if each.tag in ("Version", "DeleteMarker"):
                key, version = each.findtext("Key") or "", each.findtext("VersionId") or "null"
        following = {
            "key-marker": unquote_plus(key) if encoded else key,
            "version-id-marker": version,
        }
        if not key or following.items() <= query.items():
            raise ProtocolError(f"{endpoint.url} lists the versions in {address} without an end")
        query = {**query, **following}


def is_size(text: str) -> bool:
    """Whether a text is the size of an object."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def head(endpoint: Endpoint, address: Address, key: str) -> Object | None:
    """Return one object as it is now; None where there is none. Raises DataError."""
    answer = endpoint.ask("HEAD", address.bucket, key, accept=(200, 404))
    if answer.status == 404:
        return None
    length, etag = answer.headers.get("content-length", ""), answer.headers.get("etag", "")
    if not is_size(length):
        raise ProtocolError(f"{endpoint.url} does not tell the size of {key[:200]!r}")
    version = answer.headers.get("x-amz-version-id", "")
    modified = answer.headers.get("last-modified", "")
    return Object(key, int(length), etag.strip('"'), version=version, modified=modified)


def found(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None = None
) -> tuple[str, Iterator[list[Object]]]:
    """Return what the keys begin with, and the pages: what lies below the prefix, else the object of that very name.

    Raises NotFound (`nothing_there`) where there is neither, DataError.
    """
    listed = pages(endpoint, address, cancelled)
    first = next((page for page in listed if page), None)  # of deleted versions there may be many
    if first:
        return address.below, _with(first, listed)
    single = head(endpoint, address, address.prefix) if address.prefix else None
    if single is None:
        raise NotFound(
            f"there is nothing under {address}",
            code="nothing_there",
            hint="list the bucket and look at the prefix",
        )
    return address.prefix.rpartition("/")[0] + "/" if "/" in address.prefix else "", iter(
        [[single]]
    )


def _with(first: list[Object], rest: Iterator[list[Object]]) -> Iterator[list[Object]]:
    yield first
    yield from rest


def _object(each: ElementTree.Element, space: str, encoded: bool) -> Object:
    key = each.findtext(space + "Key") or ""
    raw = unquote_to_bytes(key.replace("+", " ")) if encoded else key.encode()
    try:
        name, is_text = raw.decode(), True
    except UnicodeDecodeError:
        name, is_text = raw.decode(errors="replace"), False
    size = each.findtext(space + "Size") or ""
    if not is_size(size):
        raise ProtocolError(f"the S3 service told the size of {name[:200]!r} as {size[:40]!r}")
    etag, version = each.findtext(space + "ETag") or "", each.findtext(space + "VersionId") or ""
    modified = each.findtext(space + "LastModified") or ""
    return Object(name, int(size), etag.strip('"'), is_text, version, modified)
