"""The hosts of the user's SSH configuration, as suggestions. The files are only read: nothing in them is run or looked up."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import has_magic, iglob
from itertools import islice
from pathlib import Path

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.link.command import check_name
from jupyter_cloudml.machines.model import Suggestion

MAX_FILES = 64
MAX_DEPTH = 8  # OpenSSH allows 16
MAX_BYTES = 1 << 20
MAX_HOSTS = 500
MAX_SECTIONS = 2000
MAX_WORDS = 256
MAX_PATTERN = 255

_WORD = re.compile(r"[A-Za-z]+")
_OPTIONS = frozenset({"hostname", "user", "port", "identityfile"})


@dataclass
class _Section:
    """The lines from one Host or Match to the next; None as patterns: Match, whose conditions are not looked at."""

    patterns: tuple[str, ...] | None = ("*",)
    source: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)


def config_file() -> Path:
    """Return the configuration that ssh is run with: JUPYTER_CLOUDML_SSH_CONFIG, else ~/.ssh/config."""
    given = os.environ.get("JUPYTER_CLOUDML_SSH_CONFIG")
    return Path(given) if given else Path.home() / ".ssh" / "config"


def suggestions() -> list[Suggestion]:
    """Return the hosts that a person has named in the configuration and the files it includes, in that order.

    Patterns are no hosts, Match blocks are passed over, and names that ssh itself would take for an option are left out.
    Unreadable files count as empty.
    """
    sections = list(islice(_sections(config_file()), MAX_SECTIONS))
    found: dict[str, Suggestion] = {}
    for section in sections:
        for name in section.patterns or ():
            if name in found or not _is_host(name):
                continue
            found[name] = _suggest(name, section.source, sections)
            if len(found) == MAX_HOSTS:
                return list(found.values())
    return list(found.values())


def _is_host(name: str) -> bool:
    if set(name) & set("*?!"):
        return False
    try:
        check_name("host", name)
    except UsageError:
        return False
    return True


def _suggest(name: str, source: str, sections: list[_Section]) -> Suggestion:
    """Fold the options that apply to a host: as in ssh, the first value counts."""
    values: dict[str, str] = {}
    for section in sections:
        if section.patterns is not None and _matches(name, section.patterns):
            for key, value in section.options:
                values.setdefault(key, value)
    user, port = values.get("user"), values.get("port", "")
    return Suggestion(
        name=_machine_name(name),
        host=name,  # the alias, not HostName: ssh then applies all that the file says of it
        user=user if user and _is_user(user) else None,
        port=int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65536 else None,
        identity=_identity(values.get("identityfile")),
        source=source,
    )


def _machine_name(host: str) -> str:
    """Make a machine's name of a host's: addresses have characters that names do not."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", host).strip("-._")[:63] or "machine"


def _is_user(user: str) -> bool:
    try:
        check_name("user", user)
    except UsageError:
        return False
    return True


def _identity(path: str | None) -> str | None:
    """Return the key file, home expanded; those with ssh's %-tokens are left to ssh."""
    if path is None or path == "none" or "%" in path or "${" in path:
        return None
    return os.path.expanduser(path)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Apply ssh's rule: one pattern must match, and no negated one."""
    if any(_like(name, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_like(name, pattern) for pattern in patterns if not pattern.startswith("!"))


def _like(name: str, pattern: str) -> bool:
    """Compare with ssh's two wildcards; never slower than the product of the lengths, whatever the pattern."""
    if len(pattern) > MAX_PATTERN:
        return False
    at = star = 0
    after, resume = -1, 0
    while at < len(name):
        if star < len(pattern) and (pattern[star] == "?" or pattern[star] == name[at] != "*"):
            at, star = at + 1, star + 1
        elif star < len(pattern) and pattern[star] == "*":
            after, resume = star, at
            star += 1
        elif after >= 0:
            resume += 1
            at, star = resume, after + 1
        else:
            return False
    return not pattern[star:].strip("*")


def _sections(config: Path) -> Iterator[_Section]:
    """Yield the sections of a file with those of the files that it includes in their places."""
    seen = [0]
    yield from _read(config, _Section(), 0, seen)


def _read(path: Path, within: _Section, depth: int, seen: list[int]) -> Iterator[_Section]:
    """Yield the sections of one file. `within`: an Include inside a Host block holds for that block alone."""
    seen[0] += 1
    if depth > MAX_DEPTH or seen[0] > MAX_FILES:
        return
    section = _Section(within.patterns, f"{path}:1")
    for number, line in enumerate(_lines(path), 1):
        key, words = _split(line)
        if key == "host":
            yield section
            section = _Section(_nested(within, tuple(words)), f"{path}:{number}")
        elif key == "match":
            yield section
            unconditional = [word.lower() for word in words] == ["all"]
            section = _Section(within.patterns if unconditional else None, f"{path}:{number}")
        elif key == "include":
            yield section
            for word in words:
                for file in _included(word):
                    yield from _read(file, section, depth + 1, seen)
            section = _Section(section.patterns, f"{path}:{number}")
        elif key in _OPTIONS and words:
            section.options.append((key, words[0]))
    yield section


def _nested(within: _Section, patterns: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the patterns of a Host inside an included file: under a narrower Host they cannot be told apart simply."""
    return patterns if within.patterns == ("*",) else None


def _lines(path: Path) -> list[str]:
    try:
        if not path.is_file():  # a FIFO would block
            return []
        with open(path, "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _split(line: str) -> tuple[str, list[str]]:
    """Split `Key value…` or `Key=value` into the key in lower case and the words; comments and nonsense give ""."""
    line = line.strip()
    word = _WORD.match(line)
    if word is None:
        return "", []
    rest = line[word.end() :].lstrip()
    rest = rest[1:] if rest.startswith("=") else rest
    try:
        return word[0].lower(), shlex.split(rest, comments=True)[:MAX_WORDS]
    except ValueError:  # an open quote
        return "", []


def _included(pattern: str) -> Iterator[Path]:
    """Return the files that an Include names; relative ones lie in ~/.ssh."""
    path = Path(os.path.expanduser(pattern))
    if not path.is_absolute():
        path = Path.home() / ".ssh" / path
    if not has_magic(str(path)):
        yield path
        return
    yield from (Path(name) for name in sorted(islice(iglob(str(path)), MAX_FILES)))
