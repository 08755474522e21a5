"""What a machine keeps of the code of runs, in `~/.cache/jupyter-cloudml/copies`.

`objects/ab/cdef…` are contents by their blobs, `trees/<tree>.json` lists the files of a tree, `runs/<name>/` is the copy of one run. The
program of a run (jobs/runner/copy.py) makes that from a tree, and has `runs/<name>.lock` for as long as it lives; it takes `lock` to read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from ...onhost.folder import Failed
from .tree import SCRATCH, good_path

# A file of a tree: path, mode ("100644", "100755", "120000"), blob, size.
Row = list[Any]
PIECE = 1 << 18
LIMIT = 4 << 30  # bytes of trees; those that were used last stay
LENT_S = 600.0  # a tree that was used since may be about to be copied
DROP_S = 5.0  # for deleting what came in vain; else it goes when it is no longer young
PAUSE_S = 0.1
YOUNG_S = 3600.0  # a content that no tree has is somebody's who is about to keep one
LISTED = 5000  # what another folder has beside a tree
NOT_TOLD = (".git", "__pycache__", ".ipynb_checkpoints", SCRATCH)


class Shelf:
    """The trees of this machine."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.place = os.path.join(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "copies")
        self._limit = limit
        mask = os.umask(0o077)
        try:
            for name in ("objects", "trees", "runs"):
                os.makedirs(os.path.join(self.place, name), exist_ok=True)
        finally:
            os.umask(mask)

    def tree(self, name: str) -> str:
        """Where the list of a tree is."""
        if not name.isalnum():
            raise Failed("bad_name", f"{name!r:.100} is no tree")
        return os.path.join(self.place, "trees", name + ".json")

    def files(self, tree: str) -> list[Row] | None:
        """The files of a tree that is here, which is used now; None where it is not."""
        path = self.tree(tree)
        try:
            os.utime(path)
            with open(path) as file:
                found: list[Row] = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _object(self, blob: str) -> str:
        if not blob.isalnum() or len(blob) < 8:
            raise Failed("bad_name", f"{blob!r:.100} is no content")
        return os.path.join(self.place, "objects", blob[:2], blob[2:])

    def missing(self, files: Iterable[Row]) -> list[int]:
        """Which of the files have contents that are not here, one for each content."""
        found, seen = [], set()
        for number, (path, _, blob, size) in enumerate(files):
            if not good_path(path):
                raise Failed("bad_path", f"{path!r:.200} may not be written")
            if blob in seen:
                continue
            seen.add(blob)
            try:
                if os.stat(self._object(blob)).st_size == size:
                    continue
            except FileNotFoundError:
                pass
            found.append(number)
        return found

    def receive(self, files: list[Row], numbers: list[int], source: IO[bytes]) -> None:
        """Keep contents as they come, each one zlib stream; where they do not all come, none but those that a tree has by now."""
        came: list[str] = []
        rest = b""
        try:
            for number in numbers:
                path, _, blob, size = files[number]
                rest = self._received(path, blob, size, source, rest)
                came.append(blob)
        except BaseException:
            self._drop(came)
            raise

    def _drop(self, blobs: list[str]) -> None:
        until = time.monotonic() + DROP_S

        def wait() -> None:
            if time.monotonic() > until:
                raise TimeoutError("the code is in use")
            time.sleep(PAUSE_S)

        with suppress(OSError), self._locked(wait):
            wanted: set[str] = set()
            for name in os.listdir(os.path.join(self.place, "trees")):
                wanted.update(sizes(os.path.join(self.place, "trees", name)))
            for blob in blobs:
                if blob not in wanted:
                    with suppress(FileNotFoundError):
                        os.unlink(self._object(blob))

    @contextmanager
    def _locked(self, wait: Callable[[], None]) -> Iterator[None]:
        """Have all for oneself; until then `wait` is called again and again."""
        with open(os.path.join(self.place, "lock"), "a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    wait()
            yield

    def _received(self, path: str, blob: str, size: int, source: IO[bytes], rest: bytes) -> bytes:
        place = self._object(blob)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        temporary = f"{place}.{os.getpid()}"
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        unpack = zlib.decompressobj()
        try:
            with open(temporary, "wb") as file:
                while not unpack.eof:
                    if not rest:
                        rest = source.read1(PIECE)  # type: ignore[attr-defined]
                        if not rest:
                            raise Failed("cut_off", "the other end stopped sending")
                    piece, rest = unpack.decompress(rest), unpack.unused_data
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != blob:
                raise Failed("damaged", f"{path!r:.200} did not come as it was sent")
            os.replace(temporary, place)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return rest

    def keep(
        self, tree: str, files: list[Row], wait: Callable[[], None] = lambda: time.sleep(PAUSE_S)
    ) -> bool:
        """Keep a tree whose contents have come; False where some have gone again meanwhile. `wait` is called while copies are made."""
        with self._locked(wait):
            if self.missing(files):
                return False
            path = self.tree(tree)
            with open(path + ".new", "w") as file:
                json.dump(files, file)
            os.replace(path + ".new", path)
            self._let_go(tree)
        return True

    def _let_go(self, kept: str) -> None:
        """Delete the trees that were used longest ago where there are too many, then contents that no tree has."""
        folder = os.path.join(self.place, "trees")
        lent = time.time_ns() - int(LENT_S * 1e9)
        found = []
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            used = os.stat(path).st_mtime_ns
            found.append((name == kept + ".json" or used > lent, used, path))
        wanted: dict[str, int] = {}
        total = 0
        for is_needed, _, path in sorted(found, reverse=True):
            more = sizes(path)
            total += sum(size for blob, size in more.items() if blob not in wanted)
            if total > self._limit and not is_needed:
                os.unlink(path)
            else:
                wanted.update(more)
        self._drop_objects(wanted)

    def _drop_objects(self, wanted: dict[str, int]) -> None:
        objects = os.path.join(self.place, "objects")
        young = time.time() - YOUNG_S
        for folder in os.listdir(objects):
            with os.scandir(os.path.join(objects, folder)) as entries:
                for each in entries:
                    if folder + each.name not in wanted and each.stat().st_mtime < young:
                        os.unlink(each.path)

    def sweep(self) -> int:
        """Delete the copies of runs whose program has ended without doing so. How many there were."""
        runs, count = os.path.join(self.place, "runs"), 0
        with open(os.path.join(self.place, "lock"), "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return 0  # somebody is about to make one; the next time
            for name in sorted(os.listdir(runs)):
                if name.endswith(".lock"):
                    count += self._swept(os.path.join(runs, name))
        return count

    @staticmethod
    def _swept(path: str) -> int:
        with open(path, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return 0
            folder = path[: -len(".lock")]
            removed(folder)
            if os.path.isdir(folder):
                return 0  # the next time
            with suppress(FileNotFoundError):  # its runner was about to end, and has done it
                os.unlink(path)
        return 1


def sizes(path: str) -> dict[str, int]:
    """The contents of a tree; none of one that cannot be read."""
    with open(path) as file:
        try:
            return {blob: size for _, _, blob, size in json.load(file)}
        except ValueError:
            return {}


def removed(folder: str) -> None:
    """Delete a folder, also what its owner has made unwritable; what cannot be deleted stays."""
    with suppress(RecursionError):  # some folders are in a thousand others
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.isdir(folder):
            _open_up(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: str) -> None:
    """Have the owner write in all folders of a folder, but for those that are somebody else's."""
    with suppress(OSError):
        os.chmod(folder, 0o700)
    for above, names, _ in os.walk(folder):
        for path in (os.path.join(above, name) for name in names):
            if not os.path.islink(path):
                with suppress(OSError):
                    os.chmod(path, 0o700)


def beside(files: list[Row], live: str) -> list[str]:
    """What a folder has that is not of a tree, the topmost each; folders end with a slash. Links are not followed."""
    known = {path for path, *_ in files}
    folders = {""}
    for path in known:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in folders:
                break
            folders.add(path)
    found: list[str] = []
    waiting = [""]
    while waiting and len(found) < LISTED:
        folder = waiting.pop()
        try:
            entries = os.scandir(os.path.join(live, folder))
        except OSError:
            continue
        with entries:
            for each in entries:
                path = f"{folder}/{each.name}".lstrip("/")
                if path in known or each.name in NOT_TOLD:
                    continue
                is_folder = each.is_dir(follow_symlinks=False)  # also of one that is gone by now
                if is_folder and path in folders:
                    waiting.append(path)
                else:
                    found.append(path + ("/" if is_folder else ""))
    return sorted(found)[:LISTED]
