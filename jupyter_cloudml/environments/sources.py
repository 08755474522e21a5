"""What an environment can be made from, and the lock that comes of it: a file, a project, this Python's packages, or an image of ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import UsageError
from ..paths import private_dir, write_private
from . import images, lock, reference
from .drift import Packages
from .lock import Pin
from .reference import Reference
from .resolver import Resolver, universal, without

IMAGE = "image:"
OWN = "jupyter-cloudml"  # needed nowhere but here
MAX_NEAR = 12
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}")
_FOUND_IN_FOLDERS = ("uv.lock", "pyproject.toml", "requirements.txt", "environment.yml")


class Kind(str, Enum):
    """How a source is written."""

    REQUIREMENTS = "requirements"
    PROJECT = "project"
    UV_LOCK = "uv.lock"
    CONDA = "conda"
    SAME = "same"
    IMAGE = "image"
    CONTAINER = "container"


@dataclass(frozen=True)
class Source:
    """What somebody asked for. `text` names it for people, `name` is what the environment is called unless another name is given."""

    kind: Kind
    text: str
    name: str
    path: Path | None = None
    packages: Packages | None = None  # of the Python here that it is to equal

    @property
    def python(self) -> str | None:
        """The Python that it is for (`3.11`); None: that of the machine will do."""
        return self.packages.minor if self.packages is not None else None


def same(as_: Reference | None = None) -> Source:
    """Return what a Python of this computer has; without one, that which runs this."""
    found = as_ or reference.this()
    if found.spec is None:
        text, name = "same as here", "same"
    else:
        text, name = f"same as the kernel {found.spec} here", name_for(f"same-{found.spec}")
    return Source(Kind.SAME, text, name, packages=found.packages)


def name_for(text: str) -> str:
    """Return a name for an environment, after what it comes from."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:40] or "environment"


def find(text: str) -> Source:
    """Return the source that `text` names: a file, a folder, or `image:NAME`. Raises UsageError, NotFound."""
    if text.startswith(IMAGE):
        image = images.get(text.removeprefix(IMAGE))
        return Source(Kind.IMAGE, text, image.name, image.lock)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        found = next((path / name for name in _FOUND_IN_FOLDERS if (path / name).exists()), None)
        if found is None:
            raise UsageError(
                f"{path} holds no {', '.join(_FOUND_IN_FOLDERS)}",
                hint="name the file, or --same for the packages of this Python",
            )
        path = found
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", hint=f"images are {', '.join(map(repr, images.names()))}"
        )
    return Source(_kind_of(path), str(path), name_for(path.parent.name), path)


def container(ref: str) -> Source:
    """Return an image of a container engine, as `docker.io/jupyter/scipy-notebook:latest`. Raises UsageError."""
    if not _REFERENCE.fullmatch(ref):
        raise UsageError(
            f"{ref[:80]!r} is not the name of a container image",
            hint="give it as the engine takes it: docker.io/library/python:3.12",
        )
    last = ref.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return Source(Kind.CONTAINER, f"container {ref}", name_for(last))


def near(folder: Path, root: Path) -> list[Source]:
    """Return the sources in a folder and in those above it up to `root`, the nearest first; one that a lock beside it stands for is left out."""
    found: list[Source] = []
    for place in (folder, *folder.parents):
        here = [
            name for name in (*_FOUND_IN_FOLDERS, "environment.yaml") if (place / name).is_file()
        ]
        if "uv.lock" in here and "pyproject.toml" in here:
            here.remove("pyproject.toml")
        found += [find(str(place / name)) for name in here]
        if place == root or root not in place.parents:
            break
    return found[:MAX_NEAR]


def _kind_of(path: Path) -> Kind:
    if path.name == "uv.lock":
        return Kind.UV_LOCK
    if path.name == "pyproject.toml":
        return Kind.UV_LOCK if path.with_name("uv.lock").exists() else Kind.PROJECT
    if path.suffix in (".yml", ".yaml"):
        return Kind.CONDA
    if path.suffix in (".txt", ".in", ".lock", ".pip"):
        return Kind.REQUIREMENTS
    raise UsageError(
        f"{path.name} is no file that an environment can be made from",
        hint="give requirements.txt, pyproject.toml, uv.lock or environment.yml",
    )


@dataclass(frozen=True)
class Locker:
    """Makes the lock of a source, once for each state of it: what was resolved is kept in `folder`."""

    folder: Path
    resolver: Resolver

    def lock(
        self, source: Source, *, leave_out: Collection[str] = (), upgrade: bool = False
    ) -> list[Pin]:
        """Return the lock: with ipykernel, for every system. `upgrade`: resolve anew. Raises NoEnvironment with the resolver's reason."""
        here = source.packages
        question = self._question(source, here, leave_out)
        kept = self.folder / f"{question}.txt" if question else None
        if kept is not None and kept.exists() and not upgrade:
            return lock.parse(kept.read_text())
        pins = universal(
            self.resolver.complete(without(self._pins(source, here, leave_out), leave_out))
        )
        if kept is not None:
            write_private(private_dir(kept.parent) / kept.name, _text(pins).encode())
        return pins

    def _pins(self, source: Source, here: Packages | None, leave_out: Collection[str]) -> list[Pin]:
        if here is not None:
            left_out = {OWN, *leave_out, *here.local}
            kept = [(n, v) for n, v in sorted(here.versions.items()) if n not in left_out]
            return lock.parse(self.resolver.pin_down(kept))
        path = source.path
        assert path is not None  # noqa: S101 - all others are files
        if source.kind is Kind.UV_LOCK:
            return lock.parse(self.resolver.export(path.parent))
        text = path.read_text()
        if source.kind is not Kind.PROJECT and lock.is_lock(text):
            return lock.parse(text)
        return lock.parse(self.resolver.compile([path]))

    def _question(
        self, source: Source, here: Packages | None, leave_out: Collection[str]
    ) -> str | None:
        """Return the digest of all that decides about the lock; None where other files do too."""
        if here is not None:
            text = repr(sorted(here.versions.items()))
        else:
            assert source.path is not None  # noqa: S101
            text = source.path.read_text()
            if source.kind is Kind.UV_LOCK:
                text += source.path.with_name("uv.lock").read_text()
            elif lock.LEADS_ELSEWHERE.search(text):
                return None
        asked = repr((source.kind.value, self.resolver.python, sorted(leave_out), text))
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


def _text(pins: list[Pin]) -> str:
    return lock.render(pins, markers=True)
