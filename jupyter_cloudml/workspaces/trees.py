"""Folders as git writes them: from the files of a tree to its objects. Pure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Literal

from .merge import File

Kind = Literal["blob", "tree", "commit"]
FOLDER_MODE = "40000"
Folder = dict[bytes, "File | Folder"]


def name_of(kind: Kind, data: bytes) -> str:
    """Return the name of an object: SHA-1 of its kind, size and bytes."""
    head = f"{kind} {len(data)}\0".encode()
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()


def tree_objects(files: Mapping[str, File]) -> list[tuple[str, bytes]]:
    """Return name and bytes of each folder's object, the top one last. Raises ValueError where a file stands in the way of another."""
    top: Folder = {}
    for path, file in files.items():
        *folders, name = os.fsencode(path).split(b"/")
        folder = top
        for part in folders:
            inner = folder.setdefault(part, {})
            if isinstance(inner, File):
                raise ValueError(path)
            folder = inner
        if name in folder:
            raise ValueError(path)
        folder[name] = file
    return list(_objects(top))


def _objects(folder: Folder) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a folder, its own last."""
    rows = []
    for name, each in folder.items():
        if isinstance(each, File):
            rows.append((name, name, each.mode, each.blob))
            continue
        inner = list(_objects(each))
        yield from inner
        rows.append((name + b"/", name, FOLDER_MODE, inner[-1][0]))  # git sorts it by that
    data = b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(blob)
        for _, name, mode, blob in sorted(rows)
    )
    yield name_of("tree", data), data
