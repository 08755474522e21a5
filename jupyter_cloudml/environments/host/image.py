"""Makes environments of images of a container engine: a `bin/python` that runs the Python in the image, and a kernelspec."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

from . import build, install, removal, shelf
from .say import Failed, say, told

KERNEL = {
    "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3 (image)",
    "language": "python",
    "metadata": {"debugger": True},
}
ASK_S = 60


def engine() -> str | None:
    """The container engine of this machine: podman needs no rights, so it comes first."""
    return shelf.find_program("podman") or shelf.find_program("docker")


def asked(argv: list[str]) -> str:
    """What the engine answers; empty where it fails."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASK_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def find(ref: str, pull: bool) -> None:
    """Say the identity of an image, which is fetched where it is not here, or anew where `pull`; the engine's lines are the log."""
    program = engine()
    if program is None:
        say(no_engine=True)
        return
    inspect = [program, "image", "inspect", "--format", "{{.Id}}", "--", ref]
    identity = "" if pull else asked(inspect)
    if not identity:
        say(step=f"pulling the image {ref}")
        root = shelf.cache_folder()
        shelf.private_folder(root)
        layers = 0

        def heard(line: str) -> None:
            nonlocal layers
            if line.startswith(("Copying blob", "Copying config")) or "Pull complete" in line:
                layers += 1
                say(step=f"pulling the image {ref}: {layers} parts")

        install.run([program, "pull", "--", ref], root, heard)
        identity = asked(inspect)
    if not identity:
        raise Failed(f"{os.path.basename(program)} does not know the image {ref}")
    say(image=identity)


def make(
    key: str, image: str, gpu: bool, launcher: str, noted: dict[str, Any], name: str, quota: int
) -> None:
    """Make the environment `key` of an image that is here. `launcher` is the text of launcher.py."""
    program = engine()
    if program is None:
        say(no_engine=True)
        return
    docker = os.path.basename(program) != "podman"
    rootless = docker and "rootless" in asked([program, "info", "--format", "{{.SecurityOptions}}"])
    settings = {"engine": program, "docker": docker, "rootless": rootless, "image": image}
    settings.update(gpu=gpu and (docker or has_cdi()), init=init_for(docker))
    root = shelf.cache_folder()
    shelf.private_folder(root)
    with shelf.locked(key) or nullcontext():
        if not shelf.is_ready(key):
            scratch = f"{shelf.place(key)}.new-{secrets.token_hex(4)}"
            removal.clear_up(key)
            shutil.rmtree(shelf.place(key), ignore_errors=True)
            try:
                os.makedirs(os.path.join(scratch, "bin"), 0o700)
                say(step="looking for ipykernel in the image")
                write(scratch, launcher, settings)
                build.note(scratch, noted)
                build.mark(scratch)
                os.rename(scratch, shelf.place(key))
            except OSError as exc:
                raise told(exc, scratch) from exc
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        shelf.give_name(name, key)
    evicted = removal.make_room(quota, key)
    say(ready=shelf.python_of(key), renamed=True, evicted=evicted)


def write(folder: str, launcher: str, settings: dict[str, Any]) -> None:
    """Write the launcher and the kernelspec, once a Python of the image has shown that it has ipykernel."""
    target = os.path.join(folder, "bin", "python")
    reason = ""
    for python in ("python", "python3"):
        said = f"SETTINGS: dict[str, Any] = { ({**settings, 'python': python})!r}"
        text = launcher.replace("SETTINGS: dict[str, Any] = {}", said, 1)
        with open(target, "w") as file:
            file.write(f"#!{sys.executable} -IS\n{text}")
        os.chmod(target, 0o700)
        try:
            install.run([target, "-I", "-c", install.LOADS], folder)
            break
        except Failed as exc:
            reason = str(exc)
    else:
        raise Failed(f"the image has no Python with ipykernel: {reason}")
    spec = os.path.join(folder, "share", "jupyter", "kernels", "python3")
    os.makedirs(spec)
    with open(os.path.join(spec, "kernel.json"), "w") as file:
        json.dump(KERNEL, file)


def has_cdi() -> bool:
    """Whether podman has been told of NVIDIA's devices."""
    return any(os.path.exists(f"{place}/nvidia.yaml") for place in ("/etc/cdi", "/var/run/cdi"))


def init_for(docker: bool) -> bool:
    """Whether the engine has a program to be the first in a container, which reaps what a kernel leaves."""
    inits = ("/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit")
    return docker or shutil.which("catatonit") is not None or any(map(os.path.exists, inits))
