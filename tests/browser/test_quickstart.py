"""The main job: a notebook on a machine over SSH keeps every line through a cut link and a killed server."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, Identity, SSHConfig
from playwright.sync_api import expect

from .lab import wait_for
from .notebook_page import Notebook, open_notebook
from .restore_lab import RestoreLab
from .view import View

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
PATH = EXAMPLE.name
EPOCHS = 20
CUT_MS = 4000
READY_MS = 90_000


@pytest.fixture(scope="module")
def config(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> SSHConfig:
    """The ssh configuration of the server's user."""
    made = SSHConfig(tmp_path_factory.mktemp("ssh"), identity)
    made.folder.chmod(0o700)
    made.write()
    return made


@pytest.fixture(scope="module")
def lab(config: SSHConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestoreLab]:
    """A server that reads that configuration, with the example."""
    environment = {"JUPYTER_CLOUDML_SSH_CONFIG": str(config.path)}
    lab = RestoreLab(tmp_path_factory.mktemp("quickstart"), environment=environment)
    shutil.copy(EXAMPLE, lab.root)
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


def add_through_the_form(view: View, name: str, host: Host) -> None:
    """Add a machine as a person does, comparing the host's key."""
    view.panel()
    view.page.get_by_role("button", name="New: add a machine").click()
    view.page.get_by_role("menuitem", name="Machine over SSH…").click()
    form = view.page.locator(".jp-cloudml-page")
    form.get_by_role("button", name=name).click()
    form.get_by_text("More", exact=True).click()
    form.get_by_label("Python").fill(sys.executable)  # has what the example imports
    form.get_by_role("button", name="Continue").click()
    key = form.get_by_role("region", name="Host key")
    expect(key).to_contain_text(host.fingerprint, timeout=30_000)
    form.get_by_role("button", name="Trust and continue").click()
    expect(form.get_by_text(f"{name} is ready.")).to_be_visible(timeout=READY_MS)


def move_with_the_picker(view: View, name: str) -> None:
    """Choose a machine for the notebook in front with the keyboard."""
    view.machine_button.click()
    dialog = view.page.get_by_role("dialog", name=f"Where should {PATH} run?")
    expect(dialog.get_by_role("combobox", name="Filter machines")).to_be_focused()
    view.page.keyboard.type(name)
    view.page.keyboard.press("Enter")
    view.page.get_by_role("button", name="Move", exact=True).click()
    expect(view.page.get_by_text(f"{PATH} runs on {name}")).to_be_visible(timeout=READY_MS)
    view.wait_kernel(PATH)


def epochs(notebook: Notebook) -> list[int]:
    """Return the epochs that the training has reported, as the page shows them."""
    return [int(number) for number in re.findall(r"^epoch +(\d+)/", notebook.text("train"), re.M)]


def wait_epoch(notebook: Notebook, epoch: int) -> None:
    wait_for(lambda: epochs(notebook)[-1:] >= [epoch], f"epoch {epoch}")


def check_outputs(notebook: Notebook, host: Host) -> None:
    """Everything is there once, and right."""
    notebook.wait_done("plot", 60)
    assert notebook.text("where-it-runs").startswith(f"{host.name}: Python 3.")
    assert epochs(notebook) == list(range(1, EPOCHS + 1))
    assert re.findall("final accuracy (.*)", notebook.text("train")) == ["0.9756"]
    assert [output["output_type"] for output in notebook.outputs("plot")] == ["display_data"]
    assert "image/png" in notebook.outputs("plot")[0]["data"]
    assert [cell["prompt"] for cell in notebook.cells().values()] == [
        f"[{number}]:" for number in range(1, 5)
    ]


def test_training_on_a_machine_survives_a_cut_link_and_a_killed_server(
    view: View, lab: RestoreLab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "box-2", known=False)
    view.open_notebook(PATH)
    add_through_the_form(view, "box-2", host)
    view.command("docmanager:open", {"path": PATH})
    move_with_the_picker(view, "box-2")

    notebook = Notebook(view.page, PATH)
    view.run_all()
    wait_epoch(notebook, 2)
    host.link(up=False)
    view.page.wait_for_timeout(CUT_MS)  # how long the cut lasts, not a wait for something
    host.link(up=True)
    wait_epoch(notebook, 8)
    kernel = view.kernel_id(PATH)

    lab.kill()
    lab.start()
    view.open()
    view.command("docmanager:open", {"path": PATH})
    notebook.wait_connected()
    assert view.kernel_id(PATH) == kernel
    check_outputs(notebook, host)
    plot = view.output(4).locator("img")
    plot.scroll_into_view_if_needed()
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 100
    expect(view.machine_button).to_contain_text("box-2 running")
    expect(view.page.get_by_text(re.compile("died|dead", re.IGNORECASE))).to_have_count(0)
    assert not notebook.undoable
    notebook.wait("kernelOf(path).status === 'idle'", "the status")
    view.picture("quickstart")

    notebook.save()
    lab.wait_acknowledged(PATH)
    view.open()
    view.command("docmanager:open", {"path": PATH})
    notebook.wait_settled()
    assert not notebook.dirty
    check_outputs(notebook, host)


def test_cell_that_ends_while_link_and_page_are_away_is_complete_afterwards(
    view: View, lab: RestoreLab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "away")
    lab.add_machine("away", host="away", host_key=host.fingerprint, python=sys.executable)
    source = "import os, time\nprint('one')\nwhile not os.path.exists('/tmp/go'):\n    time.sleep(0.01)\nprint('two')\nopen('/tmp/gone', 'w').close()"
    path = lab.write("away.ipynb", source, kernel="cloudml-away")
    view.open()  # with the new kernelspec
    view.open_notebook(path)
    notebook = Notebook(view.page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    view.open()
    host.link(up=False)
    try:
        (host.root / "tmp/go").touch()
        wait_for((host.root / "tmp/gone").exists, "the cell's end on the host")
        notebook = open_notebook(view.page, path, kernel=False)
        notebook.wait_text("c0", "one\n")  # what had come before the cut
        assert notebook.cell("c0")["prompt"] == "[*]:"
    finally:
        host.link(up=True)
    notebook.wait_text("c0", "one\ntwo\n", 60)
    notebook.wait_done("c0")
    assert notebook.cell("c0")["prompt"] == "[1]:"
    expect(view.page.get_by_text(re.compile("died|dead", re.IGNORECASE))).to_have_count(0)
