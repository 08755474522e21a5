"""From what a person writes to a lock: uv resolves, on this computer, for the Python of the machine and for every system.

uv is a dependency of the project because nothing else makes such a lock: pip can only say which files it would install here and now.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name
from uv import find_uv_bin

from ..errors import NoEnvironment
from . import child, lock
from .lock import Pin

RESOLVE_S = 600.0
NEEDED = ("ipykernel>=6.29,<8", "pip>=25")  # what each environment has, asked for or not
_COMPILE = ("--generate-hashes", "--no-header", "--no-annotate", "--no-progress")


@dataclass(frozen=True)
class Resolver:
    """Makes locks for a Python (`3.11`). `log` hears what uv says."""

    python: str
    cancelled: threading.Event
    log: Callable[[str], None] = lambda line: None

    def compile(self, files: Sequence[Path], needed: Iterable[str] = NEEDED) -> str:
        """Return the lock of requirements files and pyproject.toml files, with what is needed besides."""
        with tempfile.TemporaryDirectory(prefix="cloudml-lock-") as folder:
            extra = Path(folder, "needed.txt")
            extra.write_text("".join(f"{line}\n" for line in needed))
            return self._compiled([*map(str, files), str(extra)], files[0].parent)

    def export(self, project: Path) -> str:
        """Return the lock of a project that has a uv.lock, as it stands there; without the project itself, which comes as code."""
        argv = ["export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate"]
        argv += ["--no-progress", "--format", "requirements-txt", "--project", str(project)]
        return self._run(argv, project)

    def pin_down(self, versions: Iterable[tuple[str, str]]) -> str:
        """Return the lock of packages at just these versions: nothing is added, and the digests are looked up."""
        with tempfile.TemporaryDirectory(prefix="cloudml-lock-") as folder:
            listed = Path(folder, "packages.txt")
            listed.write_text("".join(f"{name}=={version}\n" for name, version in versions))
            return self._compiled([str(listed), "--no-deps"], Path(folder))

    def complete(self, pins: Sequence[Pin]) -> list[Pin]:
        """Return a lock with ipykernel and pip in it, whose own packages agree with what it pins already."""
        names = {pin.name for pin in pins}
        missing = [line for line in NEEDED if line.partition(">")[0] not in names]
        if not missing:
            return list(pins)
        with tempfile.TemporaryDirectory(prefix="cloudml-lock-") as folder:
            pinned, asked = Path(folder, "pinned.txt"), Path(folder, "needed.txt")
            pinned.write_text(lock.render(pins, markers=True, hashes=False))
            asked.write_text("\n".join(missing))
            text = self._compiled([str(asked), "--constraints", str(pinned)], Path(folder))
        return [*pins, *(pin for pin in lock.parse(text) if pin.name not in names)]

    def _compiled(self, arguments: Sequence[str], cwd: Path) -> str:
        command = ["pip", "compile", "--universal", "--python-version", self.python]
        return self._run([*command, *_COMPILE, *arguments], cwd)

    def _run(self, arguments: Sequence[str], cwd: Path) -> str:
        environment = {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
        if "PIP_INDEX_URL" in os.environ and "UV_DEFAULT_INDEX" not in os.environ:
            environment["UV_DEFAULT_INDEX"] = os.environ["PIP_INDEX_URL"]
        done = child.run(
            [find_uv_bin(), *arguments], self.cancelled, RESOLVE_S, cwd=str(cwd), env=environment
        )
        for line in done.err.splitlines():
            self.log(child.without_secrets(line.rstrip()))
        if done.status:
            raise NoEnvironment(
                f"the packages cannot be resolved: {child.plain(done.err) or 'uv gave no reason'}",
                code="unresolvable",
                hint="change what is asked for, or name another Python with --python PATH",
            )
        return done.out


def without(pins: Iterable[Pin], names: Collection[str]) -> list[Pin]:
    """Return the pins but those of some packages."""
    left_out = set(map(canonicalize_name, names))
    return [pin for pin in pins if pin.name not in left_out]


def universal(pins: Iterable[Pin]) -> list[Pin]:
    """Return pins in a steady order, the same package with different markers side by side."""
    return sorted(
        (replace(pin, hashes=tuple(sorted(pin.hashes))) for pin in pins),
        key=lambda pin: (pin.name, pin.version, pin.marker),
    )
