"""`%%job`: a cell of a notebook or of IPython runs as a job, with the cells run before it that it needs. `%load_ext jupyter_cloudml` brings it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.display_functions import publish_display_data
from IPython.core.error import UsageError as MagicError
from IPython.core.interactiveshell import InteractiveShell

from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import JSON, CloudMLError
from jupyter_cloudml.jobs.notebooks.parameters import find, from_text
from jupyter_cloudml.jobs.notebooks.records import Record
from jupyter_cloudml.jobs.notebooks.selection import Selection, select

MAGIC = "%%job"


def register(shell: InteractiveShell) -> None:
    """Add the magic to a shell."""
    add: Any = shell.register_magic_function
    add(JobMagic(shell).__call__, "cell", "job")


def notebook_of(cells: Sequence[str]) -> dict[str, Any]:
    """Return a notebook of these sources."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{index}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for index, source in enumerate(cells)
    ]
    language = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": made,
        "metadata": {"kernelspec": language},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def taken(before: Sequence[str], cell: str, *, alone: bool = False) -> Selection:
    """Return the notebook of a cell, with those of `before` (what was run, in its order) that it needs; none where it is `alone`."""
    useful = [source for source in before if not source.lstrip().startswith(MAGIC)]
    sources = [cell] if alone else [*useful, cell]
    return select(notebook_of(sources), {len(sources) - 1})


def place() -> Path:
    """Return the path of the notebook that this kernel runs, as its front end tells; of a shell a name in its folder."""
    told = os.environ.get("JPY_SESSION_NAME", "")
    path = Path(told if told.endswith(".ipynb") else "cell.ipynb").absolute()
    return path if path.parent.is_dir() else Path.cwd() / path.name


class _Options(argparse.ArgumentParser):
    """The options of the line; a wrong one is an error of the cell, and ends no kernel."""

    def error(self, message: str) -> NoReturn:
        """Refuse the line."""
        raise MagicError(f"{MAGIC}: {message}")


def _options() -> _Options:
    made = _Options(prog=MAGIC, add_help=False, allow_abbrev=False)
    made.add_argument("--on", metavar="NAME")
    made.add_argument("-p", "--param", action="append", default=[], metavar="NAME=VALUE")
    made.add_argument("--kernel", metavar="NAME")
    made.add_argument("--env", metavar="NAME")
    made.add_argument("--alone", action="store_true")
    made.add_argument("--follow", action="store_true")
    return made


class JobMagic:
    """The magic of one shell; its errors are shown without a traceback, as those of a line that was typed wrong."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, line: str, cell: str) -> None:
        """Run the cell as a job: it goes on when this kernel, the page or the network goes away.

        --on NAME: the machine. -p NAME=VALUE: a parameter. --env NAME, --kernel NAME: what it runs in. --alone: take no cells that were run
        before. --follow: show its outputs until it is over.
        """
        asked = _options().parse_args(shlex.split(line))
        history = self._shell.history_manager
        # The last line of the history is this cell itself.
        before = list(history.input_hist_raw[1:-1]) if history else []
        try:
            found = taken(before, cell, alone=asked.alone)
            for needed in found.needed:
                _say(f"with an earlier cell for {', '.join(needed.names)}")
            with Client() as client:
                self._run(client, found.content, asked)
        except CloudMLError as exc:
            raise MagicError(" ".join([f"{exc.message}.", exc.hint]).strip()) from exc

    def _run(self, client: Client, content: Mapping[str, Any], asked: argparse.Namespace) -> None:
        jobs = client.jobs
        run = jobs.run(
            str(place()),
            on=asked.on,
            kernel=asked.kernel,
            environment=asked.env,
            params=_values(content, asked.param),
            content=json.dumps(content).encode(),
        )
        jobs.hand_over()
        _say(f"run {run.id}: `jupyter cloudml job show {run.id}`")
        if not asked.follow:
            return
        try:
            for record in jobs.records(run.id):
                show(record)
            over = jobs.wait(run.id)
        except KeyboardInterrupt:
            _say(f"the run goes on: `jupyter cloudml job cancel {run.id}` ends it")
            return
        _say(f"{over.state}{f': {over.reason}' if over.reason else ''}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _values(content: Mapping[str, Any], texts: Sequence[str]) -> dict[str, JSON]:
    declared = {each.name: each for each in find(dict(content)) or ()}
    found: dict[str, JSON] = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not given or not name.isidentifier():
            raise MagicError(f"{text[:60]!r} sets no parameter: give NAME=VALUE")
        found[name] = from_text(declared.get(name), value)
    return found


def show(record: Record) -> None:
    """Show one output of a run as an output of this cell."""
    if record["record"] != "output":
        return
    output = record["output"]
    kind = output["output_type"]
    if kind == "stream":
        text = output["text"]
        stream = sys.stderr if output.get("name") == "stderr" else sys.stdout
        stream.write(text if isinstance(text, str) else "".join(text))
        stream.flush()
    elif kind == "error":
        sys.stderr.write("\n".join(output.get("traceback") or [output.get("evalue", "")]) + "\n")
    else:
        publish: Any = publish_display_data
        publish(output["data"], output.get("metadata") or {})
