"""Each error says whose doing it is: a class, a status, and a remedy; 500 is left to defects."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from jupyter_cloudml import errors
from jupyter_cloudml.errors import CloudMLError

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("jupyter_cloudml", "kernels", "server_ext")


def classes(root: type[CloudMLError] = CloudMLError) -> Iterator[type[CloudMLError]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from classes(child)


def bare_errors() -> Iterator[str]:
    """Yield each place that makes a CloudMLError of no class, but for those that tell of a defect."""
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CloudMLError":
                codes = [ast.unparse(word.value) for word in node.keywords if word.arg == "code"]
                if codes != ["'internal'"]:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_the_table_of_errors_is_what_the_classes_are() -> None:
    rows = re.findall(r"^    ([A-Z]\w+) +(\d{3})  ", errors.__doc__ or "", re.MULTILINE)
    assert {name: int(status) for name, status in rows} == {c.__name__: c.status for c in classes()}


def test_no_error_but_a_defect_is_a_500() -> None:
    assert [each.__name__ for each in classes() if each.status == 500] == []
    assert list(bare_errors()) == []


def test_a_hint_begins_with_a_capital_where_it_stands_alone() -> None:
    error = errors.NotFound("there is no machine named 'box'", hint="see `machine list`")
    assert error.to_dict()["hint"] == "See `machine list`"
    assert str(error) == "there is no machine named 'box' (see `machine list`)"
    assert errors.NotFound("gone").to_dict()["hint"] == ""
