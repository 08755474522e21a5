"""Which files a folder of code consists of: what git knows and what it does not know yet, without what is ignored."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import JSON
from .git import Git, excludes_file

DEPTH = 20  # of repositories inside repositories
MADE = frozenset({"__pycache__", ".ipynb_checkpoints"})  # folders that nobody wants to have back
KNOWN = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")


@dataclass(frozen=True)
class Found:
    """A regular file or a symbolic link; `path` is relative, with slashes, as the bytes that the disk has."""

    path: bytes
    size: int

    @property
    def name(self) -> str:
        """The path as text."""
        return os.fsdecode(self.path)

    def to_dict(self) -> dict[str, JSON]:
        """Return the row of a large file that somebody has to decide about."""
        return {"path": self.name, "size": self.size}


def files(folder: Path, empty: Git) -> Iterator[Found]:
    """Yield the files of a folder, in git's order; those of submodules and of repositories inside are files of it as well.

    `empty` is a repository of ours with an empty index and `folder` as its work tree, for a folder that has none. Raises GitError.
    """
    yield from _under(folder, b"", empty, 0)


def ignored(folder: Path, paths: Sequence[str], empty: Git) -> set[str]:
    """Return those of the paths, which need not be there, that would not be among the files, or that programs make by themselves.

    Raises GitError.
    """
    found = {path for path in paths if MADE.intersection(path.split("/")[:-1])}
    for inner, group in itertools.groupby(sorted(paths), lambda path: _repository_of(folder, path)):
        names = [path[len(inner) :] for path in group]
        stdin = b"".join(os.fsencode(name) + b"\0" for name in names)
        git = _git_of(folder / inner, empty)
        told = git.ask_bytes("check-ignore", "-z", "--stdin", "--no-index", stdin=stdin) or b""
        found.update(inner + os.fsdecode(name) for name in told.split(b"\0") if name)
    return found


def _repository_of(folder: Path, path: str) -> str:
    """Return the deepest folder above a path that is a repository of its own, with a slash; "" for the folder itself."""
    parts = path.split("/")[:-1]
    for depth in range(len(parts), 0, -1):
        inner = "/".join(parts[:depth])
        if os.path.lexists(folder / inner / ".git"):
            return inner + "/"
    return ""


def _under(folder: Path, prefix: bytes, empty: Git, depth: int) -> Iterator[Found]:
    linked: dict[str, bool] = {}
    for path in _listed(folder, empty):
        name = os.fsdecode(path.rstrip(b"/"))
        found = _look(folder, name, linked)
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            if depth < DEPTH and os.path.lexists(folder / name / ".git"):
                yield from _under(
                    folder / name, prefix + os.fsencode(name) + b"/", empty, depth + 1
                )
        elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            yield Found(prefix + path, found.st_size)


def _listed(folder: Path, empty: Git) -> list[bytes]:
    return [path for path in _git_of(folder, empty).run(*KNOWN).split(b"\0") if path]


def _git_of(folder: Path, empty: Git) -> Git:
    """Return the user's repository, or where there is none the empty one with the user's own list of what is ignored."""
    git = Git(folder)
    if _is_repository(git):
        return git
    return Git(folder, empty.git_dir, {**empty.options, "core.excludesFile": excludes_file()})


def _is_repository(git: Git) -> bool:
    """Whether the folder is one or in one; a folder that the repository around it ignores stands for itself."""
    inside = git.ask("rev-parse", "--is-inside-work-tree", "--show-prefix")
    if inside is None or not inside.startswith("true"):
        return False
    return inside.endswith("\n") or inside == "true" or git.ask("check-ignore", ".") is None


def _look(folder: Path, name: str, linked: dict[str, bool]) -> os.stat_result | None:
    """Return the status of a file; None when it is gone, or a link is on the way to it. `linked` remembers folders."""
    above, _, _ = name.rpartition("/")
    try:
        if above and _behind_link(folder, above, linked):
            return None
        return os.lstat(folder / name)
    except OSError:
        return None


def _behind_link(folder: Path, name: str, linked: dict[str, bool]) -> bool:
    if name not in linked:
        above, _, _ = name.rpartition("/")
        linked[name] = bool(above and _behind_link(folder, above, linked)) or stat.S_ISLNK(
            os.lstat(folder / name).st_mode
        )
    return linked[name]
