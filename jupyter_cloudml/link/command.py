r"""Commands for another machine: the only place in the project that quotes, and the allow-lists for names.

sshd hands the command to the user's login shell, and that may be sh, bash, zsh, dash, fish or csh. They agree on words
of plain characters and on single quotes around everything but `'`, `\`, `!` and newlines (fish reads backslashes
inside single quotes, csh expands `!` there and ends a line at a newline). A command that stays within that is sent as
it is. Any other is sent as octal digits to `/bin/sh`, which has one meaning for them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jupyter_cloudml.errors import UsageError

NameKind = Literal["machine", "host", "user", "spec", "process", "environment"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}"
_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]{1,32})?"
_ALLOWED = {
    "machine": re.compile(_NAME),
    "host": re.compile(rf"{_HOST}|(?=.{{2,80}}$){_IPV6}"),
    "user": re.compile(_NAME),
    "spec": re.compile(_NAME),
    "process": re.compile(_NAME),
    "environment": re.compile(_NAME),
}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")
_QUOTABLE = re.compile(r"[ -~]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# One argument of execve() holds 128 KiB on Linux, and sshd passes the whole command as one.
_MAX_COMMAND = 120_000


def check_name(kind: NameKind, value: str) -> str:
    """Return `value` if it is a name of this kind, else raise UsageError (`bad_name`)."""
    if _ALLOWED[kind].fullmatch(value):
        return value
    shown = value if len(value) <= 60 else value[:57] + "..."
    raise UsageError(
        f"{shown!r} is not a {kind} name",
        code="bad_name",
        hint="use letters, digits, '.', '_' and '-', and begin with a letter or digit",
        kind=kind,
    )


@dataclass(frozen=True)
class RemoteCommand:
    """A program with its arguments, variables and folder, to be run by the login shell of another machine.

    Everything in it can be read by other users of that machine while it runs: secrets travel on stdin.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0] or self.argv[0].startswith("-"):
            raise UsageError(
                "a command needs a program",
                code="bad_command",
                hint="begin it with a program's name or path",
            )
        for name in self.env:
            if not _VARIABLE.fullmatch(name):
                raise UsageError(
                    f"{name[:60]!r} is not a variable's name",
                    code="bad_name",
                    hint="use letters, digits and '_'",
                )
        for word in (*self.argv, *self.env.values(), self.cwd or ""):
            if "\0" in word:
                raise UsageError(
                    f"{word[:60]!r} holds a NUL byte", code="bad_command", hint="remove it"
                )

    def shell(self) -> str:
        """Return the command as one line of ASCII that every login shell reads the same way.

        Raises UsageError (`command_too_long`) above 120,000 characters, which no Linux machine would start.
        """
        if not self.env and self.cwd is None and all(_survives_quotes(word) for word in self.argv):
            line = " ".join(
                ["exec", *(word if _PLAIN.fullmatch(word) else f"'{word}'" for word in self.argv)]
            )
        else:
            line = f"exec /bin/sh -c 'eval \"$(printf %b \"$0\")\"' '{_octal(self._script())}'"
        if len(line) > _MAX_COMMAND:
            raise UsageError(
                f"the command of {len(line):,} characters is longer than {_MAX_COMMAND:,}",
                code="command_too_long",
                hint="send long data on its input",
            )
        return line

    def _script(self) -> str:
        """The command in the language of POSIX sh."""
        parts = [f"export {name}={shlex.quote(value)};" for name, value in self.env.items()]
        if self.cwd is not None:
            folder = f"./{self.cwd}" if self.cwd.startswith("-") else self.cwd
            parts.append(f"CDPATH= cd -- {shlex.quote(folder)} &&")
        return " ".join([*parts, "exec", shlex.join(self.argv)])


def _survives_quotes(word: str) -> bool:
    return _QUOTABLE.fullmatch(word) is not None and not set(word) & set("'\\!")


def _octal(text: str) -> str:
    r"""Encode for printf %b: what every shell leaves alone stays readable, other bytes become \0ooo."""
    return "".join(
        chr(byte) if _PLAIN.fullmatch(chr(byte)) or byte == 0x20 else f"\\0{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
