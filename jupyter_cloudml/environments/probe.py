"""Which Pythons a host has, and the one that its kernels run on. What a host says is checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import NoEnvironment, NoPython
from ..link.link import Link

ASK_S = 120.0  # the agent starts every Python it finds
MAX_PYTHONS = 64
OLDEST_IPYKERNEL = (6,)  # the first with the debugger and with interrupts that reach children
OLDEST_PYTHON = (3, 9)

Version = tuple[int, ...]

_VERSION = re.compile(r"(\d{1,5})((?:\.\d{1,5}){0,3})")


@dataclass(frozen=True)
class HostPython:
    """A Python on a host; `ipykernel` is the version there, None where it has none."""

    path: str
    version: Version
    ipykernel: Version | None = None


@dataclass(frozen=True)
class Choice:
    """`python` runs the kernels; where `ready` is false it first has to be given an environment with ipykernel."""

    python: HostPython
    ready: bool


def find(link: Link) -> tuple[HostPython, ...]:
    """Ask the agent for the Pythons of its host, the likeliest first; takes seconds. Raises LinkDown, AgentError."""
    answer = link.call("specs", ASK_S)
    return parse(answer.get("pythons") if isinstance(answer, Mapping) else None)


def parse(raw: object) -> tuple[HostPython, ...]:
    """Return the usable entries of an agent's list of Pythons, at most 64."""
    items = raw[:MAX_PYTHONS] if isinstance(raw, list) else []
    return tuple(python for python in map(_parse, items) if python is not None)


def _parse(item: object) -> HostPython | None:
    if not isinstance(item, Mapping):
        return None
    path, version = item.get("path"), parse_version(item.get("version"))
    if not isinstance(path, str) or not is_plain_path(path) or version is None:
        return None
    return HostPython(path, version, parse_version(item.get("ipykernel")))


def is_plain_path(path: str) -> bool:
    """Say whether a path is absolute, of a sane length and printable: it is going to be shown and started."""
    return path.startswith("/") and len(path) <= 1024 and path.isprintable()


def parse_version(value: object) -> Version | None:
    """Return the leading numbers of a version (`3.13.0rc1` is 3.13.0), None when there are none."""
    match = _VERSION.match(value) if isinstance(value, str) else None
    return None if match is None else tuple(int(part) for part in match.group().split("."))


def choose(pythons: Sequence[HostPython], wanted: str | None = None) -> Choice:
    """Choose the Python that runs a host's kernels.

    `wanted` is a path that the user named: that one or none. Else the newest Python with ipykernel 6 or later; else the
    first that an environment can be made with. Raises NoPython, or NoEnvironment (`no_ipykernel`) when the wanted one lacks it.
    """
    if wanted is not None:
        return Choice(_wanted(pythons, wanted), ready=True)
    ready = [python for python in pythons if _has_ipykernel(python)]
    if ready:  # max() keeps the first of equals
        return Choice(max(ready, key=lambda p: (p.version[:2], p.ipykernel or ())), ready=True)
    able = [python for python in pythons if python.version >= OLDEST_PYTHON]
    if not able:
        seen = ", ".join(f"{python.path} ({_text(python.version)})" for python in pythons[:5])
        raise NoPython(
            f"the host has no Python 3.9 or later{f'; there are {seen}' if seen else ''}",
            hint="install one there, or name it with --python PATH",
        )
    return Choice(able[0], ready=False)


def _wanted(pythons: Iterable[HostPython], path: str) -> HostPython:
    for python in pythons:
        if python.path == path:
            if _has_ipykernel(python):
                return python
            if python.ipykernel is not None:
                raise NoEnvironment(
                    f"{path} has ipykernel {_text(python.ipykernel)}, which is too old",
                    code="no_ipykernel",
                    hint=f"on the host: {path} -m pip install -U ipykernel",
                )
            raise NoEnvironment(
                f"{path} has no ipykernel",
                code="no_ipykernel",
                hint=f"on the host: {path} -m pip install ipykernel; "
                "or leave --python out, and an environment with it is made",
            )
    raise NoPython(
        f"there is no Python at {path} on the host", hint="give the full path, or leave it out"
    )


def _has_ipykernel(python: HostPython) -> bool:
    return python.ipykernel is not None and python.ipykernel >= OLDEST_IPYKERNEL


def _text(version: Version) -> str:
    return ".".join(map(str, version))
