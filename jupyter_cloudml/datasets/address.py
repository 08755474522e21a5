"""Addresses of datasets, and which keys can be files of a folder. Pure.

A key below the prefix becomes a path of the same name, exactly: nothing is folded, normalized or escaped. What no folder can hold is refused by name and
the rest goes on:

- a name that is empty, `.` or `..`, or an absolute path (`a//b`, `../x`, `/abs`); NUL, newline or carriage return; bytes that are not UTF-8;
- a name of over 255 bytes; the name of the folder that unfinished files wait in;
- `a` and `a/b`: only one of them can be. An empty `a` is a folder's marker and gives way. Any other `a` stays, and the keys below it are refused.

`dir/` without content is a folder, and is made. With content it is refused. NFC and NFD spellings are two names, as they are two keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError

SCHEME = "s3://"
SCRATCH = ".cloudml-data"  # as in onhost/folder.py
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True)
class Address:
    """A bucket and a prefix in it: "" or one that is meant as a folder, without the slash at its end."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `s3://bucket/prefix`. Raises UsageError (`bad_address`)."""
        bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
        if not is_address(text) or not _BUCKET.fullmatch(bucket) or "\0" in prefix:
            raise UsageError(
                f"{text[:200]!r} is not an address of S3",
                code="bad_address",
                hint="write it as s3://BUCKET/PREFIX",
            )
        return cls(bucket, prefix.rstrip("/") if prefix.strip("/") else "")

    @property
    def below(self) -> str:
        """What the keys of the dataset begin with."""
        return f"{self.prefix}/" if self.prefix else ""

    def __str__(self) -> str:
        return SCHEME + "/".join(part for part in (self.bucket, self.prefix) if part)


def is_address(text: str) -> bool:
    """Whether an argument names something in S3 rather than a folder."""
    return text.startswith(SCHEME)


def usual_folder(url: str, address: Address, below: str) -> str:
    """Return the folder that a notebook's dataset has where none is named; another service has another. Raises UsageError (`bad_path`)."""
    service = urlsplit(url)
    host, port = service.hostname or "", service.port
    own = [] if ".amazonaws.com" in host else [f"{host}_{port}" if port else host]
    path = "/".join(
        part for part in ("data", *own, address.bucket, below.removesuffix("/")) if part
    )
    why = flaw(path)
    if why:
        raise UsageError(
            f"{address} cannot be the name of a folder: {why}",
            code="bad_path",
            hint="name another one: dataset(…, folder=…)",
        )
    return path


@dataclass(frozen=True)
class Object:
    """An object as it was listed. Where its key is not UTF-8 (`is_text`), the name only shows it. `version` is "" where there are none."""

    name: str
    size: int
    etag: str
    is_text: bool = True
    version: str = ""
    modified: str = ""  # when it was written, as the service says it


@dataclass(frozen=True)
class File:
    """An object that is to be a file: its path in the folder, and the key."""

    path: str
    object: Object


@dataclass(frozen=True)
class Folder:
    """A folder that is to be there although it may be empty."""

    path: str


@dataclass(frozen=True)
class Refused:
    """A key that cannot be a file there, and why."""

    key: str
    why: str


def flaw(path: str) -> str | None:
    """Say why a path cannot be in a folder; None where it can."""
    if path.startswith("/") or not path:
        return "it would lead out of the folder"
    for part in path.split("/"):
        if part in (".", ".."):
            return "it would lead out of the folder"
        if not part:
            return "a name in it is empty"
        if "\0" in part or "\n" in part or "\r" in part:
            return "it holds a character that no file name may have"
        if len(part.encode("utf-8", "replace")) > 255:
            return "a name in it is too long"
        if part == SCRATCH:
            return "the name is taken"
    return None


def arrange(objects: Iterable[Object], below: str) -> Iterator[File | Folder | Refused]:
    """Say what becomes of each object below a prefix; `objects` are in the order of S3 (UTF-8), any number of them.

    In another order the machine still refuses what cannot be, but by what is there first.
    """
    waiting: list[
        tuple[str, File | None]
    ] = []  # files that others may lie below, the innermost last
    for each in objects:
        path = each.name.removeprefix(below)
        if waiting:
            yield from _settled(waiting, path)
        marker = path.endswith("/")
        why = flaw(path.rstrip("/") if marker and not path.endswith("//") else path)
        if not path and not each.size:
            continue  # the prefix's own marker
        if not each.is_text:
            why = "it is not UTF-8"
        elif marker and why is None and each.size:
            why = "it is the name of a folder and has content"
        if why:
            yield Refused(each.name, why)
            continue
        above = _above(waiting, path)
        if above is not None:
            yield Refused(each.name, f"{above} is a file")
        elif marker:
            yield Folder(path.rstrip("/"))
        elif each.size:
            waiting.append((path, None))
            yield File(path, each)
        else:
            waiting.append((path, File(path, each)))
    yield from _settled(waiting, None)


def _settled(waiting: list[tuple[str, File | None]], path: str | None) -> Iterator[File]:
    """Take off the files that nothing can lie below any more, now that `path` has come; give those that were held back."""
    while waiting and (path is None or path >= waiting[-1][0] + "0"):  # "0" follows "/"
        _, file = waiting.pop()
        if file is not None:
            yield file


def _above(waiting: list[tuple[str, File | None]], path: str) -> str | None:
    """Return the file that a path would lie below. An empty one gives way: it is dropped, being a folder's marker."""
    for number, (above, held_back) in enumerate(waiting):
        if path.startswith(above + "/"):
            if held_back is None:
                return above
            del waiting[number]
            return None
    return None
