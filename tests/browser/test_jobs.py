"""Jobs in the page: a notebook or some of its cells run as a job in two clicks, and the run is followed to its end, or ended."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .lab import Lab
from .view import View

FRONT = ".jp-MainAreaWidget:not(.lm-mod-hidden) .jp-cloudml-page"
RUN_MS = 90_000


@pytest.fixture
def name() -> str:
    shots = os.environ.get("CLOUDML_SHOTS") == "1"
    return "digits" if shots else f"report-{secrets.token_hex(3)}"


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
    return view.page.locator(FRONT)


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
            *(["1"] * 50),
        ],
        tagged=0,
    )
    view.open_notebook(f"{name}.ipynb")
    view.page.get_by_role("button", name="Run this notebook as a job").click()
    question = view.page.get_by_role("dialog", name=f"Run {name}.ipynb as a job")
    expect(question.get_by_label("alpha")).to_have_value("0.5")
    expect(question).to_contain_text("how much of it")
    assert view.axe(".jp-Dialog") == []
    question.get_by_label("alpha").fill("1OO")  # no number: what would run is the notebook's own
    question.get_by_role("button", name="Run", exact=True).click()
    expect(question.get_by_role("alert").first).to_contain_text("alpha is not a number")
    expect(question.get_by_label("alpha")).to_have_value("1OO")
    question.get_by_label("alpha").fill("0.5")
    question.get_by_role("button", name="Run", exact=True).click()

    expect(word(view)).to_have_text("running", timeout=RUN_MS)
    expect(cell(view, 3)).to_contain_text("waiting", timeout=RUN_MS)
    expect(cell(view, 2)).to_contain_text("alpha is 0.5")
    expect(cell(view, 2).locator("b")).to_have_text("bold")
    expect(cell(view, 3)).to_contain_text("running")
    busy = page(view).get_by_role("region", name=re.compile("How busy"))
    expect(busy.get_by_role("meter", name="CPU")).to_be_visible(timeout=RUN_MS)
    # Its process is the runner, with the kernel in a session of its own.
    expect(busy).to_contain_text(re.compile(r"This run: CPU \d+% · \d{2,} MB"), timeout=RUN_MS)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe(FRONT) == []
    view.picture("job-run")
    gate.touch()
    expect(word(view)).to_have_text("succeeded", timeout=RUN_MS)
    expect(cell(view, 53)).to_contain_text(
        "done"
    )  # a page has 50 cells, and follows the one that runs
    page(view).get_by_role("button", name="Earlier cells").click()
    expect(cell(view, 3)).to_contain_text("gone on")
    assert view.page.evaluate("window.escaped") is None
    facts = page(view).locator(".jp-cloudml-fold").filter(has_text="What ran")
    facts.locator("summary", has_text="What ran").click()
    expect(facts).to_contain_text(f"{name}.ipynb")
    expect(facts).to_contain_text("Somebody asked for it.")
    facts.locator("summary", has_text="packages").click()
    facts.get_by_label("Filter the packages").fill("IPykernel=")
    expect(facts.get_by_role("list", name="Packages")).to_contain_text("ipykernel==")
    expect(busy).to_have_count(0)
    page(view).locator("summary", has_text="Files").click()
    files = page(view).get_by_role("table").filter(has_text="Notebook")
    expect(files.get_by_role("row").filter(has_text="Notebook")).to_contain_text("kB")
    with view.page.expect_download() as log:
        files.get_by_role("button", name=re.compile(r"Download .*\.txt")).click()
    assert "gone on" in Path(log.value.path()).read_text()
    assert view.axe(FRONT) == []
    page(view).locator("summary", has_text="Log").click()
    expect(page(view).get_by_role("log")).to_contain_text("gone on")
    with view.page.expect_download() as kept:
        page(view).get_by_role("button", name="Download notebook").click()
    cells = json.loads(Path(kept.value.path()).read_text())["cells"]
    assert "alpha is 0.5" in json.dumps(cells)
    page(view).get_by_role("button", name="Open as page").click()
    frame = view.page.locator(".jp-cloudml-frame iframe")
    expect(frame.content_frame.get_by_text("gone on").last).to_be_visible()
    assert frame.get_attribute("sandbox") == ""
    blocked = (
        "Blocked script execution in 'about:srcdoc'"  # what Chromium says of each script in it
    )
    view.errors[:] = [error for error in view.errors if not error.startswith(blocked)]
    assert view.page.evaluate("window.escaped") is None


def test_selected_cells_run_with_what_they_need_and_a_run_is_cancelled(
    view: View, lab: Lab, name: str
) -> None:
    write(
        lab,
        name,
        [
            "base = 20",
            "other = 1",
            "value = base + 1",
            "print('got', value)\nimport time\ntime.sleep(600)",
        ],
    )
    view.open_notebook(f"{name}.ipynb")
    view.cell(3).locator(".cm-content").click()
    view.begin("cloudml:run-selected-as-job")
    question = view.page.get_by_role("dialog", name="Run the selected cell as a job")
    needed = question.get_by_role("group", name="Cells before them that they need")
    expect(needed.get_by_role("checkbox")).to_have_count(2)
    expect(needed).to_contain_text("Cell 1 for base")
    preview = question.get_by_role("list", name="The notebook that is run")
    expect(preview.get_by_role("listitem")).to_have_count(3)
    expect(preview).not_to_contain_text("other = 1")
    assert view.axe(".jp-Dialog") == []
    view.picture("job-selected")
    needed.get_by_role("checkbox").first.uncheck()
    expect(preview.get_by_role("listitem")).to_have_count(2)
    needed.get_by_role("checkbox").first.check()
    question.get_by_role("button", name="Run", exact=True).click()
    expect(cell(view, 3)).to_contain_text("got 21", timeout=RUN_MS)
    page(view).get_by_role("button", name="Cancel").click()
    expect(word(view)).to_have_text("cancelled", timeout=RUN_MS)
    expect(page(view).get_by_role("button", name="Run again")).to_be_enabled()


def test_the_page_of_a_sweep_is_a_table_of_its_runs(view: View, lab: Lab, name: str) -> None:
    write(lab, name, ["alpha = 1\nbeta = 'x'", "print('alpha is', alpha)"], tagged=0)
    view.open_notebook(f"{name}.ipynb")
    view.page.get_by_role("button", name="Run this notebook as a job").click()
    question = view.page.get_by_role("dialog", name=f"Run {name}.ipynb as a job")
    question.get_by_label("Run it with each of").fill("alpha")
    question.get_by_role("button", name="Run", exact=True).click()
    expect(question.get_by_role("alert").first).to_contain_text("cannot be read")
    question.get_by_label("Run it with each of").fill("alpha = 2, 3")
    expect(question.get_by_role("status")).to_contain_text("It makes 2 runs.")
    assert view.axe(".jp-Dialog") == []
    question.get_by_role("button", name="Run", exact=True).click()
    table = page(view).get_by_role("table", name="The runs of the sweep")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table.get_by_role("row").nth(2)).to_contain_text("alpha = 3")
    expect(word(view)).to_have_text("succeeded", timeout=RUN_MS)
    expect(page(view)).to_contain_text("2 of 2 runs are over.")
    expect(table.get_by_text("succeeded")).to_have_count(2)
    assert view.axe(FRONT) == []
    table.get_by_role("button", name="Show run 2 of the sweep").click()
    expect(cell(view, 3)).to_contain_text("alpha is 3")
    page(view).get_by_role("button", name="run 2 of a sweep").click()
    expect(table).to_be_visible()


def test_a_job_is_made_looked_at_changed_paused_and_deleted(
    view: View, lab: Lab, name: str
) -> None:
    write(lab, name, ["count = 3  # how many", "raise ValueError('<b>broken</b>')"], tagged=0)
    panel = view.panel()
    panel.locator(".lm-AccordionPanel-title", has_text="Jobs").click()
    view.command("cloudml:show-jobs")
    page(view).get_by_role("button", name="New job…").click()
    form = page(view)
    form.get_by_label("Name").fill(name)
    form.get_by_label("Notebook").fill(f"{name}.ipynb")
    expect(form.get_by_label("count")).to_have_value("3")
    form.get_by_label("count").fill("many")
    expect(form.get_by_text("Give a whole number.")).to_be_visible()
    form.get_by_role("button", name="Make the job").click()
    expect(form.get_by_label("count")).to_be_focused()
    form.get_by_label("count").fill("5")
    form.get_by_role("button", name="Add: at times (cron)").click()
    expression = form.get_by_label("Cron expression of trigger 1")
    expression.fill("61 2 * * 1-5")
    expect(form.get_by_role("group", name="Trigger 1").get_by_role("alert")).to_contain_text("61")
    expression.fill("30 2 * * 1-5")
    trigger = form.get_by_role("group", name="Trigger 1")
    expect(trigger).to_contain_text("Next:")
    form.get_by_text("More", exact=True).click()
    form.get_by_label("Keep the kernel of a failed run").fill("5m")
    form.get_by_label("Runs at once").fill("2")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe(FRONT) == []
    form.get_by_role("button", name="Make the job").click()
    wrong = form.locator(".jp-cloudml-field").filter(has_text="Runs at once")
    expect(wrong.get_by_role("alert")).to_contain_text("overlap")
    form.get_by_label("Runs at once").fill("")
    form.get_by_role("button", name="Make the job").click()

    job = page(view)
    expect(job.get_by_role("heading", name=name)).to_be_visible()
    expect(job).to_contain_text("Next:")
    job.get_by_role("button", name=f"Run {name} now").click()
    expect(word(view)).to_have_text("failed", timeout=RUN_MS)
    expect(page(view)).to_contain_text("ValueError")
    assert view.axe(FRONT) == []
    failed = panel.get_by_role("group", name="Failed today")
    expect(
        failed.get_by_role("button", name=f"Show the run of {name}, failed").first
    ).to_be_visible()
    expect(panel.get_by_role("group", name="Next")).to_contain_text(name)
    assert view.axe("#jp-cloudml-panel") == []

    # Its kernel was kept: the cell that failed runs again in it, and those before do not.
    page(view).get_by_role("button", name="Go on at cell 3").click()
    expect(page(view)).to_contain_text("It went on at cell 3 of another run.", timeout=RUN_MS)
    expect(word(view)).to_have_text("failed", timeout=RUN_MS)
    expect(cell(view, 1)).to_contain_text("not run again")
    left = page(view).get_by_role("group", name="The kernel that is left")
    assert view.axe(FRONT) == []
    again = view.page.evaluate(f"() => document.querySelector('{FRONT}').dataset.run")
    left.get_by_role("button", name="Open its kernel").click()
    debugged = f"debug-{name}.ipynb"
    expect(view.cell(2)).to_contain_text("raise ValueError", timeout=RUN_MS)
    view.wait_kernel(debugged)
    expect(view.output(2)).to_contain_text("broken")
    view.cell(2).locator(".cm-content").fill("print('count is', count)")
    view.run_cell(2)
    expect(view.output(2)).to_contain_text("count is 5", timeout=RUN_MS)
    view.command("docmanager:save")
    view.command("cloudml:show-run", {"id": again})
    left.get_by_role("button", name="Keep it longer").click()
    left.get_by_role("button", name="Open its kernel").click()  # it is the same one
    expect(view.output(2)).to_contain_text("count is 5", timeout=RUN_MS)
    view.command("cloudml:show-run", {"id": again})
    left.get_by_role("button", name="End the kernel").click()
    expect(left).to_have_count(0)
    expect(page(view)).to_contain_text("its kernel is not there any more")

    view.command("cloudml:show-job", {"name": name})
    job = page(view)
    expect(job.get_by_role("table")).to_contain_text("failed")
    assert view.axe(FRONT) == []
    job.get_by_role("button", name=f"Change the definition of {name}").click()
    form = page(view)
    expect(form.get_by_label("count")).to_have_value("5")
    expect(form.get_by_label("Cron expression of trigger 1")).to_have_value("30 2 * * 1-5")
    # Meanwhile somebody else changes it: that is not written over.
    definition = lab.api("GET", f"jobs/{name}")["definition"]
    lab.api("POST", "jobs", {"definition": {**definition, "priority": 1}})
    form.get_by_role("button", name="Take trigger 1 out").click()
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert").first).to_contain_text("was changed meanwhile")
    form.get_by_role("button", name="Load it anew").click()
    expect(form.get_by_label("Cron expression of trigger 1")).to_have_value("30 2 * * 1-5")
    form.get_by_role("button", name="Take trigger 1 out").click()
    form.get_by_role("button", name="Save").click()
    expect(page(view)).to_contain_text("Only when somebody runs it.")
    expect(page(view)).to_contain_text("revision 3")

    view.command("cloudml:show-jobs")
    row = page(view).locator(f"[data-job='{name}']")
    row.get_by_role("button", name=f"Have the times of {name} skipped").click()
    expect(row.get_by_role("button", name=f"Have {name} run at its times again")).to_be_visible()
    view.picture("jobs")
    assert view.axe(FRONT) == []
    page(view).get_by_label("Filter the jobs by name").fill("nothing-like-it")
    expect(page(view)).to_contain_text("No job has that in its name.")
    page(view).get_by_label("Filter the jobs by name").fill(name)
    row.get_by_role("button", name=f"Delete {name}").click()
    view.page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    assert lab.request("GET", f"cloudml/api/v1/jobs/{name}")[0] == 404
    # What Lab itself says where a kernel ends while its notebook is open and asks it something.
    view.errors[:] = [each for each in view.errors if not each.startswith("Error: Kernel is dead")]
    asked = "Could not restore the debugger state"  # of the kernel that was ended meanwhile
    view.errors[:] = [error for error in view.errors if not error.startswith(asked)]


def test_past_times_are_filled_and_a_webhook_is_given_its_token(
    view: View, lab: Lab, name: str
) -> None:
    write(lab, name, ["1"])
    times = [{"cron": "30 2 1 * *", "tz": "UTC"}, {"webhook": True}]
    definition = {"name": name, "notebook": f"{name}.ipynb", "triggers": times, "max_running": 2}
    lab.api("POST", "jobs", {"definition": {**definition, "overlap": "allow"}})
    view.command("cloudml:show-job", {"name": name})
    job = page(view)
    job.locator("summary", has_text="Runs of past times").click()
    job.get_by_label("From").fill("2026-01-01T00:00")
    job.get_by_label("Until").fill("2025-12-01T00:00")
    expect(job.get_by_role("alert")).to_contain_text("ends before it begins")
    job.get_by_label("Until").fill("2026-02-15T00:00")
    expect(job).to_contain_text("2 times, ")
    job.get_by_role("button", name="Make 2 runs").click()
    expect(job).to_contain_text("2 runs were made.", timeout=RUN_MS)
    job.locator("summary", has_text="Webhook").click()
    job.get_by_role("button", name="Make a token for the webhook").click()
    token = job.get_by_role("textbox", name="Token").inner_text()
    command = shlex.split(job.get_by_role("textbox", name="Command").inner_text())
    assert command[:4] == ["curl", "-X", "POST", "-H"] and token in command[4]
    header, _, value = command[4].partition(": ")
    call = urllib.request.Request(command[5], method="POST", headers={header: value})
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert answer.status == 202

    which = job.get_by_role("group", name="Which runs")
    expect(which.get_by_role("button", name="All 3")).to_be_visible(timeout=RUN_MS)
    expect(which.get_by_role("button", name="Succeeded 3")).to_be_visible(timeout=RUN_MS)
    which.get_by_role("button", name="Failed 0").click()
    expect(job).to_contain_text("None of its runs is so.")
    which.get_by_role("button", name="All 3").click()
    expect(job.get_by_role("table").first.get_by_role("row")).to_have_count(4)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        view.theme(theme)
        assert view.axe(FRONT) == []

    job.get_by_role("button", name="Make another token for the webhook").click()
    view.page.get_by_role("dialog").get_by_role("button", name="Make another token").click()
    expect(job.get_by_role("textbox", name="Token")).not_to_have_text(token)
    view.command("cloudml:show-jobs")
    jobs = page(view)
    jobs.get_by_label("Filter the jobs by name").fill(name)
    kinds = jobs.get_by_role("group", name="Which jobs")
    expect(kinds.get_by_role("button", name="All 1")).to_be_visible()
    kinds.get_by_role("button", name="Paused 0").click()
    expect(jobs).to_contain_text("No such job has that in its name.")
    lab.api("POST", f"jobs/{name}/pause")
    expect(jobs.locator(f"[data-job='{name}']")).to_be_visible()
