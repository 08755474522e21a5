"""What a Python says of itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig

from .say import say
from .shelf import find_program

ASK_IPYKERNEL = "import importlib.metadata as m; print(m.version('ipykernel'))"


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
            "base": getattr(sys, "_base_executable", None) or sys.executable,
            "ipykernel": ipykernel(),
            "markers": markers(),
            "platform": sysconfig.get_platform(),
            "bits": 64 if sys.maxsize > 2**32 else 32,
            "libc": libc() if sys.platform == "linux" else ("", ""),
            "threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "uv": find_program("uv"),
            "conda": find_program("micromamba") or find_program("mamba") or find_program("conda"),
        }
    )
