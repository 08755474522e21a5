"""git for the tests: as Ada, on the branch main, with remotes that are folders."""

from __future__ import annotations

import subprocess
from pathlib import Path


def run_git(folder: Path, *words: str, check: bool = True) -> bytes:
    argv = ["git", *words]  # nosemgrep: git-argv-without-dashes
    return subprocess.run(argv, cwd=folder, check=check, capture_output=True).stdout


def git(folder: Path, *words: str) -> str:
    options = ["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return run_git(folder, *options, *who, *words).decode().strip()
