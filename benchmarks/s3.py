"""A real S3 service for one run of benchmarks or tests: Ceph's RGW over an object store in memory, in a private folder, gone with the run.

Its daemons are children that the system ends when their parent is gone, also by `kill -9`; the folder of such a run is removed by the next.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "cloudml-s3-"
# What may be found on no machine: the tests look for them.
ACCESS_KEY, SECRET_KEY = "AKIACANARY0123456789", "canary+secret/0123456789abcdefghijklmnop"
NEEDED = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool")
_PDEATHSIG = 1

CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 0
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
ms bind ipv6 = false
setuser match path =
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory}
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast {endpoints} tcp_nodelay=1
rgw enable usage log = false
rgw dynamic resharding = false
rgw override bucket index max shards = 1
"""


@dataclass(frozen=True)
class S3:
    """The service: its address for this computer, the one for the hosts of a box, and the log of what was asked."""

    url: str
    hosts_url: str
    folder: Path

    def environ(self) -> dict[str, str]:
        """The variables of a user with the right keys."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.hosts_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, **keys: str) -> Any:
        """A client of boto3."""
        import boto3
        from botocore.client import Config

        given = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, **keys}
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", config=config, **given
        )


def missing() -> Sequence[str]:
    """Return the programs that this computer lacks."""
    return [name for name in NEEDED if shutil.which(name) is None]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        maker = folder.name.removeprefix(PREFIX).split("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(address: str = "", memory: int = 4 << 30) -> Iterator[S3]:
    """Run a service on loopback, and on `address` as well."""
    if lacks := missing():
        raise FileNotFoundError(
            f"{', '.join(lacks)} missing: tools/install_os_packages.sh installs Ceph"
        )
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        yield _started(folder, address, memory, daemons)
    finally:
        for daemon in reversed(daemons):
            daemon.kill()
        for daemon in daemons:
            daemon.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, address: str, memory: int, daemons: list[subprocess.Popen[bytes]]) -> S3:
    for name in ("mon", "osd", "rgw", "log", "run"):
        (folder / name).mkdir()
    fsid, port, mon = str(uuid.uuid4()), free_port(), free_port()
    addresses = ["127.0.0.1", *([address] if address else [])]
    endpoints = " ".join(f"endpoint={each}:{port}" for each in addresses)
    conf = folder / "ceph.conf"
    conf.write_text(
        CONFIG.format(fsid=fsid, folder=folder, mon=mon, memory=memory, endpoints=endpoints)
    )
    with_conf = ["-c", str(conf)]
    environ = {**os.environ, "CEPH_CONF": str(conf)}

    def run(*argv: str) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environ)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def daemon(*argv: str) -> None:
        with open(folder / "log" / f"{argv[0]}.out", "wb") as log:
            daemons.append(
                subprocess.Popen(
                    [argv[0], *with_conf, "-f", *argv[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environ,
                    preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                )
            )

    keyring = str(folder / "keyring")
    caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
    run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", *caps)
    for name in ("client.admin", "osd.0", "client.rgw.a"):
        run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)
    monmap = str(folder / "monmap")
    place = f"[v2:127.0.0.1:{mon}]"
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", place, monmap)
    run("ceph-mon", *with_conf, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    daemon("ceph-mon", "-i", "a")
    osd = str(uuid.uuid4())
    run("ceph", *with_conf, "-n", "client.admin", "--connect-timeout", "50", "osd", "new", osd, "0")
    run("ceph", *with_conf, "-n", "client.admin", "auth", "import", "-i", keyring)
    run("ceph-osd", *with_conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    daemon("ceph-osd", "-i", "0")
    daemon("radosgw", "-n", "client.rgw.a")
    names = ["--uid=test", "--display-name=test"]
    keys = [f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"]
    _wait(port, daemons, folder)
    run("radosgw-admin", *with_conf, "user", "create", *names, *keys)
    return S3(f"http://127.0.0.1:{port}", f"http://{addresses[-1]}:{port}", folder)


def _wait(port: int, daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            ended = [each.args for each in daemons if each.poll() is not None]
            if ended or time.monotonic() > deadline:
                said = "".join(
                    path.read_text(errors="replace")[-1500:]
                    for path in sorted((folder / "log").iterdir())
                )
                raise RuntimeError(f"Ceph does not start ({ended}): {said}") from None
            time.sleep(0.05)
