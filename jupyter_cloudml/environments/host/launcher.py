"""Stands for the Python in an image: written as `bin/python` of an environment, it runs that Python in a container as if it were on this machine.

The agent is outside and knows nothing of it: the folders that matter lie at the same paths inside, sockets too, and signals reach the kernel. The
container ends with this program, however that ends: a guard in a session of its own sees to it, and to what machines that went down have left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

# Said anew where this is written: engine, docker, rootless, image, python, gpu, init.
SETTINGS: dict[str, Any] = {}

LABEL = "jupyter-cloudml.user"
MARK = "JUPYTER_CLOUDML"  # variables by which the agent knows what it has to end
AGENT = "JUPYTER_CLOUDML_AGENT"  # where the agent's socket is
# What the program of a run says: names of variables that the notebook is to have, and the folder that links in its copy of the code lead into.
NAMED, LIVE = "CLOUDML_PASSED", "CLOUDML_PROJECT"
COPIES = [".cache", "jupyter-cloudml", "copies", "runs"]
PASSED = re.compile(
    r"JPY_SESSION_NAME|LANG|LC_[A-Z]+|COLORTERM|TZ|[A-Z]+_NUM_THREADS|CUDA_[A-Z_]+|JUPYTER_CLOUDML[A-Z_]*"
)
_NAME = re.compile(r"cloudml-(\d+)-(\d+)-[0-9a-f]{8}")


def mounts(
    cwd: str,
    home: str,
    connection: Mapping[str, Any],
    file: str | None,
    agent: str | None = None,
    live: str | None = None,
) -> list[str]:
    """The folders of this machine that the container sees: that of the notebook with what lies beside it, the datasets, and the kernel's sockets
    and that of the agent.

    The notebook's folder counts from the one directly below the home folder, so that its project is there; the home folder itself only
    where the notebook lies in it. Of a run it is its own copy of the code, and what links in that lead into (`live`).
    """
    found = [project_of(cwd, home), os.path.join(home, ".cache", "jupyter-cloudml", "data")]
    if file is not None:
        found.append(os.path.dirname(file))
        if connection.get("transport") == "ipc":
            found.append(os.path.dirname(str(connection["ip"])))
    if agent:
        found.append(os.path.dirname(agent))
    if live:
        found.append(project_of(live, home))
    kept: list[str] = []
    for path in sorted({os.path.abspath(path) for path in found if os.path.isdir(path)}):
        if not any(path == above or path.startswith(above + os.sep) for above in kept):
            kept.append(path)
    odd = next((path for path in kept if ":" in path), None)
    if odd is not None:
        raise SystemExit(f"{odd} cannot be seen in a container: its name holds a colon")
    return kept


def project_of(folder: str, home: str) -> str:
    """The topmost folder that is seen of one."""
    inside = os.path.relpath(folder, home).split(os.sep)
    if inside[0] in (os.curdir, os.pardir):
        return folder
    depth = len(COPIES) + 1 if inside[: len(COPIES)] == COPIES else 1
    return os.path.join(home, *inside[:depth])


def command(
    settings: Mapping[str, Any],
    arguments: Sequence[str],
    *,
    name: str,
    cwd: str,
    home: str,
    private: str,
    seen: Sequence[str],
    env: Mapping[str, str],
    ids: tuple[int, int],
) -> list[str]:
    """The command line of the container engine. `private` is a folder that is the home folder inside, so that keys of this user are not seen."""
    line = [str(settings["engine"]), "run", "--rm", "--interactive", "--name", name]
    line += ["--label", f"{LABEL}={ids[0]}", "--network=host", "--ipc=host"]
    line += ["--security-opt=label=disable", f"--workdir={cwd}"]
    if settings.get("init"):
        line.append("--init")
    if settings["docker"]:
        if not settings["rootless"]:
            line.append(f"--user={ids[0]}:{ids[1]}")
    elif ids[0] != 0:
        line.append("--userns=keep-id")
    if settings.get("gpu"):
        line.append("--gpus=all" if settings["docker"] else "--device=nvidia.com/gpu=all")
    if home not in seen:
        line.append(f"--volume={private}:{home}")
    line += [f"--volume={path}:{path}" for path in seen]
    line += [f"--env=HOME={home}", "--env=PYTHONUNBUFFERED=1"]
    named = env.get(NAMED, "").split(",")
    line += [f"--env={key}" for key in sorted(env) if PASSED.fullmatch(key) or key in named]
    return [*line, f"--entrypoint={settings['python']}", str(settings["image"]), *arguments]


def started(pid: int) -> str | None:
    """When a process began, as the system counts; None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def abandoned(names: Sequence[str]) -> list[str]:
    """Those containers of ours whose program is gone."""
    found = [(name, _NAME.fullmatch(name)) for name in names]
    return [name for name, m in found if m and started(int(m[1])) != m[2]]


def guard(name: str) -> int:
    """Wait for the end of standard input, which is that of the launcher, and end its container; before, what others have left."""
    engine = str(SETTINGS["engine"])
    listing = [engine, "ps", "--all", "--filter", f"label={LABEL}={os.getuid()}"]
    told = run([*listing, "--format", "{{.Names}}"])
    for left in abandoned(told.split()):
        run([engine, "rm", "--force", left])
    sys.stdin.buffer.read()
    for _ in range(3):  # it may be about to be made
        run([engine, "rm", "--force", name])
        time.sleep(0.5)
    return 0


def run(argv: Sequence[str]) -> str:
    """What the engine says; nothing where it fails."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def main(arguments: Sequence[str]) -> int:
    """Run the image's Python with these arguments; the exit status is its own."""
    if arguments[:1] == ["--guard"]:
        return guard(arguments[1])
    file = arguments[arguments.index("-f") + 1] if "-f" in arguments[:-1] else None
    connection: dict[str, Any] = {}
    if file is not None:
        with open(file) as opened:
            connection = json.load(opened)
    home, cwd, pid = os.path.expanduser("~"), os.getcwd(), os.getpid()
    private = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "home")
    seen = mounts(cwd, home, connection, file, os.environ.get(AGENT), os.environ.get(LIVE))
    for path in seen:  # else the engine makes them, as root
        if path.startswith(home + os.sep):
            os.makedirs(os.path.join(private, os.path.relpath(path, home)), exist_ok=True)
    os.makedirs(private, mode=0o700, exist_ok=True)
    name = f"cloudml-{pid}-{started(pid)}-{secrets.token_hex(4)}"
    line = command(
        SETTINGS,
        arguments,
        name=name,
        cwd=cwd,
        home=home,
        private=private,
        seen=seen,
        env=os.environ,
        ids=(os.getuid(), os.getgid()),
    )
    unmarked = {key: text for key, text in os.environ.items() if not key.startswith(MARK)}
    with open(
        __file__
    ) as own:  # not by its path: that would count as something that runs in the environment
        guarding = [sys.executable, "-IS", "-c", own.read(), "--guard", name]
    watching = subprocess.Popen(
        guarding,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=unmarked,
        cwd="/",
    )
    # The engine's program is in this group: it hears an interrupt too, and passes it on.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        child = subprocess.Popen(line)
    except OSError as exc:
        sys.stderr.write(f"{line[0]}: {exc.strerror}\n")
        return 127
    try:
        code = child.wait()
    except SystemExit:
        run([line[0], "kill", name])
        code = child.wait()
    finally:
        if watching.stdin is not None:
            watching.stdin.close()
    return end_as(code)


def end_as(code: int) -> int:
    """End by the signal that ended the kernel: whoever waits is to see the same."""
    number = -code if code < 0 else code - 128
    if code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGSEGV, 128 + signal.SIGABRT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
