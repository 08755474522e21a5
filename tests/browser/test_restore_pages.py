"""A page that was reloaded, a browser that was closed, a second page: cells go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .notebook_page import Notebook, open_notebook
from .restore_lab import RestoreLab, lab_page, load

GATED = "from gate import gate\nprint('one')\ngate('{0}')\nprint('two')"
ASKS = "name = input('Name? ')\nprint('Hello', name)"
BOX = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Stdin-input"
ANSWERED = "Name?  Ada\nHello Ada\n"  # as Lab writes it: prompt, blank, answer


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestoreLab]:
    """One JupyterLab for all tests of this file."""
    lab = RestoreLab(tmp_path_factory.mktemp("pages"))
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def page(browser: Browser, lab: RestoreLab) -> Iterator[Page]:
    """One page for all of them; each test reloads it."""
    with lab_page(browser, lab) as page:
        yield page
        assert page.locator(".jp-Dialog").count() == 0


def reload(page: Page, lab: RestoreLab, path: str) -> Notebook:
    """Load the page anew and open the notebook."""
    load(page, lab)
    return open_notebook(page, path)


def answer(page: Page, text: str) -> None:
    """Type into the input box."""
    box = page.locator(BOX)
    expect(box).to_be_visible()
    box.fill(text)
    box.press("Enter")


def test_running_and_queued_cells_go_on_after_a_reload(page: Page, lab: RestoreLab) -> None:
    path = lab.write("queued.ipynb", GATED.format("queued"), "print('second')", "print('third')")
    notebook = open_notebook(page, path)
    notebook.run("c0", "c1", "c2")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait("cellOf(path, 'c2').promptNode?.textContent === '[*]:'", "the queue")
    assert [cell["prompt"] for cell in notebook.cells().values()] == ["[*]:"] * 3
    # As the server knows it, in place of "unknown" until the cell ends.
    notebook.wait("['busy', 'idle'].includes(kernelOf(path).status)", "the status")
    notebook.wait_text("c0", "one\n")
    lab.open_gate("queued")
    notebook.wait_done("c2")
    assert [notebook.text(cell) for cell in notebook.cells()] == [
        "one\ntwo\n",
        "second\n",
        "third\n",
    ]
    assert [cell["prompt"] for cell in notebook.cells().values()] == ["[1]:", "[2]:", "[3]:"]
    assert not notebook.undoable


def test_cells_queued_behind_an_error_wait_no_longer(page: Page, lab: RestoreLab) -> None:
    path = lab.write("aborted.ipynb", GATED.format("aborted") + "\n1 / 0", "print('never')")
    notebook = open_notebook(page, path)
    notebook.run("c0", "c1")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait("cellOf(path, 'c1').promptNode?.textContent === '[*]:'", "the queue")
    lab.open_gate("aborted")
    notebook.wait("cellOf(path, 'c1').model.executionState === 'idle'", "the end of the queue")
    assert notebook.outputs("c0")[-1]["ename"] == "ZeroDivisionError"
    assert notebook.outputs("c1") == []
    assert notebook.cell("c1")["prompt"] == "[ ]:"


def test_browser_is_closed_and_another_one_shows_all(
    browser: Browser, page: Page, lab: RestoreLab
) -> None:
    path = lab.write("closed.ipynb", GATED.format("closed"))
    with lab_page(browser, lab) as first:
        notebook = open_notebook(first, path)
        notebook.run("c0")
        notebook.wait_text("c0", "one\n")
    lab.open_gate("closed")
    lab.wait_recorded(path, "c0")
    notebook = open_notebook(page, path)
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n"


def test_two_pages_show_each_output_once(browser: Browser, page: Page, lab: RestoreLab) -> None:
    path = lab.write("twice.ipynb", GATED.format("twice"), "print('later')")
    first = open_notebook(page, path)
    first.run("c0")
    first.wait_text("c0", "one\n")
    with lab_page(browser, lab) as other:
        second = open_notebook(other, path)
        second.wait_text("c0", "one\n")
        lab.open_gate("twice")
        for notebook in (first, second):
            notebook.wait_done("c0")
            assert notebook.text("c0") == "one\ntwo\n"
            assert notebook.cell("c0")["prompt"] == "[1]:"
        second.run("c1")
        second.wait_done("c1")
        assert second.text("c1") == "later\n"


def test_page_follows_a_cell_that_another_page_runs_anew(
    browser: Browser, page: Page, lab: RestoreLab
) -> None:
    path = lab.write("anew.ipynb", GATED.format("anew"))
    first = open_notebook(page, path)
    first.run("c0")
    first.wait_text("c0", "one\n")
    with lab_page(browser, lab) as other:
        second = open_notebook(other, path)
        second.wait_text("c0", "one\n")
        first.run("c0")  # queued behind itself
        lab.open_gate("anew")
        for notebook in (first, second):
            notebook.wait("cellOf(path, 'c0').model.executionCount === 2", "the second run")
            assert notebook.text("c0") == "one\ntwo\n"


# -- input() ---------------------------------------------------------------------------------------
def test_question_asked_before_the_reload_can_be_answered_after_it(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("asked.ipynb", ASKS)
    notebook = open_notebook(page, path)
    notebook.run("c0")
    expect(page.locator(BOX)).to_be_visible()
    notebook = reload(page, lab, path)
    answer(page, "Ada")
    notebook.wait_done("c0")
    assert notebook.text("c0") == ANSWERED
    notebook = reload(page, lab, path)
    notebook.wait_done("c0")
    assert notebook.text("c0") == ANSWERED


def test_question_asked_after_the_reload_can_be_answered(page: Page, lab: RestoreLab) -> None:
    path = lab.write("asks.ipynb", GATED.format("asks") + "\n" + ASKS)
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait_text("c0", "one\n")
    lab.open_gate("asks")
    answer(page, "Ada")
    notebook.wait_done("c0")
    assert notebook.text("c0") == "one\ntwo\n" + ANSWERED


def test_question_that_another_page_has_answered_goes_away(
    browser: Browser, page: Page, lab: RestoreLab
) -> None:
    path = lab.write("both.ipynb", ASKS)
    first = open_notebook(page, path)
    first.run("c0")
    expect(page.locator(BOX)).to_be_visible()
    with lab_page(browser, lab) as other:
        second = open_notebook(other, path)
        expect(other.locator(BOX)).to_be_visible()
        with lab_page(browser, lab) as third:
            answering = open_notebook(third, path)
            answer(third, "Ada")
            answering.wait_done("c0")
            assert answering.text("c0") == ANSWERED
        second.wait_done("c0")
        expect(other.locator(BOX)).to_have_count(0)
        assert second.text("c0") == ANSWERED


def test_password_is_not_in_the_record(page: Page, lab: RestoreLab) -> None:
    path = lab.write("password.ipynb", "import getpass\nlength = len(getpass.getpass())\nlength")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    expect(page.locator(BOX)).to_be_visible()
    notebook = reload(page, lab, path)
    answer(page, "correct horse")
    notebook.wait_done("c0")
    assert notebook.outputs("c0")[-1]["data"]["text/plain"] == "13"
    assert "correct horse" not in str(lab.executions(path))


# -- widgets ---------------------------------------------------------------------------------------
def test_widget_is_live_after_a_reload(page: Page, lab: RestoreLab) -> None:
    source = "import ipywidgets as w\nslider = w.IntSlider(value=3, description='size')\nslider"
    path = lab.write("widget.ipynb", source, "print(slider.value)")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook = reload(page, lab, path)
    handle = page.locator(".jupyter-widgets .noUi-handle")
    expect(handle).to_be_visible()
    handle.focus()
    handle.press("ArrowRight")
    expect(page.locator(".jupyter-widgets .widget-readout")).to_have_text("4")
    notebook.run("c1")
    notebook.wait_text("c1", "4\n")


# -- what a person does next -----------------------------------------------------------------------
def test_restored_cell_can_be_run_again(page: Page, lab: RestoreLab) -> None:
    path = lab.write("again.ipynb", GATED.format("again"))
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait_text("c0", "one\n")
    notebook.run("c0")
    lab.open_gate("again")
    notebook.wait("cellOf(path, 'c0').model.executionCount === 2", "the second run")
    assert notebook.text("c0") == "one\ntwo\n"


def test_restored_cell_can_be_interrupted(page: Page, lab: RestoreLab) -> None:
    path = lab.write("interrupted.ipynb", GATED.format("nobody"))
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait_text("c0", "one\n")
    notebook.command("notebook:interrupt-kernel")
    notebook.wait_done("c0")
    assert notebook.outputs("c0")[-1]["ename"] == "KeyboardInterrupt"


def test_kernel_can_be_restarted_under_a_restored_cell(page: Page, lab: RestoreLab) -> None:
    path = lab.write("restarted.ipynb", GATED.format("nobody"), "print('queued')", "print('new')")
    notebook = open_notebook(page, path)
    notebook.run("c0", "c1")
    notebook.wait_text("c0", "one\n")
    notebook = reload(page, lab, path)
    notebook.wait_text("c0", "one\n")
    notebook.js("void panel(path).sessionContext.restartKernel()")
    notebook.wait(
        "['c0', 'c1'].every(id => cellOf(path, id).model.executionState === 'idle')",
        "the cells to stop waiting",
    )
    assert notebook.text("c0").startswith("one\n")
    notebook.wait("kernelOf(path)?.status === 'idle'", "the new kernel")
    notebook.run("c2")
    notebook.wait_done("c2")
    assert notebook.text("c2") == "new\n"
    assert notebook.cell("c2")["count"] == 1


def test_setting_switches_it_off(browser: Browser, page: Page, lab: RestoreLab) -> None:
    path = lab.write("off.ipynb", "print('one')")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    notebook.leave()
    lab.settings("jupyter-cloudml", "restore", {"restoreOutputs": False})
    with lab_page(browser, lab) as other:
        notebook = open_notebook(other, path)
        notebook.wait("kernelOf(path)?.status === 'idle'", "the kernel")
        assert notebook.outputs("c0") == []
    lab.settings("jupyter-cloudml", "restore", {"restoreOutputs": True})
    with lab_page(browser, lab) as other:
        open_notebook(other, path).wait_text("c0", "one\n")


# A document that several people edit, as jupyter-collaboration makes it, looks so to the page. That extension itself would change
# every document of this server.
SHARED = """on => {
  const model = [...jupyterapp.shell.widgets('main')].find(w => w.context).context.model;
  const kind = Object.getPrototypeOf(model);
  window.__alone ??= Object.getOwnPropertyDescriptor(kind, 'collaborative');
  Object.defineProperty(
    kind, 'collaborative', on ? { get: () => true, configurable: true } : window.__alone
  );
}"""


def test_document_that_is_edited_together_is_left_alone_and_says_so(
    page: Page, lab: RestoreLab
) -> None:
    path = lab.write("together.ipynb", "print('one')")
    load(page, lab)
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_done("c0")
    page.evaluate(SHARED, True)
    notebook.leave()
    notebook = open_notebook(page, path)
    expect(
        page.get_by_text(
            "together.ipynb is edited together: the outputs of 1 cell were not put in."
        )
    ).to_be_visible()
    assert notebook.outputs("c0") == []
    assert not notebook.dirty
    page.get_by_role("button", name="Show", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("one")
    expect(dialog.get_by_role("button", name="Restore this code and output")).to_have_count(0)
    dialog.get_by_role("button", name="Close", exact=True).click()
    page.evaluate(SHARED, False)
