"""Parameters of notebooks, as papermill has them: a cell tagged `parameters` has the defaults, the values follow in a cell of their own. Pure."""

from __future__ import annotations

import ast
import copy
import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import JSON, UsageError
from .notebook import Notebook, source_of, tags_of

TAG, INJECTED = "parameters", "injected-parameters"
KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "dict": (dict,),
    "None": (type(None),),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter. `kind`: a name of KINDS, or "" where any value will do; `help` is the comment beside it."""

    name: str
    kind: str
    default: JSON
    optional: bool = False
    help: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Return it as forms are made of."""
        return {
            "name": self.name,
            "kind": self.kind,
            "default": self.default,
            "optional": self.optional,
            "help": self.help,
        }


def find(notebook: Notebook) -> list[Parameter] | None:
    """Return the parameters of a notebook; None where no cell is tagged, or its language is not read here."""
    cells = [cell for cell in notebook["cells"] if TAG in tags_of(cell)]
    if not cells or language_of(notebook) != "python":
        return None
    source = source_of(cells[0])
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    lines = source.splitlines()
    found = {}
    for statement in tree.body:
        parameter = _parameter(statement, lines)
        if parameter is not None:
            found[parameter.name] = parameter
    return list(found.values())


def language_of(notebook: Notebook) -> str:
    """Return the language of a notebook's kernel; python where it does not say."""
    metadata = notebook["metadata"]
    spec, info = metadata.get("kernelspec") or {}, metadata.get("language_info") or {}
    return str(spec.get("language") or info.get("name") or "python").lower()


def _parameter(statement: ast.stmt, lines: list[str]) -> Parameter | None:
    annotation = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
        value: ast.expr | None = statement.value
    elif isinstance(statement, ast.AnnAssign):
        target, value, annotation = statement.target, statement.value, statement.annotation
    else:
        return None
    if not isinstance(target, ast.Name) or value is None:
        return None
    default, known = _literal(value)
    kind, optional = _annotated(annotation)
    if not kind and annotation is None and known and default is not None:
        kind = kind_of(default)
    _, _, comment = lines[(statement.end_lineno or 1) - 1][
        statement.end_col_offset or 0 :
    ].partition("#")
    return Parameter(target.id, kind, default, optional or default is None, comment.strip())


def _literal(value: ast.expr) -> tuple[JSON, bool]:
    try:
        found = ast.literal_eval(value)
        json.dumps(found, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None, False
    return (list(found) if isinstance(found, tuple) else found), True


def _annotated(annotation: ast.expr | None) -> tuple[str, bool]:
    """Return the kind that an annotation names, and whether None is allowed."""
    if annotation is None:
        return "", False
    text = ast.unparse(annotation).replace("typing.", "").strip("'\"")
    optional = text.startswith("Optional[") or "None" in [part.strip() for part in text.split("|")]
    if text.startswith("Optional["):
        text = text[len("Optional[") : -1]
    kinds = [part.strip() for part in text.split("|") if part.strip() != "None"]
    kind = kinds[0].partition("[")[0].lower() if len(kinds) == 1 else ""
    return (kind if kind in KINDS else ""), optional


def kind_of(value: object) -> str:
    """Return the kind of a value, "" for one that is none of them."""
    for kind in ("None", "bool", "int", "float", "str", "list", "dict"):
        if type(value) in KINDS[kind][:1]:
            return kind
    return "list" if isinstance(value, tuple) else ""


def check(
    declared: list[Parameter] | None, given: Mapping[str, JSON], name: str
) -> dict[str, JSON]:
    """Return the values as they are to be injected. Raises UsageError (`bad_parameter`) that names the one that does not fit.

    A name that the notebook does not declare is refused where it declares any: it is a slip of the pen.
    """
    known = {parameter.name: parameter for parameter in declared or ()}
    checked: dict[str, JSON] = {}
    for key, value in given.items():
        if not key.isidentifier():
            raise _bad(f"{key!r} is no name of a parameter", "give NAME=VALUE")
        if declared and key not in known:
            raise _bad(
                f"{name} has no parameter {key!r}", f"it has {', '.join(sorted(known)) or 'none'}"
            )
        checked[key] = _fit(known[key], value) if key in known else _plain(key, value)
    return checked


def _fit(parameter: Parameter, value: JSON) -> JSON:
    value = _plain(parameter.name, value)
    kind = parameter.kind
    if not kind or (value is None and parameter.optional):
        return value
    fits = isinstance(value, KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        raise _bad(
            f"{parameter.name} has to be {kind}, and {json.dumps(value)[:80]} is {kind_of(value)}",
            f"its default is {json.dumps(parameter.default)[:80]}",
        )
    return float(value) if kind == "float" and isinstance(value, int) else value


def _plain(name: str, value: JSON) -> JSON:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise _bad(f"{name} is no value that can be sent: {exc}", "give plain values") from exc
    return value


def _bad(message: str, hint: str) -> UsageError:
    return UsageError(message, code="bad_parameter", hint=hint)


def from_text(parameter: Parameter | None, text: str) -> JSON:
    """Return the value that somebody typed (`-p NAME=VALUE`). Raises UsageError (`bad_parameter`)."""
    kind = parameter.kind if parameter else ""
    if kind == "str":
        return text
    if kind == "bool" and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    if text == "None":
        return None
    try:
        value: JSON = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = text
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, set | bytes | complex):
        value = text
    return value if parameter is None else _fit(parameter, value)


def inject(notebook: Notebook, values: Mapping[str, JSON]) -> Notebook:
    """Return the notebook with the values in a cell behind the tagged one, or first where none is; an injected one is replaced.

    Raises UsageError (`bad_parameter`) for a language that is not written here.
    """
    if not values:
        return notebook
    language = language_of(notebook)
    if language not in WRITERS:
        raise _bad(
            f"parameters can't be given to a notebook in {language}",
            f"they can in {', '.join(sorted(WRITERS))}",
        )
    made = copy.deepcopy(notebook)
    cells = [cell for cell in made["cells"] if INJECTED not in tags_of(cell)]
    place = next((i + 1 for i, cell in enumerate(cells) if TAG in tags_of(cell)), 0)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": [INJECTED]},
        "outputs": [],
        "source": _assignments(language, values),
    }
    if made.get("nbformat_minor", 0) >= 5:
        cell["id"] = uuid.uuid4().hex[:8]
    made["cells"] = [*cells[:place], cell, *cells[place:]]
    return made


def _assignments(language: str, values: Mapping[str, JSON]) -> str:
    write, sign = WRITERS[language]
    lines = [f"{name} {sign} {write(value)}" for name, value in values.items()]
    return "\n".join(["# Parameters", *lines])


def _python(value: JSON) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_python, value)) + "]"
    return repr(value)


def _r(value: JSON) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"{value}L" if abs(value) < 2**31 else f"{value}"
    if isinstance(value, dict):
        return f"list({', '.join(f'{json.dumps(k)} = {_r(v)}' for k, v in value.items())})"
    if isinstance(value, list):
        return f"list({', '.join(map(_r, value))})"
    return json.dumps(value)


def _julia(value: JSON) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("$", "\\$")
    if isinstance(value, dict):
        return f"Dict({', '.join(f'{_julia(k)} => {_julia(v)}' for k, v in value.items())})"
    if isinstance(value, list):
        return f"[{', '.join(map(_julia, value))}]"
    return json.dumps(value)


WRITERS = {"python": (_python, "="), "r": (_r, "="), "julia": (_julia, "=")}
