"""Where a target leads by the user's ssh configuration, for the carrier that has no `ssh` to ask."""

from __future__ import annotations

import getpass
import glob
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from jupyter_cloudml.errors import UsageError

from .carrier import SSHTarget
from .command import check_name
from .openssh_config import user_files

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_USER_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_MAX_INCLUDES = 16


@dataclass(frozen=True)
class Route:
    """How to get to a host and sign in there. `name` is what known_hosts files call it."""

    host: str
    port: int
    user: str
    name: str
    identities: tuple[Path, ...]
    agent: bool
    agent_only_these: bool
    known_hosts: tuple[Path, ...]
    jumps: tuple[SSHTarget, ...]
    proxy_command: str | None


def find(target: SSHTarget) -> Route:
    """Look `target` up. Raises UsageError (`bad_ssh_config`) for a configuration that cannot be followed."""
    try:
        found = paramiko.SSHConfig.from_text(_text()).lookup(target.host)
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, ImportError) as error:
        raise UsageError(
            f"the ssh configuration cannot be read: {error}",
            code="bad_ssh_config",
            hint="correct it, or use --carrier openssh, which knows all of it",
        ) from error
    host = found.get("hostname", target.host)
    port = target.port or int(found.get("port", 22))
    name = found.get("hostkeyalias") or (host.lower() if port == 22 else f"[{host.lower()}]:{port}")
    named = found.get("identityfile") or [f"~/.ssh/{key}" for key in _DEFAULT_KEYS]
    identities = [target.identity] if target.identity else list(named)
    files = f"{found.get('userknownhostsfile', _USER_HOSTS)} {found.get('globalknownhostsfile', _GLOBAL_HOSTS)}"
    return Route(
        host=host,
        port=port,
        user=target.user or found.get("user") or getpass.getuser(),
        name=name,
        identities=tuple(Path(path).expanduser() for path in identities),
        agent=found.get("identityagent", "").lower() != "none",
        agent_only_these=bool(target.identity)
        or found.get("identitiesonly", "no").lower() == "yes",
        known_hosts=tuple(Path(word).expanduser() for word in shlex.split(files)),
        jumps=tuple(_jumps(found.get("proxyjump") or "none", target)),
        proxy_command=found.get("proxycommand"),
    )


def _jumps(text: str, target: SSHTarget) -> Iterator[SSHTarget]:
    """Read `[USER@]HOST[:PORT],…`; a host may be an alias, and an IPv6 address in brackets."""
    if text.lower() == "none":
        return
    for hop in text.split(","):
        parts = re.fullmatch(
            r"(?:ssh://)?(?:([^@]+)@)?(?:\[([^]]+)\]|([^:]+))(?::(\d+))?/?", hop.strip()
        )
        if parts is None:
            raise UsageError(
                f"ProxyJump {hop[:80]!r} cannot be read", code="bad_ssh_config", hint="correct it"
            )
        host = check_name("host", parts[2] or parts[3])
        yield SSHTarget(
            host,
            parts[1],
            int(parts[4]) if parts[4] else None,
            carrier="paramiko",
            known_hosts=target.known_hosts,
        )


def _text() -> str:
    """The user's configuration with its Include lines replaced by what they name.

    `Match exec` never matches here: what it runs would read the standard input of this process.
    """
    lines: list[str] = []
    for file in user_files():
        folder = file.parent if file.is_relative_to("/etc") else Path("~/.ssh").expanduser()
        lines += [*_lines(file, folder, 0), "Match all"]
    return "\n".join(lines)


def _lines(file: Path, folder: Path, depth: int) -> Iterator[str]:
    if depth > _MAX_INCLUDES:
        raise UsageError(f"{file} includes itself", code="bad_ssh_config", hint="remove that line")
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return
    block = "Match all"
    for line in text.splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() == "match" and re.search(r"\bexec\b", rest, re.IGNORECASE):
            line = "Host !*"
        if word.lower() in ("host", "match"):
            block = line
        if word.lower() != "include":
            yield line
            continue
        for pattern in shlex.split(rest):
            for path in sorted(glob.glob(str(folder / Path(pattern).expanduser()))):
                yield from _lines(Path(path), folder, depth + 1)
                yield block
