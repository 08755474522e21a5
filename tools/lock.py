#!/usr/bin/env python3
"""Write the locks that come with the project: of the images, of the environments with ipykernel and of runs, and of the uv that is sent to machines.

usage: python tools/lock.py [NAME…]      cpu, gpu, dask, ipykernel, runner, uv; all of them where none is named.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from jupyter_cloudml.environments import images, lock
from jupyter_cloudml.environments.resolver import Resolver, universal

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_cloudml" / "environments"
JOBS = ROOT / "jupyter_cloudml" / "jobs"


def write(path: Path, python: str, requirements: Iterable[str]) -> None:
    """Resolve requirements for a Python and later ones, and write their lock."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requirements.in")
        asked.write_text("".join(f"{line}\n" for line in requirements))
        text = Resolver(python, threading.Event(), print).compile([asked], needed=())
    pins = universal(lock.parse(text))
    path.write_text(f"# Written by tools/lock.py\n{lock.render(pins, markers=True)}")
    print(f"{path.relative_to(ROOT)}: {len(pins)} packages")


def main(wanted: list[str]) -> None:
    """Write what is named."""
    for name in images.names():
        if not wanted or name in wanted:
            image = images.get(name)
            write(image.lock, image.python, image.packages)
    if not wanted or "ipykernel" in wanted:
        asked = (PACKAGE / "ipykernel.in").read_text().splitlines()
        write(PACKAGE / lock.LOCK_FILE, "3.9", asked)
    if not wanted or "runner" in wanted:
        asked = (JOBS / "runner.in").read_text().splitlines()
        write(JOBS / "runner.lock", "3.9", asked)
    if not wanted or "uv" in wanted:
        write(PACKAGE / lock.UV_FILE, "3.9", [f"uv=={version('uv')}"])


if __name__ == "__main__":
    main(sys.argv[1:])
