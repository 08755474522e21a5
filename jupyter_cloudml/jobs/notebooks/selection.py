"""Some cells of a notebook as a notebook of their own: which cells before them they need, by a look at names. Pure."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import JSON, UsageError
from .names import Scope
from .notebook import Notebook, source_of
from .parameters import language_of

_PYTHON_MAGICS = ("time", "timeit", "capture", "prun", "debug", "memit", "mprun", "snakeviz")
_LINE_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w.\s,]+\?{1,2}\s*$)")
_ASSIGNED_MAGIC = re.compile(r"^(\s*[\w\s,]+=\s*)[%!].*")
_EXPANDED = re.compile(r"[{$]\s*([A-Za-z_]\w*)")


@dataclass(frozen=True)
class CellNames:
    """What a cell does with names of the whole notebook.

    `used`: it needs them from before; `bound`: it gives them anew; `changed`: it gives them a part or another value, and needs them as well.
    `imported`: those of `bound` that imports give. `everything`: it imports names that are not said. `readable`: false where the source is no Python.
    """

    used: frozenset[str] = frozenset()
    bound: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    imported: frozenset[str] = frozenset()
    everything: bool = False
    readable: bool = True


@dataclass(frozen=True)
class Needed:
    """A cell that those chosen need, and for which names."""

    index: int
    names: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {"index": self.index, "names": list(self.names)}


@dataclass(frozen=True)
class Selection:
    """The notebook of chosen cells; `cells` are the places in the whole one, `unread` those chosen whose names are unknown."""

    content: Notebook
    cells: tuple[int, ...]
    needed: tuple[Needed, ...]
    unread: tuple[int, ...] = field(default=())

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "content": self.content,
            "cells": list(self.cells),
            "needed": [each.to_dict() for each in self.needed],
            "unread": list(self.unread),
        }


def select(notebook: Notebook, chosen: Collection[int]) -> Selection:
    """Return the chosen cells with those before them that they need. Raises UsageError (`no_cells`, `bad_cells`)."""
    cells = notebook["cells"]
    wanted = sorted(set(chosen))
    if not any(0 <= index < len(cells) and _is_code(cells[index]) for index in wanted):
        raise UsageError(
            "none of the chosen cells is a code cell",
            code="no_cells",
            hint="select cells with code",
        )
    if not 0 <= wanted[0] <= wanted[-1] < len(cells):
        raise UsageError(
            f"the notebook has {len(cells)} cells, and no cell {wanted[-1]}",
            code="bad_cells",
            hint="count them from 0",
        )
    python = language_of(notebook) == "python"
    names = {
        index: names_of(source_of(cell)) if python else CellNames(readable=False)
        for index, cell in enumerate(cells[: wanted[-1] + 1])
        if _is_code(cell)
    }
    needed = _needed(names, wanted)
    kept = sorted({*wanted, *(each.index for each in needed)})
    return Selection(
        content={**notebook, "cells": [cells[index] for index in kept]},
        cells=tuple(kept),
        needed=needed,
        unread=tuple(index for index in wanted if index in names and not names[index].readable),
    )


def _is_code(cell: Mapping[str, Any]) -> bool:
    return cell.get("cell_type") == "code"


def _needed(names: Mapping[int, CellNames], wanted: list[int]) -> tuple[Needed, ...]:
    """Return the cells that give what the wanted ones use, going back from the last of them."""
    missing: set[str] = set()
    modules = frozenset().union(*(cell.imported for cell in names.values()))
    found: list[Needed] = []
    stars: list[int] = []
    for index in sorted(names, reverse=True):
        cell = names[index]
        if index in wanted:
            missing = (missing - cell.bound) | cell.used | cell.changed
            continue
        # `plt.title("a")` changes what was imported as little as anybody who needs it minds.
        gives = missing & (cell.bound | (cell.changed - modules))
        if gives:
            found.append(Needed(index, tuple(sorted(gives))))
            missing = (missing - cell.bound) | cell.used | cell.changed
        elif cell.everything:
            stars.append(index)
    if missing - _KNOWN:
        found += [Needed(index, ("*",)) for index in stars]
    return tuple(sorted(found, key=lambda each: each.index))


_KNOWN = frozenset(dir(builtins)) | {"__name__", "get_ipython", "display", "In", "Out", "_", "__"}


def names_of(source: str) -> CellNames:
    """Return what a cell of IPython does with names."""
    given, expanded, python = _without_magics(source)
    try:
        tree = ast.parse(python)
    except (SyntaxError, ValueError, RecursionError):
        return CellNames(readable=False)
    scope = Scope()
    try:
        scope.read(tree.body)
    except RecursionError:
        return CellNames(readable=False)
    return CellNames(
        used=frozenset((scope.used | expanded) - _KNOWN),
        bound=frozenset((scope.bound | given) - scope.changed),
        changed=frozenset(scope.changed),
        imported=frozenset(scope.imported),
        everything=scope.everything,
    )


def _without_magics(source: str) -> tuple[set[str], set[str], str]:
    """Return the names that magics give, those that they use, and the Python that is left."""
    lines = source.splitlines()
    given: set[str] = set()
    while lines and lines[0].startswith("%%"):
        name, *options = lines.pop(0)[2:].split() or [""]
        if name not in _PYTHON_MAGICS:
            return given, set(_EXPANDED.findall("\n".join(lines))), ""
        if name == "capture":
            given |= {option for option in options if option.isidentifier()}
    expanded: set[str] = set()
    return given, expanded, "\n".join(_plain(lines, expanded))


def _plain(lines: list[str], expanded: set[str]) -> Iterator[str]:
    for line in lines:
        assigned = _ASSIGNED_MAGIC.match(line)
        magic = None if assigned else _LINE_MAGIC.match(line)
        if assigned or magic:
            expanded |= set(_EXPANDED.findall(line))
        if assigned:
            yield f"{assigned[1]}None"
        elif magic and not _is_continued(line):
            yield f"{magic[1]}pass"
        else:
            yield line


def _is_continued(line: str) -> bool:
    """Tell whether a line that begins as a magic is the operator of an expression over several lines, as `% width)`."""
    return line.lstrip().startswith("% ")
