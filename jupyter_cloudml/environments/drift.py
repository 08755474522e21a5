"""How the packages of two Pythons differ, by name and version. Pure, but for the look at this Python's own folders.

Code and objects that travel between the two need the same Python minor and the same of a few packages that pack and unpack them: another
version of those is an error. Any other difference is a note.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import JSON, ProtocolError
from .host.packages import folders, found_in, local_in

MUST_AGREE = ("cloudpickle", "distributed", "ipykernel", "msgpack")
PYTHON = "python"
MAX_PACKAGES = 20_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,120}[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.+!_*-]{1,80}")


@dataclass(frozen=True)
class Packages:
    """What a Python sees: its own version (`3.11.2`) and that of each package. `local`: those that no index has, as they lie here."""

    python: str
    versions: Mapping[str, str]
    local: frozenset[str] = frozenset()

    @classmethod
    def here(cls) -> Packages:
        """Look at the Python that this runs on."""
        places = folders()
        return cls(platform.python_version(), found_in(places), frozenset(local_in(places)))

    @classmethod
    def parse(cls, raw: object) -> Packages:
        """Read what a host tells; names and versions that are none are left out. Raises ProtocolError."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("packages"), Mapping):
            raise ProtocolError("the machine does not tell its packages")
        python, found = raw.get("python"), raw["packages"]
        if (
            not isinstance(python, str)
            or not _VERSION.fullmatch(python)
            or len(found) > MAX_PACKAGES
        ):
            raise ProtocolError("the machine tells odd things of its packages")
        versions = {
            name: version
            for name, version in found.items()
            if isinstance(name, str)
            and isinstance(version, str)
            and _NAME.fullmatch(name)
            and _VERSION.fullmatch(version)
        }
        local = raw.get("local")
        named = local if isinstance(local, list) else []
        return cls(python, versions, frozenset(n for n in named if n in versions))

    @property
    def minor(self) -> str:
        """The version of Python without its last part: `3.11`."""
        return ".".join(_minor(self.python))


@dataclass(frozen=True)
class Difference:
    """One package, or Python itself, at two versions; None: it is not there."""

    name: str
    here: str | None
    there: str | None
    is_error: bool

    def to_dict(self) -> dict[str, JSON]:
        """Return it as it goes over REST and into `--json`."""
        level = "error" if self.is_error else "note"
        return {"name": self.name, "here": self.here, "there": self.there, "level": level}


def compare(here: Packages, there: Packages) -> list[Difference]:
    """Return what differs, errors first. A package that one side lacks is a note: nothing of it travels."""
    found = []
    if here.python != there.python:
        is_error = _minor(here.python) != _minor(there.python)
        found.append(Difference(PYTHON, here.python, there.python, is_error))
    for name in sorted({*here.versions, *there.versions}):
        one, other = here.versions.get(name), there.versions.get(name)
        if one != other:
            is_error = name in MUST_AGREE and None not in (one, other)
            found.append(Difference(name, one, other, is_error))
    return sorted(found, key=lambda each: not each.is_error)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
