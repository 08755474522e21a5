"""A PostgreSQL server for one test session: private folder, a unix socket and no TCP port, gone with the session."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PREFIX = "cloudml-postgres-"
_PDEATHSIG = 1


def _program(name: str) -> str:
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: int(folder.parent.name),
        reverse=True,
    )
    found = next(
        (folder / name for folder in folders if (folder / name).exists()), None
    ) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} is missing: install PostgreSQL 15 (Debian: apt-get install postgresql)"
        )
    return str(found)


def _owner() -> pwd.struct_passwd | None:
    """Return the user to run as when this is root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGQUIT)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        maker = folder.name.removeprefix(PREFIX).split("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server() -> Iterator[str]:
    """Run a server; give the URL of its `postgres` database."""
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    owner = _owner()
    user, group = (owner.pw_uid, owner.pw_gid) if owner else (None, None)
    groups: list[int] | None = [] if owner else None
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    initdb = [
        _program("initdb"),
        "--pgdata",
        str(data),
        "--auth=trust",
        "--username=cloudml",
        "--no-sync",
        "--encoding=UTF8",
    ]
    subprocess.run(
        initdb,
        env=environ,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
        user=user,
        group=group,
        extra_groups=groups,
    )
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "max_connections": "50",
    }
    argv = [_program("postgres"), "-D", str(data)] + [
        f"--{key}={value}" for key, value in options.items()
    ]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            argv,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,
            user=user,
            group=group,
            extra_groups=groups,
        )
    try:
        url = f"postgresql://cloudml@/postgres?host={folder}"
        _wait(process, url, folder / "log")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server for the whole session."""
    with server() as url:
        yield url


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "PostgreSQL does not start: " + log.read_text(errors="replace")[-1000:]
                ) from None
            time.sleep(0.02)


@contextmanager
def database(server_url: str, name: str) -> Iterator[str]:
    """Make an empty database on the server; give its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield server_url.replace("/postgres?", f"/{name}?")
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
