"""pytest fixtures: `box` makes hosts, `host` is one, `identity` a key, `ssh_config` the client's side of it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import janitor
from .commands import missing, sh
from .fabric import Fabric, free_octet
from .faults import Host
from .image import Image

PLAIN = Image()


@dataclass(frozen=True)
class Identity:
    """A key pair of the test: `private` is a path, `public` the line for authorized_keys."""

    private: Path
    public: str


@dataclass
class Box:
    """Makes hosts on one network and removes them."""

    fabric: Fabric
    folder: Path
    identity: Identity
    hosts: list[Host] = field(default_factory=list)

    def host(self, image: Image = PLAIN, *, address: str | None = None) -> Host:
        """Boot a host; it lives until it is destroyed or the session ends."""
        shared = list(dict.fromkeys([sys.base_prefix, sys.prefix]))
        made = Host(self.fabric, self.folder, [self.identity.public], shared, image, address)
        self.hosts.append(made)
        return made

    def destroy(self, host: Host) -> None:
        """End a host and forget it."""
        self.hosts.remove(host)
        host.destroy()


@dataclass
class SSHConfig:
    """The client's side: an ssh_config, a known_hosts and the key, instead of those of the person at the keyboard."""

    folder: Path
    identity: Identity
    _blocks: dict[str, str] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def add(
        self,
        host: Host,
        alias: str | None = None,
        *,
        user: str = "ada",
        known: bool = True,
        extra: str = "",
    ) -> str:
        """Describe `host` under `alias` (its name by default), with its key if it is known; returns the alias.

        Called again for the same alias it replaces what was said. `extra` are further lines, as `ProxyJump other`.
        """
        alias = alias or host.name
        self._blocks[alias] = f"Host {alias}\n  HostName {host.address}\n  User {user}\n{extra}\n"
        self._known.pop(host.address, None)
        if known:
            self._known[host.address] = f"{host.address} {host.host_key}\n"
        self.write()
        return alias

    def write(self) -> None:
        common = (
            f"Host *\n  IdentityFile {self.identity.private}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
        )
        self.path.write_text("".join(self._blocks.values()) + common)
        self.known_hosts.write_text("".join(self._known.values()))


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A key pair that every host lets in."""
    private = tmp_path_factory.mktemp("identity") / "id_ed25519"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", private)
    return Identity(private, private.with_suffix(".pub").read_text())


@pytest.fixture(scope="session")
def box(identity: Identity) -> Iterator[Box]:
    """A network of hosts for the session. What earlier sessions left is removed first."""
    if lacks := missing():
        pytest.fail(f"this computer cannot be a box of hosts, it lacks: {', '.join(lacks)}")
    with janitor.locked() as state:
        janitor.sweep(state)
        fabric = Fabric(secrets.token_hex(2), free_octet())
        folder = state / fabric.id
        folder.mkdir()
        janitor.claim(folder)
        fabric.up()
    made = Box(fabric, folder, identity)
    try:
        yield made
    finally:
        for host in made.hosts:
            host.destroy()
        with janitor.locked() as state:
            janitor.remove(fabric.id, state)


@pytest.fixture
def host(box: Box) -> Iterator[Host]:
    """A fresh host for one test."""
    made = box.host()
    yield made
    box.destroy(made)


@pytest.fixture
def ssh_config(identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SSHConfig:
    """A private ssh configuration, in force for what the test starts."""
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    config = SSHConfig(folder, identity)
    config.write()
    monkeypatch.setenv("JUPYTER_CLOUDML_SSH_CONFIG", str(config.path))
    return config
