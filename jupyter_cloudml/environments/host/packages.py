"""Which packages a Python sees: the names of their `.dist-info` folders, a millisecond's work where `importlib.metadata` takes a hundred."""

from __future__ import annotations

import glob
import os
import platform
import re
import site
import sys
from collections.abc import Iterable

from .say import say

_FOLDER = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-py\d[^-]*)?\.(?:dist|egg)-info")


def canonical(name: str) -> str:
    """The one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def found_in(folders: Iterable[str]) -> dict[str, str]:
    """Names and versions; the first of a name is the one that is imported."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            match = _FOLDER.fullmatch(name)
            if match:
                found.setdefault(canonical(match["name"]), match["version"])
    return found


def local_in(folders: Iterable[str]) -> list[str]:
    """The packages that were installed from a folder, a file or an address: no index has them."""
    notes = (
        note
        for folder in folders
        for note in glob.glob(os.path.join(glob.escape(folder), "*.dist-info", "direct_url.json"))
    )
    return sorted(
        {canonical(os.path.basename(os.path.dirname(n)).partition("-")[0]) for n in notes}
    )


def folders() -> list[str]:
    """Where this Python's kernels look: with the user's own packages, which this program was started without."""
    own = [path for path in sys.path if path]
    if _sees_user_packages():
        own.insert(0, site.getusersitepackages())
    return own


def _sees_user_packages() -> bool:
    if sys.prefix == sys.base_prefix:
        return True
    try:
        with open(os.path.join(sys.prefix, "pyvenv.cfg")) as file:
            text = file.read().lower().replace(" ", "")
    except OSError:
        return False
    return "include-system-site-packages=true" in text


def scan() -> None:
    """Say what there is."""
    seen = folders()
    said = {"python": platform.python_version(), "packages": found_in(seen)}
    say(scanned={**said, "local": local_in(seen)})
