"""The program: its first line of input says what is to be done.

fetch   bring a folder to what is listed to it. `list` brings files, and is answered by `want` with the numbers of those that are not there yet; these
        are asked for with `sign` shortly before they are fetched, and `urls` brings the addresses. `again` (an address was refused) and `changed` (the
        object is another one) are answered by `urls`, `new` or `gone`. `listed` ends the list.
send    the other way: send.py
list, pin, unpin, evict, quota   the datasets and the cache of this machine
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys

from ...onhost.folder import Failed, InTheWay
from .book import Book, home, set_aside
from .bring import Bring
from .cache import Cache
from .landing import FULL
from .send import Sender
from .talk import JSON, Talk


def listing(book: Book, cache: Cache) -> JSON:
    """All datasets, and how full the cache is."""
    rows = book.ask(
        "select folder, source, upward, pinned, files, bytes, synced_ms from datasets order by folder, source"
    )
    names = ("folder", "source", "upward", "pinned", "files", "bytes", "synced_ms")
    found = [dict(zip(names, row)) for row in rows]
    for each in found:
        each["upward"], each["pinned"] = bool(each["upward"]), bool(each["pinned"])
        each["there"] = os.path.isdir(each["folder"])
    return {"datasets": found, "used": cache.used(), "quota": cache.quota}


def manage(book: Book, cache: Cache, args: JSON) -> JSON:
    """Pin, unpin, evict, or set the quota."""
    verb = args["verb"]
    if verb == "quota":
        cache.set_quota(int(args["quota"]))
    elif verb == "evict" and not args["dataset"]:
        evicted = cache.evict(None)
        return {**listing(book, cache), "evicted": evicted}
    elif verb in ("pin", "unpin", "evict"):
        evicted = {"objects": 0, "bytes": 0}
        for number in chosen(book, args["dataset"]):
            if verb == "evict":
                for name, count in cache.evict(number).items():
                    evicted[name] += count
                continue
            with book.writing() as database:
                database.execute("update datasets set pinned=? where id=?", (verb == "pin", number))
        if verb == "evict":
            return {**listing(book, cache), "evicted": evicted}
    return listing(book, cache)


def chosen(book: Book, name: str) -> list[int]:
    """The datasets of a source or a folder. Raises Failed."""
    folder = os.path.realpath(os.path.join(os.path.expanduser("~"), os.path.expanduser(name)))
    rows = book.ask("select id from datasets where source=? or folder=?", name, folder)
    if not rows:
        raise Failed("not_found", f"there is no dataset {name}")
    return [int(row[0]) for row in rows]


def _failure(exc: OSError | sqlite3.Error, folder: str) -> JSON:
    if type(exc) is sqlite3.DatabaseError:  # the book is damaged, which was noticed only now
        set_aside(home())
        text = "the notes of its datasets were damaged, and are begun anew: say it again"
        return {"failed": "damaged", "message": text}
    full = getattr(exc, "errno", 0) in FULL or "is full" in str(exc)
    text = getattr(exc, "strerror", None) or str(exc)
    where = getattr(exc, "filename", None) or folder
    return {"failed": "no_space" if full else "os_error", "message": f"{where}: {text}"}


def main() -> int:
    """Do what the first line says."""
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
    talk = Talk()
    args = talk.heard.get()
    if args is None:
        return 1
    try:
        book = Book()
        verb = args["verb"]
        if verb == "fetch":
            answer = Bring(talk, book, Cache(book), args).run()
        elif verb == "send":
            answer = Sender(talk, book, args).run()
        else:
            answer = manage(book, Cache(book), args)
        talk.say(ended=answer)
    except Failed as exc:
        talk.say(failed=exc.code, message=str(exc))
    except InTheWay as exc:
        talk.say(failed="in_the_way", message=str(exc))
    except (OSError, sqlite3.Error) as exc:
        talk.say(**_failure(exc, str(args.get("folder", ""))))
    except json.JSONDecodeError as exc:
        talk.say(failed="protocol", message=str(exc))
    sys.stdout.flush()
    os._exit(0)  # threads that wait for a silent service are not waited for
