"""The user's environments on machines: built from a lock, listed, compared with what is here, removed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import JSON, Cancelled, CloudMLError, Conflict, NoPython, NotFound, ProtocolError
from ..link.command import check_name
from . import build_log, built, comparison, conda, containers, lock, probe, reference
from .build_log import LogFile
from .builder import Builder, facts_of, python_named
from .built import Built, Environment, parse_list
from .comparison import Checked
from .offline import HostFacts
from .program import InstallerFailed, Program, Tell, ignore
from .reference import Reference
from .resolver import Resolver
from .sources import Kind, Locker, Source

if TYPE_CHECKING:
    from ..link.link import Link
    from ..machines.service import Machines

Listed: TypeAlias = list[Environment]  # the class has a method of the name `list`
ASK_S = 60.0
REMOVE_S = 300.0
QUOTA = 20_000_000_000  # bytes of environments on one machine; those not used for longest go first


@dataclass(frozen=True)
class Plan:
    """What is to be built on one machine: pins, the text of an environment.yml, or an image. `key` is its name there."""

    key: str
    pins: tuple[lock.Pin, ...]
    conda: str | None = None
    image: str | None = None


def plan_of(pins: Sequence[lock.Pin], facts: HostFacts, gpu: str) -> Plan:
    """Return the environment that a lock makes with one Python."""
    python = f"{facts.base} {facts.markers['python_full_version']}"
    return Plan(lock.key(pins, python, facts.platform, gpu, isolated=True), tuple(pins))


class Environments:
    """Environments on the machines of one installation. Thread-safe."""

    def __init__(self, home: Path, machines: Machines) -> None:
        self._home, self._machines = home, machines
        self._facts: dict[tuple[object, str], HostFacts] = {}

    def build(
        self,
        source: Source,
        machine: str,
        *,
        name: str | None = None,
        python: str | None = None,
        leave_out: Collection[str] = (),
        upgrade: bool = False,
        quota: int = QUOTA,
        progress: Tell = ignore,
        log: Tell = ignore,
        cancelled: threading.Event | None = None,
    ) -> Built:
        """Have an environment on a machine: locked here, built there once for each lock, offered as a kernel.

        `name`: what it is called there, after its source if left out; a name that is taken means the new environment from then on.
        `python`: one of the machine, in place of the one that its kernels run on. `leave_out`: packages to be left out. `upgrade`: resolve
        anew what is not pinned. Raises NoEnvironment with the resolver's or the installer's reason, NoPython, NoSpace, UsageError,
        Cancelled, LinkDown, and why the machine cannot be reached.
        """
        called_off = cancelled or threading.Event()
        name = name or source.name
        check_name("environment", name)
        written = LogFile(build_log.place_of(self._home, machine, name), log)
        with written:
            link = self._machines.link(machine)
            progress("looking at the machine's Python")
            base = self._base(link, machine, python)
            work = Program(link, base, progress, written, called_off)
            work, facts = self._python_for(work, source, python is not None)
            if source.kind is not Kind.CONTAINER:
                progress("resolving the packages")
            plan = self._plan(work, facts, source, leave_out, upgrade)
            if called_off.is_set():
                raise Cancelled("the environment was called off")
            return self._stand_up(work, facts, source, plan, name, quota)

    def _stand_up(
        self, work: Program, facts: HostFacts, source: Source, plan: Plan, name: str, quota: int
    ) -> Built:
        """Have it stand on the machine under its name, and among the kernelspecs here."""
        told = work.run("shelf.use", {"key": plan.key, "name": name}, ASK_S)
        made = "ready" not in told
        if made:
            noted: dict[str, JSON] = {
                "source": source.text,
                "python": "" if plan.conda or plan.image else facts.markers["python_full_version"],
                "packages": len(plan.pins),
            }
            told = self._make(work, plan, facts, noted=noted, name=name, quota=quota)
        ready = told["ready"]
        if not isinstance(ready, str) or not probe.is_plain_path(ready):
            raise ProtocolError(f"{work.link.machine} does not say where the environment is")
        if told.get("renamed"):
            work.progress("offering it as a kernel")
            self._machines.renew_kernelspecs(work.link.machine)
        evicted = told.get("evicted")
        return Built(
            machine=work.link.machine,
            name=name,
            key=plan.key,
            python_path=ready,
            source=source.text,
            packages=len(plan.pins),
            made=made,
            evicted=tuple(built.keys_in(evicted)),
        )

    def list(self, machine: str) -> Listed:
        """Return the environments of a machine, the last used first. Raises LinkDown and why it cannot be reached."""
        told = self._program(machine).run("shelf.list_all", {}, ASK_S)
        return sorted(parse_list(told.get("environments")), key=lambda each: -each.used_ms)

    def log(self, machine: str, name: str) -> str:
        """Return what was said in the last build under a name, which may have failed; empty where it was not built from here."""
        check_name("environment", name)
        return build_log.read(
            build_log.place_of(self._home, self._machines.get(machine).name, name)
        )

    def remove(self, machine: str, name: str) -> None:
        """Delete an environment by its name or key; where it has another name, that name alone. Raises NotFound, Conflict (`in_use`) while something runs in it."""
        check_name("environment", name)
        mine = self._machines.get(machine).python
        found = self._find(machine, name)
        if found.python_path == mine:
            raise Conflict(
                f"{name} is what the kernels of {machine} run on by themselves",
                code="in_use",
                hint="it goes with the machine's cache folder",
            )
        told = self._program(machine).run("removal.remove", {"name": name}, REMOVE_S)
        if "removed" not in told:
            raise _unknown(machine, name)
        self._machines.renew_kernelspecs(machine)

    def check(
        self, machine: str, name: str | None = None, against: Reference | None = None
    ) -> Checked:
        """Compare an environment of a machine, or the Python of its kernels, with a Python here: without `against`, the one that this runs on.

        Raises NotFound, NoPython, LinkDown.
        """
        python = self._machines.get(machine).python
        if name is not None:
            python = self._find(machine, name).python_path
        if python is None:
            raise NoPython(
                f"{machine} has not been prepared yet",
                hint=f"start it: jupyter cloudml machine start {machine}",
            )
        return self.compare(machine, python, name or "", against)

    def compare(
        self, machine: str, python: str, name: str = "", against: Reference | None = None
    ) -> Checked:
        """Compare the Python at a path of a machine, known as `name`, with one here. Raises InstallerFailed where it is none, LinkDown."""
        link = self._machines.link(machine)
        at, plain = (
            Program(link, path, ignore, ignore, threading.Event())
            for path in (python, self._plain(link))
        )
        return comparison.look(machine, name, at, plain, against or reference.this())

    def python_of(self, machine: str, process: str) -> str | None:
        """Return the Python that a kernel runs on; None for one of another language, and one that is gone. Raises LinkDown."""
        rows = self._machines.processes(machine)
        for row in rows if isinstance(rows, list) else []:
            argv = row.get("argv") if isinstance(row, dict) and row.get("id") == process else None
            if isinstance(argv, list) and "ipykernel_launcher" in argv:
                return argv[0] if probe.is_plain_path(str(argv[0])) else None
        return None

    # -- the machine's side ------------------------------------------------------------------------

    def _plan(
        self,
        work: Program,
        facts: HostFacts,
        source: Source,
        leave_out: Collection[str],
        upgrade: bool,
    ) -> Plan:
        gpu = gpu_of(work.link)
        if source.kind is Kind.CONTAINER:
            image = containers.image_of(work, source, upgrade)
            return Plan(containers.key(image, facts.platform, gpu), (), image=image)
        if source.kind is Kind.CONDA:
            if facts.conda is None:
                raise conda.missing(work.link.machine)
            assert source.path is not None  # noqa: S101 - it is a file
            text = conda.read(source.path)
            return Plan(conda.key(text, facts.platform, gpu), (), text)
        resolver = Resolver("{}.{}".format(*facts.python), work.cancelled, work.log)
        locker = Locker(self._home / "environments" / "locks", resolver)
        pins = locker.lock(source, leave_out=leave_out, upgrade=upgrade)
        return plan_of(lock.select(pins, facts.markers), facts, gpu)

    def _make(self, work: Program, plan: Plan, facts: HostFacts, **noted: JSON) -> dict[str, Any]:
        """Build what is planned."""
        if plan.image is not None:
            return containers.make(work, plan.image, gpu_of(work.link), key=plan.key, **noted)
        builder = Builder(work.link.machine, work, work.cancelled)
        if plan.conda is not None:
            work.progress("having conda resolve and install the packages")
            return builder.build_conda(plan.key, plan.conda, **noted)
        if facts.uv is None:
            builder.have_uv(facts)
            self._facts.clear()  # they are not what they were
        work.progress(f"installing {len(plan.pins)} packages")
        return builder.build(plan.key, list(plan.pins), facts, **noted)

    def _program(self, machine: str, python: str | None = None) -> Program:
        link = self._machines.link(machine)
        return Program(link, python or self._plain(link), ignore, ignore, threading.Event())

    @staticmethod
    def _plain(link: Link) -> str:
        """Return the Python that the agent runs on: any will do to look at files."""
        return str(link.info["python"])

    def _base(self, link: Link, machine: str, named: str | None) -> str:
        """Return the Python that environments are made of: one that was named, or that of the machine's kernels."""
        if named is not None:
            return python_named(link, named)
        return self._machines.get(machine).python or self._plain(link)

    def _python_for(self, work: Program, source: Source, named: bool) -> tuple[Program, HostFacts]:
        """Return the Python that a source can be built with, and what it is. Raises NoPython."""
        try:
            facts = self._facts_of(work)
        except InstallerFailed as exc:
            raise NoPython(f"{work.python} cannot be used: {exc.message}", hint=exc.hint) from exc
        wanted = source.python
        if wanted is None or named or wanted == "{}.{}".format(*facts.python):
            return work, facts
        work.progress(f"looking for Python {wanted}")
        pythons = probe.find(work.link)
        for found in pythons:
            if ".".join(map(str, found.version[:2])) == wanted:
                other = Program(work.link, found.path, work.progress, work.log, work.cancelled)
                return other, self._facts_of(other)
        seen = ", ".join(sorted({".".join(map(str, each.version[:2])) for each in pythons}))
        raise NoPython(
            f"{work.link.machine} has no Python {wanted}, as here; it has {seen or 'none'}",
            hint="install it there, or choose another one with --python PATH",
        )

    def _facts_of(self, work: Program) -> HostFacts:
        """Ask a Python what it is, once for each life of the machine's agent."""
        asked = (work.link.info.get("epoch"), work.python)
        known = self._facts.get(asked)
        if known is None:
            known = self._facts[asked] = facts_of(work)
        return known

    def _find(self, machine: str, name: str) -> Environment:
        for each in self.list(machine):
            if name in each.names or name == each.key:
                return each
        raise _unknown(machine, name)


def gpu_of(link: Link) -> str:
    """Return the models of a machine's GPUs: packages may be built for one."""
    gpus = link.info.get("gpus")
    found = gpus if isinstance(gpus, list) else []
    return ",".join(sorted({str(g.get("name"))[:100] for g in found if isinstance(g, dict)}))


def _unknown(machine: str, name: str) -> CloudMLError:
    return NotFound(
        f"{machine} has no environment {name!r}",
        hint=f"see: jupyter cloudml env list --on {machine}",
    )
