"""Who writes a definition, and the commit that it is written in."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path

from ..store.jobs.applying import Author
from ..workspaces.base import Base
from ..workspaces.git import Git, GitError


def user_name() -> str:
    """Return the user of this process; "" where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def author_of(file: Path | None, name: str | None = None, *, folder: Path | None = None) -> Author:
    """Return who writes a definition (`name`, else the user of this process), and the commit of the repository that its file, or `folder`, is in
    (None where it is in none), with `-dirty` where the file is not as it is in that.
    """
    commit = None
    path = None if file is None else Path(os.path.abspath(file))
    where = folder or (path.parent if path else None)
    with suppress(GitError):
        commit = None if where is None else Base.of(where).commit
        if path is not None and where is not None and commit is not None:
            changed = Git(where).ask("status", "--porcelain", "--", str(path))
            commit += "-dirty" if changed else ""
    return Author(user_name() if name is None else name, commit)
