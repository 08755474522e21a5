"""Lists what lies below a prefix, a thousand objects at a time, in the order of S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from ..errors import NotFound, ProtocolError
from .address import Address, Object
from .endpoint import Endpoint, document

PAGE = 1000


def pages(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None = None
) -> Iterator[list[Object]]:
    """Yield what lies below the prefix, a page after the other. Raises DataError, Cancelled."""
    query = {
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": str(PAGE),
        "prefix": address.below,
    }
    while True:
        answer = endpoint.ask("GET", address.bucket, query=query, cancelled=cancelled)
        root = document(answer.body)
        if root.tag != "ListBucketResult":
            raise ProtocolError(f"{endpoint.url} listed {address} as <{root.tag[:40]}>")
        encoded = root.findtext("EncodingType") == "url"
        yield [_object(each, encoded) for each in root.iter("Contents")]
        following = root.findtext("NextContinuationToken")
        if root.findtext("IsTruncated") != "true" or not following:
            return
        query = {**query, "continuation-token": following}


def head(endpoint: Endpoint, address: Address, key: str) -> Object | None:
    """Return one object as it is now; None where there is none. Raises DataError."""
    answer = endpoint.ask("HEAD", address.bucket, key, accept=(200, 404))
    if answer.status == 404:
        return None
    length, etag = answer.headers.get("content-length", ""), answer.headers.get("etag", "")
    if not length.isdigit():
        raise ProtocolError(f"{endpoint.url} does not tell the size of {key[:200]!r}")
    return Object(key, int(length), etag.strip('"'))


def found(
    endpoint: Endpoint, address: Address, cancelled: threading.Event | None = None
) -> tuple[str, Iterator[list[Object]]]:
    """Return what the keys begin with, and the pages: what lies below the prefix, else the object of that very name.

    Raises NotFound (`nothing_there`) where there is neither, DataError.
    """
    listed = pages(endpoint, address, cancelled)
    first = next(listed)
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


def _object(each: ElementTree.Element, encoded: bool) -> Object:
    told = {child.tag: child.text or "" for child in each}
    raw = unquote_to_bytes(told["Key"].replace("+", " ")) if encoded else told["Key"].encode()
    try:
        name, is_text = raw.decode(), True
    except UnicodeDecodeError:
        name, is_text = raw.decode(errors="replace"), False
    size = told.get("Size", "")
    if not size.isdigit():
        raise ProtocolError(f"the S3 service told the size of {name[:200]!r} as {size[:40]!r}")
    return Object(name, int(size), told.get("ETag", "").strip('"'), is_text=is_text)
