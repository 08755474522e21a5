"""The program. Standard input brings one line of JSON, the arguments, then the contents of files, each a zlib stream. Standard
output is one line of JSON, the answer, then for `get` contents as one zlib stream.

apply    bring the folder from one tree to another: what was changed on the machine since is left alone and named
changes  name what differs from the tree that was applied last
get      send files
"""

from __future__ import annotations

import errno
import json
import sys
import zlib
from typing import IO, Any

from ...onhost.folder import Failed, InTheWay
from .apply import apply
from .state import State
from .tree import blob_of, good_path, mode_of

JSON = dict[str, Any]
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
    """Send files: the answer has [path, mode, blob, size] of those that are there, their contents follow."""
    state = State(args["workspace"], args["folder"])
    tree = state.open()
    found = []
    for path in args["paths"]:
        read = tree.read(path) if good_path(path) else None
        if read is not None:
            found.append((path, *read))
    answer = {"files": [[path, mode, blob_of(data), len(data)] for path, mode, data in found]}
    target.write(json.dumps(answer).encode() + b"\n")
    pack = zlib.compressobj(1)
    for _, _, data in found:
        target.write(pack.compress(data))
    target.write(pack.flush())
    return {}


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
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {
            "failed": "no_space" if full else "os_error",
            "message": ": ".join(str(each) for each in (exc.filename, exc.strerror) if each),
        }
    if answer:
        target.write(json.dumps(answer).encode() + b"\n")
    target.flush()
    return 0
