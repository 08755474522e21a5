"""An environment is a lock: packages at one version each, with the digests of their files.

A lock may hold pins for every Python and every system, told apart by markers. pip evaluates markers for the Python that it runs on, not for
the one that it downloads for, so they are evaluated here, for the host.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..errors import NoEnvironment

LOCK_FILE = "ipykernel.lock"
UV_FILE = "uv.pins"
MARKER_NAMES = (
    "implementation_name",
    "implementation_version",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_full_version",
    "python_version",
    "sys_platform",
)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
# pip takes the file's name also right behind the letter.
LEADS_ELSEWHERE = re.compile(r"^\s*(-[rce]|--(requirement|constraint|editable)\b)", re.MULTILINE)
_HASH = re.compile(r"sha(256|384|512):[0-9a-f]{64,128}")


@dataclass(frozen=True)
class Pin:
    """One package at one version, with the digests of its files (`sha256:…`)."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def parse(text: str) -> list[Pin]:
    """Return the pins of a lock as `uv pip compile --generate-hashes` writes it.

    Options (`--index-url` and the like) are left out: where packages come from is a setting of the computer that installs them. Raises
    NoEnvironment (`not_pinned`) for anything that is not one version of a package with digests.
    """
    return [_pin(entry) for entry in entries(text)]


def entries(text: str) -> Iterator[str]:
    """Yield the requirements of a requirements file, each on one line, without comments and options."""
    for entry in _COMMENT.sub("", text).replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.lstrip().startswith("-"):
            yield entry.strip()


def is_lock(text: str) -> bool:
    """Say whether a requirements file is a lock as it stands."""
    if LEADS_ELSEWHERE.search(text):
        return False
    try:
        return bool(parse(text))
    except NoEnvironment:
        return False


def _pin(entry: str) -> Pin:
    from packaging.requirements import InvalidRequirement, Requirement  # not at every start
    from packaging.utils import canonicalize_name

    requirement, *hashes = re.split(r"\s--hash[=\s]", entry)
    digests = tuple(digest.strip() for digest in hashes)
    try:
        asked = Requirement(requirement.strip())
    except InvalidRequirement as exc:
        raise _not_pinned(requirement, "it is no requirement") from exc
    specs = list(asked.specifier)
    if asked.url is not None:
        raise _not_pinned(asked.name, "it comes from an address, not from a package index")
    if len(specs) != 1 or specs[0].operator not in ("==", "===") or "*" in specs[0].version:
        raise _not_pinned(asked.name, "it has no single version")
    if not digests or not all(map(_HASH.fullmatch, digests)):
        raise _not_pinned(asked.name, "it has no digest of its files")
    marker = str(asked.marker) if asked.marker else ""
    return Pin(canonicalize_name(asked.name), specs[0].version, marker, digests)


def _not_pinned(what: str, why: str) -> NoEnvironment:
    return NoEnvironment(
        f"the lock does not pin {what.strip()[:100]}: {why}",
        code="not_pinned",
        hint="leave it out with --without NAME, or name the version and let it be locked anew",
    )


@cache
def shipped(name: str = LOCK_FILE) -> tuple[Pin, ...]:
    """Return the pins of a lock that comes with this package."""
    return tuple(parse(files("jupyter_cloudml.environments").joinpath(name).read_text()))


def select(pins: Iterable[Pin], markers: Mapping[str, str]) -> list[Pin]:
    """Return the pins that hold for a Python; `markers` has a value for each of MARKER_NAMES."""
    from packaging.markers import Marker

    environment = {name: markers[name] for name in MARKER_NAMES}
    return [pin for pin in pins if not pin.marker or Marker(pin.marker).evaluate(environment)]


def render(pins: Iterable[Pin], *, markers: bool = False, hashes: bool = True) -> str:
    """Return a requirements file; without its markers where they have been evaluated."""
    lines = []
    for pin in pins:
        marker = f" ; {pin.marker}" if markers and pin.marker else ""
        digests = [f"--hash={digest}" for digest in pin.hashes] if hashes else []
        lines.append(" \\\n    ".join([f"{pin.name}=={pin.version}{marker}", *digests]))
    return "\n".join(lines) + "\n"


def key(
    pins: Iterable[Pin], python: str, platform: str, gpu: str = "", *, isolated: bool = False
) -> str:
    """Return the name of an environment: a digest of the pins, the Python and its version, the platform and the GPU."""
    files_ = sorted([f"{pin.name}=={pin.version}", *sorted(pin.hashes)] for pin in pins)
    identity = [python, platform, gpu, isolated, files_]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
