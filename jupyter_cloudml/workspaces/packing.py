"""Writes objects into a repository of ours without git: a few as files of their own, many as one pack (gitformat-pack(5)).

git itself writes a file for each object, which takes longer than all the rest of a first sync. Nothing is flushed to the disk: what a failing
computer loses is taken anew from the folder.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .trees import Kind

LEVEL = 1
LOOSE = 32  # more objects than that are worth a pack
PIECE = 1 << 18
KINDS: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3}
TEMPORARY = "tmp_"  # as git's own, which it takes away as garbage
MAGIC, INDEX_MAGIC = b"PACK", b"\377tOc"
LARGE = BEYOND = (
    1 << 31
)  # offsets from here on are in a table of their own, and marked with this bit


def write_loose(objects: Path, name: str, kind: Kind, size: int, pieces: Iterable[bytes]) -> None:
    """Write one object as a file of its own, unless it is there. Raises OSError."""
    place = objects / name[:2] / name[2:]
    if place.exists():
        return
    place.parent.mkdir(exist_ok=True)
    temporary = objects / f"{TEMPORARY}obj"
    pack = zlib.compressobj(LEVEL)
    with open(temporary, "wb") as file:
        file.write(pack.compress(f"{kind} {size}\0".encode()))
        for piece in pieces:
            file.write(pack.compress(piece))
        file.write(pack.flush())
    temporary.chmod(0o444)
    temporary.replace(place)


@dataclass(frozen=True)
class Place:
    """Where the compressed bytes of an object are in a pack."""

    offset: int
    length: int


class Pack:
    """A pack that is being written, of `count` objects. For one writer at a time: its workspace has the lock."""

    def __init__(self, objects: Path, count: int) -> None:
        self._folder = objects / "pack"
        self._temporary = self._folder / f"{TEMPORARY}pack"
        self._file = open(self._temporary, "w+b")  # noqa: SIM115 - until `finish`
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._rows: list[tuple[bytes, int, int]] = []  # name, CRC, offset
        self.places: dict[str, Place] = {}
        self._at = 0
        self._write(MAGIC + struct.pack(">II", 2, count))

    def add(self, name: str, kind: Kind, size: int, pieces: Iterable[bytes]) -> None:
        """Write one object. Raises OSError."""
        began = self._at
        head = _head(KINDS[kind], size)
        check = zlib.crc32(head)
        self._write(head)
        for data in _deflated(pieces):
            check = zlib.crc32(data, check)
            self._write(data)
        self._rows.append((bytes.fromhex(name), check, began))
        self.places[name] = Place(began + len(head), self._at - began - len(head))

    def finish(self) -> Path:
        """Give it its name, and an index, by which git finds it; returns where it is."""
        digest = self._digest.digest()
        self._file.write(digest)
        self._file.close()
        place = self._folder / f"pack-{digest.hex()}.pack"
        index = self._folder / f"{TEMPORARY}idx"
        index.write_bytes(_index(sorted(self._rows), digest))
        self._temporary.replace(place)
        index.replace(place.with_suffix(".idx"))
        return place

    def discard(self) -> None:
        """Take it away, unless it was finished."""
        if not self._file.closed:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._at += len(data)


class Packed:
    """The compressed bytes of objects in one pack."""

    def __init__(self, path: Path, places: dict[str, Place]) -> None:
        self._path, self._places = path, places

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, names: Iterable[str], sizes: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yield each object's bytes in pieces, one zlib stream for each object; with the last piece its size, else 0. Raises OSError."""
        with open(self._path, "rb") as file:
            for name, size in zip(names, sizes, strict=True):
                place = self._places[name]
                for at in range(0, place.length, PIECE):
                    length = min(PIECE, place.length - at)
                    data = os.pread(file.fileno(), length, place.offset + at)
                    yield (size if at + length == place.length else 0), data


def clear_up(objects: Path) -> None:
    """Take away what a writer that was killed has left."""
    for folder in (objects, objects / "pack"):
        for left in folder.glob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    pack = zlib.compressobj(LEVEL)
    for piece in pieces:
        yield pack.compress(piece)
    yield pack.flush()


def _head(kind: int, size: int) -> bytes:
    """Kind and size: four bits of the size with the kind, then seven a byte, the lowest first."""
    byte, size = kind << 4 | size & 15, size >> 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head)


def _index(rows: list[tuple[bytes, int, int]], pack: bytes) -> bytes:
    """The second version of an index: fan-out, names, CRCs, offsets, the pack's digest and its own."""
    fan = [0] * 256
    large: list[int] = []
    for name, _, _ in rows:
        fan[name[0]] += 1
    total = 0
    for byte, count in enumerate(fan):
        total += count
        fan[byte] = total
    offsets = []
    for _, _, offset in rows:
        offsets.append(offset if offset < LARGE else BEYOND | len(large))
        if offset >= LARGE:
            large.append(offset)
    data = b"".join(
        [
            INDEX_MAGIC,
            struct.pack(">I256I", 2, *fan),
            *(name for name, _, _ in rows),
            struct.pack(f">{len(rows)}I", *(check for _, check, _ in rows)),
            struct.pack(f">{len(rows)}I", *offsets),
            struct.pack(f">{len(large)}Q", *large),
            pack,
        ]
    )
    return data + hashlib.sha1(data, usedforsecurity=False).digest()
