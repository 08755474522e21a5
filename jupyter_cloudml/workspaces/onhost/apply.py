"""Brings the folder from one tree to another. What is written is written beside its place and renamed: no file is ever half there."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zlib
from typing import IO, Any

from ...onhost.folder import Failed, InTheWay
from .state import State
from .tree import SCRATCH, Tree, good_path

PIECE = 1 << 18


def apply(args: dict[str, Any], source: IO[bytes]) -> dict[str, Any]:
    """Bring the folder from `base` to `tree`: `put` [[path, mode, blob, size, base mode, base blob]], `drop` [[path, mode, blob]].

    A file that is in the base as it is to be has no content among what comes. A file that is neither as it was in the base nor as it is to be was changed here: it stays, and is among the `conflicts`.
    """
    state = State(args["workspace"], args["folder"])
    if state.tree != args["base"]:
        return {"base": state.tree, "exists": os.path.isdir(state.folder)}
    for path, *_ in [*args["put"], *args["drop"]]:
        if not good_path(path):
            raise Failed("bad_path", f"{path!r:.200} may not be written")
    tree = state.open()
    os.mkdir(SCRATCH, 0o700, dir_fd=tree.fd)
    try:
        received(tree, args["put"], source)
        conflicts = [
            path for path, mode, blob in args["drop"] if not dropped(state, tree, path, mode, blob)
        ]
        conflicts += [
            put[0] for n, put in enumerate(args["put"]) if not placed(state, tree, str(n), put)
        ]
    finally:
        shutil.rmtree(os.path.join(tree.path, SCRATCH), ignore_errors=True)
    state.tree, state.at_ns = args["tree"], now_ns(state)
    state.keep()
    return {"conflicts": conflicts, "folder": state.folder}


def now_ns(state: State) -> int:
    """The time as the disk tells it."""
    path = os.path.join(state.place, "clock")
    with open(path, "w") as file:
        file.write("x")
    return os.stat(path).st_mtime_ns


def received(tree: Tree, put: list[list[Any]], source: IO[bytes]) -> None:
    """Write what comes into the scratch folder, each file checked."""
    rest = b""
    for number, (path, mode, blob, size, *base) in enumerate(put):
        if [mode, blob] == base:
            continue
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        target = os.path.join(tree.path, SCRATCH, str(number))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        unpack, link = zlib.decompressobj(), b""
        with open(os.open(target, flags, 0o777 if mode == "100755" else 0o666), "wb") as file:
            while not unpack.eof:
                if not rest:
                    rest = source.read1(PIECE)  # type: ignore[attr-defined]
                    if not rest:
                        raise Failed("cut_off", "the other end stopped sending")
                piece, rest = unpack.decompress(rest), unpack.unused_data
                digest.update(piece)
                if mode == "120000":
                    link += piece
                else:
                    file.write(piece)
        if digest.hexdigest() != blob:
            raise Failed("damaged", f"{path!r:.200} did not come as it was sent")
        if mode == "120000":
            os.unlink(target)
            os.symlink(os.fsdecode(link), target)


def dropped(state: State, tree: Tree, path: str, mode: str, blob: str) -> bool:
    """Delete a file that is as it was; True also where it is gone already."""
    if tree.look(path) is not None:
        if not state.is_same(tree, path, mode, blob):
            return False
        tree.delete(path)
    state.files.pop(path, None)
    return True


def placed(state: State, tree: Tree, scratch: str, put: list[Any]) -> bool:
    """Put a file in its place where that is as it was."""
    path, mode, blob, _, base_mode, base_blob = put
    there = tree.look(path)
    if there is not None and state.is_same(tree, path, mode, blob):
        state.note(tree, path, mode, blob)
        return True
    untouched = (
        there is None if base_blob is None else state.is_same(tree, path, base_mode, base_blob)
    )
    if not untouched or (there is not None and stat.S_ISDIR(there.st_mode)):
        return False
    try:
        tree.place(f"{SCRATCH}/{scratch}", path)
    except InTheWay:
        return False  # a file or link where a folder has to be
    state.note(tree, path, mode, blob)
    return True
