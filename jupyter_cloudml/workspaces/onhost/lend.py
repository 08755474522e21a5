"""The program that has a machine keep the tree of a run. Standard input brings a line of JSON, what is wanted; standard output asks for what
is missing, a line of JSON each time, and ends with the answer.

lend     {tree, live} → {need: "files"} → {files: [[path, mode, blob, size]]} → {need: [n, …]} → the contents of these, each a zlib stream
         → {waiting: true}, as long as copies are made of other trees
         → {place, beside}: the tree is kept in `place`, and the folder `live` has this beside it
sweep    delete what runs have left that were killed → {swept}
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .shelf import PAUSE_S, Shelf, beside
from .tree import failure

SAY_S = 10.0  # between two words that it waits
TRIES = 3  # against another program that lets go of contents meanwhile

JSON = dict[str, Any]


def ask(question: JSON) -> None:
    """Say something to the other end."""
    sys.stdout.buffer.write(json.dumps(question).encode() + b"\n")
    sys.stdout.buffer.flush()


class Waiting:
    """Says that this goes on, so that the other end does not take it for dead."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def wait(self) -> None:
        """Wait a moment."""
        if time.monotonic() > self._said + SAY_S:
            self._said = time.monotonic()
            ask({"waiting": True})
        time.sleep(PAUSE_S)


def lend(wanted: JSON) -> JSON:
    """Have a tree here."""
    shelf = Shelf()
    with suppress(OSError):  # what is left of other runs is tried again by the next one
        shelf.sweep()
    files = shelf.files(wanted["tree"])
    if files is None or shelf.missing(files):
        ask({"need": "files"})
        files = list(json.loads(sys.stdin.buffer.readline())["files"])
        for _ in range(TRIES):
            missing = shelf.missing(files)
            if missing:
                ask({"need": missing})
                shelf.receive(files, missing, sys.stdin.buffer)
            if shelf.keep(wanted["tree"], files, Waiting().wait):
                break
        else:
            raise Failed("in_use", "too much code goes to this machine at once")
    live = wanted["live"]
    live = live and os.path.join(os.path.expanduser("~"), os.path.expanduser(live))
    return {"place": shelf.place, "live": live, "beside": beside(files, live) if live else []}


def main() -> int:
    """Do what the command line names."""
    try:
        wanted = json.loads(sys.stdin.buffer.readline())
        answer = lend(wanted) if sys.argv[1] == "lend" else {"swept": Shelf().sweep()}
    except Failed as exc:
        answer = {"failed": exc.code, "message": str(exc)}
    except InTheWay as exc:
        answer = {"failed": "in_the_way", "message": str(exc)}
    except OSError as exc:
        answer = failure(exc)
    ask(answer)
    return 0
