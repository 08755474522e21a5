"""git on this computer, deaf to what a repository would have it run.

A repository may come from a stranger. Its configuration can name programs (core.fsmonitor, hooks, filters, helpers); options on the command line
come before any configuration (git-config(1), `-c`), so each of them is answered there.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import Cancelled, CloudMLError, NoSpace

LIMIT_S = 600.0
LOOK_S = 0.1
DEAF = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.sshCommand": "false",
    "core.alternateRefsCommand": "true",
    "core.quotePath": "false",
    "core.autocrlf": "false",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


class GitError(CloudMLError):
    """git refused (`git`), or is not there (`no_git`)."""

    code = "git"
    status = 422


@dataclass(frozen=True)
class Git:
    """One repository as seen from `folder`: that of the user around it, or with `git_dir` one of our own, which heeds no configuration but ours."""

    folder: Path
    git_dir: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)

    def run(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run git to its end and return what it printed. Raises GitError with its last words, NoSpace, Cancelled."""
        done = self._run(words, stdin, env or {})
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-1000:]
            if os.strerror(errno.ENOSPC) in said:
                where = self.git_dir or self.folder
                raise NoSpace(f"no space left for {where}", hint="free some space")
            raise GitError(f"git {words[0]} in {self.folder}: {said or done.returncode}")
        return done.stdout

    def ask(self, *words: str) -> str | None:
        """Return what git prints, without the line's end; None where it has no answer."""
        told = self.ask_bytes(*words)
        return None if told is None else told.decode(errors="surrogateescape").removesuffix("\n")

    def ask_bytes(self, *words: str, stdin: bytes = b"") -> bytes | None:
        """Return what git prints; None where it has no answer."""
        done = self._run(words, stdin, {})
        return None if done.returncode else done.stdout

    def _run(
        self, words: tuple[str, ...], stdin: bytes, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            process = subprocess.Popen(
                [*self._argv(), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                env={**self._environment(), **env},
            )
        except FileNotFoundError as exc:
            if not self.folder.is_dir():
                raise GitError(f"there is no folder {self.folder}") from exc
            raise GitError(
                "git is not installed on this computer", code="no_git", hint="install git"
            ) from exc
        with process:
            try:
                told, said = self._wait(process, words[0], stdin)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(words, process.returncode, told, said)

    def _wait(
        self, process: subprocess.Popen[bytes], verb: str, stdin: bytes
    ) -> tuple[bytes, bytes]:
        """Return both outputs at its end; it is not waited for once all was called off."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                return process.communicate(stdin, timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                stdin = b""  # it is kept, and goes on being sent
                if self.cancelled.is_set():
                    raise Cancelled(f"git {verb} in {self.folder} was called off") from None
                if time.monotonic() > deadline:
                    raise GitError(
                        f"git {verb} in {self.folder} took over {LIMIT_S:.0f} s"
                    ) from None

    def _argv(self) -> list[str]:
        # The words that follow are ours; paths come over standard input.
        argv = ["git", "--no-optional-locks", "--no-pager"]  # nosemgrep: git-argv-without-dashes
        if self.git_dir is not None:
            argv += [f"--git-dir={self.git_dir}", f"--work-tree={self.folder}"]
        for key, value in {**DEAF, **self.options}.items():
            argv += ["-c", f"{key}={value}"]
        return argv

    def _environment(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        env |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ATTR_NOSYSTEM": "1"}
        # A repository may allow a transport itself (protocol.ext.allow), and have git fetch by it what it lacks; this comes before it.
        env |= {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1"}
        if self.git_dir is not None:
            env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        return env


@cache
def excludes_file() -> str:
    """Return the path of the user's own list of what is never kept (gitignore(5)); there need not be one."""
    found = Git(Path.home()).ask("config", "--global", "--type=path", "--get", "core.excludesFile")
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return found or os.path.join(folder, "git", "ignore")
