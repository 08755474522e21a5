"""A command line of papermill, and what it runs. Pure, but for files of parameters, which `read` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs.definition import yaml_text

# option: how many words follow it; what they mean to a job is in `_take`.
_TAKEN = {
    **dict.fromkeys(("-p", "--parameters", "-r", "--parameters_raw"), 2),
    **dict.fromkeys(("-f", "--parameters_file", "-y", "--parameters_yaml"), 1),
    **dict.fromkeys(("-k", "--kernel", "--cwd", "--execution-timeout"), 1),
}
_IGNORED = {
    **dict.fromkeys(
        (
            *("--progress-bar", "--no-progress-bar", "--log-output", "--no-log-output"),
            *("--report-mode", "--no-report-mode", "--prepare-execute"),
            *("--request-save-on-cell-execute", "--no-request-save-on-cell-execute"),
        ),
        0,
    ),
    **dict.fromkeys(("--autosave-cell-every", "--stdout-file", "--stderr-file"), 1),
    **dict.fromkeys(("--log-level", "--start-timeout", "--start_timeout", "-l", "--language"), 1),
}


class NotPapermill(UsageError):
    """The command cannot be a job; the message says why."""


@dataclass
class Command:
    """What a command runs; `notes` is what a job does otherwise."""

    notebook: str = ""
    output: str = ""
    parameters: dict[str, JSON] = field(default_factory=dict)
    kernel: str | None = None
    cwd: str | None = None
    cell_timeout_s: int | None = None
    notes: list[str] = field(default_factory=list)


def program(words: Sequence[str]) -> list[str]:
    """Return the words behind the program. Raises NotPapermill."""
    rest = list(words)
    if rest and os.path.basename(rest[0]) == "env":
        rest = rest[1:]
    while rest and "=" in rest[0] and rest[0].partition("=")[0].isidentifier():
        rest = rest[1:]
    if rest and os.path.basename(rest[0]) == "papermill":
        return rest[1:]
    if rest and os.path.basename(rest[0]).startswith("python") and rest[1:3] == ["-m", "papermill"]:
        return rest[3:]
    raise NotPapermill(f"runs {rest[0] if rest else 'nothing'}, not papermill")


def parse(words: Sequence[str], read: Callable[[str], str]) -> Command:
    """Return what papermill does with these words; `read` returns the text of a file. Raises NotPapermill, UsageError, OSError."""
    found, places, rest = Command(), [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            places += rest
            break
        if word == "-" or not word.startswith("-"):
            places.append(word)
            continue
        name, values = _option(word, rest)
        if name in _TAKEN:
            _take(found, name, values, read)
    if not places or places[0] == "-":
        raise NotPapermill("reads the notebook from standard input")
    if "://" in places[0]:
        raise NotPapermill(f"takes the notebook from {places[0]}: a job takes a file")
    if len(places) > 2:
        raise NotPapermill(f"has the word {places[2]} too many")
    found.notebook, found.output = places[0], places[1] if len(places) == 2 else ""
    return found


def _option(word: str, rest: list[str]) -> tuple[str, list[str]]:
    """Take an option and its words off the rest."""
    name, given, value = word.partition("=") if word.startswith("--") else (word, "", "")
    if not word.startswith("--") and len(word) > 2 and word[:2] in {**_TAKEN, **_IGNORED}:
        name, given, value = word[:2], "=", word[2:]
    count = _TAKEN.get(name, _IGNORED.get(name))
    if count is None:
        raise NotPapermill(f"has the option {name}, which a job has not")
    values = [value] if given else []
    values += [rest.pop(0) for _ in range(min(count - len(values), len(rest)))]
    if len(values) != count:
        raise NotPapermill(f"has the option {name} without its value")
    return name, values


def _take(found: Command, name: str, values: list[str], read: Callable[[str], str]) -> None:
    if name in ("-p", "--parameters"):
        found.parameters[values[0]] = typed(values[1])
    elif name in ("-r", "--parameters_raw"):
        found.parameters[values[0]] = values[1]
    elif name in ("-y", "--parameters_yaml", "-f", "--parameters_file"):
        is_file = name in ("-f", "--parameters_file")
        text = read(values[0]) if is_file else values[0]
        more = yaml_text.read(text, values[0] if is_file else name).value
        if not isinstance(more, dict):
            raise NotPapermill(f"has parameters that are no object: {name} {values[0]}")
        found.parameters |= more
    elif name in ("-k", "--kernel"):
        found.kernel = values[0]
    elif name == "--cwd":
        found.cwd = values[0]
    elif not values[0].isdigit():
        raise NotPapermill(f"has the time {values[0]}, which is no number")
    else:
        found.cell_timeout_s = int(values[0])


def typed(text: str) -> JSON:
    """Return a value as papermill takes it from its command line."""
    words: dict[str, JSON] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text) if len(text) <= 30 else text
        except ValueError:
            continue
    return text
