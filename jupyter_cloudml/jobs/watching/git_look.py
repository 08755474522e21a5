"""Which commit a Git ref is at, by the user's own git and credentials; nobody is asked for anything."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from ...errors import JSON, Cancelled, NotFound
from ...paths import private_dir
from ...store.jobs.watches import Sight
from ...workspaces.git import GitError
from ...workspaces.progress import Steps
from ...workspaces.refs import HEADS, TAGS, parsed
from ...workspaces.source import Source
from ...workspaces.users_git import UsersGit
from ..definition.triggers import Trigger

LOOK_S = 45.0  # the longest look
# A program that would ask on the screen is not called either.
ASK_NOBODY = {"GIT_ASKPASS": "", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}


class _SilentGit(UsersGit):
    """The user's git where nobody sits in front of it."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **ASK_NOBODY}


class GitLook:
    """Looks at refs of remotes and of repositories of this computer, in the folder `home/jobs`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(
        self, trigger_id: str, trigger: Trigger, mark: str | None, cancelled: threading.Event
    ) -> Sight:
        """Return where the ref is. Raises NotFound for a ref or a folder that is not there, UsageError, GitError, AuthRefused, Cancelled."""
        source = Source.parse(trigger.git or "")
        late = threading.Event()
        timer = threading.Timer(LOOK_S, late.set)
        timer.daemon = True
        timer.start()
        try:
            names = candidates(trigger.ref)
            git = _SilentGit(private_dir(self._home / "jobs"), source, _Steps(late, cancelled))
            told = git.run("ls-remote", "--", source.url, *names)
        except Cancelled as exc:
            if cancelled.is_set():
                raise
            raise GitError(
                f"{source.url} did not answer within {LOOK_S:.0f} s",
                code="timeout",
                hint="see that `git ls-remote` of it works in a terminal",
            ) from exc
        finally:
            timer.cancel()
        return sight(trigger, source.url, parsed(told), mark)


class _Steps(Steps):
    """Tells git when to stop: it takes too long, or whoever looks ends."""

    def __init__(self, late: threading.Event, ended: threading.Event) -> None:
        super().__init__(cancelled=late)
        self._ended = ended

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled when it is to stop."""
        if self._ended.is_set():
            self.cancelled.set()
        super().stop_if_cancelled()


def candidates(ref: str) -> list[str]:
    """Return the full names that a ref may mean, the one that counts first. Pure."""
    if ref == "HEAD" or ref.startswith("refs/"):
        return [f"{ref}^{{}}", ref]  # the commit of a tag before the tag
    return [f"{HEADS}{ref}", f"{TAGS}{ref}^{{}}", f"{TAGS}{ref}"]


def sight(trigger: Trigger, url: str, heads: Mapping[str, str], mark: str | None) -> Sight:
    """Return what the answer of a remote means. Raises NotFound. Pure."""
    commit = next((heads[name] for name in candidates(trigger.ref) if name in heads), None)
    if commit is None:
        raise NotFound(
            f"{url} has no branch or tag {trigger.ref!r}",
            code="no_ref",
            hint="see `git ls-remote` of it",
        )
    cause: dict[str, JSON] = {
        "kind": "git",
        "git": url,
        "ref": trigger.ref,
        "commit": commit,
        "before": mark,
    }
    return Sight(commit, mark is not None and commit != mark, cause)
