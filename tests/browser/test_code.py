"""The code of a notebook on a machine, in the page: sent by a move, synced and brought back in the panel, conflicts settled, large files asked about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, Identity, SSHConfig
from integration.repositories import git
from playwright.sync_api import Locator, expect

from .lab import Lab, wait_for
from .view import View

WHERE = "import os, model\nprint('in', os.path.basename(os.getcwd()), 'x is', model.x)"
MAKE = "open('out.json', 'w').write('{}')\nprint('made')"
READY_MS = 90_000


@pytest.fixture(scope="module")
def config(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> SSHConfig:
    made = SSHConfig(tmp_path_factory.mktemp("ssh"), identity)
    made.folder.chmod(0o700)
    made.write()
    return made


@pytest.fixture(scope="module")
def lab(box: Box, config: SSHConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    environment = {
        "JUPYTER_CLOUDML_SSH_CONFIG": str(config.path),
        "JUPYTER_CLOUDML_CODE_LIMIT": "60MB",
    }
    server = Lab(tmp_path_factory.mktemp("lab"), environment=environment)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def gpu(box: Box, config: SSHConfig, lab: Lab) -> Iterator[Host]:
    """A host that is the machine `gpu` of the server."""
    host = box.host()
    config.add(host, "gpu")
    lab.add_machine("gpu", host="gpu", host_key=host.fingerprint)
    yield host
    box.destroy(host)


class Project:
    """A repository under the root of the server with the notebook `train.ipynb`."""

    def __init__(self, lab: Lab, host: Host, name: str) -> None:
        while (lab.root / name).exists():  # the test is tried again
            name += "-again"
        self.lab, self.host, self.name = lab, host, name
        self.here = lab.root / name
        self.here.mkdir()
        git(self.here, "init", "-q")
        (self.here / "model.py").write_text("x = 1\n")
        (self.here / ".gitignore").write_text(".ipynb_checkpoints/\n__pycache__/\n")

    @property
    def notebook(self) -> str:
        return f"{self.name}/train.ipynb"

    @property
    def there(self) -> Path:
        return self.host.root / "home/ada" / self.name

    def write(self, *cells: str, kernel: str) -> None:
        self.lab.notebook(self.notebook, cells, kernel=kernel)
        git(self.here, "add", "-A")
        git(self.here, "commit", "-qm", "First")

    def sync(self) -> None:
        body = {"path": self.notebook, "machine": "gpu"}
        begun = self.lab.api("POST", "workspaces/sync", body)["operation"]["id"]
        wait_for(
            lambda: self.lab.api("GET", f"operations/{begun}")["state"] == "done", "the sync", 60
        )

    def write_there(self, name: str, text: str) -> None:
        self.host.run(["sh", "-c", f"cat > {self.name}/{name}"], stdin=text)


def code_of(view: View) -> Locator:
    return view.panel().get_by_role("group", name="Code on gpu")


def choose(view: View) -> Locator:
    """Choose the machine in the picker; returns the question that follows."""
    view.machine_button.click()
    picker = view.page.get_by_role("dialog", name="Where should train.ipynb run?")
    expect(picker.get_by_role("combobox", name="Filter machines")).to_be_focused()
    view.page.keyboard.type("gpu")
    expect(picker.get_by_role("option").first).to_contain_text("gpu")
    view.page.keyboard.press("Enter")
    return view.page.get_by_role("dialog", name="Move train.ipynb to gpu?")


def move(view: View) -> None:
    question = choose(view)
    expect(question).to_contain_text("The code in its folder is sent there first")
    question.get_by_role("button", name="Move", exact=True).click()


def test_a_move_sends_the_code_and_the_kernel_finds_it(view: View, lab: Lab, gpu: Host) -> None:
    project = Project(lab, gpu, "digits")
    project.write(WHERE, kernel="python3")
    view.open_notebook(project.notebook)
    move(view)
    expect(view.page.get_by_text("train.ipynb runs on gpu")).to_be_visible(timeout=READY_MS)
    view.wait_kernel(project.notebook)
    assert (project.there / "model.py").read_text() == "x = 1\n"
    view.run_cell(0)
    expect(view.output(0)).to_contain_text(f"in {project.name} x is 1", timeout=30_000)
    code = code_of(view)
    commit = git(project.here, "rev-parse", "HEAD")[:7]
    expect(code).to_contain_text(re.compile(rf"Code main@{commit}.* · synced \d+ s ago"))
    row = next(
        row for row in lab.api("GET", "kernels")["kernels"] if row["path"] == project.notebook
    )
    assert row["code"]["base_commit"].startswith(commit)
    started = view.panel().get_by_title(re.compile(rf"^Started with the code main@{commit}"))
    expect(started).to_be_visible()
    view.picture("code")
    expect(code).not_to_contain_text("The kernel started with")
    git(project.here, "commit", "-qm", "Second", "--allow-empty")
    view.command("docmanager:save")
    expect(code).to_contain_text(f"The kernel started with main@{commit}", timeout=30_000)


def test_the_panel_syncs_pulls_and_settles(view: View, lab: Lab, gpu: Host) -> None:
    project = Project(lab, gpu, "panel")
    project.write(MAKE, kernel="cloudml-gpu")
    view.open_notebook(project.notebook)
    code = code_of(view)
    expect(code).to_contain_text("not on gpu yet")
    expect(code.get_by_role("button", name="Bring back")).to_have_count(0)
    code.get_by_role("button", name="Send the code to gpu").click()
    expect(code).to_contain_text("3 files sent", timeout=30_000)
    expect(code).to_contain_text("synced")

    (project.here / "model.py").write_text("x = 2\n")
    (project.here / "more.py").write_text("y = 1\n")
    view.command("docmanager:save")
    expect(code).to_contain_text(re.compile(r"\+[23] changed .* · [23] files to send"))
    code.get_by_role("button", name="Send the code to gpu").press("Enter")
    expect(code).to_contain_text(re.compile(r"[23] files sent"), timeout=30_000)
    assert (project.there / "model.py").read_text() == "x = 2\n"

    # A run on the machine makes a file: the panel notices by itself.
    project.write_there("out.json", "{}")
    project.write_there("model.py", "theirs\n")
    (project.here / "model.py").write_text("mine\n")
    view.run_cell(0)
    expect(code).to_contain_text("2 files changed on gpu", timeout=30_000)
    code.get_by_role("button", name="Bring back what was changed on gpu").click()
    expect(code.get_by_role("alert")).to_contain_text("nothing was overwritten", timeout=30_000)
    conflicts = code.get_by_role("list", name="Files changed on both sides")
    expect(conflicts.get_by_role("listitem")).to_have_count(1)
    expect(conflicts).to_contain_text("model.py")
    assert (project.here / "out.json").read_text() == "{}"
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe("#jp-cloudml-panel") == []
    conflicts.get_by_role("button", name="Use model.py as it is on gpu").click()
    expect(conflicts).to_have_count(0, timeout=30_000)
    assert (project.here / "model.py").read_text() == "theirs\n"


def test_large_files_are_asked_about_and_a_sync_is_called_off(
    view: View, lab: Lab, gpu: Host
) -> None:
    project = Project(lab, gpu, "large")
    project.write(MAKE, kernel="cloudml-gpu")
    for name in ("big.bin", "huge.bin"):
        with open(project.here / name, "wb") as file:
            file.truncate(51 << 20)
    view.open_notebook(project.notebook)
    code = code_of(view)
    code.get_by_role("button", name="Send the code to gpu").click()
    dialog = view.page.get_by_role("dialog", name="Send large files?")
    expect(dialog).to_contain_text("big.bin (51 MB)", timeout=30_000)
    assert view.axe(".jp-Dialog") == []
    dialog.get_by_label("big.bin").check()
    gpu.freeze()
    try:
        dialog.get_by_role("button", name="Continue").click()
        cancel = code.get_by_role("button", name="Cancel the sync with gpu")
        expect(code).to_contain_text("2/2: sending 4 files", timeout=30_000)
        assert view.axe("#jp-cloudml-panel") == []
        cancel.click()
    finally:
        gpu.thaw()
    sync = code.get_by_role("button", name="Send the code to gpu")
    expect(sync).to_be_visible(timeout=60_000)
    assert not project.there.exists()
    sync.click()
    expect(code).to_contain_text("4 files sent", timeout=60_000)
    assert (project.there / "big.bin").exists() and not (project.there / "huge.bin").exists()


def test_a_large_folder_is_sent_once_that_was_said(view: View, lab: Lab, gpu: Host) -> None:
    project = Project(lab, gpu, "much")
    project.write(MAKE, kernel="cloudml-gpu")
    (project.here / "data").mkdir()
    for name in ("a.bin", "b.bin"):
        with open(project.here / "data" / name, "wb") as file:
            file.truncate(35 << 20)
    view.open_notebook(project.notebook)
    code = code_of(view)
    sync = code.get_by_role("button", name="Send the code to gpu")
    dialog = view.page.get_by_role("dialog", name="Send so much?")
    sync.click()
    expect(dialog).to_contain_text("data (2 files, 70 MB)", timeout=30_000)
    assert view.axe(".jp-Dialog") == []
    dialog.get_by_role("button", name="Cancel").click()
    expect(sync).to_be_visible(timeout=30_000)
    assert not project.there.exists()
    sync.click()
    dialog.get_by_role("button", name="Send All").click(timeout=30_000)
    expect(code).to_contain_text("files sent", timeout=60_000)
    assert (project.there / "data/b.bin").stat().st_size == 35 << 20


def test_the_sync_of_a_move_is_called_off_and_a_failed_one_asks_whether_to_go_on(
    view: View, lab: Lab, gpu: Host
) -> None:
    project = Project(lab, gpu, "full")
    project.write(WHERE, kernel="python3")
    (project.here / "data.bin").write_bytes(b"x" * (8 << 20))
    view.open_notebook(project.notebook)
    before = view.kernel_id(project.notebook)
    gpu.freeze()
    try:
        move(view)
        notice = view.page.locator(".Toastify__toast").filter(has_text="Moving train.ipynb")
        notice.get_by_role("button", name="Cancel").click()
        expect(notice).to_have_count(0, timeout=30_000)
    finally:
        gpu.thaw()
    assert view.kernel_id(project.notebook) == before and not project.there.exists()

    gpu.fill_disk(leave=4 << 20)
    try:
        move(view)
        dialog = view.page.get_by_role("dialog", name="The code was not sent to gpu")
        expect(dialog).to_contain_text("no space left on gpu", timeout=60_000)
        expect(dialog).to_contain_text("Free some space there")
        assert view.axe(".jp-Dialog") == []
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        wait_for(lambda: view.kernel_id(project.notebook) == before, "the old kernel")
    finally:
        gpu.free_disk()
    move(view)
    expect(view.page.get_by_text("train.ipynb runs on gpu")).to_be_visible(timeout=READY_MS)
    assert (project.there / "data.bin").exists()


def test_files_come_back_after_a_run_where_that_is_wanted(view: View, lab: Lab, gpu: Host) -> None:
    project = Project(lab, gpu, "back")
    project.write(MAKE, kernel="cloudml-gpu")
    project.sync()
    view.set_setting("jupyter-cloudml:plugin", {"pullAfterRuns": True})
    view.reload()
    try:
        view.panel()
        view.open_notebook(project.notebook)
        expect(code_of(view)).to_contain_text("synced")
        view.run_cell(0)
        wait_for(lambda: (project.here / "out.json").exists(), "the file to come back", 30)
        expect(code_of(view)).to_contain_text("1 file came back")
    finally:
        view.set_setting("jupyter-cloudml:plugin", {})


def test_a_git_url_is_cloned_at_a_branch_and_a_commit(
    view: View, lab: Lab, gpu: Host, tmp_path: Path
) -> None:
    name = f"sources-{tmp_path.name[-1]}"
    origin = tmp_path / name
    origin.mkdir()
    git(origin, "init", "-q")
    (origin / "model.py").write_text("x = 1\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "First")
    first = git(origin, "rev-parse", "HEAD")
    git(origin, "checkout", "-q", "-b", "feature")
    (origin / "model.py").write_text("x = 2\n")
    git(origin, "commit", "-qam", "Second")
    view.panel()
    for ref, branch, text in (("feature", "feature", "x = 2\n"), (first, "HEAD", "x = 1\n")):
        view.page.get_by_role("button", name="New: add a machine").click()
        view.page.get_by_role("menuitem", name="Clone a Git Repository…").click()
        dialog = view.page.get_by_role("dialog", name="Clone a Git repository")
        expect(dialog.get_by_label("Git URL")).to_be_focused()
        dialog.get_by_label("Git URL").fill(str(origin))
        chosen = dialog.get_by_label("Branch, tag or commit")
        chosen.focus()
        told = dialog.get_by_role("status")
        expect(told).to_have_text("2 branches and 0 tags to choose from", timeout=30_000)
        options = dialog.locator("datalist option")
        values = options.evaluate_all("found => found.map(each => each.value)")
        assert values[:2] == ["feature", "main"], "the remote's own branch first"
        assert len(values) > 2 or ref == "feature", "a clone that is here has commits, too"
        chosen.fill(ref)
        assert view.axe(".jp-Dialog") == []
        dialog.get_by_role("button", name="Clone").click()
        commit = git(origin, "rev-parse", ref)[:7]
        done = f"{name} ({branch}@{commit}) is here and on gpu"
        expect(view.page.get_by_text(done)).to_be_visible(timeout=60_000)
        assert (lab.root / name / "model.py").read_text() == text
        assert (gpu.root / f"home/ada/{name}/model.py").read_text() == text
    view.begin("cloudml:clone-code")
    view.page.get_by_label("Git URL").fill("ext::sh -c false")
    view.page.get_by_role("dialog").get_by_role("button", name="Clone").click()
    refused = view.page.locator(".Toastify__toast").filter(has_text="It was not cloned")
    expect(refused).to_contain_text("this is no Git URL to clone from")


def test_the_sync_of_a_move_can_be_switched_off(view: View, lab: Lab, gpu: Host) -> None:
    project = Project(lab, gpu, "off")
    project.write("1", kernel="python3")
    view.set_setting("jupyter-cloudml:plugin", {"syncCode": False})
    view.reload()
    try:
        view.open_notebook(project.notebook)
        question = choose(view)
        expect(question).to_contain_text("Files stay where they are.")
        question.get_by_role("button", name="Move", exact=True).click()
        expect(view.page.get_by_text("train.ipynb runs on gpu")).to_be_visible(timeout=READY_MS)
        expect(code_of(view)).to_contain_text("not on gpu yet")
        assert not project.there.exists()
    finally:
        view.set_setting("jupyter-cloudml:plugin", {})
