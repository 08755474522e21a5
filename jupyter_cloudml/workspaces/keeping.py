"""Keeps the files of a folder as the objects of a tree: what was touched is read and named, and what the repository lacks is written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import Busy, Cancelled
from ..onhost.folder import HeldFolder, InTheWay
from ..paths import unusable
from .git import Git, GitError
from .known import Entry, Known, lasting, mode_of, stamp
from .listing import Found
from .onhost.tree import SCRATCH
from .packing import LOOSE, Pack, Packed, clear_up, write_loose
from .trees import Kind, name_of, tree_objects

PIECE = 1 << 20
TRIES = 3  # with a file that is being written to


class _Changed(Exception):
    """A file is not what it was when it was named."""


class Keeper:
    """Keeps trees in the repository `git`, of the files in its folder. The caller has the workspace's lock."""

    def __init__(self, state: Path, git: Git, cancelled: threading.Event) -> None:
        self._state, self._git, self._cancelled = state, git, cancelled
        self._store = state / "code.git" if git.git_dir is None else git.git_dir
        self._packed: Packed | None = None
        self.known = Known()

    @property
    def packed(self) -> Packed | None:
        """Return the pack that the last tree was written into, where it was one."""
        return self._packed

    def keep(self, found: Sequence[Found]) -> str:
        """Keep a tree of these files, and return it. Raises GitError, Busy for a file that is written all the time, NoSpace, Cancelled."""
        before = Known.read(self._state)
        for _ in range(TRIES):
            try:
                return self._kept(before, found)
            except _Changed:
                continue
        raise Busy("files are written all the time", hint="wait until they are, then say it again")

    def _kept(self, before: Known, found: Sequence[Found]) -> str:
        with closing(HeldFolder(str(self._git.folder), SCRATCH)) as held:
            entries = dict(self._entries(held, before, found))
            same = before.tree is not None and _is_same(before, entries)
            tree = before.tree if same else None
            with _written_into(self._store):
                if tree is None:
                    tree = self._write(held, before, entries)
                self.known = Known(tree, entries)
                if self.known != before:
                    self.known.write(self._state)
        return tree

    # -- naming ----------------------------------------------------------------------------------------

    def _entries(
        self, held: HeldFolder, before: Known, found: Sequence[Found]
    ) -> Iterator[tuple[str, Entry]]:
        for each in found:
            path = each.name
            entry = before.of(path, each.status) or self._named(held, path)
            if entry is not None:
                yield path, entry

    def _named(self, held: HeldFolder, path: str) -> Entry | None:
        """Read a file and name its content; None where it is gone."""
        for _ in range(TRIES):
            began = time.time_ns()
            try:
                status = held.look(path)
                if status is None or not (
                    stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
                ):
                    return None
                size, blob = status.st_size, ""
                digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
                read = 0
                for data in self._read(held, path, status):
                    digest.update(data)
                    read += len(data)
                blob = digest.hexdigest()
                now = held.look(path)
            except (FileNotFoundError, InTheWay):
                continue
            except OSError as exc:
                if exc.errno == errno.ELOOP:
                    continue  # it became a link
                raise GitError(f"{path} in {held.path} cannot be read: {exc.strerror}") from exc
            if read == size and now is not None and stamp(now) == stamp(status):
                return Entry(mode_of(status), blob, size, lasting(status, began))
        raise Busy(f"{path} is written all the time", hint="wait until it is, then say it again")

    def _read(self, held: HeldFolder, path: str, status: os.stat_result) -> Iterator[bytes]:
        if self._cancelled.is_set():
            raise Cancelled("the sync was called off")
        if stat.S_ISLNK(status.st_mode):
            yield os.fsencode(held.target(path))
            return
        with open(held.open(path), "rb", buffering=0) as file:
            while data := file.read(PIECE):
                yield data
                if self._cancelled.is_set():
                    raise Cancelled("the sync was called off")

    # -- writing ---------------------------------------------------------------------------------------

    def _write(self, held: HeldFolder, before: Known, entries: dict[str, Entry]) -> str:
        """Write the objects that are missing, and return the tree."""
        try:
            trees = tree_objects({path: entry.file for path, entry in entries.items()})
        except ValueError as exc:
            raise _Changed from exc  # a file became a folder, or the other way, meanwhile
        lost = before.tree is None or self._missing([before.tree])  # by a computer that failed
        kept = set() if lost else {entry.blob for entry in before.files.values()}
        blobs = {e.blob: path for path, e in entries.items() if e.blob not in kept}
        missing = self._missing([*blobs, *(name for name, _ in trees)])
        texts = {name: data for name, data in trees if name in missing}
        paths = {name: path for name, path in blobs.items() if name in missing}
        objects = self._store / "objects"
        clear_up(objects)
        if len(missing) <= LOOSE:
            for name, path in paths.items():
                pieces = self._again(held, path, entries[path])
                write_loose(objects, name, "blob", entries[path].size, pieces)
            for name, data in texts.items():
                write_loose(objects, name, "tree", len(data), [data])
        else:
            self._write_pack(held, entries, paths, texts)
        return trees[-1][0]

    def _write_pack(
        self,
        held: HeldFolder,
        entries: dict[str, Entry],
        paths: dict[str, str],
        texts: dict[str, bytes],
    ) -> None:
        pack = Pack(self._store / "objects", len(paths) + len(texts))
        try:
            for name, path in paths.items():
                pieces = self._again(held, path, entries[path])
                pack.add(name, "blob", entries[path].size, pieces)
            for name, data in texts.items():
                pack.add(name, "tree", len(data), [data])
            self._packed = Packed(pack.finish(), pack.places)
        finally:
            pack.discard()

    def _again(self, held: HeldFolder, path: str, entry: Entry) -> Iterator[bytes]:
        """Yield a file's content, which has a name already. Raises _Changed at the end where it is another one."""
        digest = hashlib.sha1(f"blob {entry.size}\0".encode(), usedforsecurity=False)
        status = held.look(path)
        if status is None or mode_of(status) != entry.mode:
            raise _Changed
        try:
            for data in self._read(held, path, status):
                digest.update(data)
                yield data
        except (OSError, InTheWay) as exc:
            raise _Changed from exc
        if digest.hexdigest() != entry.blob:
            raise _Changed

    def _missing(self, names: list[str]) -> set[str]:
        """Return those that the repository has not."""
        if not names or not _has_objects(self._store):
            return set(names)
        asked = "".join(name + "\n" for name in names).encode()
        told = self._git.run("cat-file", "--batch-check=%(objectname)", stdin=asked)
        return {line.split()[0].decode() for line in told.splitlines() if line.endswith(b"missing")}


def keep_object(objects: Path, kind: Kind, data: bytes) -> str:
    """Write one object and return its name. Raises NoSpace, NoFolder."""
    name = name_of(kind, data)
    with _written_into(objects):
        write_loose(objects, name, kind, len(data), [data])
    return name


def keep_pieces(objects: Path, blob: str, size: int, pieces: Iterator[bytes]) -> None:
    """Write one content, whose name is known, as it is read. Raises NoSpace, NoFolder."""
    with _written_into(objects):
        write_loose(objects, blob, "blob", size, pieces)


@contextmanager
def _written_into(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise unusable(store, exc) from exc


def _is_same(before: Known, entries: dict[str, Entry]) -> bool:
    """Whether the files are those of the tree that is known."""
    if before.files.keys() != entries.keys():
        return False
    return all(entry.file == before.files[path].file for path, entry in entries.items())


def _has_objects(store: Path) -> bool:
    """Whether anything was ever written into a repository of ours."""
    return any(name not in ("info", "pack") for name in os.listdir(store / "objects")) or bool(
        os.listdir(store / "objects" / "pack")
    )
