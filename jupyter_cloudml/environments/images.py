"""The environments that come with the project: `images/<name>/` with environment.toml, a lock and a Dockerfile that installs it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import NotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Image:
    """One of them. `python` is the range of versions that the lock is for."""

    name: str
    title: str
    python: str
    packages: tuple[str, ...]
    folder: Path

    @property
    def lock(self) -> Path:
        """The lock: a requirements file with digests."""
        return self.folder / "requirements.lock"


def folder() -> Path:
    """Return where they are: in the package when it was installed, at the top of a checkout."""
    installed = Path(str(files("jupyter_cloudml.environments"))) / "images"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "images"


def names() -> list[str]:
    """Return their names."""
    return sorted(path.parent.name for path in folder().glob("*/environment.toml"))


def get(name: str) -> Image:
    """Read one. Raises NotFound."""
    if name not in names():
        raise NotFound(f"there is no image {name[:40]!r}", hint=f"there are {', '.join(names())}")
    place = folder() / name
    said = tomllib.loads((place / "environment.toml").read_text())
    return Image(name, said["title"], said["python"], tuple(said["packages"]), place)
