"""How the packages of a machine compare with those of a Python here, and with the lock that they were built from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import JSON
from .drift import Difference, Packages, compare
from .program import Program
from .reference import Reference

ASK_S = 60.0
_IN_CACHE = re.compile(r"/.*/\.cache/jupyter-cloudml/env/([0-9a-f]{16})/bin/python")


@dataclass(frozen=True)
class Checked:
    """How a Python of a machine compares with one here (`differences`), and with the lock that it was built from (`changed`).

    `locked`: it was built from a lock, so somebody has chosen its packages.
    """

    machine: str
    name: str
    python_path: str
    against: Reference
    differences: tuple[Difference, ...]
    changed: tuple[Difference, ...] = ()
    locked: bool = False

    @property
    def errors(self) -> int:
        """How many of the differences are errors."""
        return sum(each.is_error for each in self.differences)

    @property
    def notes(self) -> tuple[Difference, ...]:
        """What is worth a quiet word at the start of a kernel: of packages that somebody chose by a lock, only what is not as locked."""
        wrong = {each.name for each in self.differences if each.is_error}
        told = self.changed if self.locked else self.differences
        return tuple(each for each in told if each.name not in wrong)

    @property
    def key(self) -> str:
        """What a person waves aside: this Python with these errors. Notes come and go with each installed package, so they do not count."""
        errors = [(each.name, each.here, each.there) for each in self.differences if each.is_error]
        identity = json.dumps([self.machine, self.python_path, self.against.python, errors])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, JSON]:
        """Return it as it goes over REST and into `--json`."""
        return {
            "machine": self.machine,
            "name": self.name,
            "python_path": self.python_path,
            "against": self.against.to_dict(),
            "errors": self.errors,
            "differences": [each.to_dict() for each in self.differences],
            "changed": [each.to_dict() for each in self.changed],
            "locked": self.locked,
        }


def key_in(python: str) -> str | None:
    """Return the key of the environment that a path of a Python leads into; None for any other Python."""
    found = _IN_CACHE.fullmatch(python)
    return found[1] if found else None


def look(machine: str, name: str, python: Program, plain: Program, against: Reference) -> Checked:
    """Compare the packages of a Python there (`python`) with those here; `plain` is any Python there, to look at files with.

    Raises LinkDown, AgentError, ProtocolError, InstallerFailed where it is no Python.
    """
    there = Packages.parse(python.run("packages.scan", {}, ASK_S).get("scanned"))
    changed: Sequence[Difference] = ()
    locked = False
    key = key_in(python.python)
    if key is not None:
        told = plain.run("shelf.locked_in", {"key": key}, ASK_S)
        pins = Packages.parse({"python": there.python, "packages": told.get("locked")})
        locked = bool(pins.versions)
        changed = compare(pins, there) if locked else ()
    differences = compare(against.packages, there)
    return Checked(
        machine, name, python.python, against, tuple(differences), tuple(changed), locked
    )
