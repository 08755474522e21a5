"""What there is to choose from of a Git URL: its branches and tags as its remote tells, and the recent commits of a clone that is here."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import JSON, Cancelled
from .git import Git, GitError
from .progress import Steps
from .source import Source
from .users_git import UsersGit

HEADS, TAGS = "refs/heads/", "refs/tags/"
ANSWER_S = 30.0
LISTED = 1000  # of each kind
RECENT = 50


@dataclass(frozen=True)
class Commit:
    """A commit with its title; time in ms."""

    commit: str
    title: str
    committed_ms: int


@dataclass(frozen=True)
class Choices:
    """Names of branches and tags, the remote's own branch first; `more` where there are others. `commits` are the newest of a clone here."""

    branches: Sequence[str]
    tags: Sequence[str]
    commits: Sequence[Commit] = ()
    more: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Return the answer of POST workspaces/refs."""
        return {
            "branches": list(self.branches),
            "tags": list(self.tags),
            "commits": [
                {"commit": c.commit, "title": c.title, "committed_ms": c.committed_ms}
                for c in self.commits
            ],
            "more": self.more,
        }


def parsed(told: bytes) -> dict[str, str]:
    """Read what `git ls-remote --symref` says; "HEAD" leads to the name of its branch where it tells one."""
    found: dict[str, str] = {}
    for line in told.decode(errors="surrogateescape").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            found[name] = value.removeprefix("ref: ")
        else:
            found.setdefault(name, value)
    return found


def arranged(heads: Mapping[str, str], commits: Sequence[Commit] = ()) -> Choices:
    """Put in order what a remote has: branches by name, tags with the last names first."""
    own = heads.get("HEAD", "").removeprefix(HEADS)
    branches = sorted(name.removeprefix(HEADS) for name in heads if name.startswith(HEADS))
    branches.sort(key=lambda name: name != own)
    tags = [name.removeprefix(TAGS) for name in heads if name.startswith(TAGS)]
    tags = sorted((name for name in tags if not name.endswith("^{}")), reverse=True)
    more = len(branches) > LISTED or len(tags) > LISTED
    return Choices(branches[:LISTED], tags[:LISTED], commits, more)


def ask(source: Source, place: Path, clone: Path | None) -> Choices:
    """Ask a remote, from the folder `place`, and look into a clone. Raises GitError (`timeout` too), AuthRefused."""
    late = threading.Event()
    timer = threading.Timer(ANSWER_S, late.set)
    timer.start()
    try:
        told = UsersGit(place, source, Steps(cancelled=late)).run(
            "ls-remote", "--symref", "--", source.url
        )
    except Cancelled as exc:
        raise GitError(
            f"{source.url} did not answer within {ANSWER_S:.0f} s",
            code="timeout",
            hint="type the branch, or try again",
        ) from exc
    finally:
        timer.cancel()
    return arranged(parsed(told), recent(clone) if clone else ())


def recent(clone: Path) -> list[Commit]:
    """Return the newest commits that a clone has; none where none is."""
    if not (clone / ".git" / "HEAD").is_file():
        return []
    told = Git(clone, clone / ".git").ask(
        "log", f"-n{RECENT}", "--all", "--format=%H%x00%ct%x00%s%x01", "--"
    )
    rows = [row.strip("\n").split("\0") for row in (told or "").split("\1")[:-1]]
    return [Commit(commit, title[:200], int(seconds) * 1000) for commit, seconds, title in rows]
