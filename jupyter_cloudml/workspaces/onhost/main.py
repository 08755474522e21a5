"""The program. Standard input brings one line of JSON, the arguments, then the contents of files, each a zlib stream. Standard
output is one line of JSON, the answer; then for `get` one zlib stream. No more than a piece of a content is held.

apply    bring the folder from one tree to another: what was changed on the machine since is left alone and named
changes  name what differs from the tree that was applied last
get      send files
"""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any

from ...onhost.folder import Failed, InTheWay
from .apply import apply
from .state import State
from .tree import PIECE, Tree, failure, good_path, mode_of

JSON = dict[str, Any]
LENGTH = struct.Struct(">I")  # of a piece
LISTED = 100_000  # changes that are told


def changes(args: JSON) -> JSON:
    """Name the files that are not as they were applied: `changed` (new ones too) and `gone`."""
    state = State(args["workspace"], args["folder"])
    if state.tree is None:
        return {"tree": None, "changed": [], "gone": [], "more": False}
    tree = state.open()
    changed, seen = [], set()
    for path, status in tree.walk(without=".git"):
        seen.add(path)
        entry = state.files.get(path)
        if not good_path(path) or (entry and state.is_same(tree, path, entry[0], entry[1])):
            continue
        changed.append([path, mode_of(status), status.st_size])
        if len(changed) > LISTED:
            break
    gone = [] if len(changed) > LISTED else sorted(set(state.files) - seen)
    return {
        "tree": state.tree,
        "changed": sorted(changed)[:LISTED],
        "gone": gone,
        "more": len(changed) > LISTED,
    }


def get(args: JSON, target: IO[bytes]) -> JSON:
    """Send files, each as it is read: a line [path, mode], its content in pieces with their lengths, 0 at its end. The last line is the answer."""
    state = State(args["workspace"], args["folder"])
    tree = state.open()
    pack = zlib.compressobj(1)
    target.write(b'{"contents": true}\n')
    for path in args["paths"]:
        if not good_path(path):
            continue
        try:
            for piece in framed(tree, path):
                target.write(pack.compress(piece))
        except OSError as exc:
            target.write(pack.compress(json.dumps(failure(exc)).encode() + b"\n"))
            break
    else:
        target.write(pack.compress(b"{}\n"))
    target.write(pack.flush())
    return {}


def framed(tree: Tree, path: str) -> Iterator[bytes]:
    """One file; nothing where none is. Raises OSError before the first piece alone: what fails later ends the program."""
    status = tree.look(path)
    if status is None or not (stat.S_ISLNK(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return
    head = json.dumps([path, mode_of(status)]).encode() + b"\n"
    try:
        if stat.S_ISLNK(status.st_mode):
            link = os.fsencode(tree.target(path))
            yield head + LENGTH.pack(len(link)) + link + LENGTH.pack(0)
            return
        fd = tree.open(path)
    except (FileNotFoundError, InTheWay):
        return  # it went away
    with open(fd, "rb", buffering=0) as file:
        yield head
        try:
            while piece := file.read(PIECE):
                yield LENGTH.pack(len(piece)) + piece
        except OSError as exc:
            raise RuntimeError(f"{path!r:.200}: {exc.strerror}") from exc
        yield LENGTH.pack(0)


def main() -> int:
    """Do what the command line names."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    args = json.loads(source.readline())
    verb = sys.argv[1]
    try:
        answer = (
            apply(args, source)
            if verb == "apply"
            else changes(args)
            if verb == "changes"
            else get(args, target)
        )
    except Failed as exc:
        answer = {"failed": exc.code, "message": str(exc)}
    except InTheWay as exc:
        answer = {"failed": "in_the_way", "message": str(exc)}
    except OSError as exc:
        answer = failure(exc)
    if answer:
        target.write(json.dumps(answer).encode() + b"\n")
    target.flush()
    return 0
