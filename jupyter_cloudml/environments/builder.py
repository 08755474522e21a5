"""Environments on a host: made in its cache folder, by its own means or from packages that are sent. With ipykernel, where it has none."""

from __future__ import annotations

import re
import secrets
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JSON, Cancelled, CloudMLError, NoEnvironment, NoPython, NoSpace
from ..link.link import Link
from . import lock, offline, probe
from .offline import HostFacts
from .program import InstallerFailed, Program, Tell, ignore

FACTS_S = 60.0
BUILD_S = 1800.0
PUT_S = 120.0
PIECE = 8 << 20  # bytes sent with one command
_PROGRAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def ensure_ipykernel(
    link: Link,
    machine: str,
    progress: Tell = ignore,
    cancelled: threading.Event | None = None,
    *,
    python: str | None = None,
    log: Tell = ignore,
) -> str:
    """Return the path of a Python on the machine that has ipykernel; where there is none, make an environment with it.

    `python` is one that the user named. `progress` hears what is being done, `log` each line of the installer.
    Idempotent: of two at once one builds, and the other waits for it. Raises NoPython, NoSpace, NoEnvironment, Cancelled,
    LinkDown; a build that fails leaves nothing behind.
    """
    called_off = cancelled or threading.Event()
    if python is not None:
        progress(f"looking at {python}")
        asked = _ask(Program(link, python_named(link, python), progress, log, called_off), python)
        return probe.choose([asked], asked.path).python.path
    progress("looking for a Python with ipykernel")
    choice = probe.choose(probe.find(link))
    if choice.ready:
        return choice.python.path
    program = Program(link, choice.python.path, progress, log, called_off)
    return Builder(machine, program, called_off).ensure()


def python_named(link: Link, python: str) -> str:
    """Return the program for what the user named: a path, one below the home folder, or a plain name."""
    home = link.info.get("home")
    if python.startswith("~/") and isinstance(home, str):
        return home + python[1:]
    if probe.is_plain_path(python) or _PROGRAM_NAME.fullmatch(python):
        return python
    raise NoPython(
        f"{python[:80]!r} is not a path of a Python", hint="give the full path, as /usr/bin/python3"
    )


def _ask(program: Program, named: str) -> probe.HostPython:
    """Return what the Python that the user named says of itself."""
    try:
        facts = facts_of(program)
    except InstallerFailed as exc:
        raise NoPython(
            f"{named} on the host is not a Python that can be used: {exc.message}",
            hint="give the full path of another one, or leave it out",
        ) from exc
    version = probe.parse_version(facts.markers["python_full_version"]) or ()
    return probe.HostPython(facts.executable, version, probe.parse_version(facts.ipykernel))


def facts_of(program: Program) -> HostFacts:
    """Ask a Python of a host what it is. Raises InstallerFailed, ProtocolError, LinkDown."""
    return HostFacts.parse(program.run("facts.facts", {}, FACTS_S).get("facts"))


@dataclass(frozen=True)
class Builder:
    """Builds on one host."""

    machine: str
    program: Program
    cancelled: threading.Event

    def ensure(self) -> str:
        """Return the Python of the environment with ipykernel, made now if it isn't there."""
        facts = facts_of(self.program)
        version = facts.markers["python_full_version"]
        pins = lock.select(lock.shipped(), facts.markers)
        key = lock.key(pins, f"{facts.executable} {version}", facts.platform)
        self.program.progress(f"making an environment with ipykernel (Python {version})")
        return str(self.build(key, pins, facts)["ready"])

    def build(
        self, key: str, pins: list[lock.Pin], facts: HostFacts, **noted: JSON
    ) -> dict[str, Any]:
        """Make an environment by the host's own means, else from packages that are sent; return what the host says of it.

        Raises NoEnvironment with both reasons, NoSpace, Cancelled, LinkDown.
        """
        request: dict[str, JSON] = {
            "key": key,
            "requirements": lock.render(pins),
            "packages": None,
            **noted,
        }
        try:
            return self._build(request)
        except InstallerFailed as exc:
            online = exc
        self.program.log(online.message)
        packages = f"{key}.packages-{secrets.token_hex(4)}"
        try:
            self.program.progress("downloading the packages here")
            with tempfile.TemporaryDirectory(prefix="cloudml-packages-") as folder:
                archive = offline.download(pins, facts, Path(folder), self.cancelled)
                self._send(archive, packages, "packages")
            self.program.progress("installing the packages that were sent")
            return self._build({**request, "packages": packages})
        except (InstallerFailed, NoEnvironment) as exc:
            raise NoEnvironment(
                f"no environment could be made on {self.machine}: {online.message}; "
                f"with packages from here: {exc.message}",
                code=exc.code,
                hint=exc.hint,
            ) from exc
        finally:
            self._drop(packages)

    def build_conda(self, key: str, text: str, **noted: JSON) -> dict[str, Any]:
        """Have the conda of the host make an environment. Raises NoEnvironment with its reason, NoSpace, Cancelled, LinkDown."""
        asked: dict[str, JSON] = {"key": key, "requirements": "", "packages": None, "conda": text}
        return self._build({**asked, **noted})

    def have_uv(self, facts: HostFacts) -> None:
        """Send uv to a host that has none: it builds in a second what takes pip half a minute. Where that cannot be, pip will do."""
        pins = lock.select(lock.shipped(lock.UV_FILE), facts.markers)
        name = f"uv.packages-{secrets.token_hex(4)}"
        self.program.progress("sending uv")
        try:
            with tempfile.TemporaryDirectory(prefix="cloudml-uv-") as folder:
                offline.download(pins, facts, Path(folder), self.cancelled)
                (wheel,) = Path(folder, "wheels").iterdir()
                self._send(wheel, name, "uv")
            version: dict[str, JSON] = {"name": "uv", "version": pins[0].version, "wheel": name}
            self.program.run("build.tool", version, FACTS_S)
        except (NoEnvironment, NoSpace) as exc:
            self.program.log(f"uv cannot be sent, pip is used: {exc.message}")
            self._drop(name)

    def _build(self, request: dict[str, JSON]) -> dict[str, Any]:
        told = self.program.run("build.build", request, BUILD_S)
        ready = told.get("ready")
        if isinstance(ready, str) and probe.is_plain_path(ready):
            return told
        raise InstallerFailed(f"{self.machine} does not say where the environment is")

    def _send(self, source: Path, name: str, what: str) -> None:
        """Put a file into the file `name` of the host's cache folder."""
        total = source.stat().st_size
        with source.open("rb") as file:
            for offset in range(0, total, PIECE):
                if self.cancelled.is_set():
                    raise Cancelled(f"the environment on {self.machine} was called off")
                sent = f"{offset / 1e6:.0f} of {total / 1e6:.0f} MB"
                self.program.progress(f"sending {what}: {sent}")
                put: dict[str, JSON] = {"name": name, "offset": offset}
                self.program.run("shelf.put", put, PUT_S, file.read(PIECE))

    def _drop(self, packages: str) -> None:
        """Delete what was sent; when that can't be done now, a later build does it."""
        try:
            self.program.clean_up("shelf.drop", {"name": packages}, FACTS_S)
        except CloudMLError as exc:
            self.program.log(f"the packages stay in the cache folder for now: {exc.message}")
