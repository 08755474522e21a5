"""What lies on the disk of a host: the operating system of this computer, and nothing of the person who uses it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import sh

SYSTEM = {
    "bin",
    "boot",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "sbin",
    "usr",
    "var",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
}
USERS = {"ada": 7000, "other": 7001}
MOUNT_OPAQUE = "trusted.overlay.opaque"

SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
UseDNS no
LogLevel VERBOSE
MaxStartups 200:30:400
MaxSessions 100
MaxAuthTries 10
PidFile /run/sshd.pid
PrintMotd no
Subsystem sftp internal-sftp
"""
NOISE = "head -c 100000 /dev/zero | tr '\\0' 'x'; echo; echo 'Welcome to this machine'\n"


@dataclass(frozen=True)
class Image:
    """How a host is set up.

    share: the Python that runs the tests is there too, read-only at its own path and as `python3`; else only the
    operating system's Python is, which has no ipykernel. noisy_shell: ada's login shell prints 100 KB first.
    """

    share: bool = True
    noisy_shell: bool = False
    no_python: bool = False
    shell: str = "/bin/bash"
    disk: str = "512m"
    sshd: bool = True
    sshd_config: str = ""


def lay_out(
    upper: Path,
    image: Image,
    name: str,
    address: str,
    authorized: Sequence[str],
    shared: Sequence[str],
) -> None:
    """Write the upper layer of a host's overlay; it hides everything of the lower one that is not the system."""
    for entry in Path("/").iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in SYSTEM:
            _empty(upper / entry.name)
    (upper / "root").chmod(0o711)
    for path in ("var/log", "etc/ssh"):
        _empty(upper / path)
    _empty(upper / "var/tmp").chmod(0o1777)
    etc = upper / "etc"
    for file, line in (
        ("passwd", "{user}:x:{uid}:{uid}::/home/{user}:" + image.shell),
        ("group", "{user}:x:{uid}:"),
        ("shadow", "{user}:*:19000:0:99999:7:::"),
    ):
        lines = [line.format(user=user, uid=uid) + "\n" for user, uid in USERS.items()]
        (etc / file).write_text(Path("/etc", file).read_text() + "".join(lines))
        shutil.copymode(Path("/etc", file), etc / file)
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (etc / "resolv.conf").write_text("")
    for user, uid in USERS.items():
        _home(
            upper / "home" / user,
            uid,
            authorized,
            NOISE if image.noisy_shell and user == "ada" else None,
        )
    (etc / "ssh/sshd_config").write_text(image.sshd_config + SSHD_CONFIG)
    new_host_key(etc / "ssh", name)
    _python(upper, image, shared)


def new_host_key(folder: Path, name: str) -> None:
    """Give the host another key."""
    key = folder / "ssh_host_ed25519_key"
    key.unlink(missing_ok=True)
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{name}", "-f", key)


def _empty(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    os.setxattr(path, MOUNT_OPAQUE, b"y")
    path.chmod(0o755)
    return path


def _home(home: Path, uid: int, authorized: Sequence[str], bashrc: str | None) -> None:
    """Make a home that other users can look into: what the project keeps there has to guard itself."""
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh/authorized_keys").write_text("".join(f"{key.strip()}\n" for key in authorized))
    (home / ".ssh/authorized_keys").chmod(0o600)
    if bashrc:
        (home / ".bashrc").write_text(bashrc)
    home.chmod(0o755)
    for path in (home, *home.rglob("*")):
        os.chown(path, uid, uid)


def _python(upper: Path, image: Image, shared: Sequence[str]) -> None:
    local = upper / "usr/local/bin"
    if image.no_python:
        for folder in ("usr/bin", "usr/local/bin"):
            for entry in Path("/", folder).glob("py*"):
                (upper / folder).mkdir(parents=True, exist_ok=True)
                os.mknod(
                    upper / folder / entry.name, stat.S_IFCHR | 0o600, os.makedev(0, 0)
                )  # hides the lower file
    elif shared:
        local.mkdir(parents=True, exist_ok=True)
        for name in ("python3", "python"):
            (local / name).unlink(missing_ok=True)
            (local / name).write_text(f'#!/bin/sh\nexec {shared[-1]}/bin/python "$@"\n')
            (local / name).chmod(0o755)
