"""Contents that come from a machine: written to files as they come, and read in pieces, so that no more than a piece is held."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .onhost.tree import PIECE

LENGTH = struct.Struct(">I")
MAX_LINE = 1 << 20


class Damaged(ValueError):
    """What came is not what onhost/main.py sends."""


@dataclass(frozen=True)
class Came:
    """A file as the machine has it; its content (of a link: where it leads) is in `data`."""

    path: str
    mode: str
    blob: str
    data: Path


class Coming:
    """Reads what `get` of onhost/main.py sends, into numbered files of a folder; `count` of them at most."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files: list[Came] = []
        self.told: Mapping[str, Any] | None = None  # the last line
        self.bytes = 0
        self._folder, self._count, self._unpack = folder, count, zlib.decompressobj()
        self._waiting = bytearray()
        self._entry: tuple[str, str] | None = None
        self._file: IO[bytes] | None = None
        self._left: int | None = None  # of a piece

    def feed(self, data: bytes) -> None:
        """Take what has come. Raises Damaged, OSError."""
        try:
            while True:
                if data and self._unpack.eof:
                    raise Damaged("it goes on behind its end")
                plain = self._unpack.decompress(data, PIECE)
                data = self._unpack.unconsumed_tail
                self._waiting += plain
                self._read()
                if not data and len(plain) < PIECE:
                    return
        except (zlib.error, ValueError, RecursionError, TypeError) as exc:
            raise Damaged(str(exc)) from exc

    def close(self) -> None:
        """Let go of a file that was not finished."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> None:
        while self._line() if self._entry is None else self._piece():
            pass

    def _line(self) -> bool:
        end = self._waiting.find(b"\n")
        if end < 0:
            if len(self._waiting) > MAX_LINE:
                raise Damaged("a line without an end")
            return False
        line = json.loads(bytes(self._waiting[:end]))
        del self._waiting[: end + 1]
        if isinstance(line, dict):
            self.told = line
            return True
        path, mode = line
        if len(self.files) == self._count:
            raise Damaged("more files than were asked for")
        self._entry = str(path), str(mode)
        self._file = open(self._folder / str(len(self.files)), "xb")  # noqa: SIM115 - until its end
        return True

    def _piece(self) -> bool:
        if self._left is None:
            if len(self._waiting) < LENGTH.size:
                return False
            (self._left,) = LENGTH.unpack_from(self._waiting)
            del self._waiting[: LENGTH.size]
            if self._left == 0:
                self._finish()
                return True
        if not self._waiting or self._file is None or self._left is None:
            return False
        taken = bytes(self._waiting[: self._left])
        del self._waiting[: self._left]
        self._file.write(taken)
        self.bytes += len(taken)
        self._left = self._left - len(taken) or None
        return True

    def _finish(self) -> None:
        if self._file is None or self._entry is None:
            raise Damaged("a content without a file")
        self._file.close()
        data = self._folder / str(len(self.files))
        self.files.append(Came(*self._entry, blob_of(data), data))
        self._entry = self._file = self._left = None


def blob_of(path: Path) -> str:
    """Return the blob of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
