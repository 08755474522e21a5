"""Selected cells become a notebook with the cells before them that they need, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.notebooks.notebook import parse
from jupyter_cloudml.jobs.notebooks.selection import names_of, select


def notebook(*sources: str, language: str = "python") -> dict[str, Any]:
    cells = [
        {"cell_type": "markdown", "source": source[3:], "metadata": {}}
        if source.startswith("md:")
        else {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
        for source in sources
    ]
    metadata = {"kernelspec": {"name": "python3", "language": language}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def needed(*sources: str, chosen: set[int] | None = None) -> dict[int, tuple[str, ...]]:
    found = select(notebook(*sources), chosen or {len(sources) - 1})
    return {each.index: each.names for each in found.needed}


@pytest.mark.parametrize(
    ("source", "used", "bound", "changed"),
    [
        ("x = 1", "", "x", ""),
        ("x = 1\nprint(x)", "", "x", ""),
        ("x = x + y", "x y", "x", ""),
        ("x += 1", "x", "", "x"),
        ("x: int = y", "y", "x", ""),
        ("x: int", "", "", ""),
        ("df['a'] = df.b * k", "df k", "", "df"),
        ("df = load()\ndf['a'] = 1", "load", "df", ""),
        ("rows.append(1)", "rows", "", "rows"),
        ("model.fit(x).score(y)", "model x y", "", "model"),
        ("import numpy as np, os.path\nnp.random.seed(1)", "", "np os", ""),
        ("from a import b as c, d", "", "c d", ""),
        ("def f(a, b=k):\n    z = a + g\n    return z", "k g", "f", ""),
        ("def f():\n    return g()\ndef g():\n    return 1", "", "f g", ""),
        ("def f():\n    global n\n    n = 1", "n", "f", "n"),
        ("class A(B):\n    x = 1\n    def m(self):\n        return x + y", "B x y", "A", ""),
        ("h = lambda a: a + c", "c", "h", ""),
        ("[a * b for a in rows if a > c]", "b rows c", "", ""),
        ("for i in range(n):\n    t = i", "n", "i t", ""),
        ("with open(p) as f, g() as (a, b):\n    f.read()", "p g", "f a b", ""),
        ("try:\n    import q\nexcept ImportError as e:\n    q = None", "", "q e", ""),
        ("if (n := len(d)) > 1:\n    print(n)", "d", "n", ""),
        ("match v:\n    case {'a': x, **rest}:\n        y = x", "v", "x rest y", ""),
        ("del x", "x", "", ""),
        ("await a.go()", "a", "", "a"),
        ("f'{x:{w}}'", "x w", "", ""),
        ("@deco\ndef f(a: T) -> R: ...", "deco T R", "f", ""),
        (
            "%matplotlib inline\n!ls $folder\ny = !cat {name}\nx = %env HOME",
            "folder name",
            "x y",
            "",
        ),
        ("%%time\nx = y", "y", "x", ""),
        ("%%capture out\nprint(y)", "y", "out", ""),
        ("%%bash\nfor x in y; do echo $z; done", "z", "", ""),
        ("df?\nx = 1", "", "x", ""),
        ("a = (7\n% b)", "b", "a", ""),
        ("if True:\n    %load_ext autoreload\nx = 1", "", "x", ""),
    ],
)
def test_names_that_a_cell_takes_and_gives(
    source: str, used: str, bound: str, changed: str
) -> None:
    found = names_of(source)
    assert found.readable
    assert (set(found.used), set(found.bound), set(found.changed)) == (
        set(used.split()),
        set(bound.split()),
        set(changed.split()),
    )


def test_the_needed_cells_are_those_that_give_what_is_used() -> None:
    assert needed(
        "import pandas as pd", "k = 1", "unused = 2", "df = pd.read(k)", "md:text", "df.mean()"
    ) == {0: ("pd",), 1: ("k",), 3: ("df",)}


def test_a_value_given_anew_hides_the_one_before() -> None:
    assert needed("x = 1", "x = 2", "x") == {1: ("x",)}


def test_what_changes_a_needed_value_is_needed_with_what_it_needs() -> None:
    assert needed("rows = []", "n = 3", "rows.append(n)", "print(len(rows))") == {
        0: ("rows",),
        1: ("n",),
        2: ("rows",),
    }


def test_a_call_of_a_module_is_no_change_of_it() -> None:
    assert needed("import plt", "plt.title('old')", "plt.plot(1)") == {0: ("plt",)}


def test_cells_between_chosen_ones_and_chosen_ones_themselves_count() -> None:
    assert needed("a = 1", "b = a", "c = b", chosen={0, 2}) == {1: ("b",)}
    assert needed("a = 1", "b = a", "c = b", "d = 1", chosen={0, 1, 2}) == {}


def test_an_import_of_everything_is_needed_where_a_name_has_no_other_place() -> None:
    assert needed("from numpy import *", "x = 1", "array(x)") == {0: ("*",), 1: ("x",)}
    assert needed("from numpy import *", "x = 1", "print(x)") == {1: ("x",)}


def test_the_result_is_a_notebook_in_the_order_of_the_whole_one() -> None:
    whole = notebook("a = 1", "b = 2", "md:text", "print(a)")
    found = select(whole, {3, 2})
    assert found.cells == (0, 2, 3)
    assert found.content["metadata"] == whole["metadata"]
    assert parse(json.dumps(found.content), "it")["cells"] == [
        whole["cells"][index] for index in (0, 2, 3)
    ]


def test_cells_that_cannot_be_read_are_named_and_need_nothing() -> None:
    found = select(notebook("x = 1", "print(x"), {1})
    assert (found.needed, found.unread) == ((), (1,))
    found = select(notebook("x <- 1", "x", language="R"), {1})
    assert (found.needed, found.unread) == ((), (1,))
    deep = select(notebook("x = 1", "(" * 500 + "x" + ")" * 500), {1})
    assert deep.unread == (1,)


@pytest.mark.parametrize(
    ("chosen", "code"),
    [(set(), "no_cells"), ({1}, "no_cells"), ({0, 9}, "bad_cells"), ({-1, 0}, "bad_cells")],
)
def test_no_code_or_a_cell_that_is_not_there_is_refused(chosen: set[int], code: str) -> None:
    with pytest.raises(UsageError) as refused:
        select(notebook("x = 1", "md:text"), chosen)
    assert refused.value.code == code
