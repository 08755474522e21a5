"""Notebooks of runs: made ready to be sent, and made of what a run said. Pure, but for `html`."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from ...errors import UsageError
from .records import Record

Notebook: TypeAlias = dict[str, Any]
REUSED = "reused"  # a cell that an earlier run has run, in the same kernel
MAX_FILE = 128 << 20  # of a notebook with its outputs
MAX_BYTES = 64 << 20  # of a notebook without its outputs


def parse(text: str | bytes, name: str) -> Notebook:
    """Return a notebook of format 4. Raises UsageError (`bad_notebook`) that names it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _bad(name, "it is no JSON") from exc
    cells = found.get("cells") if isinstance(found, dict) else None
    if not isinstance(cells, list) or found.get("nbformat") != 4:
        raise _bad(name, "it is no notebook of format 4")
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise _bad(name, f"cell {number} is no cell")
        source = cell.get("source", "")
        if not isinstance(source, str) and not _are_strings(source):
            raise _bad(name, f"cell {number} has no source")
        if not isinstance(cell.get("metadata") or {}, dict):
            raise _bad(name, f"the metadata of cell {number} is no object")
    metadata = found.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise _bad(name, "its metadata is no object")
    return {**found, "metadata": {k: v for k, v in metadata.items() if _is_usable(k, v)}}


def _is_usable(member: str, value: object) -> bool:
    """Tell whether a member of a notebook's metadata that is read here can be; some tool may have written anything."""
    return member not in ("kernelspec", "language_info") or isinstance(value, dict)


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _bad(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} cannot be run: {why}",
        code="bad_notebook",
        hint="open it in JupyterLab and save it again",
    )


def source_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's text."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def tags_of(cell: Mapping[str, Any]) -> list[str]:
    """Return a cell's tags."""
    tags = (cell.get("metadata") or {}).get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def without_outputs(notebook: Notebook, name: str) -> Notebook:
    """Return the notebook as it is sent to be run. Raises UsageError (`too_large`) for one that is large without its outputs, too."""
    cells = [_bare(cell) for cell in notebook["cells"]]
    metadata = {k: v for k, v in notebook["metadata"].items() if k != "widgets"}
    bare = {**notebook, "cells": cells, "metadata": metadata}
    size = len(json.dumps(bare))
    if size > MAX_BYTES:
        raise UsageError(
            f"{name} has {size / 1e6:.0f} MB without its outputs: a run takes {MAX_BYTES / 1e6:.0f} MB",
            code="too_large",
            hint="large data belongs into files beside the notebook; pasted images count as well",
        )
    return bare


def _bare(cell: Mapping[str, Any]) -> Notebook:
    bare = {**cell, "source": source_of(cell), "metadata": dict(cell.get("metadata") or {})}
    if cell["cell_type"] != "code":
        return bare
    bare["metadata"].pop("execution", None)
    return {**bare, "outputs": [], "execution_count": None}


def executed(notebook: Notebook, records: Iterable[Record]) -> Notebook:
    """Return the notebook with the outputs that the records tell of; a run that goes on has got so far."""
    made = copy.deepcopy(notebook)
    for record in records:
        apply(made, record)
    for cell in made["cells"]:
        for output in cell.get("outputs", ()):
            if isinstance(output.get("text"), list):
                output["text"] = "".join(output["text"])
    return made


def apply(made: Notebook, record: Record) -> None:
    """Do to a notebook what one record tells. Text of streams grows as a list, which `executed` joins."""
    kind = record["record"]
    if kind == "kernel":
        language = (record.get("info") or {}).get("language_info")
        if language:
            made["metadata"]["language_info"] = language
        return
    if kind == "widgets":
        made["metadata"]["widgets"] = record["state"]
        return
    index = record.get("index")
    if kind not in ("cell", "output", "clear", "update") or not isinstance(index, int):
        return
    cell = made["cells"][index]
    if kind == "cell":
        _cell(cell, record)
    elif kind == "clear":
        cell["outputs"] = []
    elif kind == "update":
        for place in record["at"]:
            cell["outputs"][place].update(data=record["data"], metadata=record["metadata"])
    else:
        _output(cell["outputs"], record["output"])


def _cell(cell: Notebook, record: Record) -> None:
    if record.get("status") == REUSED:
        return
    if record["state"] == "started":
        cell["outputs"], cell["execution_count"] = [], None
        return
    cell["execution_count"] = record.get("execution_count")
    if record.get("timing"):
        cell["metadata"]["execution"] = record["timing"]


def _output(outputs: list[Notebook], output: Mapping[str, Any]) -> None:
    """Add an output; adjacent text of one stream is one output."""
    if output.get("output_type") != "stream":
        outputs.append(dict(output))
        return
    last = outputs[-1] if outputs else {}
    if last.get("output_type") == "stream" and last.get("name") == output.get("name"):
        last["text"].append(output["text"])
    else:
        outputs.append({**output, "text": [output["text"]]})


def html(notebook: Notebook, title: str) -> str:
    """Return a page of the notebook on which no script of an output runs. Raises UsageError (`no_nbconvert`)."""
    try:
        from nbconvert import HTMLExporter
        from nbformat import ValidationError, from_dict
    except ImportError as exc:
        raise UsageError(
            "a page needs nbconvert, which is not installed here",
            code="no_nbconvert",
            hint="pip install nbconvert",
        ) from exc
    exporter: Any = cast("Any", HTMLExporter)(sanitize_html=True)
    cells = [_with_plain_id(*each) for each in enumerate(notebook["cells"])]
    try:
        with warnings.catch_warnings():  # an output that no page can show, such as values of a run
            warnings.filterwarnings("ignore", message="Your element with mimetype")
            body: str = exporter.from_notebook_node(
                from_dict({**notebook, "cells": cells}),
                resources={"metadata": {"name": title}},
            )[0]
    except ValidationError as exc:
        raise _bad(title, f"no page can be made of it: {exc.message}"[:500]) from exc
    return body


def plain(notebook: Notebook) -> Notebook:
    """Return the notebook as one of format 4.5 in which each cell has an id of its own that the format allows. Pure."""
    cells: list[Notebook] = []
    seen: set[str] = set()
    for number, cell in enumerate(notebook["cells"]):
        made = _with_plain_id(number, cell)
        name = made.get("id")
        if name is None or name in seen:
            made = {**made, "id": f"cell-{number}-of-{len(notebook['cells'])}"}
        seen.add(str(made["id"]))
        cells.append(made)
    minor = max(5, int(notebook.get("nbformat_minor") or 0))
    return {**notebook, "cells": cells, "nbformat": 4, "nbformat_minor": minor}


def _with_plain_id(number: int, cell: Notebook) -> Notebook:
    """Return a cell that the format allows, whatever some tool has taken for an id."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(cell.get("id", "none")))
    return cell if plain else {**cell, "id": f"odd-{number}"}
