"""Manifests of S3 prefixes: what each object is, in a file, a hash of them all, and what differs between two. Little memory, any size."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...datasets.address import Object

MOST_KEYS, MOST_BYTES = 200, 32_000  # of changed objects that a notebook is told of
_WHOLE = 1 << 256

Entry = tuple[str, str, int, str]
"""Name, ETag and size of an object, and its version, else when it was written: one that is uploaded again is another one."""


@dataclass(frozen=True)
class Written:
    """A manifest that was written: its hash, how many objects it has, and whether they came in the order of S3."""

    key: str
    objects: int
    ordered: bool


def write(path: Path, objects: Iterable[Object]) -> Written:
    """Write the manifest of these objects. The hash does not depend on their order. Raises OSError."""
    total = count = 0
    ordered, last = True, b""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for each in objects:
            upload = each.version or each.modified
            line = json.dumps([each.name, each.etag, each.size, upload]).encode()
            file.write(line + b"\n")
            total = (total + int.from_bytes(hashlib.sha256(line).digest(), "big")) % _WHOLE
            name = each.name.encode(errors="replace")
            ordered = ordered and each.is_text and (name > last or not count)
            last, count = name, count + 1
    text = f"{count}:{total:064x}"
    return Written(hashlib.sha256(text.encode()).hexdigest(), count, ordered)


def read(path: Path) -> Iterator[Entry]:
    """Yield what a manifest has. Raises OSError, ValueError for one that is none."""
    with path.open("rb") as file:
        for line in file:
            name, etag, size, upload = json.loads(line)
            yield str(name), str(etag), int(size), str(upload)


def changed(old: Iterator[Entry], new: Iterable[Entry]) -> Iterator[str]:
    """Yield the names of objects that are new or differ; both manifests are in order. Pure."""
    before = next(old, None)
    for entry in new:
        name = entry[0].encode()
        while before is not None and before[0].encode() < name:
            before = next(old, None)
        if before != entry:
            yield entry[0]


def bounded(names: Iterable[str]) -> tuple[list[str], int]:
    """Return the first names, as many as a notebook is told of, and how many there are besides. Pure."""
    kept: list[str] = []
    size = more = 0
    for name in names:
        size += len(json.dumps(name)) + 2
        if more or len(kept) >= MOST_KEYS or size > MOST_BYTES:
            more += 1
        else:
            kept.append(name)
    return kept, more
