"""`%%job` takes the cells that a cell needs from what was run, and refuses a wrong line as IPython does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from jupyter_cloudml import load_ipython_extension
from jupyter_cloudml.magic import place, show, taken


def sources(before: list[str], cell: str, *, alone: bool = False) -> list[str]:
    return [each["source"] for each in taken(before, cell, alone=alone).content["cells"]]


def test_the_cells_that_it_needs_come_along_and_other_jobs_do_not() -> None:
    before = ["a = 1", "unused = 2", "%%job --follow\na = 7", "b = a + 1"]
    assert sources(before, "print(b)") == ["a = 1", "b = a + 1", "print(b)"]
    assert sources(before, "print(b)", alone=True) == ["print(b)"]


def test_the_notebook_is_the_one_that_the_front_end_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert place() == tmp_path / "cell.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "report.ipynb"))
    assert place() == tmp_path / "report.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", "/nowhere/report.ipynb")
    assert place() == tmp_path / "report.ipynb"


def test_outputs_are_shown_as_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show({"record": "output", "output": {"output_type": "stream", "name": "stdout", "text": "a"}})
    show({"record": "output", "output": {"output_type": "error", "traceback": ["Trace", "x"]}})
    show({"record": "cell", "state": "done"})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a", "Trace\nx\n")


@pytest.mark.parametrize(
    ("line", "cell", "said"),
    [
        ("--onn box", "1", "--onn"),
        ("-p", "1", "--param"),
        ("--on nobody", "1", "nobody"),
        ("-p alpha", "1", "NAME=VALUE"),
    ],
)
def test_a_wrong_line_is_refused_without_a_run(
    line: str, cell: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell.instance()
    try:
        load_ipython_extension(shell)
        run: Any = shell.run_cell_magic
        with pytest.raises(UsageError, match=said):
            run("job", line, cell)
    finally:
        InteractiveShell.clear_instance()
