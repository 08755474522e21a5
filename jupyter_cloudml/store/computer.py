"""Which of the computers that share a database this one is: "local", and what runs there, is another thing on each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
from pathlib import Path

from jupyter_cloudml.paths import private_dir, unusable

FILE = "installation"
_MACHINE_ID = Path("/etc/machine-id")


def own_name(home: Path) -> str:
    """Return what names this computer with this home folder, the same each time. Raises NoFolder, NoSpace.

    Two homes on one computer have two agents, and so do two computers with one home.
    """
    path = home / FILE
    try:
        if not path.exists():
            _make(private_dir(home), path)
        mine = path.read_text().strip()
    except OSError as exc:
        raise unusable(home, exc) from exc
    return hashlib.sha256(f"{mine} {_computer()}".encode()).hexdigest()[:16]


def _make(home: Path, path: Path) -> None:
    """Write the file whole, and only one of those who do so at once."""
    new = home / f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        new.write_text(secrets.token_hex(8))
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)


def _computer() -> str:
    try:
        found = _MACHINE_ID.read_text().strip()
    except OSError:
        found = ""
    return found or socket.gethostname()
