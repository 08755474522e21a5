"""The side panel, the status bar and the commands, on this computer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from .lab import Lab
from .view import View

COUNT = "import time\nfor i in range(3):\n    print('line', i)\n"


def test_panel_lists_this_machine_and_invites_to_add_another(view: View) -> None:
    panel = view.panel()
    rows = panel.get_by_role("list", name="Machines").get_by_role("listitem")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("This machine")
    expect(rows.first.get_by_role("status")).to_have_text("running")
    expect(rows.first).to_contain_text(re.compile(r"\d+ CPU · [\d.]+ GB"))
    expect(panel.get_by_role("button", name="Add a machine over SSH…")).to_be_visible()
    expect(panel).to_contain_text("Open a notebook to see and choose where it runs.")


def test_notebook_section_shows_machine_and_gauges(view: View, lab: Lab) -> None:
    lab.notebook("gauges.ipynb", [COUNT])
    panel = view.panel()
    view.open_notebook("gauges.ipynb")
    place = panel.locator(".jp-cloudml-place")
    expect(place).to_contain_text("gauges.ipynb")
    expect(place).to_contain_text("This machine")
    expect(place.get_by_role("status")).to_have_text("running")
    memory = place.get_by_role("meter", name="Memory")
    expect(memory).to_have_attribute("aria-valuetext", re.compile(r"[\d.]+/[\d.]+ GB"))
    expect(place.get_by_role("meter", name="CPU")).to_have_attribute(
        "aria-valuenow", re.compile(r"\d+")
    )
    expect(place).to_contain_text(re.compile(r"This kernel: .*\d [MG]B"), timeout=15_000)
    expect(view.machine_button).to_contain_text("This machine running")


def test_a_cell_runs_on_this_machine(view: View, lab: Lab) -> None:
    lab.notebook("run.ipynb", [COUNT])
    view.open_notebook("run.ipynb")
    view.run_cell(0)
    expect(view.output(0)).to_have_text("line 0\nline 1\nline 2\n", use_inner_text=False)


def test_plain_kernel_is_told_from_one_that_lasts(view: View, lab: Lab) -> None:
    lab.notebook("plain.ipynb", [COUNT], kernel="python3")
    panel = view.panel()
    view.open_notebook("plain.ipynb")
    expect(panel.locator(".jp-cloudml-place")).to_contain_text("ends with the Jupyter server")


def test_status_bar_opens_the_panel(view: View, lab: Lab) -> None:
    lab.notebook("status.ipynb", [COUNT])
    view.open_notebook("status.ipynb")
    item = view.page.get_by_role("button", name="This machine: running")
    expect(item).to_be_visible()
    item.click()
    expect(view.page.get_by_role("region", name="CloudML", exact=True)).to_be_visible()


def test_shortcut_shows_the_panel(view: View) -> None:
    view.page.keyboard.press("Control+Alt+m")
    expect(view.page.get_by_role("region", name="CloudML", exact=True)).to_be_visible()


def test_commands_are_in_the_palette(view: View) -> None:
    # As a dialog the palette closes when anything else takes the focus, as Lab's start does.
    view.set_setting("@jupyterlab/apputils-extension:palette", {"modal": False})
    view.open()  # with an empty workspace, whatever the page of another test has saved late
    view.begin("apputils:activate-command-palette")
    palette = view.page.locator(".lm-CommandPalette")
    palette.locator("input").fill("cloudml")
    items = palette.locator(".lm-CommandPalette-itemLabel")
    for label in ("Show CloudML", "Add Machine over SSH…", "Check Machine…", "Remove Machine…"):
        expect(items.filter(has_text=label)).to_be_visible()
    # Without a notebook there is nothing to choose for.
    disabled = palette.locator(".lm-CommandPalette-item.lm-mod-disabled")
    expect(disabled.filter(has_text="Choose Machine…")).to_be_visible()


def test_rows_are_reached_and_opened_by_keyboard(view: View) -> None:
    view.panel()
    row = view.row("local")
    row.press("Shift+F10")
    menu = view.page.get_by_role("menu")
    expect(menu.get_by_role("menuitem", name="Check…")).to_be_visible()
    expect(menu.get_by_role("menuitem", name="Remove…")).to_have_count(0)
    view.page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(row).to_be_focused()
    row.press("Enter")
    expect(view.machine_button).to_contain_text("This machine running", timeout=30_000)


def test_settings_of_a_machine_are_changed(view: View, lab: Lab) -> None:
    panel = view.panel()
    panel.get_by_role("button", name="Actions for This machine").click()
    view.page.get_by_role("menuitem", name="Settings…").click()
    dialog = view.page.get_by_role("dialog", name="Settings of This machine")
    dialog.get_by_label("Name shown").fill("My laptop")
    dialog.get_by_label("End idle kernels after").select_option("2 h")
    dialog.get_by_label("Kernels kept ready").select_option("1")
    view.picture("settings")
    dialog.get_by_role("button", name="Save").click()
    expect(view.row("local")).to_contain_text("My laptop")
    _, machine = lab.request("GET", "cloudml/api/v1/machines/local")
    assert (machine["cull_idle_s"], machine["prewarm"]) == (7200, 1)
    before = {"label": "This machine", "cull_idle_s": None, "prewarm": 0}
    lab.request("PATCH", "cloudml/api/v1/machines/local", before)
    expect(view.row("local")).to_contain_text("This machine", timeout=30_000)


def build_dialog(view: View) -> Locator:
    view.panel().get_by_role("button", name="Actions for This machine").click()
    view.page.get_by_role("menuitem", name="Build environment…").click()
    return view.page.get_by_role("dialog", name="Build an environment on This machine")


def test_an_environment_is_built_and_offered(view: View, lab: Lab) -> None:
    dialog = build_dialog(view)
    expect(dialog).to_contain_text("Kernels there have the packages of this server now.")
    source = dialog.get_by_label("From", exact=True)
    expect(source.get_by_role("option")).to_contain_text(["packages of this server", "cpu", "dask"])
    source.select_option("a file or folder…")
    dialog.get_by_label("Path on the server").fill("/no/such/requirements.txt")
    assert view.axe(".jp-Dialog") == []
    dialog.get_by_role("button", name="Build").click()
    expect(view.page.get_by_text("there is no file /no/such/requirements.txt")).to_be_visible()

    impossible = lab.root / "requirements.txt"
    impossible.write_text("six>1000\n")
    dialog = build_dialog(view)
    dialog.get_by_label("From", exact=True).select_option("a file or folder…")
    dialog.get_by_label("Path on the server").fill(str(impossible))
    dialog.get_by_role("button", name="Build").click()
    failure = view.page.get_by_text("the packages cannot be resolved")
    expect(failure).to_be_visible(timeout=60_000)
    view.page.get_by_role("button", name="Show log").click()
    log = view.page.get_by_role("dialog", name="Environment on This machine")
    expect(log).to_contain_text("six>1000")
    log.get_by_role("button", name="Close").click()

    impossible.write_text("six==1.17.0\n")
    dialog = build_dialog(view)
    dialog.get_by_label("From", exact=True).select_option("a file or folder…")
    dialog.get_by_label("Path on the server").fill(str(impossible))
    dialog.get_by_label("Name", exact=True).fill("demo")
    dialog.get_by_role("button", name="Build").click()
    ready = view.page.get_by_text("demo is ready on This machine: choose it as a kernel")
    expect(ready).to_be_visible(timeout=90_000)
    lab.notebook("built.ipynb", [COUNT])
    view.open_notebook("built.ipynb")
    view.machine_button.click()
    option = view.page.get_by_role("option").filter(has_text="[demo]")
    expect(option).to_be_visible()
    view.page.keyboard.press("Escape")
    lab.request("DELETE", "cloudml/api/v1/machines/local/environments/demo")


def test_check_shows_each_step(view: View) -> None:
    panel = view.panel()
    panel.get_by_role("button", name="Actions for This machine").click()
    view.page.get_by_role("menuitem", name="Check…").click()
    page = view.page.locator(".jp-cloudml-page")
    expect(page.get_by_role("heading", name="Check of This machine")).to_be_visible()
    expect(page.get_by_text("Everything works.")).to_be_visible(timeout=60_000)
    steps = page.get_by_role("list", name="Steps").get_by_role("listitem")
    assert steps.count() >= 3
    for step in steps.all():
        expect(step).to_contain_text("ok")


def test_gauges_can_be_switched_off(view: View, lab: Lab) -> None:
    lab.notebook("quiet.ipynb", [COUNT])
    panel = view.panel()
    view.open_notebook("quiet.ipynb")
    meter = panel.get_by_role("meter", name="CPU")
    expect(meter).to_be_visible()
    view.set_setting("jupyter-cloudml:plugin", {"showGauges": False})
    view.reload()
    view.panel()
    view.open_notebook("quiet.ipynb")  # Lab may not have kept yet that it was open
    expect(panel.locator(".jp-cloudml-place")).to_contain_text("running")
    expect(meter).to_have_count(0)
    view.set_setting("jupyter-cloudml:plugin", {})


def test_panel_says_that_the_server_is_gone_and_recovers(view: View, lab: Lab) -> None:
    panel = view.panel()
    expect(view.row("local")).to_be_visible()
    lab.kill()
    panel.get_by_role("button", name="Refresh machines").click()
    expect(panel.get_by_role("alert")).to_contain_text("The Jupyter server is not answering.")
    expect(view.row("local")).to_be_visible()
    lab.start()
    expect(panel.get_by_role("alert")).to_have_count(0, timeout=30_000)
    view.errors.clear()  # Lab itself reports the requests that failed meanwhile


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server whose extension is switched off, as after an incomplete installation."""
    off = "--ServerApp.jpserver_extensions={'jupyter_cloudml_server': False}"
    server = Lab(tmp_path_factory.mktemp("bare"), arguments=[off])
    try:
        yield server.start()
    finally:
        server.close()


def test_missing_server_extension_is_named_with_its_remedy(page: Page, bare: Lab) -> None:
    view = View(page, bare).open()
    panel = view.panel()
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text("The server extension is not answering (404).")
    panel.get_by_role("button", name="How to fix").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("jupyter server extension enable jupyter_cloudml_server")
    dialog.get_by_role("button", name="Close").click()
    panel.get_by_role("button", name="Retry").click()
    expect(alert).to_be_visible()


@pytest.fixture
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Jupyter Notebook 7."""
    server = Lab(tmp_path_factory.mktemp("notebook"), app="notebook")
    try:
        yield server.start()
    finally:
        server.close()


def test_notebook_7_has_the_button_the_picker_and_the_panel(page: Page, classic: Lab) -> None:
    classic.notebook("seven.ipynb", [COUNT])
    view = View(page, classic)
    page.goto(classic.url("notebooks/seven.ipynb", reset=False))
    view.wait_ready()
    button = page.locator(".jp-cloudml-machine-button")
    expect(button).to_contain_text("This machine running", timeout=60_000)
    button.click()
    expect(page.get_by_role("dialog")).to_contain_text("Where should seven.ipynb run?")
    page.keyboard.press("Escape")
    panel = view.panel()
    expect(panel.locator(".jp-cloudml-place")).to_contain_text("seven.ipynb")
    expect(view.row("local")).to_contain_text("running")
