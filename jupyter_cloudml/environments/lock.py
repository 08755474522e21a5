"""The pinned packages of an environment with ipykernel, and which of them a given Python needs.

`ipykernel.lock` holds one pin for every Python from 3.9 on and every system, told apart by markers. pip evaluates markers for the Python
that it runs on, not for the one that it downloads for, so they are evaluated here, for the host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from packaging.markers import Marker

LOCK_FILE = "ipykernel.lock"
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


@dataclass(frozen=True)
class Pin:
    """One package at one version, with the digests of its files (`sha256:…`)."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def parse(text: str) -> list[Pin]:
    """Return the pins of a lock as `uv pip compile --generate-hashes` writes it."""
    pins = []
    for entry in text.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        requirement, *hashes = entry.split("--hash=")
        pinned, _, marker = requirement.partition(";")
        name, _, version = pinned.partition("==")
        pins.append(
            Pin(name.strip(), version.strip(), marker.strip(), tuple(h.strip() for h in hashes))
        )
    return pins


@cache
def shipped() -> tuple[Pin, ...]:
    """Return the pins that come with this package."""
    return tuple(parse(files("jupyter_cloudml.environments").joinpath(LOCK_FILE).read_text()))


def select(pins: Iterable[Pin], markers: Mapping[str, str]) -> list[Pin]:
    """Return the pins that hold for a Python; `markers` has a value for each of MARKER_NAMES."""
    environment = {name: markers[name] for name in MARKER_NAMES}
    return [pin for pin in pins if not pin.marker or Marker(pin.marker).evaluate(environment)]


def render(pins: Iterable[Pin]) -> str:
    """Return a requirements file with digests and no markers."""
    lines = []
    for pin in pins:
        lines.append(
            " \\\n    ".join(
                [f"{pin.name}=={pin.version}", *(f"--hash={digest}" for digest in pin.hashes)]
            )
        )
    return "\n".join(lines) + "\n"


def key(pins: Iterable[Pin], python: str, platform: str) -> str:
    """Return the name of the environment: a digest of the Python, its version, the platform and the pins."""
    identity = [python, platform, sorted(f"{pin.name}=={pin.version}" for pin in pins)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
