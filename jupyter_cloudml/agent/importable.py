"""Has kernels find notebook.py as ``jupyter_cloudml``: a folder of their PYTHONPATH, which steps aside where the real package is installed."""

from __future__ import annotations

import os
from pathlib import Path

from .sockets import ASKED_AT, control

FOLDER = "path"
PACKAGE = "jupyter_cloudml"
MODULES = ("notebook.py", "sockets.py")
INIT = '''\
"""Written by the agent of jupyter-cloudml, for notebooks of this machine. An installed jupyter-cloudml comes before it."""


def _step_aside():
    import importlib
    import importlib.util
    import os
    import sys

    own = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.dirname(own)
    sys.path[:] = [each for each in sys.path if os.path.abspath(each or os.curdir) != folder]
    stub = sys.modules.pop(__name__)
    try:
        found = importlib.util.find_spec(__name__)
        if found is not None and found.origin is not None:
            importlib.import_module(__name__)
            return True
    finally:
        sys.path.append(folder)
    sys.modules[__name__] = stub
    return False


if not _step_aside():
    from .notebook import DatasetError, dataset  # noqa: F401
'''


def write(base: Path) -> None:
    """Put the package into the agent's folder. Raises OSError."""
    folder = base / FOLDER / PACKAGE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = Path(__file__).parent
    texts = {"__init__.py": INIT, **{name: (own / name).read_text() for name in MODULES}}
    for name, text in texts.items():
        path = folder / name
        try:
            if path.read_text() == text:
                continue
        except OSError:
            pass
        scratch = path.with_name(name + ".tmp")
        scratch.write_text(text)
        scratch.replace(path)


def with_path(base: Path, env: dict[str, str]) -> dict[str, str]:
    """Return a kernel's environment with what it takes to import the package and to ask the agent."""
    there = [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each]
    own = str(base / FOLDER)
    path = os.pathsep.join([*(each for each in there if each != own), own])
    return {**env, "PYTHONPATH": path, ASKED_AT: str(control(base))}
