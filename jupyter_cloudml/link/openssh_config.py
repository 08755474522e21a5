"""The configuration under which `ssh` runs: what must hold, then all that the user has set, then our defaults.

It is a file for `-F`, not a row of `-o`: only so does it hold for jump hosts too, which ssh starts with the same file.
In ssh's configuration the first value counts.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
from pathlib import Path

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.paths import home, private_dir, spare_home, write_private

from . import host_keys
from .carrier import KEEPALIVE, SILENCE, SSHTarget

# Names a file that is used in place of ~/.ssh/config and /etc/ssh/ssh_config.
CONFIG_VARIABLE = "JUPYTER_CLOUDML_SSH_CONFIG"

# ssh gives up one interval after the last question that got no answer.
_TEXT = """\
# Written by jupyter-cloudml for the ssh that it starts. Put your own settings into ~/.ssh/config.
Host *
  BatchMode yes
  StrictHostKeyChecking yes
  NoHostAuthenticationForLocalhost no
  GlobalKnownHostsFile {known_hosts} /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
  UpdateHostKeys no
  ConnectTimeout 20
  ServerAliveInterval {interval}
  ServerAliveCountMax {count}
  ClearAllForwardings yes
  ForwardAgent no
  ForwardX11 no
  Tunnel no
  ControlMaster no
  ControlPath none
  RequestTTY no
  RemoteCommand none
  PermitLocalCommand no
  EscapeChar none
  LogLevel INFO
{includes}
Host *
  Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr
"""


@functools.cache
def version() -> tuple[int, int]:
    """Return the version of the installed OpenSSH client, (0, 0) if it says something else."""
    done = subprocess.run(
        ["ssh", "-V"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    found = re.search(r"OpenSSH\D*(\d+)\.(\d+)", done.stderr + done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def user_files() -> list[Path]:
    """Return the ssh configuration files that hold for this user, the more specific first."""
    if given := os.environ.get(CONFIG_VARIABLE):
        return [Path(given)]
    return [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]


def write(target: SSHTarget) -> Path:
    """Write the configuration for `target`, unless it is there, and return its path."""
    includes = "\n".join(f"Include {quoted(file)}" for file in user_files())
    text = _TEXT.format(
        known_hosts=quoted(target.known_hosts),
        includes=includes,
        interval=round(KEEPALIVE),
        count=round(SILENCE / KEEPALIVE) - 1,
    )
    folder = home()
    if not re.fullmatch(r"[\w./@+-]+", str(folder), re.ASCII):
        # ssh hands the path of its configuration to jump hosts without quotes
        folder = spare_home()
    path = private_dir(folder / "ssh") / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"
    if not path.exists() or path.read_text() != text:
        write_private(path, text.encode())
    return path


def quoted(path: Path) -> str:
    """Return a path as one word of ssh's configuration. Raises UsageError (`bad_path`) where ssh has no way to say it."""
    text = os.path.abspath(path)
    if '"' in text or "\\" in text or "${" in text or not text.isprintable():
        raise UsageError(
            f"ssh cannot take the path {text[:80]!r}",
            code="bad_path",
            hint="set JUPYTER_CLOUDML_HOME to a plain path",
        )
    return '"' + text.replace("%", "%%") + '"'


def argv(target: SSHTarget, command: str, timeout: float, *options: str) -> list[str]:
    """Return the `ssh` command for `target`. Names have passed their allow-lists, and `--` stands before the host."""
    given = [f"ConnectTimeout={max(1, round(timeout))}", "LogLevel=VERBOSE", *options]
    if target.host_key:
        given += [f"HostKeyAlias={host_keys.own_name(target)}", "UserKnownHostsFile=/dev/null"]
        given += [f"GlobalKnownHostsFile={quoted(target.known_hosts)}", "VerifyHostKeyDNS=no"]
        given += ["KnownHostsCommand=none"] if version() >= (8, 5) else []
    words = ["-F", str(write(target)), "-T"]
    for option in given:
        words += ["-o", option]
    if target.identity:
        words += ["-i", str(Path(target.identity).expanduser()), "-o", "IdentitiesOnly=yes"]
    if target.user:
        words += ["-l", target.user]
    if target.port:
        words += ["-p", str(target.port)]
    return ["ssh", *words, "--", target.host, command]
