"""Makes an environment: under a lock, in a scratch folder, renamed at the end."""

from __future__ import annotations

import glob
import json
import os
import secrets
import shutil
import sys
import tarfile
import time
import zipfile
from contextlib import nullcontext
from typing import Any

from . import install, removal, shelf
from .say import Failed, NoSpace, free_bytes, say, told

NEEDED_BYTES = (
    160 << 20
)  # the least: an environment with ipykernel and the files that pip unpacks on the way


def build(
    key: str,
    requirements: str,
    packages: str | None,
    noted: dict[str, Any] | None = None,
    name: str | None = None,
    quota: int | None = None,
    conda: str | None = None,
    imports: str | None = None,
) -> None:
    """Make the environment `key` unless it stands ready. Of two that run at once the second waits for the first.

    `noted` is kept with an environment that is a lock; without it, it is the plain one with ipykernel. `conda` is the text of an
    environment.yml, in place of the requirements; `imports` a module that has to load in it, in place of ipykernel.
    """
    root = shelf.cache_folder()
    shelf.private_folder(root)
    with shelf.locked(key) or nullcontext():
        if not shelf.is_ready(key):
            scratch = f"{shelf.place(key)}.new-{secrets.token_hex(4)}"
            removal.clear_up(key)
            shutil.rmtree(shelf.place(key), ignore_errors=True)
            if free_bytes(root) < NEEDED_BYTES:
                raise NoSpace(root)
            try:
                if conda is not None:
                    build_conda(scratch, shelf.place(key), conda, noted or {})
                else:
                    archive = packages and shelf.place(packages)
                    build_in(scratch, shelf.place(key), requirements, archive, noted, imports)
            except (OSError, tarfile.TarError) as exc:
                raise told(exc, scratch) from exc
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        for left in glob.glob(glob.escape(shelf.place(key)) + ".packages-*"):
            shelf.drop(os.path.basename(left))  # others will find it ready
        if name:
            shelf.give_name(name, key)
    evicted = removal.make_room(quota, key) if quota is not None else []
    say(ready=shelf.python_of(key), renamed=True, evicted=evicted)


def build_in(
    scratch: str,
    final: str,
    requirements: str,
    archive: str | None,
    noted: dict[str, Any] | None,
    imports: str | None = None,
) -> None:
    """Make the environment in a scratch folder and put it in its place."""
    os.mkdir(scratch, 0o700)
    listed = os.path.join(scratch, "requirements.txt")
    with open(listed, "w") as file:
        file.write(requirements)
    wheels = archive and install.unpack(archive, os.path.join(scratch, "wheels"))
    new = os.path.join(scratch, "env")
    install.make(new, scratch, listed, wheels, isolated=noted is not None, imports=imports)
    if noted is not None:
        os.replace(listed, os.path.join(new, "lock.txt"))
        note(new, noted)
    settle(new, final)


def build_conda(scratch: str, final: str, text: str, noted: dict[str, Any]) -> None:
    """Make an environment in its own place; what is not marked whole is nobody's and goes."""
    os.mkdir(scratch, 0o700)
    try:
        install.make_conda(final, scratch, text)
        note(final, noted)
        mark(final)
    finally:
        if not os.path.exists(os.path.join(final, "READY")):
            shutil.rmtree(final, ignore_errors=True)


def note(folder: str, noted: dict[str, Any]) -> None:
    """Write down what an environment is."""
    with open(os.path.join(folder, shelf.MANIFEST), "w") as file:
        json.dump({**noted, "built_ms": int(time.time() * 1000)}, file)


def mark(folder: str) -> None:
    """Mark an environment whole."""
    with open(os.path.join(folder, "READY"), "w") as ready:
        ready.write(sys.version + "\n")


def settle(new: str, final: str) -> None:
    """Make the scripts of an environment name the folder that it is going to have, mark it whole, and put it there."""
    for entry in os.scandir(os.path.join(new, "bin")):
        if entry.is_symlink() or not entry.is_file():
            continue
        with open(entry.path, "rb") as file:
            text = file.read()
        if new.encode() in text:
            # A file of its own: uv shares its files with its cache.
            mode = os.stat(entry.path).st_mode
            with open(entry.path + ".cloudml", "wb") as file:
                file.write(text.replace(new.encode(), final.encode()))
            os.chmod(entry.path + ".cloudml", mode & 0o777)
            os.replace(entry.path + ".cloudml", entry.path)
    mark(new)
    os.rename(new, final)


def tool(name: str, version: str, wheel: str) -> None:
    """Make the program `name` of a wheel that was put; it is found from then on."""
    folder = os.path.join(shelf.cache_folder(), "tools", f"{name}-{version}")
    target = os.path.join(folder, name)
    beside = f"{target}.{secrets.token_hex(4)}"
    shelf.private_folder(folder)
    try:
        with zipfile.ZipFile(shelf.place(wheel)) as archive:
            inside = next(n for n in archive.namelist() if n.endswith(f".data/scripts/{name}"))
            with archive.open(inside) as source, open(beside, "wb") as file:
                shutil.copyfileobj(source, file)
        os.chmod(beside, 0o700)
        install.run([beside, "--version"], folder)
        os.replace(beside, target)
    except (OSError, StopIteration, zipfile.BadZipFile) as exc:
        raise told(exc, beside) if isinstance(exc, OSError) else Failed(f"no {name} in it") from exc
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
        shelf.drop(wheel)
    say(ready=target)
