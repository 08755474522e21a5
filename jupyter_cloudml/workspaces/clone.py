"""A Git URL as a folder of code on this computer, brought to one branch, tag or commit.

git fetches, and checks nothing out: the files are written here, one by one, so that no filter or hook has a part in it. An update is
a three-way merge with what was changed in the folder since; where the same lines were changed nothing is written at all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import Conflict, NotFound
from .git import Git, GitError
from .lfs import Lfs
from .local import LocalFolder
from .merge import File, merged_mode
from .objects import Objects
from .onhost.tree import good_path
from .progress import Steps
from .refs import HEADS, TAGS, parsed
from .snapshot import OPTIONS
from .source import Source, check_ref
from .submodules import MODULE, Report, Submodules
from .users_git import UsersGit
from .versions import Versions

# What was asked for, what is being put into the folder, and what was put there.
WANTED, NEXT, PUT = "refs/cloudml/wanted", "refs/cloudml/next", "refs/cloudml/put"
COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT = re.compile(r"[0-9a-f]{4,39}")
MARK = "jupyter-cloudml"  # in .git: the clone is ours


@dataclass(frozen=True)
class Target:
    """What the folder is to hold: the name of it to fetch (a ref or a commit), and the branch where it is one."""

    name: str
    branch: str | None = None


class Clone:
    """One clone. The caller has its workspace's lock."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        steps: Steps,
        report: Report | None = None,
        depth: int = 0,
    ) -> None:
        """`report` is told what could not be had; `depth`: of submodules that this is in."""
        self._folder, self._source, self._steps = folder, source, steps
        self._git = Git(folder, folder / ".git", OPTIONS, steps.cancelled)
        self._users = UsersGit(folder, source, steps)
        self._objects, self._local = Objects(self._git), LocalFolder(folder)
        self.report = report or Report()
        self._lfs = Lfs(self._git, source, steps, self._objects, self.report)
        self._modules = Submodules(
            self._git,
            source,
            steps,
            self.report,
            lambda inner, its: Clone(inner, its, steps, self.report, depth + 1),
            depth,
        )

    def update(self, ref: str | None) -> str:
        """Fetch, and bring the folder to a branch, tag or commit (None: the remote's own); returns the commit.

        Raises NotFound for an unknown `ref`, Conflict where the folder is something else (`exists`) or has changes that do not fit
        (`local_changes`), GitError, AuthRefused, Cancelled.
        """
        ref = check_ref(ref) if ref else None
        self._make()
        self._steps.next(f"asking {self._source.name} for its branches")
        target = choose(self._heads(), ref)
        self._steps.next(f"fetching {self._source.name}")
        commit = self._fetch(target, ref)
        self._bring(commit, target.branch if target else None)
        return commit

    def follow(self, commit: str) -> None:
        """Bring the folder, a submodule's, to a commit, which is fetched where it is not here. Raises what `update` does."""
        self._make()
        try:
            if self._commit(commit) != commit and self._fetch(Target(commit), commit) != commit:
                raise GitError(f"{self._source.url} has no commit {commit}")
            self._bring(commit, None)
        finally:
            if self._commit(NEXT) is None:  # nothing was written
                shutil.rmtree(self._folder / ".git", ignore_errors=True)

    def remove(self) -> None:
        """Delete what was fetched, of a submodule that is none any more. Raises Conflict where something was changed in it."""
        commit = self._commit(PUT) if (self._folder / ".git" / MARK).exists() else None
        if commit is None:
            return
        self._check_own_commits(commit)
        self._put(None)
        shutil.rmtree(self._folder / ".git")
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _bring(self, commit: str, branch: str | None) -> None:
        self._check_own_commits(commit)
        self._git.run("update-ref", NEXT, commit)
        self._put(commit)
        self._modules.follow(self._objects.listed(commit))
        self._point(commit, branch)

    def _make(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        inner = self._folder / ".git"
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for left in inner.glob(pattern):
                left.unlink(missing_ok=True)  # of one that was killed: this one has the lock
        if not (inner / MARK).exists():
            if any(self._folder.iterdir()):
                raise Conflict(
                    f"{self._folder} is there already",
                    hint="clone into another folder, or rename it",
                )
            inner.mkdir()
            (inner / MARK).touch()
        if not (inner / "HEAD").exists():
            Git(self._folder.parent).run("init", "-q", "--template=", "--", str(self._folder))
        self._git.run("config", "remote.origin.url", self._source.url)

    def _heads(self) -> dict[str, str]:
        """Return the remote's refs; "HEAD" leads to the name of its branch where it tells one."""
        told = self._users.run("ls-remote", "--symref", "--", self._source.url)
        return parsed(told)

    def _fetch(self, target: Target | None, ref: str | None) -> str:
        """Fetch no more than is needed, where that can be said; returns the commit."""
        if target is not None:
            try:
                self._fetched(f"+{target.name}:{WANTED}", shallow=self._is_shallow())
                return self._commit(WANTED) or ""
            except GitError:
                if not COMMIT.fullmatch(target.name):
                    raise  # else: a server that gives out no commit by its name
        self._fetched(f"+{HEADS}*:refs/remotes/origin/*", f"+{TAGS}*:{TAGS}*", shallow=False)
        commit = self._commit(str(ref))
        if commit is None:
            raise NotFound(
                f"{self._source.url} has no branch, tag or commit {ref}",
                hint="see git ls-remote for its branches and tags",
            )
        return commit

    def _fetched(self, *specs: str, shallow: bool) -> None:
        depth = ["--depth=1"] if shallow else ["--unshallow"] if self._shallow.exists() else []
        words = [
            "--progress",
            "--force",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            *depth,
        ]
        self._users.run("fetch", *words, "--", self._source.url, *specs)

    @property
    def _shallow(self) -> Path:
        return self._folder / ".git" / "shallow"

    def _is_shallow(self) -> bool:
        """Whether to fetch without history: not where it is here already, as that would cut it off."""
        return self._shallow.exists() or self._commit(PUT) is None

    def _commit(self, name: str) -> str | None:
        return self._git.ask(
            "rev-parse", "--verify", "-q", "--end-of-options", f"{name}^{{commit}}"
        )

    def _check_own_commits(self, commit: str) -> None:
        head = self._commit("HEAD")
        if head and head not in (commit, self._commit(PUT), self._commit(NEXT)):
            raise Conflict(
                f"{self._folder} has commits of its own",
                code="local_changes",
                hint="push them, then delete the folder: it is cloned anew",
            )

    # -- files ---------------------------------------------------------------------------------------

    def _put(self, commit: str | None) -> None:
        before, after = self._objects.listed(self._commit(PUT)), self._objects.listed(commit)
        for path in after:
            if not good_path(path):
                raise GitError(f"{self._source.url} has a file {path!r:.200}, which is not written")
        contents = self._lfs.contents(commit, _files(after)) if commit else {}
        self._modules.remove(before, after)
        plan = dict(
            self._planned(Versions(_files(before), _files(after), self._lfs.known(), contents))
        )
        blobs = [
            after[path].blob for path in plan if path in after and after[path].blob not in contents
        ]
        texts = self._objects.contents(blobs, self._objects.sizes(blobs))
        for path, (here, merged) in plan.items():
            self._steps.stop_if_cancelled()
            there = after.get(path)
            if there is None:
                done = self._local.delete(path, here)
            else:
                large, mode = contents.get(there.blob), there.mode
                data = large.path if large else next(texts)
                if merged is not None and here is not None:
                    data, mode = merged, merged_mode(before[path], here, there)
                done = self._local.write(path, mode, data, here)
            if not done:
                raise GitError(f"{path} of {self._folder} cannot be written")

    def _planned(
        self, versions: Versions
    ) -> Iterator[tuple[str, tuple[File | None, bytes | None]]]:
        """Yield the files that are to be written or deleted: as each is here, and the merged content of those that were changed on both sides."""
        in_the_way = []
        for path in versions.changed(self._size):
            here = self._local.look(path)
            action = versions.decide(path, here)
            old, there = versions.old.get(path), versions.new.get(path)
            if action in ("take", "delete"):
                yield path, (here, None)
            elif action == "merge" and old and here and there:
                merged = self._merged(path, old, here, there)
                if merged is None:
                    in_the_way.append(path)
                yield path, (here, merged)
            elif action == "conflict":
                in_the_way.append(path)
        if in_the_way:
            shown = ", ".join(in_the_way[:5]) + (" and others" if len(in_the_way) > 5 else "")
            raise Conflict(
                f"changed in {self._folder}, and in what was fetched: {shown}",
                code="local_changes",
                hint="nothing was overwritten: put these changes elsewhere, then say it again",
            )

    def _size(self, path: str) -> int | None:
        try:
            return os.lstat(self._folder / path).st_size
        except OSError:
            return None

    def _merged(self, path: str, old: File, here: File, there: File) -> bytes | None:
        data = self._local.read(path)
        if data is None:
            return None
        self._objects.put(data)
        return self._objects.merged(old, here, there)

    def _point(self, commit: str, branch: str | None) -> None:
        """Have the repository say what the folder holds."""
        self._git.run("read-tree", commit)
        if branch:
            self._git.run("update-ref", HEADS + branch, commit)
            self._git.run("symbolic-ref", "HEAD", HEADS + branch)
        else:
            self._git.run("update-ref", "--no-deref", "HEAD", commit)
        self._git.run("update-ref", PUT, commit)


def _files(listed: Mapping[str, File]) -> dict[str, File]:
    """Return what is no submodule."""
    return {path: file for path, file in listed.items() if file.mode != MODULE}


def choose(heads: Mapping[str, str], ref: str | None) -> Target | None:
    """Say what to fetch for a branch, tag or commit that a user named; None where the whole history has to tell."""
    if ref is None:
        name = heads.get("HEAD", "HEAD")
        return Target(name, name.removeprefix(HEADS)) if name.startswith(HEADS) else Target("HEAD")
    if HEADS + ref in heads:
        return Target(HEADS + ref, ref)
    if TAGS + ref in heads:
        return Target(TAGS + ref)
    if COMMIT.fullmatch(ref):
        return Target(ref)
    if SHORT.fullmatch(ref):
        return None
    raise NotFound(f"there is no branch or tag {ref}", hint="see git ls-remote for what there is")
