"""`jupyter cloudml doctor`: looks at this installation and contacts no machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import click

from jupyter_cloudml import __version__
from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.errors import JSON, CloudMLError

LEAST_FREE = 200 << 20
WIDTH = 4
DISTRIBUTION = "jupyter-cloudml"
EXTENSION = "jupyter_cloudml_server"
OLDEST_SSH = (8, 5)


@dataclass(frozen=True)
class Finding:
    """What one look has found: `state` is ok, warn or fail; `hint` what to do."""

    name: str
    state: str
    detail: str
    hint: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Return the finding as `--json` shows it."""
        return {"name": self.name, "state": self.state, "detail": self.detail, "hint": self.hint}


@click.command()
@render.json_option
def doctor(as_json: bool) -> int:
    """Look at this installation and say what is wrong with it. No machine is contacted."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            colour = render.STATES[finding.state]
            click.echo(f"{click.style(finding.state.ljust(WIDTH), fg=colour)}  {_line(finding)}")
            if finding.hint:
                click.echo(f"{' ' * WIDTH}  → {render.plain(finding.hint)}")
    if as_json:
        render.show_json({"checks": [finding.to_dict() for finding in findings]})
    return FAILED if any(finding.state == "fail" for finding in findings) else 0


def _line(finding: Finding) -> str:
    return render.plain(f"{finding.name}: {finding.detail}")


def examine() -> Iterator[Finding]:
    """Yield the findings one after another; a look that fails is a finding itself."""
    for name, look in LOOKS.items():
        try:
            yield from look(name)
        except CloudMLError as error:
            yield Finding(name, "fail", error.message, error.hint)
        except OSError as error:
            yield Finding(name, "fail", f"{error.filename}: {error.strerror}")


def versions(name: str) -> Iterator[Finding]:
    """Of what works together here."""
    parts = [f"jupyter-cloudml {__version__}", f"Python {platform.python_version()}"]
    for package in ("jupyter-server", "jupyter-client", "jupyterlab"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    yield Finding(name, "ok", ", ".join(parts))
    try:
        installed = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield Finding(
            name, "fail", "jupyter-cloudml is not installed", "pip install jupyter-cloudml"
        )
        return
    if installed != __version__:
        yield Finding(
            name,
            "warn",
            f"pip says {installed}, the code says {__version__}",
            "install it again: pip install --force-reinstall jupyter-cloudml",
        )


def home_folder(name: str) -> Iterator[Finding]:
    """Private, and with room."""
    from jupyter_cloudml.paths import home

    given = os.environ.get("JUPYTER_CLOUDML_HOME")
    folder = Path(given).expanduser() if given else None
    mode = stat.S_IMODE(folder.stat().st_mode) if folder and folder.is_dir() else 0o700
    path = home()  # makes it private
    if mode & 0o077:
        yield Finding(name, "warn", f"{path} was open to others ({mode:o}); it is 700 now")
    free = shutil.disk_usage(path).free
    if free < LEAST_FREE:
        yield Finding(name, "warn", f"{path} has {render.size(free)} free", "free some space there")
    else:
        yield Finding(name, "ok", f"{path} is private, {render.size(free)} free")


def database(name: str) -> Iterator[Finding]:
    """It opens, and its tables are those of this version."""
    from jupyter_cloudml.config import Config
    from jupyter_cloudml.store import Store

    store = Store.open(Config.from_environ())
    try:
        count = len(store.machines.list())
        noun = "machine" if count == 1 else "machines"
        yield Finding(name, "ok", f"{store.database.name}: {count} {noun}")
    finally:
        store.close()


def server_extension(name: str) -> Iterator[Finding]:
    """Enabled, so that `jupyter lab` loads it."""
    enabled = enabled_extensions()
    if find_spec(EXTENSION) is None:
        yield Finding(
            name, "fail", f"{EXTENSION} cannot be imported", "install jupyter-cloudml again"
        )
    elif enabled.get(EXTENSION):
        yield Finding(name, "ok", f"{EXTENSION} is enabled")
    else:
        why = "is disabled" if EXTENSION in enabled else "is not enabled"
        yield Finding(
            name, "fail", f"{EXTENSION} {why}", f"jupyter server extension enable {EXTENSION}"
        )


def enabled_extensions() -> dict[str, bool]:
    """Return which server extensions Jupyter's configuration switches on or off, as the server merges it.

    Read here and not asked of jupyter_server: the core does not know it, and it takes a second to import.
    """
    from jupyter_core.paths import jupyter_config_path

    merged: dict[str, bool] = {}
    for folder in reversed(jupyter_config_path()):  # the first wins
        files = sorted(Path(folder, "jupyter_server_config.d").glob("*.json"))
        for file in [*files, Path(folder, "jupyter_server_config.json")]:
            try:
                said = json.loads(file.read_text(encoding="utf-8"))
                merged.update(said["ServerApp"]["jpserver_extensions"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return merged


def lab_extension(name: str) -> Iterator[Finding]:
    """Where JupyterLab looks for it."""
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        if (Path(folder) / DISTRIBUTION / "package.json").is_file():
            yield Finding(name, "ok", f"in {folder}")
            return
    yield Finding(
        name,
        "fail",
        "the panel for JupyterLab is not installed",
        "install jupyter-cloudml again (from a checkout: make lab)",
    )


def kernelspecs(name: str) -> Iterator[Finding]:
    """One for each machine, none without."""
    from jupyter_client.kernelspec import KernelSpecManager

    from jupyter_cloudml.config import Config
    from jupyter_cloudml.store import Store
    from jupyter_cloudml_kernels.specs import LOCAL, PREFIX, installed

    found = KernelSpecManager().find_kernel_specs()
    store = Store.open(Config.from_environ())
    try:
        machines = {record.name for record in store.machines.list()}
    finally:
        store.close()
    missing = sorted(m for m in machines | {LOCAL} if f"{PREFIX}{m}".lower() not in found)
    left = sorted(
        spec for spec, machine in installed().items() if machine not in machines | {LOCAL}
    )
    for machine in missing:
        remedy = f"jupyter cloudml machine start {machine}"
        if machine == LOCAL:
            remedy = "install jupyter-cloudml again"
        yield Finding(name, "warn", f"there is no {PREFIX}{machine}", remedy)
    if left:
        yield Finding(
            name,
            "warn",
            f"left of machines that are no more: {', '.join(left)}",
            f"jupyter kernelspec remove {' '.join(left)}",
        )
    if not missing and not left:
        yield Finding(name, "ok", f"each machine has its own ({len(machines | {LOCAL})})")


def provisioner(name: str) -> Iterator[Finding]:
    """What Jupyter starts kernels of machines with."""
    points = metadata.entry_points(group="jupyter_client.kernel_provisioners", name="cloudml")
    if not points:
        yield Finding(
            name,
            "fail",
            "Jupyter knows no kernel provisioner 'cloudml'",
            "install jupyter-cloudml again, into the environment that Jupyter runs in",
        )
        return
    try:
        found = next(iter(points)).load()
    except (ImportError, AttributeError) as error:
        yield Finding(
            name, "fail", f"it cannot be loaded: {error}", "install jupyter-cloudml again"
        )
        return
    yield Finding(name, "ok", f"{found.__module__}.{found.__qualname__}")


def ssh(name: str) -> Iterator[Finding]:
    """The system's, or paramiko in its place."""
    from jupyter_cloudml.link import openssh

    if shutil.which("ssh") is None:
        hint = "install OpenSSH for jump hosts, security keys and all of your ~/.ssh/config"
        yield Finding(name, "warn", "there is no ssh here, paramiko is used", hint)
        return
    version = openssh.version()
    text = ".".join(map(str, version))
    if version < OLDEST_SSH:
        yield Finding(name, "warn", f"OpenSSH {text} is old", "8.5 or later is better")
    else:
        yield Finding(name, "ok", f"OpenSSH {text}")


def packages(name: str) -> Iterator[Finding]:
    """What is needed here for hosts without internet, and for local kernels."""
    for package, use in (("pip", "hosts without internet"), ("ipykernel", "kernels here")):
        if find_spec(package) is None:
            yield Finding(name, "warn", f"no {package}, needed for {use}", f"pip install {package}")
            return
    yield Finding(name, "ok", "pip and ipykernel are there")


def sockets(name: str) -> Iterator[Finding]:
    """Those that nobody listens on any more."""
    from jupyter_cloudml.paths import socket_dir

    folder = socket_dir("agent").parent
    dead = [path for path in sorted(folder.rglob("*")) if path.is_socket() and not _listens(path)]
    if dead:
        shown = ", ".join(map(str, dead[:5])) + (f" and {len(dead) - 5} more" if dead[5:] else "")
        yield Finding(
            name,
            "warn",
            f"nobody listens on {shown}",
            f"delete them once Jupyter has ended: {folder}",
        )
    else:
        yield Finding(name, "ok", f"none is stale in {folder}")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


Look = Callable[[str], Iterator[Finding]]
LOOKS: dict[str, Look] = {
    "versions": versions,
    "home folder": home_folder,
    "database": database,
    "server extension": server_extension,
    "Lab extension": lab_extension,
    "kernelspecs": kernelspecs,
    "kernel provisioner": provisioner,
    "ssh": ssh,
    "packages": packages,
    "sockets": sockets,
}
if sys.platform == "win32":  # no unix sockets to look at
    del LOOKS["sockets"]
