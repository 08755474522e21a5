"""Programs of this computer that resolve and download: they can be called off, and what they say is bounded."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from ..errors import Cancelled, NoEnvironment

POLL_S = 0.05
MAX_OUTPUT = 16 << 20
MAX_REASON = 1500
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it wrote."""

    status: int
    out: str
    err: str


def run(
    argv: Sequence[str],
    cancelled: threading.Event,
    limit_s: float,
    *,
    cwd: str | None = None,
    env: Mapping[str, str] = {},
) -> Ended:
    """Run a program to its end. Raises Cancelled, and NoEnvironment when it cannot be started or takes too long."""
    name = os.path.basename(argv[0])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **env},
            )
        except OSError as exc:
            raise NoEnvironment(f"{name} cannot be started here: {exc.strerror}") from exc
        deadline = time.monotonic() + limit_s
        try:
            while child.poll() is None:
                if cancelled.wait(POLL_S):
                    raise Cancelled("the work on packages was called off")
                if time.monotonic() > deadline:
                    raise NoEnvironment(
                        f"{name} was not done within {limit_s:.0f} s",
                        hint="is the network of this computer slow? Try again",
                    )
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        return Ended(child.returncode, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_OUTPUT))
    return file.read().decode(errors="replace")


def without_secrets(text: str) -> str:
    """Return a text without the names and passwords in its addresses."""
    return _CREDENTIALS.sub("", text)


def plain(text: str) -> str:
    """Return what a program said as one paragraph, without passwords in addresses, and not without end."""
    return " ".join(without_secrets(text).split())[:MAX_REASON]
