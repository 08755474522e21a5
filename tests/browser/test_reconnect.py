"""The server is killed, the wire is cut, the laptop sleeps: the open page is connected again by itself and has every line once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .lab import wait_for
from .notebook_page import Notebook, open_notebook
from .restore_lab import RestoreLab, lab_page, load
from .wire import Wire

GATED = "from gate import gate\nprint('one')\ngate('{0}')\nprint('two')"
BACK_MS = 8000  # below 2 s with a processor of its own; Lab by itself counts up to half a minute between tries
BANNER = "#jp-cloudml-server"
LAB_DIALOG = ".jp-Dialog:has-text('Server Connection Error')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestoreLab]:
    """One JupyterLab for all tests of this file; they kill it and start it again."""
    lab = RestoreLab(tmp_path_factory.mktemp("reconnect"))
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def wire(lab: RestoreLab) -> Iterator[Wire]:
    """The network between the pages and the server."""
    wire = Wire(lab.port)
    yield wire
    wire.close()


@pytest.fixture
def page(browser: Browser, lab: RestoreLab, wire: Wire) -> Iterator[Page]:
    """A page that reaches the server over the wire."""
    with lab_page(browser, lab, wire.port) as page:
        yield page


def started(page: Page, lab: RestoreLab, name: str) -> Notebook:
    """Open a notebook and run its cell up to the gate."""
    path = lab.write(f"{name}.ipynb", GATED.format(name), "print('after')")
    notebook = open_notebook(page, path)
    notebook.run("c0")
    notebook.wait_text("c0", "one\n")
    return notebook


def finished(notebook: Notebook, lab: RestoreLab) -> None:
    """The cell has shown all its lines once, and the page can go on."""
    notebook.wait_text("c0", "one\ntwo\n")
    notebook.wait_done("c0")
    assert notebook.cell("c0")["prompt"] == "[1]:"
    notebook.run("c1")
    notebook.wait_done("c1")
    assert notebook.text("c1") == "after\n"
    assert notebook.cell("c1")["count"] == 2


def show_lab_dialog(page: Page) -> None:
    """Have Lab notice that the server is away, as its polls do sooner or later."""
    page.evaluate("void jupyterapp.serviceManager.sessions.refreshRunning().catch(() => null)")
    expect(page.locator(LAB_DIALOG)).to_be_visible()


def test_page_is_connected_soon_after_the_server_is_back(page: Page, lab: RestoreLab) -> None:
    notebook = started(page, lab, "killed")
    lab.kill()
    expect(page.locator(BANNER)).to_have_text(
        "Server not reachable: reconnecting. Kernels go on.", timeout=5000
    )
    assert page.locator(BANNER).get_attribute("role") == "status"
    show_lab_dialog(page)
    page.evaluate(WATCH, notebook.path)
    lab.start()
    page.wait_for_function("() => window.__connected", timeout=30_000)
    answered, connected = page.evaluate("() => [window.__answered, window.__connected]")
    assert connected - answered < BACK_MS
    expect(page.locator(LAB_DIALOG)).to_have_count(0)
    expect(page.locator(BANNER)).to_be_empty()
    notebook.wait("kernelOf(path)?.status === 'busy'", "the status")
    lab.open_gate("killed")
    finished(notebook, lab)
    notebook.wait("kernelOf(path)?.status === 'idle'", "the status")


# When the server first answered and when the kernel was connected, by the page's clock.
WATCH = """path => {
  const find = () => [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path)
    .sessionContext.session?.kernel?.connectionStatus;
  const look = async () => {
    try { window.__answered ??= (await fetch('/api/status')).status === 200 ? Date.now() : null; } catch {}
    if (window.__answered && find() === 'connected') { window.__connected = Date.now(); return; }
    setTimeout(look, 20);
  };
  void look();
}"""


def test_dialogs_of_others_stay(page: Page, lab: RestoreLab) -> None:
    notebook = started(page, lab, "dialogs")
    lab.kill()
    page.evaluate("() => void jupyterapp.commands.execute('help:about')")
    about = page.locator(".jp-Dialog:has-text('About')")
    expect(about).to_be_visible()
    lab.open_gate("dialogs")
    lab.start()
    notebook.wait("kernelOf(path)?.connectionStatus === 'connected'", "the kernel")
    finished(notebook, lab)
    expect(about).to_be_visible()


def test_cut_wire_costs_no_line(page: Page, lab: RestoreLab, wire: Wire) -> None:
    notebook = started(page, lab, "cut")
    wire.cut()
    expect(page.locator(BANNER)).to_contain_text("Server not reachable")
    lab.open_gate("cut")
    lab.wait_recorded(notebook.path, "c0")
    wire.heal()
    notebook.wait_connected(3)
    expect(page.locator(BANNER)).to_be_empty()
    finished(notebook, lab)
    assert not notebook.undoable


def test_many_cuts_while_a_cell_prints_cost_no_line(
    page: Page, lab: RestoreLab, wire: Wire
) -> None:
    source = "import time\nfor i in range(400):\n    print(i)\n    time.sleep(0.01)"
    path = lab.write("cuts.ipynb", source)
    notebook = open_notebook(page, path)
    notebook.run("c0")
    for _ in range(3):
        seen = len(notebook.text("c0").split())

        def more(seen: int = seen) -> bool:
            return len(notebook.text("c0").split()) > seen

        wait_for(more, "more lines")
        wire.cut()
        expect(page.locator(BANNER)).to_contain_text("Server not reachable")
        wire.heal()
        notebook.wait_connected(10)
    notebook.wait_text("c0", "".join(f"{i}\n" for i in range(400)))
    notebook.wait_done("c0")


def test_laptop_that_slept_finds_every_line(browser: Browser, lab: RestoreLab, wire: Wire) -> None:
    context = browser.new_context()
    context.clock.install()
    page = context.new_page()
    try:
        load(page, lab, wire.port)
        notebook = started(page, lab, "slept")
        wire.fall_silent()  # the page's sockets look open and are not
        lab.open_gate("slept")
        lab.wait_recorded(notebook.path, "c0")
        wire.heal()
        page.clock.fast_forward("20:00")  # as when the lid is opened: timers fire once, and late
        finished(notebook, lab)
    finally:
        context.close()


def test_nothing_is_asked_while_the_server_is_healthy(page: Page, lab: RestoreLab) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    notebook = started(page, lab, "healthy")
    lab.open_gate("healthy")
    finished(notebook, lab)
    assert [url for url in asked if "api/status" in url] == []
    assert page.locator(BANNER).inner_text() == ""


def test_server_that_refuses_the_token_is_said(page: Page, lab: RestoreLab, wire: Wire) -> None:
    notebook = started(page, lab, "refused")
    page.route("**/api/status*", lambda route: route.fulfill(status=403, body="{}"))
    wire.cut()
    wire.heal()
    expect(page.locator(BANNER)).to_have_text(
        "The server asks you to log in again: reload this page."
    )
    page.unroute("**/api/status*")
    lab.open_gate("refused")
    notebook.wait_done("c0")
    expect(page.locator(BANNER)).to_be_empty()
