"""The submodules of a clone: each a clone of its own in its folder, at the commit that the repository around it names.

One that cannot be had is named in a warning, and the rest goes on.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import Cancelled, CloudMLError, NoSpace
from ..onhost.folder import HeldFolder, InTheWay
from .git import Git, GitError
from .merge import File
from .modules import source_of, urls_of
from .onhost.tree import SCRATCH
from .progress import Steps
from .source import Source

MODULE = "160000"  # the mode of a submodule in a tree
NAMES = ".gitmodules"
MAX_NAMES = 1 << 20  # bytes of it
DEPTH = 8  # of submodules in submodules
COUNT = 500  # in one clone


@dataclass
class Report:
    """What a clone tells beside its commit, of all its submodules too."""

    warnings: list[str] = field(default_factory=list)
    modules: int = 0


class Inner(Protocol):
    """A clone that is a submodule."""

    def follow(self, commit: str) -> None:
        """Bring it to a commit."""

    def remove(self) -> None:
        """Take away what was fetched, and nothing else."""


class Submodules:
    """Those of one repository, which is `depth` submodules deep. `clone` makes the clone of a folder."""

    def __init__(
        self,
        git: Git,
        source: Source,
        steps: Steps,
        report: Report,
        clone: Callable[[Path, Source], Inner],
        depth: int,
    ) -> None:
        self._git, self._source, self._steps = git, source, steps
        self._report, self._clone, self._depth = report, clone, depth

    def remove(self, old: Mapping[str, File], new: Mapping[str, File]) -> None:
        """Take away those that are submodules no more. Raises Cancelled."""
        for path in sorted(_modules(old) - _modules(new)):
            if self._is_folder(path):
                self._try(
                    path,
                    "stays, it is no submodule any more",
                    self._clone(self._folder(path), self._source).remove,
                )

    def follow(self, files: Mapping[str, File]) -> None:
        """Bring each to the commit that the files name. Raises NoSpace, Cancelled."""
        modules = sorted(_modules(files))
        if not modules:
            return
        urls = self._urls(files.get(NAMES))
        for path in modules:
            commit = files[path].blob
            self._try(
                path,
                "is left out",
                lambda path=path, commit=commit: self._follow(path, commit, urls.get(path)),  # type: ignore[misc]
            )

    def _try(self, path: str, otherwise: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (Cancelled, NoSpace):
            raise
        except CloudMLError as exc:
            name = self._git.folder.name
            self._report.warnings.append(f"submodule {path!r:.200} of {name} {otherwise}: {exc}")

    def _follow(self, path: str, commit: str, url: str | None) -> None:
        try:
            with closing(HeldFolder(str(self._git.folder), SCRATCH)) as held:
                held.make(path)
        except (InTheWay, OSError) as exc:
            raise GitError("a link or a file is in its place") from exc
        if url is None:
            raise GitError(f"{NAMES} has no URL for it")
        if self._depth >= DEPTH or self._report.modules >= COUNT:
            raise GitError(f"more than {DEPTH} submodules deep, or {COUNT} in all, are not fetched")
        source = source_of(url, self._source)
        self._report.modules += 1
        self._steps.also(f"fetching submodule {path[:100]}")
        self._clone(self._folder(path), source).follow(commit)

    def _urls(self, names: File | None) -> dict[str, str]:
        """Return the URLs of .gitmodules, a file of the tree; none where it cannot be read."""
        if names is None or not names.mode.startswith("100"):
            return {}
        size = self._git.ask("cat-file", "-s", names.blob)
        if size is None or int(size) > MAX_NAMES:
            return {}
        told = self._git.ask_bytes(
            "config", "--no-includes", "-z", "--list", f"--blob={names.blob}"
        )
        return urls_of(told or b"")

    def _folder(self, path: str) -> Path:
        return self._git.folder / path

    def _is_folder(self, path: str) -> bool:
        """Whether a folder is there, and no link on the way."""
        with closing(HeldFolder(str(self._git.folder), SCRATCH)) as held:
            status = held.look(path)
        return status is not None and stat.S_ISDIR(status.st_mode)


def _modules(files: Mapping[str, File]) -> set[str]:
    return {path for path, file in files.items() if file.mode == MODULE}
