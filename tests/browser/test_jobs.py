"""Jobs in the page: a notebook or some of its cells run as a job in two clicks, and the run is followed to its end, or ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .lab import Lab
from .view import View

RUN_MS = 90_000


@pytest.fixture
def name() -> str:
    return f"report-{secrets.token_hex(3)}"


def write(lab: Lab, name: str, cells: Sequence[str], *, tagged: int | None = None) -> Path:
    """A notebook; the cell `tagged` has its parameters."""
    path = lab.notebook(f"{name}.ipynb", cells)
    document = json.loads(path.read_text())
    if tagged is not None:
        document["cells"][tagged]["metadata"] = {"tags": ["parameters"]}
    path.write_text(json.dumps(document))
    return path


def page(view: View) -> Locator:
    """The page in front."""
    return view.page.locator(".jp-MainAreaWidget:not(.lm-mod-hidden) .jp-cloudml-page")


def word(view: View) -> Locator:
    """How the run in front is, in words."""
    return page(view).locator(".jp-cloudml-run-head [role=status]")


def cell(view: View, number: int) -> Locator:
    return page(view).locator(f"[data-cell='{number - 1}']")


def test_a_notebook_is_run_in_two_clicks_and_followed_cell_by_cell(
    view: View, lab: Lab, name: str
) -> None:
    gate = lab.folder / f"{name}.gate"
    write(
        lab,
        name,
        [
            "alpha: float = 0.5  # how much of it\nlabel = 'all'",
            "from IPython.display import HTML, display\n"
            "display(HTML('<b>bold</b><script>window.escaped = true</script>'))\nprint('alpha is', alpha)",
            f"import pathlib, time\nprint('waiting')\n"
            f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\nprint('gone on')",
        ],
        tagged=0,
    )
    view.open_notebook(f"{name}.ipynb")
    view.page.get_by_role("button", name="Run this notebook as a job").click()
    question = view.page.get_by_role("dialog", name=f"Run {name}.ipynb as a job")
    expect(question.get_by_label("alpha")).to_have_value("0.5")
    expect(question).to_contain_text("how much of it")
    view.picture("job-question")
    assert view.axe(".jp-Dialog") == []
    question.get_by_role("button", name="Run", exact=True).click()

    expect(word(view)).to_have_text("running", timeout=RUN_MS)
    expect(cell(view, 3)).to_contain_text("waiting", timeout=RUN_MS)
    expect(cell(view, 2)).to_contain_text("alpha is 0.5")
    expect(cell(view, 2).locator("b")).to_have_text("bold")
    expect(cell(view, 3)).to_contain_text("running")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe(".jp-cloudml-page") == []
    view.picture("job-run")
    gate.touch()
    expect(word(view)).to_have_text("succeeded", timeout=RUN_MS)
    expect(cell(view, 3)).to_contain_text("gone on")
    assert view.page.evaluate("window.escaped") is None
    view.picture("job-run-done")
