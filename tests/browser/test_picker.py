"""Choosing where a notebook runs: what the picker offers, what it says first, and what a move does."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from .lab import Lab, wait_for
from .view import View

WHO = "import os\nprint('process', os.getpid())"
REMEMBER = "kept = 42\nprint('kept')"


RUN_IN = """async ([id, code]) => {
  const model = { id, name: 'python3' };
  const kernel = window.jupyterapp.serviceManager.kernels.connectTo({ model });
  let said = '';
  const future = kernel.requestExecute({ code });
  future.onIOPub = message => { said += message.content.text ?? ''; };
  await future.done;
  kernel.dispose();
  return said;
}"""


def run_in(view: View, kernel: str, code: str) -> str:
    """Run code in a kernel from the page, apart from any document; returns what it printed."""
    return str(view.page.evaluate(RUN_IN, [kernel, code]))


def kernels(lab: Lab) -> set[str]:
    _, answer = lab.request("GET", "api/kernels")
    return {kernel["id"] for kernel in answer}


def open_picker(view: View, name: str) -> Locator:
    view.machine_button.click()
    dialog = view.page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Where should {name} run?")
    expect(dialog.get_by_role("combobox", name="Filter machines")).to_be_focused()
    return dialog


def test_picker_offers_running_machines_and_a_way_to_add_one(view: View, lab: Lab) -> None:
    lab.notebook("offer.ipynb", [WHO], kernel="python3")
    view.open_notebook("offer.ipynb")
    dialog = open_picker(view, "offer.ipynb")
    running = dialog.get_by_role("group", name="Running")
    expect(running.get_by_role("option")).to_have_count(1)
    expect(running.get_by_role("option")).to_contain_text("This machine")
    expect(dialog.get_by_role("group", name="Add").get_by_role("option")).to_have_text(
        "Machine over SSH…"
    )
    expect(dialog.get_by_role("combobox", name="Filter machines")).to_be_focused()
    view.page.keyboard.type("nowhere")
    expect(running).to_have_count(0)
    expect(dialog).to_contain_text("No machine matches “nowhere”.")
    for _ in "nowhere":
        view.page.keyboard.press("Backspace")
    view.page.keyboard.type("python this")
    expect(running.get_by_role("option")).to_have_count(1)
    before = view.kernel_id("offer.ipynb")
    view.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(view.machine_button).to_be_focused()
    assert view.kernel_id("offer.ipynb") == before


def test_the_way_to_add_a_machine_opens_the_form(view: View, lab: Lab) -> None:
    lab.notebook("form.ipynb", [WHO], kernel="python3")
    view.open_notebook("form.ipynb")
    open_picker(view, "form.ipynb").get_by_role("option", name="Machine over SSH…").click()
    expect(view.page.get_by_role("heading", name="Add a machine over SSH")).to_be_visible()


def test_move_says_what_it_means_and_can_be_declined(view: View, lab: Lab) -> None:
    lab.notebook("decline.ipynb", [WHO], kernel="python3")
    view.open_notebook("decline.ipynb")
    before = view.kernel_id("decline.ipynb")
    open_picker(view, "decline.ipynb")
    view.page.keyboard.press("Enter")
    dialog = view.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Move decline.ipynb to This machine?")
    expect(dialog).to_contain_text("A new kernel starts on This machine.")
    expect(dialog).to_contain_text("Variables stay behind in the old one.")
    expect(dialog).to_contain_text("Files stay where they are.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert view.kernel_id("decline.ipynb") == before


def test_move_by_keyboard_starts_a_new_kernel_and_stops_the_old(view: View, lab: Lab) -> None:
    lab.notebook("move.ipynb", [WHO], kernel="python3")
    view.open_notebook("move.ipynb")
    before = view.kernel_id("move.ipynb")
    open_picker(view, "move.ipynb")
    view.page.keyboard.press("Enter")
    expect(view.page.get_by_role("button", name="Move", exact=True)).to_be_focused()
    view.page.keyboard.press("Enter")
    expect(view.page.get_by_text("move.ipynb runs on This machine")).to_be_visible(timeout=60_000)
    view.wait_kernel("move.ipynb")
    after = view.kernel_id("move.ipynb")
    assert after != before
    wait_for(lambda: before not in kernels(lab), "the old kernel to end")
    assert after in kernels(lab)
    view.run_cell(0)
    expect(view.output(0)).to_contain_text("process")
    row = next(row for row in lab.api("GET", "kernels")["kernels"] if row["id"] == after)
    assert (row["machine"], row["path"]) == ("local", "move.ipynb")


def test_old_kernel_goes_on_when_it_is_to_be_kept(view: View, lab: Lab) -> None:
    lab.notebook("keep.ipynb", [REMEMBER, WHO], kernel="python3")
    view.open_notebook("keep.ipynb")
    view.run_cell(0)
    expect(view.output(0)).to_contain_text("kept")
    before = view.kernel_id("keep.ipynb")
    open_picker(view, "keep.ipynb")
    view.page.keyboard.press("Enter")
    view.page.get_by_role("checkbox", name="Stop the old kernel").uncheck()
    view.page.get_by_role("button", name="Move", exact=True).click()
    expect(view.page.get_by_text("keep.ipynb runs on This machine")).to_be_visible(timeout=60_000)
    view.wait_kernel("keep.ipynb")
    assert {before, view.kernel_id("keep.ipynb")} <= kernels(lab)
    _, sessions = lab.request("GET", "api/sessions")
    kept = next(session for session in sessions if session["kernel"]["id"] == before)
    assert kept["type"] == "console"
    assert run_in(view, before, "print('still', kept)") == "still 42\n"


def test_choosing_what_is_there_changes_nothing(view: View, lab: Lab) -> None:
    lab.notebook("same.ipynb", [WHO])
    view.open_notebook("same.ipynb")
    before = view.kernel_id("same.ipynb")
    dialog = open_picker(view, "same.ipynb")
    current = dialog.get_by_role("option").filter(has_text="this notebook")
    expect(current).to_contain_text("This machine")
    current.click()
    expect(view.page.get_by_role("dialog")).to_have_count(0)
    assert view.kernel_id("same.ipynb") == before
