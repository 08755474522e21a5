"""Runs the installers: uv where there is one, else venv and pip; micromamba or conda for an environment.yml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable

from .say import Failed, NoSpace, told
from .shelf import find_program

NO_SPACE_WORDS = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
TAIL_LINES = 12
LOADS = "import importlib.util as u, zmq; assert u.find_spec('ipykernel_launcher')"


def installer_environment(folder: str) -> dict[str, str]:
    """The variables of an installer: the user's settings of where packages come from, none of where they go."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        env.pop(name, None)
    # A host without internet is to be found out in seconds, not after five patient tries.
    env.update(PIP_DEFAULT_TIMEOUT="10", PIP_RETRIES="1", UV_HTTP_TIMEOUT="15", UV_HTTP_RETRIES="1")
    env.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env.update(PIP_NO_COLOR="1", PIP_PROGRESS_BAR="off", UV_NO_PROGRESS="1", NO_COLOR="1")
    env.update(TMPDIR=folder, UV_PYTHON_DOWNLOADS="never", CONDA_ALWAYS_YES="true")
    return env


def run(argv: list[str], folder: str, heard: Callable[[str], None] = lambda line: None) -> None:
    """Run an installer; its output is the log, of which `heard` hears each line. Raises Failed or NoSpace with its own reason."""
    try:
        child = subprocess.Popen(
            argv,
            env=installer_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        )
    except OSError as exc:
        raise told(exc, argv[0]) from exc
    tail: list[str] = []
    with child:
        try:
            for line in child.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                heard(line)
                tail = [*tail[1 - TAIL_LINES :], line.strip()[:500]]
            code = child.wait()
        finally:
            child.kill()
    if code:
        if any(word in line for line in tail for word in NO_SPACE_WORDS):
            raise NoSpace(os.path.dirname(folder))
        raise Failed(f"{os.path.basename(argv[0])} ended with {code}: {reason_in(tail)}")


def make_conda(prefix: str, scratch: str, text: str) -> None:
    """Put an environment into its own folder from the text of an environment.yml, and note beside it what it came to.

    It can't be renamed: its files name the folder that they were made in.
    """
    conda = find_program("micromamba") or find_program("mamba") or find_program("conda")
    if conda is None:
        raise Failed("there is no micromamba, mamba or conda here")
    listed = os.path.join(scratch, "environment.yml")
    with open(listed, "w") as file:
        file.write(text)
    create = ["create", "--yes"] if conda.endswith("micromamba") else ["env", "create"]
    run([conda, *create, "--prefix", prefix, "--file", listed], scratch)
    run([os.path.join(prefix, "bin", "python"), "-I", "-c", LOADS], scratch)
    told = subprocess.run(
        [conda, "list", "--prefix", prefix, "--explicit", "--md5"],
        env=installer_environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with open(os.path.join(prefix, "conda.lock"), "w") as file:
        file.write(told.stdout)


def reason_in(tail: list[str]) -> str:
    """What the last lines of an installer say of its failure."""
    said = (n for n, line in enumerate(tail) if line.lower().startswith(("error", "fatal", "×")))
    lines = tail[next(said, -3) :]
    return (" ".join(filter(None, lines)) or "no reason given")[:1500]


def unpack(archive: str, folder: str) -> str:
    """Write the files of a tar into a folder; a name in it can't lead elsewhere."""
    os.mkdir(folder, 0o700)
    with tarfile.open(archive) as tar:
        for member in tar:
            source = tar.extractfile(member)
            if source is None or os.path.basename(member.name) != member.name:
                raise Failed(f"{archive} holds {member.name!r}, which is no plain file")
            with open(os.path.join(folder, member.name), "wb") as file:
                shutil.copyfileobj(source, file)
    return folder


def make(
    new: str,
    scratch: str,
    requirements: str,
    wheels: str | None,
    isolated: bool,
    imports: str | None = None,
) -> None:
    """Put an environment into the folder `new`: from the host's package index, or from the wheels in a folder.

    Isolated, it has what was asked for and nothing else. Otherwise the packages of the host's Python stay in sight: on a machine made for
    it, torch is among them. `imports` is a module that has to load, in place of ipykernel.
    """
    python = os.path.join(new, "bin", "python")
    hashed = ["--no-deps", "--require-hashes", "-r", requirements]
    source = ["--no-index", "--find-links", wheels] if wheels else []
    shared = [] if isolated else ["--system-site-packages"]
    venv = [sys.executable, "-I", "-m", "venv", *shared]
    uv = find_program("uv")
    if uv:
        run([uv, "venv", *shared, "--python", sys.executable, new], scratch)
        # Of a large environment a kernel imports little: what it does is compiled then.
        compiled = [] if isolated else ["--compile-bytecode"]
        run([uv, "pip", "install", "--python", python, *compiled, *source, *hashed], scratch)
    elif wheels:
        # Needs neither ensurepip (which Debian keeps in python3-venv) nor an index: pip runs from its own wheel.
        pip = next((n for n in os.listdir(wheels) if n.startswith("pip-")), None)
        if pip is None:
            raise Failed(f"pip is not among the packages in {wheels}")
        run([*venv, "--without-pip", new], scratch)
        command = [python, os.path.join(wheels, pip, "pip"), "install", "--ignore-installed"]
        run([*command, *source, *hashed], scratch)
    else:
        run([*venv, new], scratch)
        run([python, "-m", "pip", "install", "--ignore-installed", *hashed], scratch)
    if imports:
        run([python, "-I", "-c", f"import {imports}"], scratch)
    elif isolated:
        run([python, "-I", "-c", LOADS], scratch)
    else:
        run([python, "-I", "-m", "ipykernel_launcher", "--version"], scratch)
