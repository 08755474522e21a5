"""The user's own git, with its configuration and credentials, for the one thing that needs them: to fetch from a remote.

What the repository holds has it run nothing: no hook, no monitor, no submodule, and no transport but the one of the URL.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import AuthRefused, Cancelled, CloudMLError
from .git import DEAF, GitError
from .progress import Steps
from .source import Source

LOOK_S = 0.2
SILENCE_S = 600.0  # without a word from git
END_S = 5.0
MAX_TOLD = 64 << 20
SAID = 4000  # of its last words
# What makes git look at another repository than the one that it is run in (git rev-parse --local-env-vars).
ELSEWHERE = ("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "NAMESPACE", "PREFIX",
             "ALTERNATE_OBJECT_DIRECTORIES", "SHALLOW_FILE", "GRAFT_FILE", "CONFIG", "CONFIG_PARAMETERS")  # fmt: skip
OPTIONS = {
    **{
        key: value
        for key, value in DEAF.items()
        if key not in ("core.sshCommand", "protocol.allow")
    },
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "fetch.fsckObjects": "false",
}
# Reads from the environment, which other users of this computer cannot see.
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$CLOUDML_GIT_USER" "$CLOUDML_GIT_PASSWORD"; }; f'
PERCENT = re.compile(rb"(?:Receiving|Downloading LFS) objects: +(\d+)%")


class UsersGit:
    """Runs git in a folder for one source."""

    def __init__(self, folder: Path, source: Source, steps: Steps) -> None:
        self._folder, self._source, self._steps = folder, source, steps

    def run(self, *words: str) -> bytes:
        """Run git to its end and return what it printed. Raises GitError, AuthRefused, Cancelled."""
        argv = ["git", "--no-pager"]  # nosemgrep: git-argv-without-dashes
        for key, value in self._options():
            argv += ["-c", f"{key}={value}"]
        try:
            process = subprocess.Popen(
                [*argv, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=self._environment(),
                start_new_session=True,  # ssh can ask nobody, and all of it can be ended
            )
        except FileNotFoundError as exc:
            raise GitError(
                "git is not installed on this computer", code="no_git", hint="install git"
            ) from exc
        with process:
            try:
                told, said = self._read(process)
            finally:
                _end(process)
        if process.returncode:
            raise self._failure(said)
        return told

    def _options(self) -> list[tuple[str, str]]:
        options = list(OPTIONS.items())
        source = self._source
        if source.password:
            options.append(("credential.helper", ""))  # no other is asked, and none is told
        if source.password or source.user:
            # For this host alone: a redirect, or contents that are elsewhere, get no password.
            options.append((f"credential.{self._site()}.helper", HELPER))
        return options

    def _site(self) -> str:
        parts = urlsplit(self._source.url)
        return f"{parts.scheme}://{parts.netloc}"

    def _environment(self) -> dict[str, str]:
        env = {
            k: v
            for k, v in os.environ.items()
            if k.removeprefix("GIT_") not in ELSEWHERE or k[:4] != "GIT_"
        }
        env |= {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": self._source.protocol,
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_LFS_FORCE_PROGRESS": "1",
            "CLOUDML_GIT_USER": self._source.user,
            "CLOUDML_GIT_PASSWORD": self._source.password,
        }
        if self._source.user:
            # The user's own helpers are asked for this one's password. Here and not on the command line: it may be a token.
            count = int(env.get("GIT_CONFIG_COUNT") or 0)
            env[f"GIT_CONFIG_KEY_{count}"] = f"credential.{self._site()}.username"
            env[f"GIT_CONFIG_VALUE_{count}"] = self._source.user
            env["GIT_CONFIG_COUNT"] = str(count + 1)
        return env

    def _read(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Read both outputs to their ends; returns the first, and the last words of the second."""
        told, said, heard = bytearray(), b"", time.monotonic()
        assert process.stdout and process.stderr  # noqa: S101 - asked for above
        with selectors.DefaultSelector() as both:
            both.register(process.stdout, selectors.EVENT_READ)
            both.register(process.stderr, selectors.EVENT_READ)
            while both.get_map():
                for key, _ in both.select(LOOK_S):
                    heard = time.monotonic()
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        both.unregister(key.fileobj)
                        continue
                    self._tell(data)
                    if key.fileobj is process.stdout:
                        told += data
                    else:
                        said = (said + data)[-SAID:]
                self._steps.stop_if_cancelled()
                if time.monotonic() - heard > SILENCE_S or len(told) > MAX_TOLD:
                    raise Cancelled(f"git got no further with {self._source.url}")
        return bytes(told), said

    def _tell(self, data: bytes) -> None:
        found = PERCENT.findall(data)
        if found:
            self._steps.again(f"fetching {self._source.name}: {found[-1].decode()} %")

    def _failure(self, said: bytes) -> CloudMLError:
        lines = [
            line for line in re.split(r"[\r\n]+", said.decode(errors="replace")) if line.strip()
        ]
        told = [
            line
            for line in lines
            if not PERCENT.search(line.encode()) and not line.startswith("hint:")
        ]
        text = " ".join(told)[-800:] or "git gave no reason"
        url = self._source.url
        if re.search(
            r"could not read (Username|Password)|Authentication failed|Permission denied|\b403\b",
            text,
        ):
            return AuthRefused(
                f"{url} does not let you in: {text}",
                hint="see that `git ls-remote` of it works in a terminal: a credential helper or an SSH agent has to know you",
            )
        return GitError(f"{url}: {text}", hint="see that `git ls-remote` of it works in a terminal")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of it: it has a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue
