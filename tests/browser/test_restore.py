"""Outputs that a notebook made while no page was attached are in it when it is opened again: each once, as if it had been open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from .lab import wait_for
from .notebook_page import Notebook, open_notebook
from .restore_lab import RestoreLab, lab_page

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestoreLab]:
    """One JupyterLab for all tests of this file."""
    lab = RestoreLab(tmp_path_factory.mktemp("restore"))
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def page(browser: Browser, lab: RestoreLab) -> Iterator[Page]:
    """One page for all of them: they open and close notebooks."""
    with lab_page(browser, lab) as page:
        yield page
        assert page.locator(".jp-Dialog").count() == 0


# -- what a cell can put out -----------------------------------------------------------------------
class Case(NamedTuple):
    """A cell's code: what it does before the page goes, and after."""

    before: str
    after: str
    status: str = "ok"


IMPORTS = """\
import base64, sys
from gate import gate
from IPython.display import Image, clear_output
def say(text, stream):
    print(text, file=stream, flush=True)
"""

CASES = {
    "ends while closed": Case("print('one')", "print('two'); 6 * 7"),
    "error": Case("print('one')", "1 / 0", "error"),
    "picture": Case("", f"display(Image(base64.b64decode('{PIXEL}')))"),
    "display update": Case("h = display('old', display_id=True)", "h.update('new')"),
    "two displays of one id": Case(
        "h = display('old', display_id='twice{0}'); display('old', display_id='twice{0}')",
        "h.update('new'); print('end')",
    ),
    "clear_output": Case("print('old')", "clear_output(); print('new')"),
    "clear_output that waits": Case(
        "print('old'); clear_output(wait=True)", "print('new'); clear_output(wait=True)"
    ),
    "progress bar": Case(
        "for i in range(50): print(f'\\r{{i:3}} %', end='')",
        "for i in range(50, 101): print(f'\\r{{i:3}} %', end='')\nprint('\\nready')",
    ),
    "two streams": Case(
        "say('out', sys.stdout); say('err', sys.stderr)",
        "say('err', sys.stderr); say('out', sys.stdout); say('out', sys.stdout)",
    ),
    "backspace": Case("print('abc', end='')", "print('\\b\\bX')"),
    "help page": Case("", "get_ipython().run_line_magic('pinfo', 'len')"),
    "many megabytes": Case(
        "", "for i in range(20): display({{'big/data': 'y' * 500_000, 'text/plain': i}}, raw=True)"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_of_a_closed_notebook_are_those_of_an_open_one(
    page: Page, lab: RestoreLab, name: str
) -> None:
    case = CASES[name]
    slug = name.replace(" ", "_")

    def code(gate: str) -> str:
        return f"{case.before.format(gate)}\ngate('{slug}-{gate}')\n{case.after.format(gate)}"

    path = lab.write(f"{slug}.ipynb", IMPORTS, code("open"), code("closed"))
    lab.open_gate(f"{slug}-open")
    notebook = open_notebook(page, path)
    notebook.run("c0", "c1")
    notebook.wait_done("c1")
    open_outputs = notebook.outputs("c1")
    notebook.run("c2")
    lab.wait_recorded(path, "c2", "running")
    notebook.leave()
    lab.open_gate(f"{slug}-closed")
    lab.wait_recorded(path, "c2", case.status)

    notebook = open_notebook(page, path)
    notebook.wait_done("c2")
    assert normal(notebook.outputs("c2")) == normal(open_outputs)
    assert notebook.cell("c2")["count"] == 3
    assert notebook.cell("c2")["prompt"] == "[3]:"
    assert not notebook.undoable

    notebook.save()
    assert normal(lab.saved(path)[2]["outputs"]) == normal(open_outputs)
    lab.wait_acknowledged(path)
    notebook.leave()
    notebook = open_notebook(page, path)
    assert normal(notebook.outputs("c2")) == normal(open_outputs)
    assert not notebook.dirty
    notebook.leave()


def normal(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs without what differs by nature: prompt numbers, addresses of cells in tracebacks, lists of lines."""

    def text(value: object) -> object:
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            value = "".join(value)
        if isinstance(value, str):
            return re.sub(r"In\s*\[\d+\]|Cell \S*In\S*\[\d+\]|-(open|closed)", "", value)
        if isinstance(value, dict):
            return {k: text(v) for k, v in value.items() if k != "execution_count"}
        return value

    return [{k: text(v) for k, v in output.items() if k != "execution_count"} for output in outputs]


# -- what becomes of documents ---------------------------------------------------------------------
GATED = "from gate import gate\nprint('one')\ngate('{0}')\nprint('two')"


def leave_running(page: Page, lab: RestoreLab, path: str, cell: str = "c0") -> Notebook:
    """Open a notebook, run a cell up to its gate and close the notebook unsaved."""
    notebook = open_notebook(page, path)
    notebook.run(cell)
    lab.wait_recorded(path, cell, "running")
    notebook.wait_text(cell, "one\n")
    notebook.leave()
    return notebook


def test_running_cell_goes_on_live_when_the_notebook_is_opened_again(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("live.ipynb", GATED.format("live"))
    leave_running(page, lab, path)
    notebook = open_notebook(page, path)
    notebook.wait_text("c0", "one\n")
    assert notebook.cell("c0")["prompt"] == "[*]:"
    lab.open_gate("live")
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n"
    assert notebook.cell("c0")["prompt"] == "[1]:"
    assert not notebook.undoable
    notebook.leave()


def test_notebook_that_was_saved_half_way_gets_the_other_half(page: Page, lab: RestoreLab) -> None:
    path = lab.write("half.ipynb", GATED.format("half"))
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    notebook.save()
    notebook.leave()
    assert lab.saved(path)[0]["outputs"][0]["text"] == ["one\n"]
    lab.open_gate("half")
    lab.wait_recorded(path, "c0")
    notebook = open_notebook(page, path)
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n"
    notebook.leave()


def test_outputs_that_the_user_cleared_stay_cleared(page: Page, lab: RestoreLab) -> None:
    path = lab.write("cleared.ipynb", "print('secret')")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook.save()
    lab.wait_acknowledged(path)
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.save()
    notebook.leave()
    notebook = open_notebook(page, path)
    notebook.wait_settled()
    assert notebook.outputs("c0") == []
    assert not notebook.dirty
    notebook.leave()


def test_outputs_cleared_before_the_first_save_stay_cleared(page: Page, lab: RestoreLab) -> None:
    path = lab.write("cleared_at_once.ipynb", "print('secret')")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.save()
    lab.wait_acknowledged(path)
    notebook.leave()
    notebook = open_notebook(page, path)
    notebook.wait_settled()
    assert notebook.outputs("c0") == []
    notebook.leave()


def test_acknowledgement_that_was_lost_is_made_up_for(page: Page, lab: RestoreLab) -> None:
    path = lab.write("lost.ipynb", "print('once')")
    page.route("**/executions/ack*", lambda route: route.abort())
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    with page.expect_request("**/executions/ack*"):
        notebook.save()
    assert lab.executions(path)
    page.unroute("**/executions/ack*")
    notebook.leave()
    notebook = open_notebook(page, path)
    lab.wait_acknowledged(path)
    assert notebook.text("c0") == "once\n"
    assert not notebook.dirty
    notebook.leave()


def test_cell_whose_code_has_changed_is_left_alone_and_its_outputs_are_offered(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("changed.ipynb", GATED.format("changed"), "print('other')")
    leave_running(page, lab, path)
    changed = lab.write("changed.ipynb", "print('new code')", "print('other')")
    lab.open_gate("changed")
    lab.wait_recorded(path, "c0")
    notebook = open_notebook(page, changed)
    notice = page.get_by_text("changed.ipynb: outputs of 1 cell whose code has changed.")
    expect(notice).to_be_visible()
    assert notebook.outputs("c0") == []
    assert not notebook.dirty

    page.get_by_role("button", name="Show", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("group", name="Outputs 1")).to_contain_text("gate('changed')")
    expect(dialog).to_contain_text("two")
    dialog.get_by_role("button", name="Restore this code and output").click()
    expect(dialog).to_have_count(0)
    notebook.wait_text("c0", "one\ntwo\n")
    assert notebook.cell("c0")["source"] == GATED.format("changed")
    assert notebook.undoable  # the code, as the user asked for it
    notebook.leave()


def test_offered_outputs_can_be_discarded(page: Page, lab: RestoreLab) -> None:
    path = lab.write("discarded.ipynb", GATED.format("discarded"))
    leave_running(page, lab, path)
    lab.write("discarded.ipynb", "print('new code')")
    lab.open_gate("discarded")
    lab.wait_recorded(path, "c0")
    notebook = open_notebook(page, path)
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("button", name="Discard these outputs").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    lab.wait_acknowledged(path)
    expect(page.get_by_text("discarded.ipynb: outputs of")).to_have_count(0)
    assert notebook.cell("c0")["source"] == "print('new code')"
    notebook.leave()


def test_offered_outputs_run_no_script(page: Page, lab: RestoreLab) -> None:
    source = "display({'text/html': '<img src=x onerror=\"window.__ran = 1\">shown'}, raw=True)"
    path = lab.write("script.ipynb", source)
    notebook = open_notebook(page, path)
    page.evaluate("delete window.__ran")
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook.wait("window.__ran === 1", "the script of the trusted output")
    notebook.leave()
    page.evaluate("delete window.__ran")
    lab.write("script.ipynb", "print('new code')")
    notebook = open_notebook(page, path)
    page.get_by_role("button", name="Show", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".jp-OutputArea")).to_contain_text("shown")
    assert page.evaluate("window.__ran") is None
    dialog.get_by_role("button", name="Discard these outputs").click()
    notebook.leave()


def test_outputs_of_a_kernel_that_is_gone_are_found_by_the_path(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("gone.ipynb", GATED.format("gone"), "print('other')")
    leave_running(page, lab, path)
    lab.open_gate("gone")
    lab.wait_recorded(path, "c0")
    lab.end_kernel(path)
    notebook = open_notebook(page, path)  # Lab starts a new kernel for it
    notebook.wait_text("c0", "one\ntwo\n")
    assert notebook.cell("c0")["prompt"] == "[1]:"
    notebook.run("c1")
    notebook.wait_done("c1")
    notebook.save()
    wait_for(lambda: not lab.executions(path, ended=True), "the old record to be acknowledged")
    notebook.leave()
    notebook = open_notebook(page, path)
    notebook.wait_settled()
    assert not notebook.dirty
    assert notebook.text("c0") == "one\ntwo\n"
    notebook.leave()


def test_cell_that_ran_when_its_kernel_was_ended_shows_what_it_had_said(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("ended.ipynb", GATED.format("never"))
    leave_running(page, lab, path)
    lab.end_kernel(path)
    notebook = open_notebook(page, path)
    notebook.wait("cellOf(path, 'c0').model.outputs.length > 0", "the outputs")
    assert notebook.text("c0").startswith("one\n")
    assert notebook.cell("c0")["state"] == "idle"
    notebook.leave()


def test_older_formats_without_cell_ids_match_by_code_that_is_there_once(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("old.ipynb", GATED.format("old"), "print('twice')", "print('twice')", minor=4)
    notebook = open_notebook(page, path)
    first, *twice = notebook.cells()
    notebook.run(first, twice[0])
    notebook.wait_text(first, "one\n")
    lab.open_gate("old")
    notebook.wait_done(twice[0])
    notebook.leave()
    notebook = open_notebook(page, path)
    first, *twice = notebook.cells()
    notebook.wait_text(first, "one\ntwo\n")
    notebook.wait_settled()
    assert [notebook.text(cell) for cell in twice] == ["", ""]
    notebook.leave()


def test_cell_far_down_a_long_notebook_is_restored_out_of_sight(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("long.ipynb", *["#\n" * 30] * 120, GATED.format("long"))
    leave_running(page, lab, path, "c120")
    lab.open_gate("long")
    lab.wait_recorded(path, "c120")
    notebook = open_notebook(page, path)
    notebook.wait_text("c120", "one\ntwo\n")
    notebook.leave()


VIEWS = "const views = [...jupyterapp.shell.widgets('main')].filter(w => w.context?.path === path);"


def test_two_views_of_a_document_show_each_output_once(page: Page, lab: RestoreLab) -> None:
    path = lab.write("views.ipynb", GATED.format("views"))
    leave_running(page, lab, path)
    notebook = open_notebook(page, path)
    notebook.wait_text("c0", "one\n")
    notebook.command("docmanager:clone")
    assert notebook.js(f"{VIEWS} return views.length") == 2
    assert notebook.text("c0") == "one\n"
    notebook.js(f"{VIEWS} views[0].dispose()")
    notebook.wait_text("c0", "one\n")
    lab.open_gate("views")
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n"
    notebook.leave()


def test_running_cell_can_be_moved(page: Page, lab: RestoreLab) -> None:
    path = lab.write("moved.ipynb", GATED.format("moved"), "2")
    leave_running(page, lab, path)
    notebook = open_notebook(page, path)
    notebook.wait_text("c0", "one\n")
    notebook.js("panel(path).content.activeCellIndex = 0")
    notebook.command("notebook:move-cell-down")
    assert list(notebook.cells()) == ["c1", "c0"]
    lab.open_gate("moved")
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n"
    notebook.leave()


def test_restored_display_is_updated_by_a_later_cell(page: Page, lab: RestoreLab) -> None:
    path = lab.write("later.ipynb", "h = display('old', display_id=True)", "h.update('new')")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook.leave()
    notebook = open_notebook(page, path)
    notebook.wait("cellOf(path, 'c0').model.outputs.length === 1", "the display")
    notebook.run("c1")
    notebook.wait(
        "cellOf(path, 'c0').model.outputs.get(0)?.data['text/plain'] === \"'new'\"", "its update"
    )
    notebook.leave()


def test_unchanged_notebook_stays_clean(page: Page, lab: RestoreLab) -> None:
    path = lab.write("clean.ipynb", "print('one')", "display('two')", "1 / 0", "")
    notebook = open_notebook(page, path)
    notebook.run("c0", "c1", "c2")
    notebook.wait_done("c2")
    notebook.save()
    lab.wait_acknowledged(path)
    notebook.leave()
    before = (lab.root / path).read_bytes()
    notebook = open_notebook(page, path)
    notebook.wait_settled()
    assert not notebook.dirty
    assert not notebook.undoable
    notebook.leave()
    assert (lab.root / path).read_bytes() == before
