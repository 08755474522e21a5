"""What a run has had: the packages beside its kernel's Python, and the data that its notebook asked for. Standard library only."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from typing import Any

JSON = dict[str, Any]
DATA = "data"  # in the kernel's folder: a line for each answer to `dataset(…)`
MOST = 5000  # packages; lines of data
LINE = 1 << 16
_KEY = re.compile(r"[0-9a-f]{16}")


def environment(argv: list[str]) -> JSON | None:
    """The packages in the folder of a kernel's Python, and their digest; of an environment that was built from a lock its key, and the lock's digest.

    None for a kernel without such a folder.
    """
    python = shutil.which(argv[0]) if argv else None
    if python is None:
        return None
    prefix = os.path.dirname(os.path.dirname(python))
    found = set()
    for folder in glob.glob(os.path.join(glob.escape(prefix), "lib", "python3*", "*-packages")):
        for name in _names(folder):
            stem, dist, _ = name.rpartition(".dist-info")
            title, dash, version = stem.partition("-")
            if dist and dash:
                found.add(f"{re.sub('[-_.]+', '-', title).lower()}=={version}")
    if not found:
        return None
    packages = sorted(found)[:MOST]
    key = os.path.basename(prefix)
    return {
        "python": python,
        "key": key if _KEY.fullmatch(key) else None,
        "lock_sha256": _digest_of(os.path.join(prefix, "lock.txt")),
        "packages": packages,
        "packages_sha256": hashlib.sha256("\n".join(packages).encode()).hexdigest(),
    }


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # gone by now, or not to be read
        return []


def _digest_of(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def data(folder: str) -> list[JSON]:
    """What the notebook was told of the data that it asked for, the last answer for each folder."""
    found: dict[str, JSON] = {}
    try:
        with open(os.path.join(folder, DATA), encoding="utf-8", errors="replace") as file:
            for _ in range(MOST):
                line = file.readline(LINE)
                if not line:
                    break
                try:
                    told = json.loads(line)
                    found[str(told["folder"])] = told
                except (ValueError, TypeError, KeyError):
                    continue
    except OSError:
        return []
    return list(found.values())
