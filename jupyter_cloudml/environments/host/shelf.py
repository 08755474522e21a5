"""The folder of this user's environments: what stands in it, and under which names.

`<key>/` an environment, whole when it has READY; `<key>.lock`; `names/<name>` a link to one; `<key>.new-*` a build, `<key>.gone-*` one that is being
deleted, `<key>.packages-*` what was sent for one; `tools/<name>/` programs that were sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
import sys
from typing import IO, Any

from .say import Failed, say, told

MANIFEST = "environment.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def cache_folder() -> str:
    """The folder of this user's environments."""
    return os.path.join(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "env")


def place(name: str) -> str:
    """The path of an entry in it."""
    if not _NAME.fullmatch(name):
        raise Failed(f"{name!r:.100} is no name of an environment")
    return os.path.join(cache_folder(), name)


def find_program(name: str) -> str | None:
    """The path of an installer on this host: the user's own, or one that was sent."""
    places = os.environ.get("PATH", "").split(":")
    places += [os.path.expanduser(place) for place in ("~/.local/bin", "~/.cargo/bin")]
    sent = glob.glob(os.path.join(glob.escape(cache_folder()), "tools", "*"))
    return shutil.which(name, path=":".join([*places, *sorted(sent, reverse=True)]))


def private_folder(path: str) -> None:
    """Make a folder and its parents, for this user alone."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as exc:
        raise told(exc, path) from exc


def put(name: str, offset: int) -> None:
    """Write the rest of standard input into a file at `offset`; a piece that comes twice changes nothing."""
    private_folder(cache_folder())
    path = place(name)
    try:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.seek(offset)
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as exc:
        raise told(exc, path) from exc
    say(ready=path)


def drop(name: str) -> None:
    """Delete a file that was put."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place(name))


# -- locks and names -------------------------------------------------------------------------------


def locked(key: str, wait: bool = True) -> IO[str] | None:
    """Take the lock of one environment; it is given back when the file is closed, or when this process ends. None: others have it."""
    path = place(key) + ".lock"
    try:
        lock = open(path, "w")  # noqa: SIM115 - the caller closes it
    except OSError as exc:
        raise told(exc, path) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            lock.close()
            return None
        say(step="waiting for another build of the same environment")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def is_ready(key: str) -> bool:
    """Whether an environment is whole, and the Python that it was made of is still there."""
    return os.path.exists(os.path.join(place(key), "READY")) and os.path.exists(python_of(key))


def python_of(key: str) -> str:
    """Its Python."""
    return os.path.join(place(key), "bin", "python")


def names() -> dict[str, str]:
    """The keys of the names."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(cache_folder()), "names", "*")):
        with contextlib.suppress(OSError):
            found[os.path.basename(path)] = os.path.basename(os.readlink(path))
    return found


def give_name(name: str, key: str) -> bool:
    """Have a name mean this environment, by one rename; False when it did already."""
    if names().get(name) == key:
        return False
    folder = os.path.join(cache_folder(), "names")
    private_folder(folder)
    if not _NAME.fullmatch(name):
        raise Failed(f"{name!r:.100} is no name for an environment")
    beside = os.path.join(cache_folder(), f"{key}.new-{secrets.token_hex(4)}")
    try:
        os.symlink(os.path.join(os.pardir, key), beside)
        os.replace(beside, os.path.join(folder, name))
    except OSError as exc:
        raise told(exc, beside) from exc
    return True


def use(key: str, name: str | None) -> None:
    """Say whether an environment stands ready; it counts as used now, and has the name from now on."""
    if not is_ready(key):
        say(missing=key)
        return
    used = os.path.join(place(key), "USED")
    with contextlib.suppress(OSError), open(used, "w"):  # a full disk is no reason not to use it
        pass
    say(ready=python_of(key), renamed=bool(name) and give_name(str(name), key))


# -- what there is ---------------------------------------------------------------------------------


def size_of(path: str) -> int:
    """The bytes on the disk of all that is in a folder."""
    total = 0
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def used_at(key: str) -> float:
    """When it was last used, as far as can be seen: a Python that starts reads its pyvenv.cfg."""
    times = [0.0]
    for name, stamp in (("USED", "st_mtime"), ("READY", "st_mtime"), ("pyvenv.cfg", "st_atime")):
        with contextlib.suppress(OSError):
            times.append(getattr(os.stat(os.path.join(place(key), name)), stamp))
    return max(times)


def manifest(key: str) -> dict[str, Any]:
    """What was noted when it was built; empty for the plain one with ipykernel."""
    try:
        with open(os.path.join(place(key), MANIFEST)) as file:
            noted = json.load(file)
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def whole() -> list[str]:
    """The keys of the environments that are whole."""
    try:
        found = os.listdir(cache_folder())
    except FileNotFoundError:
        return []
    return sorted(key for key in found if re.fullmatch("[0-9a-f]{16}", key) and is_ready(key))


def running() -> dict[str, list[int]]:
    """The environments in use, with the processes of this user that were started from one or have a library of it loaded."""
    roots = {cache_folder(), os.path.realpath(cache_folder())}
    inside = re.compile(
        b"(?:%s)/([0-9a-f]{16})/" % b"|".join(re.escape(os.fsencode(r)) for r in roots)
    )
    found: dict[str, list[int]] = {}
    for folder in glob.glob("/proc/[0-9]*"):
        pid = int(os.path.basename(folder))
        text = b""
        for name in ("cmdline", "maps"):
            with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
                text += file.read()
        for key in set(inside.findall(text)) if pid != os.getpid() else ():
            found.setdefault(key.decode(), []).append(pid)
    return found


def list_all() -> None:
    """Say what there is."""
    named, used = names(), running()
    say(
        environments=[
            {
                **manifest(key),
                "key": key,
                "names": sorted(name for name, meant in named.items() if meant == key),
                "python_path": python_of(key),
                "bytes": size_of(place(key)),
                "used_ms": int(used_at(key) * 1000),
                "in_use": key in used,
            }
            for key in whole()
        ]
    )


def locked_in(key: str) -> None:
    """Say what an environment was built from: the version of each package. Nothing, for one of conda's."""
    found = {}
    with contextlib.suppress(OSError), open(os.path.join(place(key), "lock.txt")) as file:
        for line in file:
            name, pinned, version = line.partition("==")
            if pinned:
                found[name] = version.split()[0]
    say(locked=found)
