"""The folder of code on this computer, written to as carefully as on a machine: never through a link, never half a file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..onhost.folder import InTheWay
from .merge import File
from .onhost.tree import PIECE, SCRATCH, Tree, good_path


class LocalFolder:
    """Files of a folder. A file is changed only where it is what it was taken for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self, path: str) -> File | None:
        """Return a file as it is; None where none is."""
        tree = Tree(str(self._folder))
        try:
            return self._at(tree, path)
        finally:
            tree.close()

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None where none is."""
        tree = Tree(str(self._folder))
        try:
            data = tree.read(path)
        finally:
            tree.close()
        return None if data is None else data[1]

    def write(self, path: str, mode: str, data: bytes | Path, expected: File | None) -> bool:
        """Put a file in place of `expected` (None: of nothing), its content given or copied from another file.

        False where something else is there. Raises OSError.
        """
        if not good_path(path):
            return False
        tree = Tree(str(self._folder))
        scratch = self._folder / SCRATCH
        try:
            if self._at(tree, path) != expected or (expected is None and tree.look(path)):
                return False
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o700)
            self._fill(scratch / "0", mode, data)
            tree.place(f"{SCRATCH}/0", path)
        except InTheWay:
            return False
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            tree.close()
        return True

    def delete(self, path: str, expected: File | None) -> bool:
        """Delete a file; False where it is not what was expected. Raises OSError."""
        if not good_path(path):
            return False
        tree = Tree(str(self._folder))
        try:
            if self._at(tree, path) != expected:
                return False
            tree.delete(path)
        except InTheWay:
            return False
        finally:
            tree.close()
        return True

    @staticmethod
    def _fill(path: Path, mode: str, data: bytes | Path) -> None:
        if mode == "120000":
            target = data if isinstance(data, bytes) else data.read_bytes()
            path.symlink_to(os.fsdecode(target))
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o777 if mode == "100755" else 0o666), "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
                return
            with open(data, "rb") as source:
                shutil.copyfileobj(source, file, PIECE)

    @staticmethod
    def _at(tree: Tree, path: str) -> File | None:
        found = tree.named(path)
        return None if found is None else File(*found)
