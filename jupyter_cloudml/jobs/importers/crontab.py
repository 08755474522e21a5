"""Lines of a crontab that run papermill, as jobs. Pure, but for files of parameters, which `read` reads."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs.definition import cron
from jupyter_cloudml.jobs.importers import papermill_command
from jupyter_cloudml.jobs.importers.importing import ALIASES, Imported
from jupyter_cloudml.jobs.importers.papermill_command import Command, NotPapermill

MOST_LINES = 10_000
_ENV = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_HARMLESS = ("SHELL", "PATH", "HOME", "LOGNAME", "MAILFROM", "CRON_TZ")
_OPERATORS = set("();<>|&")


def read_crontab(
    text: str,
    name: str,
    home: Path,
    tz: str,
    read: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8"),
) -> Imported:
    """Return the jobs of a crontab: of the user whose home folder is `home`, on a computer of the zone `tz`."""
    found = Imported()
    lines = text.splitlines()
    for n, line in enumerate(lines[:MOST_LINES], 1):
        where = f"{name}:{n}"
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        setting = _ENV.fullmatch(line)
        if setting is not None:
            tz = _setting(found, where, setting[1], setting[2].strip("'\""), tz)
            continue
        try:
            _job(found, where, bare, home, tz, read)
        except UsageError as exc:
            found.refuse(where, exc.message)
        except (OSError, UnicodeDecodeError) as exc:
            found.refuse(where, f"a file of parameters cannot be read: {exc}")
    if len(lines) > MOST_LINES:
        found.refuse(f"{name}:{MOST_LINES + 1}", f"only {MOST_LINES} lines are read")
    return found


def _setting(found: Imported, where: str, name: str, value: str, tz: str) -> str:
    """Heed a setting; return the time zone from here on."""
    if name == "CRON_TZ":
        return value
    if name == "MAILTO":
        if value:
            found.note(where, f"mail to {value} is not imported")
    elif name not in _HARMLESS:
        found.note(where, f"{name} is not set for the notebooks")
    return tz


def _job(
    found: Imported, where: str, line: str, home: Path, tz: str, read: Callable[[str], str]
) -> None:
    expression, text = _schedule(line)
    cron.check(expression)
    cron.zone(tz)
    folder, words = _words(text, home)
    base = home if folder is None else folder
    command = papermill_command.parse(
        papermill_command.program(words), lambda path: read(str(base / _whole(path, home)))
    )
    notebook = Path(os.path.normpath(base / _whole(command.notebook, home)))
    trigger: dict[str, JSON] = {"cron": expression}
    if tz != "UTC":
        trigger["tz"] = tz
    more = {"kernel": command.kernel, "cell_timeout_s": command.cell_timeout_s}
    added = found.add(
        where,
        notebook.stem,
        {
            "notebook": str(notebook),
            "triggers": [trigger],
            "parameters": command.parameters,
            **{key: value for key, value in more.items() if value is not None},
        },
    )
    if added:
        _notes(found, where, command, notebook, base, home)


def _notes(
    found: Imported, where: str, command: Command, notebook: Path, base: Path, home: Path
) -> None:
    ran = base if command.cwd is None else Path(os.path.normpath(base / _whole(command.cwd, home)))
    if ran != notebook.parent:
        found.note(where, f"it ran in {ran}; a job runs in the folder of its notebook")
    if command.output and command.output != "-":
        found.note(where, f"{command.output} is not written: each run keeps its own notebook")


def _schedule(line: str) -> tuple[str, str]:
    """Return the times and the command of a line. Raises UsageError."""
    if line.startswith("@"):
        alias, _, command = line.partition(" ")
        if alias not in ALIASES:
            raise NotPapermill(f"{alias} is no time that a job can have")
        return ALIASES[alias], command.strip()
    parts = line.split(None, 5)
    if len(parts) < 6:
        raise NotPapermill("has no five fields and a command")
    return " ".join(parts[:5]), parts[5]


def _words(text: str, home: Path) -> tuple[Path | None, Sequence[str]]:
    """Return the folder that a command goes to first, and its words without redirections. Raises NotPapermill for what needs a shell."""
    if re.search(r"(?<!\\)%", text):
        raise NotPapermill("gives its command standard input (%)")
    text = re.sub(r"\$(HOME\b|\{HOME\})", "~", text.replace(r"\%", "%"))
    if "$" in text or "`" in text:
        raise NotPapermill("has a variable or a command within its command")
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError as exc:
        raise NotPapermill(f"cannot be read: {exc}") from exc
    folder = None
    if words[:1] == ["cd"] and words[2:3] in (["&&"], [";"]):
        folder, words = home / _whole(words[1], home), words[3:]
    return folder, _without_redirections(words)


def _without_redirections(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word or set(word) - _OPERATORS:
            kept.append(word)
            continue
        if word not in (">", ">>", "&>", "&>>", ">&") or not rest:
            raise NotPapermill(f"has {word}, which needs a shell")
        rest.pop(0)
        if kept and kept[-1] in ("1", "2") and word in (">", ">>", ">&"):
            kept.pop()  # 2>&1
    return kept


def _whole(path: str, home: Path) -> str:
    return str(home) + path[1:] if path == "~" or path.startswith("~/") else path
