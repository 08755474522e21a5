"""What this machine offers to run: kernelspecs, and Pythons with or without ipykernel. Run as a program, it prints them as JSON."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

JSON = dict[str, Any]
SPEC_LIMIT = 64 << 10  # bytes of one kernel.json
MOST = 64  # of each kind
ASK = """
import sys, json, platform
try:
    from importlib.metadata import version
    found = version("ipykernel")
except Exception:
    found = None
print(json.dumps([platform.python_version(), found, sys.prefix]))
"""
CONDA_ROOTS = [
    "~/miniconda3",
    "~/anaconda3",
    "~/miniforge3",
    "~/mambaforge",
    "~/micromamba",
    "/opt/conda",
    "/opt/miniconda3",
]


def conda_environments() -> list[str]:
    """Prefixes of conda's environments."""
    prefixes: list[str] = []
    try:
        with open(os.path.expanduser("~/.conda/environments.txt")) as file:
            prefixes += [line.strip() for line in file if line.strip()]
    except OSError:
        pass
    for root in CONDA_ROOTS:
        root = os.path.expanduser(root)
        if os.path.isdir(os.path.join(root, "conda-meta")):
            prefixes.append(root)
        prefixes += sorted(glob.glob(os.path.join(root, "envs", "*")))
    return [p for p in dict.fromkeys(prefixes) if os.path.isdir(p)]


def built_environments() -> list[tuple[str, str]]:
    """Prefixes and names of the environments that were built from a lock; one may have several names."""
    names = os.path.expanduser("~/.cache/jupyter-cloudml/env/names")
    return [
        # Not by its name: a kernel that is started again gets the packages that it had.
        (os.path.realpath(path), os.path.basename(path))
        for path in sorted(glob.glob(os.path.join(glob.escape(names), "*")))
        if os.path.exists(os.path.join(path, "READY"))
    ]


def kernel_folders() -> list[tuple[str, str]]:
    """Where kernelspecs may be, the user's own first, and the environment that each belongs to (or nothing)."""
    home = os.path.expanduser("~")
    folders = [
        os.path.join(path, "kernels")
        for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
        if path
    ]
    data = os.environ.get("JUPYTER_DATA_DIR")
    if data:
        folders.append(os.path.join(data, "kernels"))
    folders.append(os.path.join(home, ".local/share/jupyter/kernels"))
    if sys.platform == "darwin":
        folders.append(os.path.join(home, "Library/Jupyter/kernels"))
    found = dict.fromkeys(folders, "")
    for prefix in conda_environments():
        is_root = os.path.isdir(os.path.join(prefix, "envs"))
        name = "" if is_root else re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(prefix))
        found.setdefault(os.path.join(prefix, "share/jupyter/kernels"), name)
    for folder in ("/usr/local/share/jupyter/kernels", "/usr/share/jupyter/kernels"):
        found.setdefault(folder, "")
    built = [(os.path.join(p, "share/jupyter/kernels"), name) for p, name in built_environments()]
    return [*found.items(), *built]


def kernelspecs() -> list[JSON]:
    """The kernelspecs; the first of a name wins, as in Jupyter. Those of this project are left out.

    Those of environments are named `<environment>-<name>`: each environment has its `python3`.
    """
    found: dict[str, JSON] = {}
    for folder, environment in kernel_folders():
        for path in sorted(glob.glob(os.path.join(folder, "*", "kernel.json"))):
            own = os.path.basename(os.path.dirname(path)).lower()
            name = f"{environment.lower()}-{own}" if environment else own
            if name in found or own.startswith("cloudml-") or len(found) >= MOST:
                continue
            try:
                if os.path.getsize(path) > SPEC_LIMIT:
                    continue
                with open(path, encoding="utf-8") as file:
                    spec = json.load(file)
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(spec, dict) and isinstance(spec.get("argv"), list):
                found[name] = {
                    "name": name,
                    "spec": spec,
                    "resource_dir": os.path.dirname(path),
                    "environment": environment,
                }
    return list(found.values())


def python_candidates() -> list[str]:
    """Pythons that a user of this machine is likely to mean, the most likely first."""
    names = ["python3", "python", *[f"python3.{minor}" for minor in range(14, 8, -1)]]
    paths = [shutil.which(name) for name in names]
    home = os.path.expanduser("~")
    for pattern in (
        ".cache/jupyter-cloudml/env/*/bin/python",
        ".venv/bin/python",
        ".pyenv/versions/*/bin/python",
    ):
        found = sorted(glob.glob(os.path.join(home, pattern)))
        # One that was built from a lock is meant where it is named, and nowhere else.
        paths += [p for p in found if not os.path.exists(os.path.join(p, "../../environment.json"))]
    paths += [os.path.join(prefix, "bin/python") for prefix in conda_environments()]
    paths.append(sys.executable)
    return [p for p in dict.fromkeys(paths) if p and os.access(p, os.X_OK)][:MOST]


def pythons() -> list[JSON]:
    """Those that answer, with the version of their ipykernel (or None); one per prefix."""
    found: dict[str, JSON] = {}
    for path in python_candidates():
        try:
            done = subprocess.run(
                [path, "-c", ASK],
                capture_output=True,
                text=True,
                timeout=20,
                stdin=subprocess.DEVNULL,
            )
            version, ipykernel, prefix = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
        found.setdefault(
            prefix + version,
            {"path": path, "version": version, "ipykernel": ipykernel, "prefix": prefix},
        )
    return list(found.values())


def specs() -> JSON:
    """All of it, or the kernelspecs alone."""
    if sys.argv[1:] == ["kernelspecs"]:
        return {"specs": kernelspecs()}
    return {"specs": kernelspecs(), "pythons": pythons(), "uv": shutil.which("uv") or _uv_in_home()}


def _uv_in_home() -> str | None:
    path = os.path.expanduser("~/.local/bin/uv")
    return path if os.access(path, os.X_OK) else None


if __name__ == "__main__":
    json.dump(specs(), sys.stdout)
