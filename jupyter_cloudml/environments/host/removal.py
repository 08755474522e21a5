"""What goes from the folder of environments: one that somebody removes, those that are too much, and what killed builds have left."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time

from . import shelf
from .say import InUse, say

DAY_S = 86400.0
_LEFT = re.compile(r"([0-9a-f]{16}|uv)(?:\.(new|gone|packages)-[0-9a-f]+)?")


def delete(key: str) -> None:
    """Take an environment away, and its names; its lock is held."""
    for name, meant in shelf.names().items():
        if meant == key:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(shelf.cache_folder(), "names", name))
    gone = f"{shelf.place(key)}.gone-{secrets.token_hex(4)}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(shelf.place(key), gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove(name: str) -> None:
    """Take a name away, and with its last one the environment, or that of a key with all its names, unless something runs in it."""
    named = shelf.names()
    key = named.get(name, name)
    if key not in shelf.whole():
        say(missing=name)
        return
    if list(named.values()).count(key) > 1 and name in named:
        os.unlink(os.path.join(shelf.cache_folder(), "names", name))
        say(removed=name)
        return
    with shelf.locked(key) or contextlib.nullcontext():
        inside = shelf.running().get(key)
        if inside:
            raise InUse(inside)
        delete(key)
    say(removed=key)


def make_room(quota: int, keep: str) -> list[str]:
    """Delete what was not used for longest until the rest is within the quota; never what is in use, nor what no lock was built into."""
    sizes = {key: shelf.size_of(shelf.place(key)) for key in shelf.whole() if shelf.manifest(key)}
    over = sum(sizes.values()) - quota
    gone: list[str] = []
    used = shelf.running() if over > 0 else {}
    for key in sorted(sizes, key=shelf.used_at):
        if over <= 0:
            break
        if key == keep or key in used:
            continue
        lock = shelf.locked(key, wait=False)
        if lock is None:
            continue
        with lock:
            delete(key)
        over -= sizes[key]
        gone.append(key)
    return gone


def clear_up(own: str) -> None:
    """Delete what killed builds have left; the lock of `own` is held."""
    for name in os.listdir(shelf.cache_folder()):
        match = _LEFT.fullmatch(name)
        if not match:
            continue
        key, kind = match[1], match[2]
        path = os.path.join(shelf.cache_folder(), name)
        if kind is None and shelf.is_ready(key):
            continue
        if kind == "packages":  # of a build that may only be about to begin
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime > DAY_S:
                    os.unlink(path)
            continue
        lock = None if key == own else shelf.locked(key, wait=False)
        if lock is None and key != own:
            continue
        with lock or contextlib.nullcontext():
            if os.path.islink(path):
                os.unlink(path)
            elif kind is not None or not shelf.is_ready(key):  # again, under the lock
                shutil.rmtree(path, ignore_errors=True)
