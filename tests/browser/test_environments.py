"""Environments in the page: one is built from a notebook's own file by a move, what does not fit is said and made equal, and all are listed."""

from __future__ import annotations

import json
import subprocess

import pytest
from cloudbox.faults import Host
from playwright.sync_api import Locator, expect
from uv import find_uv_bin

from .lab import Lab, wait_for
from .test_code import config, gpu, lab  # noqa: F401 - the fixtures
from .view import View

VERSION = "import ipykernel\nprint('ipykernel', ipykernel.__version__)"
OLD = "6.31.0"
BUILT_MS = 180_000


@pytest.fixture(scope="module")
def small(lab: Lab) -> str:  # noqa: F811
    """A kernel of this computer with a Python and an ipykernel of its own."""
    name = "small"
    folder = lab.folder / name
    python = folder / "bin" / "python"
    for argv in (
        ["venv", "-q", str(folder)],
        ["pip", "install", "-q", "--python", str(python), f"ipykernel=={OLD}"],
    ):
        subprocess.run([find_uv_bin(), *argv], check=True, timeout=120)
    spec = lab.folder / "data" / "kernels" / name
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    written = {"argv": argv, "display_name": name, "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(written))
    return name


def choose(view: View, name: str) -> Locator:
    view.machine_button.click()
    picker = view.page.get_by_role("dialog", name=f"Where should {name} run?")
    expect(picker.get_by_role("combobox", name="Filter machines")).to_be_focused()
    view.page.keyboard.type("gpu")
    expect(picker.get_by_role("option").first).to_contain_text("gpu")
    view.page.keyboard.press("Enter")
    return view.page.get_by_role("dialog", name=f"Move {name} to gpu?")


def drift_of(lab: Lab, kernel: str) -> bool:  # noqa: F811
    return bool(lab.api("GET", f"kernels/{kernel}/drift")["state"] == "done")


def test_a_move_builds_from_the_notebooks_file_and_what_does_not_fit_is_made_equal(
    small: str,
    view: View,
    lab: Lab,  # noqa: F811
    gpu: Host,  # noqa: F811
) -> None:
    tries = len(list(lab.root.glob("plots*")))  # a failed one has left a kernel and an environment
    plots = "plots" + "2" * tries
    notebook = f"{plots}/draw.ipynb"
    (lab.root / plots).mkdir()
    needed = f"six==1.1{7 - tries}.0\nipykernel==6.30.1\n"
    (lab.root / plots / "requirements.txt").write_text(needed)
    lab.notebook(notebook, [VERSION], kernel=small)
    view.open_notebook(notebook)
    question = choose(view, "draw.ipynb")
    expect(question).to_contain_text("Variables stay behind in the old one.")
    environment = question.get_by_label("Environment")
    expect(environment.get_by_role("option")).to_contain_text(
        ["Python on gpu", f"{plots}/requirements.txt", "the same packages as here", "cpu:"]
    )
    assert view.axe(".jp-Dialog") == []
    environment.select_option(f"from {plots}/requirements.txt")
    question.get_by_role("button", name="Move", exact=True).click()
    expect(view.page.get_by_text("draw.ipynb runs on gpu")).to_be_visible(timeout=BUILT_MS)
    view.wait_kernel(notebook)
    kernel = view.kernel_id(notebook)

    # Beside the start: what must agree is said once, with a way out; the rest is a line to open.
    said = view.page.get_by_text("draw.ipynb: packages do not fit.")
    expect(said).to_contain_text(f"ipykernel is 6.30.1 on gpu and {OLD} here", timeout=60_000)
    assert drift_of(lab, kernel)
    packages = view.panel().get_by_role("group", name="Packages on gpu")
    expect(packages.get_by_role("alert")).to_contain_text("Packages do not fit")
    assert view.axe("#jp-cloudml-panel") == []

    view.command("cloudml:show-environments", {"name": "gpu"})
    page = view.page.locator(".jp-cloudml-page")
    row = page.locator(".jp-cloudml-environment").filter(has_text=plots)
    expect(row).to_contain_text("in use")
    expect(row).to_contain_text("requirements.txt")
    expect(row.get_by_role("button", name=f"Remove {plots}")).to_have_count(0)
    row.get_by_role("button", name=f"Compare {plots} with the packages here").click()
    expect(row).to_contain_text("Must agree with here", timeout=30_000)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe(".jp-cloudml-page") == []
    view.picture("environments")
    row.get_by_role("button", name=f"Show the build log of {plots}").click()
    log = view.page.get_by_role("dialog", name=f"Build log of {plots}")
    expect(log).to_contain_text("six")
    log.get_by_role("button", name="Close").click()

    view.command("docmanager:open", {"path": notebook})
    packages.get_by_role("button", name="Make equal").click()
    done = view.page.get_by_text("draw.ipynb has the packages of here on gpu")
    expect(done).to_be_visible(timeout=BUILT_MS)
    view.wait_kernel(notebook)
    expect(said).to_have_count(0)
    equal = view.kernel_id(notebook)
    assert equal != kernel
    view.run_cell(0)
    expect(view.output(0)).to_contain_text(f"ipykernel {OLD}")
    wait_for(lambda: drift_of(lab, equal), "the second comparison")
    found = lab.api("GET", f"kernels/{equal}/drift")["found"]
    assert (found["errors"], found["changed"]) == (0, []), found
    expect(packages).to_have_count(0)

    # What nothing runs in goes, after a question.
    view.command("cloudml:show-environments", {"name": "gpu"})
    expect(row.get_by_role("button", name=f"Remove {plots}")).to_be_visible(timeout=30_000)
    row.get_by_role("button", name=f"Remove {plots}").click()
    view.page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(row).to_have_count(0, timeout=30_000)
    names = [each["names"] for each in lab.api("GET", "machines/gpu/environments")["environments"]]
    assert [plots] not in names and ["same-small"] in names
