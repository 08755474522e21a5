"""Enter a machine over SSH by either carrier: its host key first, then the sign-in."""

from __future__ import annotations

import os
import threading
import time

from jupyter_cloudml.errors import HostKeyUnknown, Unreachable, UsageError

from . import host_keys, openssh
from .carrier import Carrier, SSHTarget, carrier_for
from .command import RemoteCommand
from .host_keys import HostKey

# In the order in which hosts are asked; a host has at most one of each.
FAMILIES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
    "rsa-sha2-512,rsa-sha2-256",
)


def open_carrier(
    target: SSHTarget,
    command: RemoteCommand,
    *,
    timeout: float = 20.0,
    cancelled: threading.Event | None = None,
) -> Carrier:
    """Sign in to the machine and run `command` there; returns when the host has let us in.

    timeout: seconds for everything up to there. Raises Unreachable, HostKeyUnknown, HostKeyChanged, AuthRefused,
    UsageError, and Cancelled when `cancelled` is set meanwhile. The host is verified before anything is offered to it.
    """
    cancelled = cancelled or threading.Event()
    deadline = time.monotonic() + timeout
    _check_identity(target)
    verify(target, timeout=timeout, cancelled=cancelled)
    timeout = deadline - time.monotonic()
    if carrier_for(target) == "paramiko":
        from . import paramiko_carrier

        return paramiko_carrier.ParamikoCarrier.open(target, command, timeout, cancelled)
    try:
        return openssh.OpenSSHCarrier.open(target, command, timeout, cancelled)
    except HostKeyUnknown:
        key = scan(target, timeout=timeout, cancelled=cancelled)
        raise host_keys.unknown(target, key) from None


def scan(
    target: SSHTarget,
    *,
    timeout: float = 20.0,
    cancelled: threading.Event | None = None,
    family: str | None = None,
) -> HostKey:
    """Ask the host for its key along the way a connection takes, and hang up before any authentication.

    ssh-keyscan would not do: it knows neither ~/.ssh/config nor jump hosts. family: algorithms to insist on, else the
    host's best is shown. Raises Unreachable and what else keeps a connection from coming about.
    """
    cancelled = cancelled or threading.Event()
    if carrier_for(target) == "openssh" and openssh.version() >= (8, 5):
        return openssh.read_host_key(target, timeout, cancelled, family)
    from . import paramiko_carrier

    return paramiko_carrier.read_host_key(target, timeout, cancelled, family)


def verify(
    target: SSHTarget, *, timeout: float = 20.0, cancelled: threading.Event | None = None
) -> None:
    """Make sure that the project's own file holds the key that the target's fingerprint names.

    Looks at the host only when it does not yet. Raises HostKeyChanged when the host has no such key.
    """
    if target.host_key is None or [key.fingerprint for key in host_keys.confirmed(target)] == [
        target.host_key
    ]:
        return
    seen: list[HostKey] = []
    for family in (None, *FAMILIES):
        if family and any(
            key.type in family or ("rsa" in key.type and "rsa" in family) for key in seen
        ):
            continue
        try:
            key = scan(target, timeout=timeout, cancelled=cancelled, family=family)
        except Unreachable as error:
            if family is None or error.code != "no_common_algorithm":
                raise
            continue
        if key.fingerprint == target.host_key:
            host_keys.accept(target, key)
            return
        seen.append(key)
    raise host_keys.changed(target, seen[0])


def _check_identity(target: SSHTarget) -> None:
    """Raise UsageError (`bad_identity`) unless the named key file can be read."""
    if target.identity is None:
        return
    path = os.path.expanduser(target.identity)
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):
        raise UsageError(
            f"{path[:200]} is not a key file that can be read",
            code="bad_identity",
            hint="name the private key, as ~/.ssh/id_ed25519",
        )
