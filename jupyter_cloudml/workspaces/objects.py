"""The files of snapshots: listed, compared, read, merged and kept, in the repository of the snapshots."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from .git import Git
from .keeping import PIECE, keep_object, keep_pieces
from .known import Known
from .merge import File
from .packing import LEVEL, Packed

BATCH = 32 << 20  # bytes of contents that are read at once


class Objects:
    """The objects of one repository of ours."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._known = Known()
        self._packed: Packed | None = None

    def remember(self, known: Known, packed: Packed | None) -> None:
        """Know one tree, and the pack that its contents may be in, without asking git."""
        self._known, self._packed = known, packed

    def has(self, tree: str) -> bool:
        """Whether a tree is here, whole or not."""
        return (
            tree == self._known.tree
            or self._git.ask("cat-file", "-e", f"{tree}^{{tree}}") is not None
        )

    def listed(self, tree: str | None) -> dict[str, File]:
        """Return the files of a tree by path; None is the empty one."""
        if tree is None:
            return {}
        if tree == self._known.tree:
            return {path: entry.file for path, entry in self._known.files.items()}
        found = {}
        for line in self._git.run("ls-tree", "-r", "-z", tree).split(b"\0")[:-1]:
            head, path = line.split(b"\t", 1)
            mode, _, blob = head.decode().split(" ")
            found[os.fsdecode(path)] = File(mode, blob)
        return found

    def count_changes(self, old: str | None, new: str) -> int | None:
        """Return how many files differ between two trees; None without the first."""
        if old == new:
            return 0
        if old is None or not self.has(old):
            return None
        told = self._git.run("diff-tree", "-r", "-z", "--no-renames", "--name-only", old, new)
        return told.count(b"\0")

    def sizes(self, blobs: Sequence[str]) -> list[int]:
        """Return the size in bytes of each blob."""
        known = {entry.blob: entry.size for entry in self._known.files.values()}
        if all(blob in known for blob in blobs):
            return [known[blob] for blob in blobs]
        asked = "".join(blob + "\n" for blob in blobs).encode()
        told = self._git.run("cat-file", "--batch-check=%(objectsize)", stdin=asked)
        return [int(line) for line in told.split()]

    def contents(self, blobs: Sequence[str], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield the content of each blob, without holding more than some of them at a time."""
        batch, held = [], 0
        for blob, size in zip(blobs, sizes, strict=True):
            batch.append(blob)
            held += size
            if held > BATCH:
                yield from self._read(batch)
                batch, held = [], 0
        yield from self._read(batch)

    def _read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        if not blobs:
            return
        told = memoryview(
            self._git.run("cat-file", "--batch", stdin="".join(b + "\n" for b in blobs).encode())
        )
        for _ in blobs:
            end = bytes(told[:200]).index(b"\n")
            size = int(bytes(told[:end]).rsplit(b" ", 1)[1])
            yield bytes(told[end + 1 : end + 1 + size])
            told = told[end + size + 2 :]

    def deflated(self, blobs: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the contents, each as one zlib stream in pieces, and how many bytes each piece ends: a content's size with its last, else 0."""
        if self._packed is not None and all(blob in self._packed for blob in blobs):
            yield from self._packed.read(blobs, sizes)
            return
        for data in self.contents(blobs, sizes):
            yield len(data), zlib.compress(data, LEVEL)

    def put(self, data: bytes) -> str:
        """Keep a content and return its blob. Raises NoSpace."""
        assert self._git.git_dir is not None  # noqa: S101 - it is ours
        return keep_object(self._git.git_dir / "objects", "blob", data)

    def put_file(self, blob: str, path: Path) -> None:
        """Keep the content of a file, whose blob is known. Raises NoSpace."""
        assert self._git.git_dir is not None  # noqa: S101 - it is ours
        with open(path, "rb") as file:
            pieces = iter(lambda: file.read(PIECE), b"")
            keep_pieces(self._git.git_dir / "objects", blob, path.stat().st_size, pieces)

    def merged(self, base: File, here: File, there: File) -> bytes | None:
        """Merge two versions of a text line by line; None where they touch the same lines, are no text, or are large."""
        blobs = [here.blob, base.blob, there.blob]
        sizes = self.sizes(blobs)
        if max(sizes) > BATCH:
            return None
        versions = list(self.contents(blobs, sizes))
        if any(b"\0" in version for version in versions):
            return None
        with tempfile.TemporaryDirectory() as folder:
            names = [Path(folder, name) for name in ("here", "base", "there")]
            for path, version in zip(names, versions, strict=True):
                path.write_bytes(version)
            return self._git.ask_bytes("merge-file", "-p", "-q", "--", *map(str, names))
