"""Which files a folder of code consists of: what git knows and what it does not know yet, without what is ignored."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import JSON
from ..onhost.folder import HeldFolder
from .git import Git, GitError, excludes_file
from .onhost.tree import SCRATCH

DEPTH = 20  # of repositories inside repositories
DEEP = 250  # folders that a file is in
UNFINISHED = SCRATCH.encode() + b"/"
MADE = frozenset({"__pycache__", ".ipynb_checkpoints"})  # folders that nobody wants to have back
KNOWN = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")


@dataclass(frozen=True)
class Found:
    """A regular file or a symbolic link; `path` is relative, with slashes, as the bytes that the disk has."""

    path: bytes
    status: os.stat_result

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.status.st_size

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
    if not folder.is_dir():
        raise GitError(f"there is no folder {folder}")
    with closing(HeldFolder(str(folder), SCRATCH)) as held:
        yield from _under(held, b"", empty, 0)


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


def _under(held: HeldFolder, prefix: bytes, empty: Git, depth: int) -> Iterator[Found]:
    folder = Path(held.path, os.fsdecode(prefix))
    for listed in _listed(folder, empty):
        path = prefix + listed.rstrip(b"/")
        if path.count(b"/") > DEEP:
            raise GitError(f"{os.fsdecode(path[:100])}… is in too many folders")
        found = held.look(os.fsdecode(path))
        if found is None or path.startswith(UNFINISHED):
            continue
        if stat.S_ISDIR(found.st_mode):
            if depth < DEPTH and os.path.lexists(Path(held.path, os.fsdecode(path), ".git")):
                yield from _under(held, path + b"/", empty, depth + 1)
        elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            yield Found(path, found)


def _listed(folder: Path, empty: Git) -> list[bytes]:
    return [path for path in _git_of(folder, empty).run(*KNOWN).split(b"\0") if path]


def _git_of(folder: Path, empty: Git) -> Git:
    """Return the user's repository, or where there is none the empty one with the user's own list of what is ignored."""
    git = Git(folder, cancelled=empty.cancelled)
    if _is_repository(git):
        return git
    options = {**empty.options, "core.excludesFile": excludes_file()}
    return Git(folder, empty.git_dir, options, empty.cancelled)


def _is_repository(git: Git) -> bool:
    """Whether the folder is one or in one; a folder that the repository around it ignores stands for itself."""
    inside = git.ask("rev-parse", "--is-inside-work-tree", "--show-prefix")
    if inside is None or not inside.startswith("true"):
        return False
    return inside.endswith("\n") or inside == "true" or git.ask("check-ignore", ".") is None
