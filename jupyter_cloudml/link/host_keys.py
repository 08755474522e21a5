"""Host keys: which ones a person has confirmed, and what is said where a host shows another.

What was confirmed lies in a known_hosts file of the project's own, under the name that was typed, so that a machine
keeps its key when its address changes. A target that carries a fingerprint is checked against that file alone; one
that carries none against the user's known_hosts files too, as `ssh` would do.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jupyter_cloudml.errors import HostKeyChanged, HostKeyUnknown
from jupyter_cloudml.paths import private_dir, write_private

from .carrier import SSHTarget


@dataclass(frozen=True)
class HostKey:
    """A public key of a host; `line` is what stands in a known_hosts file after the host's name."""

    type: str
    fingerprint: str
    line: str

    @classmethod
    def from_line(cls, line: str) -> HostKey:
        """Read `TYPE BASE64`. Raises ValueError."""
        kind, encoded = line.split()[:2]
        blob = base64.b64decode(encoded, validate=True)
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        return cls(kind, f"SHA256:{digest}", f"{kind} {encoded}")


def own_name(target: SSHTarget) -> str:
    """Return the name under which the project's own file holds the key of `target`: as typed, with a port if typed."""
    host = target.host.lower()
    return f"[{host}]:{target.port}" if target.port else host


def confirmed(target: SSHTarget) -> list[HostKey]:
    """Return the keys that the project's own file holds for `target`."""
    keys, _ = known([target.known_hosts], own_name(target))
    return keys


def known(files: Iterable[Path], name: str) -> tuple[list[HostKey], list[HostKey]]:
    """Return the keys that known_hosts files hold for `name`, and those that they revoke."""
    good, revoked = [], []
    for file in files:
        for marker, patterns, key in _entries(file):
            if _matches(patterns, name):
                if marker == "@revoked":
                    revoked.append(key)
                elif not marker:
                    good.append(key)
    return good, revoked


def accept(target: SSHTarget, key: HostKey) -> None:
    """Write `key` into the project's own file as the only one of `target`: a person has confirmed it."""
    _write(target, [*_others(target), f"{own_name(target)} {key.line}"])


def forget(target: SSHTarget) -> None:
    """Take the keys of `target` out of the project's own file."""
    if target.known_hosts.exists():
        _write(target, _others(target))


def _others(target: SSHTarget) -> list[str]:
    """Return the lines of the project's own file that are not about `target`."""
    if not target.known_hosts.exists():
        return []
    lines = target.known_hosts.read_text().splitlines()
    return [line for line in lines if line.split(maxsplit=1)[:1] != [own_name(target)]]


def _write(target: SSHTarget, lines: list[str]) -> None:
    private_dir(target.known_hosts.parent)
    write_private(target.known_hosts, "".join(f"{line}\n" for line in lines).encode())


def unknown(target: SSHTarget, key: HostKey) -> HostKeyUnknown:
    """Return the question to a person: is this the host?"""
    return HostKeyUnknown(
        f"the host key of {target} has not been confirmed: {key.type} {key.fingerprint}",
        hint="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then confirm it "
        "or give it as --host-key",
        host=target.host,
        port=target.port or 22,
        keytype=key.type,
        fingerprint=key.fingerprint,
    )


def changed(target: SSHTarget, shown: HostKey | None = None) -> HostKeyChanged:
    """Return the hard stop."""
    expected = (
        target.host_key
        or ", ".join(key.fingerprint for key in confirmed(target))
        or "the one in known_hosts"
    )
    found = f" but {shown.fingerprint}" if shown else ""
    return HostKeyChanged(
        f"{target} does not show the confirmed host key {expected}{found}: nothing was sent to it",
        hint="somebody may be in between. If the host was installed anew, have its owner confirm the fingerprint, "
        "then remove the machine and add it again (and `ssh-keygen -R` the host in your own known_hosts)",
        host=target.host,
        port=target.port or 22,
        expected=target.host_key,
        fingerprint=shown.fingerprint if shown else None,
    )


def _entries(file: Path) -> Iterator[tuple[str, str, HostKey]]:
    """Each usable line of a known_hosts file as (marker or "", names, key)."""
    try:
        text = file.expanduser().read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        try:
            names, key = fields[0], HostKey.from_line(" ".join(fields[1:]))
        except (ValueError, IndexError, binascii.Error):
            continue  # as ssh does: a line it cannot read is no reason to refuse the rest
        yield marker, names, key


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in patterns[3:].split("|"))
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    found = False
    for pattern in patterns.lower().split(","):
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found
