"""Packages for a host that has no internet: downloaded here, for its Python and its system, and sent through the link."""

from __future__ import annotations

import re
import sys
import tarfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CloudMLError, NoEnvironment, ProtocolError
from . import child
from .lock import MARKER_NAMES, Pin, render

DOWNLOAD_S = 600.0
MAX_TEXT = 1024

_ARCH = re.compile(r"[a-z0-9_]{1,20}")
_MAC = re.compile(r"macosx-(\d{1,3})\.(\d{1,3})-(x86_64|arm64|universal2)")
_RULED_OUT = re.compile(r"ERROR: (.*)")
# Names that manylinux had before it was numbered by the version of glibc (PEP 600).
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class HostFacts:
    """What a Python of a host says of itself.

    `platform` is sysconfig's (`linux-x86_64`), `libc` is ("glibc", "2.36"), ("musl", "1.2") or ("", ""), `markers` are
    the values of PEP 508, `ipykernel` is the version there, `base` the Python that an environment of this one is made of, `uv` and
    `conda` are the paths of those programs.
    """

    markers: Mapping[str, str]
    platform: str
    bits: int
    libc: tuple[str, str]
    threaded: bool
    executable: str
    ipykernel: str | None
    base: str
    uv: str | None = None
    conda: str | None = None

    @property
    def python(self) -> tuple[int, int]:
        """Return the version as (major, minor)."""
        major, _, minor = self.markers["python_version"].partition(".")
        return int(major), int(minor)

    @classmethod
    def parse(cls, raw: object) -> HostFacts:
        """Read the answer of host.py. Raises ProtocolError for anything out of shape."""
        if not isinstance(raw, Mapping):
            raise _odd(raw)
        try:
            libc, version = raw["libc"]
            facts = cls(
                markers={name: _text(raw["markers"][name]) for name in MARKER_NAMES},
                platform=_text(raw["platform"]),
                bits=int(raw["bits"]),
                libc=(_text(libc), _text(version)),
                threaded=raw["threaded"] is True,
                executable=_text(raw["executable"]),
                ipykernel=_text_or_none(raw["ipykernel"]),
                base=_text(raw["base"]),
                uv=_text_or_none(raw.get("uv")),
                conda=_text_or_none(raw.get("conda")),
            )
            if facts.python < (3,):
                raise ValueError("Python 2")
        except (KeyError, TypeError, ValueError) as exc:
            raise _odd(exc) from exc
        return facts


def _text(value: object) -> str:
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    raise ValueError(f"no short text: {str(value)[:40]!r}")


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _odd(what: object) -> CloudMLError:
    return ProtocolError(
        f"the host's Python says odd things of itself: {str(what)[:MAX_TEXT]}",
        hint="name another one with --python PATH",
    )


def platform_tags(facts: HostFacts) -> list[str]:
    """Return the platform tags of wheels that the host can load, best first. Raises NoEnvironment (`no_wheels`)."""
    system, _, arch = facts.platform.partition("-")
    if system == "linux" and facts.bits == 32:
        arch = {"x86_64": "i686", "aarch64": "armv7l"}.get(arch, arch)
    name, version = facts.libc
    if system == "linux" and _ARCH.fullmatch(arch) and name in ("glibc", "musl"):
        major, _, minor = version.partition(".")
        if name == "glibc" and major == "2" and minor.isdigit():
            return [*_manylinux(int(minor), arch), f"linux_{arch}"]
        if name == "musl" and major == "1" and minor.isdigit():
            tags = [f"musllinux_1_{n}_{arch}" for n in range(min(int(minor), 99), -1, -1)]
            return [*tags, f"linux_{arch}"]
    mac = _MAC.fullmatch(facts.platform)
    if mac:  # pip adds the older versions itself
        machine = facts.markers["platform_machine"]
        return [f"macosx_{mac[1]}_{mac[2]}_{machine if _ARCH.fullmatch(machine) else mac[3]}"]
    raise NoEnvironment(
        f"there are no ready-made packages for {facts.platform} {name} {version}".rstrip(),
        code="no_wheels",
        hint="install ipykernel on the host yourself and name its Python with --python PATH",
    )


def _manylinux(minor: int, arch: str) -> list[str]:
    oldest = 5 if arch in ("x86_64", "i686") else 17
    tags = []
    for n in range(min(minor, 99), oldest - 1, -1):
        tags.append(f"manylinux_2_{n}_{arch}")
        if n in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[n]}_{arch}")
    return tags


def pip_arguments(facts: HostFacts) -> list[str]:
    """Return the options by which pip downloads for the host's Python instead of its own."""
    major, minor = facts.python
    if facts.markers["implementation_name"] != "cpython":
        raise NoEnvironment(
            f"there are no ready-made packages for {facts.markers['platform_python_implementation']}",
            code="no_wheels",
            hint="name a CPython with --python PATH",
        )
    abi = f"cp{major}{minor}{'t' if facts.threaded else ''}"
    options = ["--only-binary=:all:", f"--python-version={major}.{minor}"]
    options += ["--implementation=cp", f"--abi={abi}"]
    return options + [f"--platform={tag}" for tag in platform_tags(facts)]


def download(
    pins: Sequence[Pin], facts: HostFacts, folder: Path, cancelled: threading.Event
) -> Path:
    """Download the wheels for a host into `folder`; return a tar of them. Raises NoEnvironment (`no_wheels`), Cancelled.

    Versions and digests are those of `pins`; where the packages come from is this computer's configuration of pip.
    """
    options = pip_arguments(facts)
    listed = folder / "requirements.txt"
    listed.write_text(render(pins))
    wheels = folder / "wheels"
    wheels.mkdir()
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-color"]
    argv += ["--progress-bar=off", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    argv += [*options, "--dest", str(wheels), "-r", str(listed)]
    done = child.run(argv, cancelled, DOWNLOAD_S)
    if done.status:
        found = _RULED_OUT.findall(done.err)
        reason = found[-1] if found else (done.err + done.out).strip()[-MAX_TEXT:]
        raise NoEnvironment(
            f"the packages for the host could not be downloaded here: {child.plain(reason)}",
            code="no_wheels",
            hint="let this computer or the host reach a package index, "
            "or install ipykernel on the host and name its Python with --python PATH",
        )
    packages = folder / "packages.tar"
    with tarfile.open(packages, "w") as tar:
        for wheel in sorted(wheels.iterdir()):
            tar.add(wheel, wheel.name, recursive=False)
    return packages
