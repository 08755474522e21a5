"""An environment of some fifty packages on a machine: built with a warm cache against plain uv beside it, and asked for again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from uv import find_uv_bin

from benchmarks.candidates import LOCAL, OPENSSH, Candidate
from benchmarks.figures import Figure, Row
from benchmarks.session import NoAnswer
from jupyter_cloudml.environments import lock, sources
from jupyter_cloudml.environments.built import Built
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml_kernels.machines import current

ASKED = "ipykernel\ndask[distributed]\n"


def measure(folder: Path, candidates: list[Candidate], rounds: int) -> list[Row]:
    """Build, remove and build again in turn with uv; then ask for what is there."""
    over_ssh = next((each for each in candidates if each.name == OPENSSH), None)
    if over_ssh is None or over_ssh.server is None:
        return []
    folder.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(ASKED)
    environments = Environments(folder, current())
    machine, home = over_ssh.name, over_ssh.server.home
    first = _built(environments, requirements, machine)  # uv is sent
    listed = home / ".cache/jupyter-cloudml/env" / first.key / "lock.txt"
    plain = folder / "plain.txt"
    plain.write_text(lock.render(lock.parse(listed.read_text())))
    _uv_alone(home, plain)  # its cache is filled
    settings = home / ".config/uv/uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("offline = true\n")  # for both: the network is not what is measured
    with_uv, ours, again = [], [], []
    for _ in range(rounds):
        with_uv.append(_uv_alone(home, plain))
        environments.remove(machine, first.name)
        began = time.monotonic()
        if not _built(environments, requirements, machine).made:
            raise NoAnswer("the environment was there before it was built")
        ours.append(time.monotonic() - began)
        began = time.monotonic()
        _built(environments, requirements, machine)
        again.append(time.monotonic() - began)
    title = f"environment of {first.packages} packages"
    build = Row(f"{title}, warm cache", "s", "≤ uv + 0.5 s", digits=3, tool="uv alone")
    build.bounds = {OPENSSH: lambda ours, uv: ours <= uv + 0.5}
    build.figures = {LOCAL: Figure.of(with_uv), OPENSSH: Figure.of(ours)}
    same = Row(f"{title}, same key again", "s", "≤ 0.1 s", digits=3, tool="")
    same.bounds = {OPENSSH: lambda ours, _: ours <= 0.1}
    same.figures = {OPENSSH: Figure.of(again)}
    return [build, same]


def _built(environments: Environments, requirements: Path, machine: str) -> Built:
    return environments.build(sources.find(str(requirements)), machine, name="bench")


def _uv_alone(home: Path, requirements: Path) -> float:
    """What a person types: a virtual environment, and the lock installed into it with its digests, from the cache of the same home."""
    target = home / "plain"
    shutil.rmtree(target, ignore_errors=True)
    uv, env = (
        find_uv_bin(),
        {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
    )
    began = time.monotonic()
    install = [uv, "pip", "install", "--python", str(target), "--require-hashes", "--no-deps", "-r"]
    for argv in ([uv, "venv", "--quiet", str(target)], [*install, str(requirements)]):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise NoAnswer(f"uv failed: {done.stderr}")
    return time.monotonic() - began
