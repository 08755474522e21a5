"""A Python of this computer, which what kernels of a machine run on is compared with: the one that runs this, or that of another kernel here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from ..errors import JSON, NoPython, ProtocolError
from .drift import Packages
from .program import source_of

SCAN_S = 20.0
_ODD = (ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Reference:
    """The Python at `python`, and what it sees. `spec` is the kernelspec here that is meant; None: the Python that runs this."""

    python: str
    packages: Packages
    spec: str | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return it as it goes over REST and into `--json`."""
        return {"python_path": self.python, "python": self.packages.python, "spec": self.spec}


def this() -> Reference:
    """Return the Python that this runs on."""
    return Reference(sys.executable, Packages.here())


def of(python: str | None, spec: str | None = None) -> Reference:
    """Look at a Python of this computer; None is the one that runs this. Raises NoPython for what is none."""
    if python is None or _same(python, sys.executable):
        return this()
    verb = "packages.scan"
    try:
        told = subprocess.run(
            [python, "-I", "-c", source_of(verb).decode(), verb],
            input=b"{}\n",
            capture_output=True,
            timeout=SCAN_S,
            check=True,
        )
        scanned = json.loads(told.stderr.splitlines()[-1])["scanned"]
        return Reference(python, Packages.parse(scanned), spec)
    except (OSError, subprocess.SubprocessError, ProtocolError, *_ODD) as exc:
        raise NoPython(
            f"{python} here is not a Python that can be looked at",
            hint="give the path of one, or leave it out",
        ) from exc


def _same(one: str, other: str) -> bool:
    """Say whether two paths are one Python: not by where links lead, as those of two environments lead to one file."""
    return os.path.abspath(one) == os.path.abspath(other)
