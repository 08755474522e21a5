"""What runs ON the host to look at a Python and to build an environment there: standard library only, Python >= 3.9.

It is sent as text, so it imports nothing of this project. Standard input brings one line of JSON, the arguments. Standard
output is the installer's log; each line of standard error is a JSON object: {"step": text}, {"facts": …}, {"ready": path},
{"failed": reason}, {"no_space": path, "free": bytes}.

  facts   what a Python says of itself
  put     write the rest of standard input into a file of the cache folder at an offset; a piece that comes twice changes nothing
  drop    delete a file that was put
  build   make the environment: under a lock, in a scratch folder, renamed at the end
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from typing import IO, Any, NoReturn

NEEDED_BYTES = 160 << 20  # an environment and the files that pip unpacks on the way
NO_SPACE_WORDS = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
TAIL_LINES = 12
ASK_IPYKERNEL = "import importlib.metadata as m; print(m.version('ipykernel'))"


class Failed(Exception):
    """It can't go on; the text is for a person."""


class NoSpace(Exception):
    """The disk is full; the text is the folder."""


def say(**event: Any) -> None:
    """Tell the other end."""
    sys.stderr.write(json.dumps(event) + "\n")
    sys.stderr.flush()


def cache_folder() -> str:
    """The folder of this user's environments."""
    return os.path.join(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "env")


# -- facts -----------------------------------------------------------------------------------------


def libc() -> tuple[str, str]:
    """("glibc", "2.36"), ("musl", "1.2") or ("", "")."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):
        name = version = ""
    if name == "glibc":
        return name, version
    loader = next((n for n in sorted(os.listdir("/lib")) if n.startswith("ld-musl-")), None)
    if loader is None:
        return "", ""
    told = subprocess.run(["/lib/" + loader], stderr=subprocess.PIPE, text=True).stderr
    version = next((x.split()[-1] for x in told.splitlines() if x.startswith("Version ")), "1.1")
    return "musl", ".".join(version.split(".")[:2])


def markers() -> dict[str, str]:
    """The values of PEP 508 for this Python."""
    version = sys.implementation.version
    full = f"{version.major}.{version.minor}.{version.micro}"
    if version.releaselevel != "final":
        full += version.releaselevel[0] + str(version.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": full,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version().rstrip("+"),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def ipykernel() -> str | None:
    """The version of ipykernel, asked as kernels are started: with what the user has installed, unlike this program."""
    told = subprocess.run(
        [sys.executable, "-c", ASK_IPYKERNEL],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
    )
    return told.stdout.strip() or None


def facts() -> None:
    """Say what this Python is."""
    say(
        facts={
            "executable": sys.executable,
            "ipykernel": ipykernel(),
            "markers": markers(),
            "platform": sysconfig.get_platform(),
            "bits": 64 if sys.maxsize > 2**32 else 32,
            "libc": libc() if sys.platform == "linux" else ("", ""),
            "threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        }
    )


# -- files -----------------------------------------------------------------------------------------


def private_folder(path: str) -> None:
    """Make a folder and its parents, for this user alone."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as exc:
        raise told(exc, path) from exc


def free_bytes(path: str) -> int:
    """What this user can still write there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def told(exc: Exception, path: str) -> Exception:
    """The error of this module for an error of the system."""
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(os.path.dirname(path))
    return Failed(f"{path}: {exc}")


def put(name: str, offset: int) -> None:
    """Write the rest of standard input into a file at `offset`."""
    private_folder(cache_folder())
    path = os.path.join(cache_folder(), name)
    try:
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.seek(offset)
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as exc:
        raise told(exc, path) from exc
    say(ready=path)


def drop(name: str) -> None:
    """Delete a file that was put."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(cache_folder(), name))


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


# -- build -----------------------------------------------------------------------------------------


def find_uv() -> str | None:
    """The path of uv on this host."""
    places = os.environ.get("PATH", "") + ":~/.local/bin:~/.cargo/bin"
    return shutil.which("uv", path=":".join(map(os.path.expanduser, places.split(":"))))


def installer_environment(folder: str) -> dict[str, str]:
    """The variables of an installer: the user's settings of where packages come from, none of where they go."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        env.pop(name, None)
    # A host without internet is to be found out in seconds, not after five patient tries.
    env.update(PIP_DEFAULT_TIMEOUT="10", PIP_RETRIES="1", UV_HTTP_TIMEOUT="15", UV_HTTP_RETRIES="1")
    env.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    env.update(PIP_NO_COLOR="1", PIP_PROGRESS_BAR="off", UV_NO_PROGRESS="1", NO_COLOR="1")
    env.update(TMPDIR=folder, UV_PYTHON_DOWNLOADS="never")
    return env


def run(argv: list[str], folder: str) -> None:
    """Run an installer; its output is the log. Raises Failed or NoSpace with its own reason."""
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
                tail = [*tail[1 - TAIL_LINES :], line.strip()[:500]]
            code = child.wait()
        finally:
            child.kill()
    if code:
        if any(word in line for line in tail for word in NO_SPACE_WORDS):
            raise NoSpace(os.path.dirname(folder))
        errors = [line for line in tail if line.lower().startswith(("error", "fatal"))]
        reason = " ".join(errors or tail[-3:]) or "no reason given"
        raise Failed(f"{os.path.basename(argv[0])} ended with {code}: {reason[:1500]}")


def make(new: str, scratch: str, requirements: str, wheels: str | None) -> None:
    """Put an environment into the folder `new`: from the host's package index, or from the wheels in a folder."""
    python = os.path.join(new, "bin", "python")
    hashed = ["--no-deps", "--require-hashes", "-r", requirements]
    uv = find_uv()
    # The packages of the host's Python stay in sight: on a machine made for it, torch is among them.
    venv = [sys.executable, "-I", "-m", "venv", "--system-site-packages"]
    if wheels:
        # Needs neither ensurepip (which Debian keeps in python3-venv) nor an index: pip runs from its own wheel.
        pip = next((n for n in os.listdir(wheels) if n.startswith("pip-")), None)
        if pip is None:
            raise Failed(f"pip is not among the packages in {wheels}")
        run([*venv, "--without-pip", new], scratch)
        command = [python, os.path.join(wheels, pip, "pip"), "install", "--no-index"]
        run([*command, "--ignore-installed", "--find-links", wheels, *hashed], scratch)
    elif uv:
        run([uv, "venv", "--system-site-packages", "--python", sys.executable, new], scratch)
        run([uv, "pip", "install", "--python", python, "--compile-bytecode", *hashed], scratch)
    else:
        run([*venv, new], scratch)
        run([python, "-m", "pip", "install", "--ignore-installed", *hashed], scratch)
    run([python, "-I", "-m", "ipykernel_launcher", "--version"], scratch)


def settle(new: str, final: str) -> None:
    """Make the scripts of an environment name the folder that it is going to have, mark it whole, and put it there."""
    for entry in os.scandir(os.path.join(new, "bin")):
        if entry.is_symlink() or not entry.is_file():
            continue
        with open(entry.path, "rb") as file:
            text = file.read()
        if new.encode() in text:
            with open(entry.path, "wb") as file:
                file.write(text.replace(new.encode(), final.encode()))
    with open(os.path.join(new, "READY"), "w") as ready:
        ready.write(sys.version + "\n")
    os.rename(new, final)


def locked(path: str) -> IO[str]:
    """Take the lock of one environment; it is given back when the file is closed, or when this process ends."""
    try:
        lock = open(path, "w")  # noqa: SIM115 - the caller closes it
    except OSError as exc:
        raise told(exc, path) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(step="waiting for another build of the same environment")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def build(key: str, requirements: str, packages: str | None) -> None:
    """Make the environment `key` unless it stands ready. Of two that run at once the second waits for the first."""
    root = cache_folder()
    private_folder(root)
    final = os.path.join(root, key)
    with locked(final + ".lock"):
        if not os.path.exists(os.path.join(final, "READY")):
            scratch = final + ".new"  # under the lock: what lies there is left of a killed build
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)
            if free_bytes(root) < NEEDED_BYTES:
                raise NoSpace(root)
            try:
                build_in(scratch, final, requirements, packages and os.path.join(root, packages))
            except (OSError, tarfile.TarError) as exc:
                raise told(exc, scratch) from exc
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        for left in glob.glob(glob.escape(final) + ".packages-*"):  # others will find it ready
            drop(os.path.basename(left))
    say(ready=os.path.join(final, "bin", "python"))


def build_in(scratch: str, final: str, requirements: str, archive: str | None) -> None:
    """Make the environment in a scratch folder and put it in its place."""
    os.mkdir(scratch, 0o700)
    listed = os.path.join(scratch, "requirements.txt")
    with open(listed, "w") as file:
        file.write(requirements)
    wheels = archive and unpack(archive, os.path.join(scratch, "wheels"))
    make(os.path.join(scratch, "env"), scratch, listed, wheels)
    settle(os.path.join(scratch, "env"), final)


def stop(number: int, frame: object) -> NoReturn:
    """End as if the build had failed: everything is cleared away."""
    signal.signal(number, signal.SIG_IGN)
    raise Failed("it was called off")


def main(verb: str, arguments: dict[str, Any]) -> int:
    """Run one verb; the exit status says whether it did what it was asked."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    os.umask(0o077)
    verbs: dict[str, Callable[..., None]] = {
        "facts": facts,
        "put": put,
        "drop": drop,
        "build": build,
    }
    try:
        verbs[verb](**arguments)
    except Failed as exc:
        say(failed=str(exc))
        return 1
    except NoSpace as exc:
        say(no_space=str(exc), free=free_bytes(str(exc)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.stdin.buffer.readline())))
