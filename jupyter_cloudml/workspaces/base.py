"""The commit that the user's repository is at, and how a snapshot differs from it. The repository is read and never written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .git import Git, GitError

LFS = b"version https://git-lfs.github.com/spec/"
GITLINK = b"160000"
COUNTED = 500  # files whose lines are counted; of more, only the files are
TEXT_LIMIT = "1m"  # no larger file is compared line by line


@dataclass(frozen=True)
class Base:
    """The commit that a folder's repository is at; all None where there is none."""

    commit: str | None = None
    tree: str | None = None
    branch: str | None = None
    url: str | None = None
    objects: Path | None = None

    @classmethod
    def of(cls, folder: Path) -> Base:
        """Read it. `tree` is that of the folder, also where the repository's top is above it."""
        git = Git(folder)
        # One question: each start of git is milliseconds.
        told = git.ask(
            "rev-parse", "--path-format=absolute", "--git-path", "objects",
            "HEAD", "HEAD:./", "--symbolic-full-name", "HEAD",
        )  # fmt: skip
        if told is None:
            return cls()
        objects, commit, tree, branch = told.rsplit(
            "\n", 3
        )  # a folder's name may have several lines
        url = git.ask("config", "--get", "remote.origin.url")
        name = branch.removeprefix("refs/heads/") if branch.startswith("refs/heads/") else None
        return cls(commit, tree, name, without_password(url), Path(objects))


@dataclass(frozen=True)
class Difference:
    """How many files differ, and lines; None where these were not counted."""

    files: int = 0
    insertions: int | None = 0
    deletions: int | None = 0


def compare(git: Git, folder: Path, base: Base, tree: str) -> Difference | None:
    """Compare a tree of ours (in the repository `git`) with the base commit; None without one, or where git cannot. Raises Cancelled.

    It cannot with SHA-256, or without the base's objects (a partial clone). A submodule counts as one file when it is at another commit; a file of LFS is the same as the pointer that stands for it.
    """
    if base.tree is None:
        return None
    if base.tree == tree:
        return Difference()
    try:
        return _compared(git, folder, base, base.tree, tree)
    except GitError:
        return None


def _compared(git: Git, folder: Path, base: Base, old: str, tree: str) -> Difference:
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(str(base.objects))}
    raw = git.run("diff-tree", "-r", "-z", "--no-renames", "--raw", old, tree, "--", env=env)
    changes = list(_parsed(raw))
    modules = {change.path: change for change in changes if change.old_mode == GITLINK}
    moved = [path for path, m in modules.items() if _head(folder, path) not in (None, m.old)]
    files = [
        change
        for change in changes
        if not _is_in(change.path, modules.keys()) and not _is_lfs(git, folder, change)
    ]
    count = len(moved) + len(files)
    if len(files) > COUNTED:
        return Difference(count, None, None)
    paths = [os.fsdecode(change.path) for change in files]
    try:
        return Difference(count, *_lines(git, old, tree, paths, env))
    except GitError:
        return Difference(count, None, None)


def _quoted(path: str) -> str:
    """Return a path as git takes it in a list that is parted by colons."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def without_password(url: str | None) -> str | None:
    """Return a remote's URL without a user, password or token in it."""
    if not url or "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _lines(git: Git, old: str, new: str, paths: list[str], env: dict[str, str]) -> tuple[int, int]:
    """Count the lines that were added and deleted in files of text."""
    if not paths:
        return 0, 0
    told = Git(git.folder, git.git_dir, {**git.options, "core.bigFileThreshold": TEXT_LIMIT}, git.cancelled).run(
        "diff-tree", "-r", "-z", "--no-renames", "--numstat", old, new, "--", *paths,
        env={**env, "GIT_LITERAL_PATHSPECS": "1"},
    )  # fmt: skip
    counts = [line.split(b"\t", 2)[:2] for line in told.split(b"\0")[:-1]]
    text = [(int(added), int(deleted)) for added, deleted in counts if added != b"-"]
    return sum(added for added, _ in text), sum(deleted for _, deleted in text)


@dataclass(frozen=True)
class _Change:
    """One path of `git diff-tree --raw`: `old` and `new` are blobs, all zeros where it is not there."""

    path: bytes
    old_mode: bytes
    old: str
    new: str


def _parsed(raw: bytes) -> Iterator[_Change]:
    fields = raw.split(b"\0")
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, _, old, new, _ = head.removeprefix(b":").split(b" ")
        yield _Change(path, old_mode, old.decode(), new.decode())


def _is_in(path: bytes, folders: Iterable[bytes]) -> bool:
    return any(path == folder or path.startswith(folder + b"/") for folder in folders)


def _head(folder: Path, module: bytes) -> str | None:
    inner = folder / os.fsdecode(module)
    return Git(inner).ask("rev-parse", "HEAD") if os.path.lexists(inner / ".git") else None


def _is_lfs(git: Git, folder: Path, change: _Change) -> bool:
    """Whether a file is what the pointer in the base commit stands for."""
    if not int(change.old, 16) or not int(change.new, 16):
        return False
    there = Git(folder).ask_bytes("cat-file", "blob", change.old) or b""
    if not there.startswith(LFS) or len(there) > 1024:
        return False
    content = hashlib.sha256(git.run("cat-file", "blob", change.new)).hexdigest()
    return f"oid sha256:{content}".encode() in there
