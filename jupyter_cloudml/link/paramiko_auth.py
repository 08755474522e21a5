"""Which keys paramiko offers a host, and what it says when none is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from jupyter_cloudml.errors import AuthRefused

from .carrier import SSHTarget
from .ssh_route import Route


def authenticate(target: SSHTarget, route: Route, transport: paramiko.Transport) -> None:
    """Offer our keys one by one. Raises AuthRefused."""
    notes: list[str] = []
    for key in _keys(route, notes):
        try:
            transport.auth_publickey(route.user, key)
        except paramiko.BadAuthenticationType as error:
            notes.append(f"the host takes only {', '.join(error.allowed_types)}")
            break
        except paramiko.AuthenticationException:
            continue
        except (EOFError, paramiko.SSHException):
            notes.append("the host hung up after several keys: name the right one")
            break
        if transport.is_authenticated():
            return
        notes.append("the host asks for more than a key")
    hint = (
        "; ".join(notes)
        or "put your public key into ~/.ssh/authorized_keys there, and check the user name"
    )
    raise AuthRefused(f"{target} does not accept the key of {route.user}", hint=hint)


def _keys(route: Route, notes: list[str]) -> Iterator[paramiko.PKey]:
    named = [public for path in route.identities if (public := _public(path))]
    if route.agent:
        with contextlib.closing(paramiko.Agent()) as agent:
            for key in agent.get_keys():
                if not route.agent_only_these or key.get_base64() in named:
                    yield key
    for path in route.identities:
        try:
            yield paramiko.PKey.from_path(path)
        except FileNotFoundError:
            continue
        except (paramiko.PasswordRequiredException, TypeError):
            notes.append(f"{path} needs a passphrase: `ssh-add` it")
        except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
            notes.append(f"{path} cannot be read: {error}")


def _public(private: Path) -> str | None:
    try:
        return private.with_name(f"{private.name}.pub").read_text().split()[1]
    except (OSError, IndexError, ValueError):
        return None
