"""What a machine is asked to start: command, environment and folder. Pure."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Mapping, Sequence
from string import Template

# Of the server's environment, another computer is told these and no more: the rest is this one's business, and may be secret.
PASSED_ON = ("JPY_SESSION_NAME", "LANG", "LC_ALL", "LC_CTYPE", "COLORTERM")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


def wants_python(argv: Sequence[str]) -> bool:
    """Say whether the program is just "python": the one that has ipykernel is meant."""
    return bool(argv) and _PYTHON.fullmatch(argv[0]) is not None


def command(argv: Sequence[str], python: str | None, resource_dir: str) -> list[str]:
    """Return the command with its Python and folders filled in; `{connection_file}` is left to the agent."""
    known = {"prefix": sys.prefix, "resource_dir": resource_dir}
    filled = [
        re.sub(r"\{(prefix|resource_dir)\}", lambda found: known[found.group(1)], arg)
        for arg in argv
    ]
    if python and wants_python(filled):
        filled[0] = python
    return filled


def local_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for this computer: all of it, as a kernel of jupyter_client's own has.

    Without JPY_PARENT_PID: a kernel with it ends itself once its parent is another process than the server.
    """
    return {k: v for k, v in env.items() if k != "JPY_PARENT_PID"}


def remote_environment(
    env: Mapping[str, str], spec_env: Mapping[str, str], home: str, user: str
) -> dict[str, str]:
    """Return the environment for another computer: what the kernelspec says (its ${HOME} is that one's), and a few names of ours."""
    there = {"HOME": home, "USER": user}
    said = {str(k): Template(str(v)).safe_substitute(there) for k, v in spec_env.items()}
    return {**{name: env[name] for name in PASSED_ON if name in env}, **said}


def folders(cwd: str, here: str, there: str | None, synced: str | None = None) -> list[str]:
    """Return the folders to start in, best first: where its code was synced to, the same path, the same place under the home folder, that.

    `here` and `there` are the home folders; `there` is None for this computer.
    """
    if there is None:
        return [cwd]
    relative = os.path.relpath(cwd, here) if here else os.pardir
    found = [synced, cwd] if synced else [cwd]
    if relative != os.curdir and not relative.startswith(os.pardir):
        found.append(posixpath.join(there, *relative.split(os.sep)))
    return [*found, there]


def is_plain(argv: Sequence[str]) -> bool:
    """Say whether this is what machines keep ready: ipykernel, and nothing else."""
    return list(argv[1:]) == ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
