"""The first steps of a diagnosis over SSH: the name, the port, the host key, the sign-in, and what the login finds."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jupyter_cloudml.errors import (
    CloudMLError,
    HostKeyChanged,
    HostKeyUnknown,
    NoisyShell,
    NoPython,
    NoSpace,
    Unreachable,
    UsageError,
)
from jupyter_cloudml.link import dial, openssh_config
from jupyter_cloudml.link.bootstrap import PYTHONS
from jupyter_cloudml.link.carrier import Carrier, SSHTarget, carrier_for
from jupyter_cloudml.link.command import RemoteCommand

CONNECT_S = 10.0
SIGN_IN_S = 20.0
ANSWER_S = 30.0
MAX_ANSWER = 1 << 20
LEAST_BYTES = 20 << 20  # for the agent and the journal of a kernel
WISHED_BYTES = 300 << 20  # for an environment with ipykernel

_MARK = b"cloudml-check-begins"
# One `key value` a line. `$@` are the names of Pythons to try.
_LOOK = f"""
echo {_MARK.decode()}
echo "home $HOME"
t="$HOME/.cloudml-check.$$"
if (umask 077; : > "$t") 2>/dev/null; then rm -f "$t"; echo "writable yes"; fi
df -Pk "$HOME" 2>/dev/null | awk 'NR==2 {{print "free_kb " $4}}'
for p in "$@"; do
  if command -v "$p" >/dev/null 2>&1; then
    "$p" -I -S -c 'import sys; print("python", "%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null
  fi
done
echo end
"""


@dataclass(frozen=True)
class Finding:
    """What one step has found. A fatal one makes the next steps pointless."""

    ok: bool
    detail: str
    hint: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Way:
    """How a connection gets to the host, after all of the user's configuration; `jump` names what stands in between."""

    host: str
    port: int
    jump: str = ""


@dataclass
class Login:
    """What a session found: bytes before ours, and facts by key."""

    noise: bytes = b""
    facts: dict[str, list[str]] = field(default_factory=dict)


class SSHCheck:
    """The steps, each using what the ones before it found."""

    def __init__(self, target: SSHTarget) -> None:
        self._target = target
        self._way = Way(target.host, target.port or 22)
        self._carrier: Carrier | None = None
        self._refused: CloudMLError | None = None
        self._login = Login()

    def steps(self) -> list[tuple[str, Callable[[], Finding]]]:
        """Return the steps in order."""
        return [
            ("the name resolves", self._name),
            ("the port answers", self._port),
            ("the host key is the confirmed one", self._host_key),
            ("the host lets us in", self._sign_in),
            ("the login shell is quiet", self._shell),
            ("the home folder has room", self._home),
            ("there is a Python 3.9 or later", self._python),
        ]

    def close(self) -> None:
        """Hang up, where a diagnosis ends half-way."""
        if self._carrier is not None:
            self._carrier.close()

    def _name(self) -> Finding:
        self._way = effective_way(self._target)
        if self._way.jump:
            return Finding(True, f"{self._way.host} is looked up beyond {self._way.jump}")
        try:
            found = socket.getaddrinfo(self._way.host, self._way.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            return Finding(
                False,
                f"{self._way.host}: {getattr(exc, 'strerror', None) or exc}",
                "check the spelling, your network and your VPN",
                fatal=True,
            )
        addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
        return Finding(True, f"{self._way.host} is {', '.join(addresses)}")

    def _port(self) -> Finding:
        if self._way.jump:
            return Finding(True, f"reached through {self._way.jump}")
        where = f"{self._way.host} port {self._way.port}"
        try:
            with socket.create_connection((self._way.host, self._way.port), CONNECT_S) as sock:
                sock.settimeout(CONNECT_S)
                banner = sock.recv(255)
        except TimeoutError:
            return Finding(
                False,
                f"{where} does not answer within {CONNECT_S:.0f} s",
                "is the machine on, and does a firewall drop the port?",
                fatal=True,
            )
        except OSError as exc:
            return Finding(
                False, f"{where}: {exc.strerror or exc}", "is the machine on, and sshd?", fatal=True
            )
        if not banner.startswith(b"SSH-"):
            return Finding(
                False,
                f"{where} does not speak SSH: {banner[:40]!r}",
                "is it the right port?",
                fatal=True,
            )
        return Finding(True, banner.split(b"\r")[0].decode("ascii", "replace")[:100].strip())

    def _host_key(self) -> Finding:
        """Sign in: the host's key is verified first on the way, and what comes after is told by the next step."""
        look = RemoteCommand(["/bin/sh", "-c", _LOOK, "check", *self._pythons()])
        try:
            self._carrier = dial.open_carrier(self._target, look, timeout=SIGN_IN_S)
        except (HostKeyUnknown, HostKeyChanged):
            raise
        except CloudMLError as exc:
            self._refused = exc
        key = dial.scan(self._target, timeout=SIGN_IN_S)
        return Finding(True, f"{key.type} {key.fingerprint}")

    def _sign_in(self) -> Finding:
        if self._refused is not None:
            raise self._refused
        return Finding(True, f"as {self._target.user or 'the user of your configuration'}")

    def _shell(self) -> Finding:
        assert self._carrier is not None  # noqa: S101
        try:
            self._login = read_login(self._carrier, str(self._target))
        finally:
            self._carrier.close()
        if not self._login.noise:
            return Finding(True, "it prints nothing of its own")
        said = self._login.noise[:60].decode("utf-8", "replace").strip().splitlines()[:1]
        return Finding(
            True,
            f"it prints {len(self._login.noise)} bytes first: {printable(' '.join(said))}",
            "harmless here, but scp and rsync fail on it: print only where there is a terminal",
        )

    def _home(self) -> Finding:
        home = printable("".join(self._login.facts.get("home", ["?"])[:1]))
        free = "".join(self._login.facts.get("free_kb", [])[:1])
        if self._login.facts.get("writable") != ["yes"]:
            return Finding(
                False,
                f"{home} cannot be written",
                "free some space there, or see to its permissions",
                fatal=True,
            )
        if not free.isascii() or not free.isdigit():
            return Finding(True, f"{home} can be written")
        size = int(free) << 10
        shown = f"{size / 1e6:,.0f} MB free in {home}"
        if size < LEAST_BYTES:
            raise NoSpace(shown, hint=f"free {LEAST_BYTES >> 20} MB at least", free_bytes=size)
        hint = "" if size >= WISHED_BYTES else "an environment with ipykernel needs 300 MB"
        return Finding(True, shown, hint)

    def _python(self) -> Finding:
        found = []
        for line in self._login.facts.get("python", []):
            version, _, path = line.partition(" ")
            parts = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", version)
            if parts and (int(parts[1]), int(parts[2])) >= (3, 9):
                return Finding(True, f"Python {version} at {printable(path)}")
            found.append(version)
        older = f" (found {printable(', '.join(found))})" if found else ""
        raise NoPython(
            f"{self._target.host} has no Python 3.9 or later{older}",
            hint="install one there, or name it with --python PATH",
        )

    def _pythons(self) -> list[str]:
        return [*([self._target.python] if self._target.python else []), *PYTHONS]


def effective_way(target: SSHTarget) -> Way:
    """Return where a connection to the target goes, as its carrier reads the user's configuration.

    Raises UsageError (`bad_ssh_config`, `no_ssh`).
    """
    if carrier_for(target) != "openssh":
        from jupyter_cloudml.link import ssh_route  # paramiko takes long to import

        route = ssh_route.find(target)
        jump = route.jumps[0].host if route.jumps else route.proxy_command or ""
        return Way(route.host, route.port, printable(jump))
    done = _read_configuration(target)
    options = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    if done.returncode or "hostname" not in options:
        said = printable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
        raise UsageError(
            f"ssh cannot read its configuration: {said}",
            code="bad_ssh_config",
            hint="mend ~/.ssh/config",
        )
    jumps = [options.get("proxyjump", "none"), options.get("proxycommand", "none")]
    jump = next((each for each in jumps if each != "none"), "")
    port = options.get("port", "22")
    return Way(options["hostname"], int(port) if port.isdigit() else 22, printable(jump))


def _read_configuration(target: SSHTarget) -> subprocess.CompletedProcess[str]:
    """Have ssh print the configuration that it would use. Raises UsageError."""
    try:
        argv = openssh_config.argv(target, "", CONNECT_S)
        argv.insert(1, "-G")
        return subprocess.run(
            argv[:-1],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONNECT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise UsageError(
            f"ssh does not read its configuration within {CONNECT_S:.0f} s",
            code="bad_ssh_config",
            hint="does a `Match exec` in ~/.ssh/config wait for something?",
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"ssh does not start: {exc}",
            code="no_ssh",
            hint="install the OpenSSH client, or use --carrier paramiko",
        ) from exc


def read_login(carrier: Carrier, host: str) -> Login:
    """Read what the session prints to its end. Raises NoisyShell, Unreachable."""
    said = bytearray()
    deadline = time.monotonic() + ANSWER_S
    chunk = bytearray(1 << 16)
    with selectors.DefaultSelector() as selector:
        selector.register(carrier.fileno(), selectors.EVENT_READ)
        while True:
            try:
                count = carrier.readv([memoryview(chunk)])
            except BlockingIOError:
                selector.select(max(0.0, min(1.0, deadline - time.monotonic())))
                count = -1
            except ConnectionError:
                count = 0
            if count == 0:
                break
            said += chunk[: max(count, 0)]
            if len(said) > MAX_ANSWER:
                raise NoisyShell(
                    f"the login shell of {host} prints more than {MAX_ANSWER >> 20} MB",
                    hint="silence its start-up files (.bashrc, .profile) where there is no terminal",
                )
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"{host} let us in, but a simple command does not end within {ANSWER_S:.0f} s",
                    code="timeout",
                    hint="does a start-up file (.bashrc, .profile) wait for something?",
                )
    return _login(bytes(said), host, carrier.why())


def _login(said: bytes, host: str, why: CloudMLError | None) -> Login:
    noise, mark, rest = said.partition(_MARK + b"\n")
    if not mark:
        tail = printable(said[-200:].decode("utf-8", "replace"))
        if not tail and why is not None:
            raise why
        raise NoisyShell(
            f"the login shell of {host} does not run commands; it says: {tail or 'nothing'}",
            hint="give the user a shell that runs `ssh host command`",
        )
    facts: dict[str, list[str]] = {}
    for line in rest.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(" ")
        if len(facts.setdefault(key, [])) < len(PYTHONS) + 1:
            facts[key].append(value)
    return Login(noise, facts)


def printable(text: str) -> str:
    """Return what a machine said as one short printable line."""
    return "".join(char if char.isprintable() else " " for char in text[:200]).strip()
