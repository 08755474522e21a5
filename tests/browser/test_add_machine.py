"""Machines over SSH in the page, on real hosts: adding one, using it, its link cut, its memory used up, removing it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, Identity, SSHConfig
from playwright.sync_api import Locator, Page, expect

from .lab import Lab, wait_for
from .view import View

WHERE = "import socket\nprint('on', socket.gethostname())"
FAILING = {
    "argv": ["/bin/false", "{connection_file}"],
    "display_name": "Broken",
    "language": "python",
}
TICK = "import time\nfor i in range(40):\n    print('tick', i)\n    time.sleep(0.25)\nprint('all told')"
EAT = "held = []\nwhile True:\n    held.append(bytearray(b'x' * 2**24))"
READY_MS = 90_000


@pytest.fixture(scope="module")
def config(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> SSHConfig:
    """The ssh configuration of the server's user."""
    made = SSHConfig(tmp_path_factory.mktemp("ssh"), identity)
    made.folder.chmod(0o700)
    made.write()
    return made


@pytest.fixture(scope="module")
def lab(box: Box, config: SSHConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server that reads that configuration."""
    environment = {"JUPYTER_CLOUDML_SSH_CONFIG": str(config.path)}
    server = Lab(tmp_path_factory.mktemp("lab"), environment=environment)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def gpu(box: Box, config: SSHConfig, lab: Lab) -> Iterator[Host]:
    """A host that is the machine `gpu` of the server already."""
    host = box.host()
    config.add(host, "gpu")
    lab.add_machine("gpu", host="gpu", host_key=host.fingerprint)
    yield host
    box.destroy(host)


@pytest.fixture
def connected(gpu: Host, lab: Lab) -> Host:
    """The host of the machine `gpu`, with its link up."""
    if lab.machine("gpu")["state"] == "stopped":
        lab.api("POST", "machines/gpu/start")
    lab.await_machine("gpu", "running")
    return gpu


def open_form(view: View) -> Locator:
    view.panel()
    view.page.get_by_role("button", name="New: add a machine").click()
    view.page.get_by_role("menuitem", name="Machine over SSH…").click()
    page = view.page.locator(".jp-cloudml-page")
    expect(page.get_by_label("Host")).to_be_visible()
    return page


def running(lab: Lab) -> list[str]:
    operations = lab.api("GET", "operations")["operations"]
    return [each["id"] for each in operations if each["state"] == "running"]


def names(lab: Lab) -> list[str]:
    return [machine["name"] for machine in lab.api("GET", "machines")["machines"]]


def test_host_of_the_ssh_configuration_is_added_and_runs_the_notebook(
    view: View, lab: Lab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "box-2", known=False)
    lab.notebook("train.ipynb", [WHERE])
    view.open_notebook("train.ipynb")
    page = open_form(view)
    page.get_by_role("button", name="box-2").click()
    expect(page.get_by_label("Host")).to_have_value("box-2")
    expect(page.get_by_label("Name")).to_have_value("box-2")
    view.picture("add-machine")
    page.get_by_role("button", name="Continue").click()

    facts = page.get_by_role("region", name="Host key")
    expect(facts).to_contain_text(host.fingerprint, timeout=30_000)
    expect(facts).to_contain_text("ssh-ed25519")
    expect(facts).to_contain_text("Compare with what your administrator gave you")
    assert view.axe(".jp-cloudml-page") == []
    view.picture("host-key")
    assert names(lab) == ["local"]
    host.freeze()  # it would be done before anybody has looked
    try:
        page.get_by_role("button", name="Trust and continue").click()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.get_by_role("status")).to_contain_text(re.compile(r"Step \d of \d: \w+"))
        expect(page.get_by_role("log")).to_be_visible()
        assert view.axe(".jp-cloudml-page") == []
    finally:
        host.thaw()
    expect(page.get_by_text("box-2 is ready.")).to_be_visible(timeout=READY_MS)
    expect(view.row("box-2").get_by_role("status")).to_have_text("running")

    page.get_by_role("button", name="Use for this notebook").click()
    view.page.get_by_role("button", name="Move", exact=True).click()
    expect(view.page.get_by_text("train.ipynb runs on box-2")).to_be_visible(timeout=READY_MS)
    expect(view.machine_button).to_contain_text("box-2 running")
    view.wait_kernel("train.ipynb")
    view.run_cell(0)
    expect(view.output(0)).to_contain_text(f"on {host.name}", timeout=30_000)
    view.picture("notebook-on-machine")


def test_declined_host_key_leaves_nothing(
    view: View, lab: Lab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "declined", known=False)
    before = names(lab)
    page = open_form(view)
    page.get_by_role("button", name="declined").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("region", name="Host key").get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Host")).to_have_value("declined")
    assert names(lab) == before


def test_refused_sign_in_names_cause_and_remedy_and_keeps_the_form(
    view: View, lab: Lab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "locked", user="nobody")
    before = names(lab)
    page = open_form(view)
    page.get_by_label("Host").fill("locked")
    page.get_by_label("Name").fill("my-box")
    page.get_by_role("button", name="Continue").click()
    trust = page.get_by_role("button", name="Trust and continue")
    alert = page.get_by_role("alert")
    expect(trust.or_(alert)).to_be_visible(timeout=30_000)
    if trust.is_visible():
        trust.click()
    expect(alert).to_contain_text("nobody", timeout=30_000)
    expect(alert.locator(".jp-cloudml-hint")).not_to_be_empty()
    assert view.axe(".jp-cloudml-page") == []
    page.get_by_role("button", name="Back to the form").click()
    expect(page.get_by_label("Host")).to_have_value("locked")
    expect(page.get_by_label("Name")).to_have_value("my-box")
    assert names(lab) == before


def test_form_refuses_bad_names_and_names_that_are_taken(view: View, gpu: Host) -> None:
    page = open_form(view)
    page.get_by_label("Host").fill("some-host")
    page.get_by_label("Name").fill("-oProxyCommand=x")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("This has characters that are not allowed here.")).to_be_visible()
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Name").fill("gpu")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("gpu")
    expect(page.get_by_label("Host")).to_have_value("some-host")


def test_addition_can_be_cancelled(view: View, lab: Lab, box: Box, config: SSHConfig) -> None:
    host = box.host()
    config.add(host, "silent")
    host.freeze()
    before = names(lab)
    page = open_form(view)
    page.get_by_role("button", name="silent").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Host")).to_have_value("silent")
    host.thaw()
    wait_for(lambda: not running(lab), "the operation to end", 60)
    assert names(lab) == before


def test_machine_added_elsewhere_appears_by_itself(view: View, lab: Lab, connected: Host) -> None:
    view.panel()
    expect(view.row("gpu")).to_be_visible()
    lab.api("POST", "machines/gpu/stop")
    expect(view.row("gpu").get_by_role("status")).to_have_text("disconnected", timeout=20_000)
    view.row("gpu").get_by_role("button", name="Connect to gpu").click()
    expect(view.row("gpu").get_by_role("status")).to_have_text("running", timeout=60_000)


def test_picker_connects_a_machine_that_is_not_connected(
    view: View, lab: Lab, connected: Host
) -> None:
    lab.notebook("wake.ipynb", [WHERE])
    view.open_notebook("wake.ipynb")
    lab.api("POST", "machines/gpu/stop")
    lab.await_machine("gpu", "stopped")
    view.panel()
    expect(view.row("gpu").get_by_role("status")).to_have_text("disconnected")
    view.machine_button.click()
    dialog = view.page.get_by_role("dialog", name="Where should wake.ipynb run?")
    other = dialog.get_by_role("group", name="Other machines")
    expect(other.get_by_role("option").first).to_contain_text("gpu disconnected")
    view.picture("picker")
    expect(dialog.get_by_role("combobox", name="Filter machines")).to_be_focused()
    view.page.keyboard.type("gpu")
    view.page.keyboard.press("Enter")
    question = view.page.get_by_role("dialog", name="Move wake.ipynb to gpu?")
    expect(question).to_contain_text("gpu is not connected: connecting comes first.")
    question.get_by_role("button", name="Move", exact=True).click()
    expect(view.page.get_by_text("wake.ipynb runs on gpu")).to_be_visible(timeout=READY_MS)
    expect(view.row("gpu").get_by_role("status")).to_have_text("running")
    view.wait_kernel("wake.ipynb")
    view.run_cell(0)
    expect(view.output(0)).to_contain_text(f"on {connected.name}", timeout=30_000)


def test_failed_move_says_why_and_keeps_the_kernel(
    view: View, lab: Lab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    kernel = "/home/ada/.local/share/jupyter/kernels/broken"
    host.run(["mkdir", "-p", kernel])
    host.run(["sh", "-c", f"cat > {kernel}/kernel.json"], stdin=json.dumps(FAILING))
    config.add(host, "faulty")
    lab.add_machine("faulty", host="faulty", host_key=host.fingerprint)
    lab.notebook("stay.ipynb", ["kept = 42", "print('still', kept)"])
    view.open_notebook("stay.ipynb")
    view.run_cell(0)
    before = view.kernel_id("stay.ipynb")
    view.machine_button.click()
    view.page.get_by_role("option").filter(has_text="Broken").click()
    view.page.get_by_role("button", name="Move", exact=True).click()
    notice = view.page.locator(".Toastify__toast").filter(has_text="did not move to faulty")
    expect(notice).to_contain_text("The notebook keeps its kernel.", timeout=READY_MS)
    assert view.kernel_id("stay.ipynb") == before
    view.run_cell(1)
    expect(view.output(1)).to_contain_text("still 42", timeout=30_000)
    lab.api("DELETE", "machines/faulty?stop_processes=true")
    expect(view.row("faulty")).to_have_count(0)


def test_cut_link_is_reconnecting_and_never_a_dead_kernel(
    view: View, lab: Lab, connected: Host
) -> None:
    lab.notebook("cut.ipynb", [TICK], kernel="cloudml-gpu")
    panel = view.panel()
    view.open_notebook("cut.ipynb")
    view.run_cell(0)
    expect(view.output(0)).to_contain_text("tick 1", timeout=30_000)
    connected.stop_sshd(
        sessions=True
    )  # the cut is noticed at once; what is tried then meets silence
    connected.link(up=False)
    try:
        expect(view.machine_button).to_contain_text(
            "gpu reconnecting, the kernel goes on", timeout=40_000
        )
        place = panel.locator(".jp-cloudml-place")
        expect(place.get_by_role("status")).to_have_text("reconnecting, the kernel goes on")
        expect(place.get_by_role("button", name="Try to reach gpu now")).to_be_visible()
        expect(view.row("gpu").get_by_role("status")).to_have_text("unreachable", timeout=40_000)
        expect(
            view.row("gpu").get_by_role("button", name="Find out why gpu is unreachable")
        ).to_be_visible()
        assert view.axe("#jp-cloudml-panel") == []
        view.picture("reconnecting")
    finally:
        connected.start_sshd()
        connected.link(up=True)
    view.row("gpu").get_by_role("button", name="Try to reach gpu now").click()
    expect(view.machine_button).to_contain_text("gpu running", timeout=60_000)
    expect(view.output(0)).to_contain_text("all told", timeout=60_000)
    ticks = re.findall(r"tick (\d+)", view.output(0).text_content() or "")
    assert ticks == [str(i) for i in range(40)]
    expect(view.page.get_by_text(re.compile("died|dead", re.IGNORECASE))).to_have_count(0)


def test_arrows_move_between_rows_and_tab_reaches_one(view: View, connected: Host) -> None:
    view.panel()
    first, last = view.row("local"), view.page.locator(".jp-cloudml-row").last
    expect(view.row("gpu")).to_be_visible()
    first.press("End")
    expect(last).to_be_focused()
    expect(first).to_have_attribute("tabindex", "-1")
    last.press("Home")
    expect(first).to_be_focused()
    first.press("ArrowDown")
    expect(view.page.locator(".jp-cloudml-row").nth(1)).to_be_focused()
    expect(view.page.locator(".jp-cloudml-row[tabindex='0']")).to_have_count(1)


def test_start_of_a_kernel_can_be_cancelled(view: View, lab: Lab, connected: Host) -> None:
    # Of its own name: one whose start was called off says so when it is opened again.
    name = f"boot-{uuid.uuid4().hex}.ipynb"
    lab.notebook(name, [WHERE], kernel="cloudml-gpu")
    panel = view.panel()
    connected.freeze()
    try:
        view.begin("docmanager:open", {"path": name})
        place = panel.locator(".jp-cloudml-place")
        expect(place.get_by_role("status")).to_have_text("starting", timeout=30_000)
        place.get_by_role("button", name="Cancel the start of this kernel").click()
        expect(place.get_by_role("status")).not_to_have_text("starting", timeout=30_000)
    finally:
        connected.thaw()
    rows = lab.api("GET", "kernels")["kernels"]
    assert [row for row in rows if row["path"] == name and row["state"] == "starting"] == []
    view.errors.clear()  # Lab's debugger may have asked the kernel that was called off


def test_kernel_ended_for_its_memory_is_said_to_be_so(
    view: View, lab: Lab, connected: Host
) -> None:
    lab.notebook("eat.ipynb", [EAT], kernel="cloudml-gpu")
    view.open_notebook("eat.ipynb")
    connected.limit_memory(700 << 20)
    try:
        view.run_cell(0)
        notice = view.page.locator(".Toastify__toast").filter(has_text="Memory ran out on gpu")
        expect(notice).to_contain_text(
            re.compile(r"eat\.ipynb: .*used [\d.]+ [MG]B"), timeout=60_000
        )
        expect(notice.get_by_role("button", name="Restart")).to_be_visible()
        # Lab says on its own that it starts the kernel again.
        view.page.get_by_role("dialog").get_by_role("button", name="Ok").click(timeout=30_000)
        view.picture("out-of-memory")
    finally:
        connected.limit_memory(None)
    view.errors.clear()  # Lab's debugger reports the question that the kernel could not answer any more


def test_removed_machine_goes_with_its_kernelspec(
    page: Page, lab: Lab, box: Box, config: SSHConfig
) -> None:
    host = box.host()
    config.add(host, "short-lived")
    lab.add_machine("short-lived", host="short-lived", host_key=host.fingerprint)
    view = View(page, lab).open()
    panel = view.panel()
    dialog = view.page.get_by_role("dialog")
    panel.get_by_role("button", name="Actions for short-lived").click()
    view.page.get_by_role("menuitem", name="Stop…").click()
    expect(dialog).to_contain_text("Stop short-lived?")
    dialog.get_by_role("button", name="Stop").click()
    expect(view.row("short-lived")).to_contain_text("disconnected", timeout=30_000)
    panel.get_by_role("button", name="Actions for short-lived").click()
    view.page.get_by_role("menuitem", name="Remove…").click()
    expect(dialog).to_contain_text("Remove short-lived?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Remove").click()
    expect(view.row("short-lived")).to_have_count(0, timeout=30_000)
    _, specs = lab.request("GET", "api/kernelspecs")
    assert "cloudml-short-lived" not in specs["kernelspecs"]
