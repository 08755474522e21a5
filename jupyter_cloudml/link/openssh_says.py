"""From what `ssh` writes to standard error to an error with its cause and remedy."""

from __future__ import annotations

import re

from jupyter_cloudml.errors import (
    AuthRefused,
    CloudMLError,
    Unreachable,
    UsageError,
)

from . import exit_status, host_keys
from .carrier import SSHTarget
from .exit_status import last_line
from .host_keys import HostKey

SIGNED_IN = re.compile(r"^Authenticated to ", re.MULTILINE)
# ssh names the host so when a jump host or ProxyCommand stood between: then the lines before are about that.
_BETWEEN = "UNKNOWN port 65535"
_TAIL = 2000

_UNREACHABLE = (
    (
        r"Could not resolve hostname (\S+?):",
        "dns",
        "the name {0} is not known to the DNS",
        "check the spelling, or the VPN",
    ),
    (
        r"Connection refused",
        "refused",
        "no ssh server listens there",
        "check the port, and that sshd runs on the host",
    ),
    (
        r"No route to host|Network is unreachable|Host is down|Cannot assign requested",
        "no_route",
        "there is no way to the host",
        "check that it is switched on, and this computer's network or VPN",
    ),
    (
        r"timed out|Timeout, server",
        "timeout",
        "it does not answer",
        "check that it is switched on, and that no firewall drops port 22",
    ),
    (
        r"Unable to negotiate with|no matching|no mutual",
        "no_common_algorithm",
        "it and this computer's ssh have no algorithm in common",
        "see `ssh -vv` for the lists; old servers need an entry in ~/.ssh/config",
    ),
    (
        r"banner line contains invalid|Invalid SSH identification|Protocol mismatch|Bad packet length|not an ssh",
        "not_ssh",
        "what listens there is not an ssh server",
        "check the port",
    ),
    (
        r"[Cc]onnection closed|Connection reset|closed by remote host|kex_exchange_identification|Broken pipe",
        "closed",
        "it closed the connection",
        "its sshd may be overloaded or may not admit this computer: see its log",
    ),
)


def before_sign_in(text: str, target: SSHTarget) -> CloudMLError:
    """Explain why ssh did not get in. HostKeyUnknown has no fingerprint yet: ssh does not say it."""
    there = f"{target}" if _BETWEEN not in text else f"the way to {target}"
    for rule in (_host_key, _sign_in, _configuration):
        if error := rule(text, target, there):
            return error
    return _unreachable(text, there)


def after_sign_in(text: str, status: int, target: SSHTarget) -> CloudMLError | None:
    """Explain the end of a session from its exit status and what ssh and the command wrote; None for a good end."""
    text = SIGNED_IN.split(text, maxsplit=1)[-1].partition("\n")[2]
    # ssh's own farewell with its byte counts
    text = re.sub(
        r"^(Transferred: sent|Bytes per second: sent) .*\n?", "", text, flags=re.MULTILINE
    ).strip()
    if status == 255 or status < 0:
        return exit_status.lost(
            target, silent=_unreachable(text, "").code == "timeout", stderr=text
        )
    return exit_status.explain(target, status, text)


def _host_key(text: str, target: SSHTarget, there: str) -> CloudMLError | None:
    if "HOST IDENTIFICATION HAS CHANGED" in text or "revoked" in text:
        shown = re.search(r"sent by the remote host is\s+(SHA256:\S+?)\.?\s", text)
        key = HostKey("", shown[1], "") if shown else None
        return host_keys.changed(target, key)
    if "Host key verification failed" not in text:
        return None
    if there != str(target):
        named = re.search(r"host key is known for (\S+)", text)
        return Unreachable(
            f"the host key of {named[1] if named else 'a jump host'}, on {there}, has not been confirmed",
            code="jump_host_key_unknown",
            hint="add that host as a machine first, or run `ssh` to it once",
        )
    if target.host_key:
        return host_keys.changed(target)
    return host_keys.unknown(target, HostKey("", "", ""))


def _sign_in(text: str, target: SSHTarget, there: str) -> CloudMLError | None:
    refused = re.search(r"(\S+): Permission denied \(([^)]*)\)", text)
    if not refused and not re.search(
        r"Too many authentication failures|Permission denied|No supported auth", text
    ):
        return None
    who, methods = (refused[1], refused[2].split(",")) if refused else (str(target), [])
    if re.search(r"UNPROTECTED PRIVATE KEY|bad permissions", text):
        hint = "others can read the key file: `chmod 600` it"
    elif methods and "publickey" not in methods:
        hint = f"the host takes only {', '.join(methods)}: enable public keys there"
    else:
        hint = (
            "put your public key into ~/.ssh/authorized_keys there; a key with a passphrase has to be in the ssh-agent "
            "(`ssh-add`); check the user name"
        )
    return AuthRefused(
        f"{there} does not accept the key of {who}", hint=hint, methods=list(methods)
    )


def _configuration(text: str, target: SSHTarget, there: str) -> CloudMLError | None:
    found = re.search(r"^.*(Bad configuration option|bad configuration options|Bad owner or permissions|[Bb]ad .* spec|"
                      r"Can't open user config|unsupported option|extra arguments).*$", text, re.MULTILINE)  # fmt: skip
    if not found:
        return None
    return UsageError(
        f"ssh refuses its configuration: {found[0].strip()[:300]}",
        code="bad_ssh_config",
        hint="correct that line",
    )


def _unreachable(text: str, there: str) -> Unreachable:
    for pattern, code, what, hint in _UNREACHABLE:
        if found := re.search(pattern, text):
            return Unreachable(
                f"cannot reach {there}: {what.format(*found.groups())}",
                code=code,
                hint=hint,
                stderr=text[-_TAIL:],
            )
    return Unreachable(
        f"cannot reach {there}: {last_line(text)}",
        hint="try `ssh` to it by hand",
        stderr=text[-_TAIL:],
    )
