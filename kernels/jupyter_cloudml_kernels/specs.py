"""Kernelspecs of machines: plain folders `cloudml-<machine>[-<spec>]` that every Jupyter front end sees.

A folder is ours when its `metadata.cloudml.machine` says so; no other folder is written to or deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir

from jupyter_cloudml.errors import JSON, Conflict
from jupyter_cloudml.link.command import check_name
from jupyter_cloudml.paths import unusable

from .host_specs import HostSpec, own_spec, parse_host_specs, plain_text, runs

PREFIX = "cloudml-"
PROVISIONER = "cloudml"
LOCAL = "local"  # its Python kernelspec is shipped with the package

MAX_KERNEL_JSON = 1 << 20

_SCRATCH = ".cloudml-scratch-"
SCRATCH_AGE_S = 3600
ATTEMPTS = 20
_LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")


def kernel_json(machine: str, label: str, spec: HostSpec, python: str = "") -> dict[str, JSON]:
    """Return the kernel.json for one kernelspec of a machine; `argv` and `env` are meant for the machine."""
    return {
        "argv": list(spec.argv),
        "display_name": f"{spec.display_name} on {plain_text(label, machine)}",
        "language": spec.language,
        "interrupt_mode": spec.interrupt_mode,
        "env": dict(spec.env),
        "metadata": {
            "debugger": spec.debugger,
            "kernel_provisioner": {
                "provisioner_name": PROVISIONER,
                "config": {
                    "machine": machine,
                    "spec": spec.name,
                    "python": "" if spec.name else python,
                },
            },
            "cloudml": {"machine": machine, "spec": spec.name},
        },
    }


@contextmanager
def _naming_the_folder() -> Iterator[None]:
    """Raise what the system says of the kernelspecs' folder as NoFolder or NoSpace."""
    try:
        yield
    except OSError as exc:
        raise unusable(kernels_dir(), exc, "see that it may be read and written") from exc


@_naming_the_folder()
def install(machine: str, label: str, host_specs: object, python: str = "") -> list[str]:
    """Write the kernelspecs of a machine and delete those that it has no more; return their names, the machine's own first.

    `host_specs` is the list of an agent's answer, as it came; `python` is the Python of the host that has ipykernel.
    Raises UsageError for a machine name outside the allow-list, Conflict when `cloudml-<machine>` is somebody else's, and
    NoFolder or NoSpace, as the other functions here.
    """
    check_name("machine", machine)
    found = parse_host_specs(host_specs)
    kernels = kernels_dir()
    kernels.mkdir(parents=True, exist_ok=True)
    names = []
    if machine != LOCAL:
        names.append(_own_name(kernels, machine))
        _write(
            kernels / names[0],
            kernel_json(machine, label, own_spec(found, python), python),
            logos=_python_logos(),
        )
    for spec in found:
        if not runs(spec, python):
            name = _spec_name(kernels, machine, spec.name)
            _write(
                kernels / name,
                kernel_json(machine, label, spec),
                logos=_python_logos() if spec.language == "python" else (),
            )
            names.append(name)
    _delete(
        path for path, (owner, _) in _ours(kernels) if owner == machine and path.name not in names
    )
    return names


@_naming_the_folder()
def remove(machine: str) -> list[str]:
    """Delete every kernelspec of a machine; return the names of the deleted."""
    return _delete(path for path, (owner, _) in _ours(kernels_dir()) if owner == machine)


@_naming_the_folder()
def reconcile(machines: Collection[str]) -> list[str]:
    """Delete the kernelspecs of machines that are not among `machines`; return the names of the deleted."""
    deleted = _delete(path for path, (owner, _) in _ours(kernels_dir()) if owner not in machines)
    for path in kernels_dir().parent.glob(_SCRATCH + "*"):  # left by a process that was killed
        if time.time() - path.stat().st_mtime > SCRATCH_AGE_S:
            shutil.rmtree(path, ignore_errors=True)
    return deleted


def installed() -> dict[str, str]:
    """Return the names of the kernelspecs that are ours, each with its machine."""
    return {path.name: machine for path, (machine, _) in _ours(kernels_dir())}


@_naming_the_folder()
def named(machine: str, spec: str) -> str | None:
    """Return the name of the kernelspec that stands here for one of a machine ("" for its own Python); None where there is none."""
    if machine == LOCAL and not spec:
        return PREFIX + LOCAL
    ours = _ours(kernels_dir())
    wanted = (machine, spec.lower())
    return next((path.name for path, (m, s) in ours if (m, s.lower()) == wanted), None)


def kernels_dir() -> Path:
    """Return the user's own folder of kernelspecs."""
    return Path(jupyter_data_dir()) / "kernels"


# -- folders ---------------------------------------------------------------------------------------------------------------------


def _ours(kernels: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Yield each folder that is ours, with the machine and the spec that it stands for."""
    try:
        names = sorted(os.listdir(kernels))
    except FileNotFoundError:
        return
    for name in names:
        if name.lower().startswith(PREFIX):
            marker = _marker(kernels / name)
            if marker is not None:
                yield kernels / name, marker


def _marker(folder: Path) -> tuple[str, str] | None:
    """Return (machine, spec) from the kernel.json of a folder of ours; None for any other folder."""
    file = folder / "kernel.json"
    try:
        if folder.is_symlink() or file.stat().st_size > MAX_KERNEL_JSON:
            return None
        marker = json.loads(file.read_text(encoding="utf-8"))["metadata"]["cloudml"]
        machine, spec = marker["machine"], marker["spec"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (machine, spec) if isinstance(machine, str) and isinstance(spec, str) else None


def _own_name(kernels: Path, machine: str) -> str:
    """Return `cloudml-<machine>`, free to be written: a lesser kernelspec of another machine under that name steps aside."""
    name = (PREFIX + machine).lower()
    folder = kernels / name
    if not os.path.lexists(folder):
        return name
    marker = _marker(folder)
    if marker is None or (marker[0] != machine and not marker[1]):
        raise Conflict(
            f"{folder} is in the way of the kernelspec of machine {machine}",
            hint="rename or delete that folder, or give the machine another name",
            path=str(folder),
        )
    if marker[0] != machine:
        os.rename(folder, kernels / _long_name(*marker))
    return name


def _spec_name(kernels: Path, machine: str, spec: str) -> str:
    """Return `cloudml-<machine>-<spec>`, or a longer name where that one is taken (machine a-b, machine a with spec b)."""
    name = f"{PREFIX}{machine}-{spec}".lower()
    free = not os.path.lexists(kernels / name) or _marker(kernels / name) == (machine, spec)
    return name if free else _long_name(machine, spec)


def _long_name(machine: str, spec: str) -> str:
    digest = hashlib.sha256(f"{machine}/{spec}".encode()).hexdigest()[:8]
    return f"{PREFIX}{machine}-{spec}-{digest}".lower()


def _write(folder: Path, document: Mapping[str, JSON], logos: Sequence[Path]) -> None:
    """Put a kernelspec in place; another process may do the same, or delete it, at any moment."""
    text = json.dumps(document, indent=1)
    for _ in range(ATTEMPTS):
        try:
            if not folder.exists():
                _create(folder, text, logos)
            _replace(folder / "kernel.json", text)
            return
        except FileNotFoundError:
            continue
    raise Conflict(
        f"{folder} is deleted again and again by another process",
        code="in_use",
        hint="try again",
        path=str(folder),
    )


def _create(folder: Path, text: str, logos: Sequence[Path]) -> None:
    """Make the whole folder by one rename."""
    scratch = _scratch(folder)
    try:
        scratch.chmod(0o755)
        for logo in logos:
            shutil.copyfile(logo, scratch / logo.name)
        (scratch / "kernel.json").write_text(text, encoding="utf-8")
        os.rename(scratch, folder)
    except OSError:
        if not folder.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _replace(file: Path, text: str) -> None:
    """Replace a kernel.json by one rename; one with the same text is not touched."""
    if file.read_text(encoding="utf-8") == text:
        return
    fd, name = tempfile.mkstemp(prefix=_SCRATCH, dir=file.parent)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(name, 0o644)
    os.replace(name, file)


def _delete(folders: Iterable[Path]) -> list[str]:
    """Delete folders, each by a rename first: a kernelspec that has lost its kernel.json would be nobody's."""
    names = []
    for folder in list(folders):
        scratch = _scratch(folder)
        try:
            os.rename(folder, scratch / folder.name)
        except FileNotFoundError:  # another process was faster
            continue
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        names.append(folder.name)
    return names


def _scratch(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder.parent.parent))


def _python_logos() -> list[Path]:
    found = find_spec("ipykernel")
    if found is None or not found.submodule_search_locations:
        return []
    resources = Path(found.submodule_search_locations[0]) / "resources"
    return [resources / name for name in _LOGOS if (resources / name).is_file()]
