"""The page as its user sees it: helpers over Playwright that wait on conditions, never on seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from .lab import Lab

PICTURES = Path(__file__).parents[2] / "docs" / "img"
KERNEL_MS = 60_000

# What Chromium itself writes about a refused request or a lost socket; the page's own errors are what counts.
NETWORK_NOISE = ("Failed to load resource", "WebSocket connection to", "net::ERR_")

KERNEL_IS = """([path, status]) => {
  const app = window.jupyterapp;
  for (const widget of app.shell.widgets('main')) {
    if (widget.context?.path !== path) continue;
    const kernel = widget.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === status;
  }
  return false;
}"""


class View:
    """One browser page on one server."""

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page, self.lab = page, lab
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(error.stack or error.message))
        page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in NETWORK_NOISE):
            self.errors.append(message.text)

    def open(self, path: str = "lab", *, reset: bool = True) -> View:
        """Load the page and wait until it is ready."""
        self.page.goto(self.lab.url(path, reset=reset))
        self.wait_ready()
        return self

    def reload(self) -> None:
        """Load the page again, with the documents that were open."""
        self.page.goto(self.page.url.replace("&reset", "").replace("?reset", ""))
        self.wait_ready()

    def wait_ready(self) -> None:
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        self.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
        self.page.evaluate("() => window.jupyterapp.restored.then(() => null)")

    def command(self, command: str, args: Mapping[str, object] | None = None) -> None:
        """Run one of the application's commands to its end."""
        self.page.evaluate(
            "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)",
            [command, dict(args or {})],
        )

    def begin(self, command: str, args: Mapping[str, object] | None = None) -> None:
        """Run a command that waits for the user: returns at once."""
        self.page.evaluate(
            "([id, args]) => void window.jupyterapp.commands.execute(id, args)",
            [command, dict(args or {})],
        )

    def open_notebook(self, name: str, *, status: str = "idle") -> None:
        """Open a notebook and wait until its kernel has `status`; None of its cells run."""
        self.command("docmanager:open", {"path": name})
        self.wait_kernel(name, status)

    def wait_kernel(self, name: str, status: str = "idle", timeout: float = KERNEL_MS) -> None:
        """Wait until the kernel of an open notebook is connected and has `status`."""
        self.page.wait_for_function(KERNEL_IS, arg=[name, status], timeout=timeout)

    def kernel_id(self, name: str) -> str:
        """The id of the kernel of an open notebook."""
        script = """path => [...window.jupyterapp.shell.widgets('main')]
          .find(widget => widget.context?.path === path).sessionContext.session.kernel.id"""
        return str(self.page.evaluate(script, name))

    def cell(self, index: int) -> Locator:
        """A cell of the notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").nth(index)

    def run_cell(self, index: int) -> None:
        """Run a cell as its user does; does not wait for it."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run_all(self) -> None:
        """Run all cells; does not wait for them."""
        self.begin("notebook:run-all-cells")

    def output(self, index: int) -> Locator:
        """The outputs of a cell of the notebook in front."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def panel(self) -> Locator:
        """Show our side panel and return it."""
        self.command("cloudml:show-panel")
        panel = self.page.get_by_role("region", name="CloudML", exact=True)
        expect(panel).to_be_visible()
        return panel

    def row(self, machine: str) -> Locator:
        """A machine's row in the panel."""
        return self.page.locator(f".jp-cloudml-row[data-machine='{machine}']")

    @property
    def machine_button(self) -> Locator:
        """The machine's button in the toolbar of the notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-cloudml-machine-button")

    def set_setting(self, plugin: str, values: Mapping[str, object]) -> None:
        """Save all settings of a plugin; `values` replaces what the user had set."""
        self.page.evaluate(
            "([id, text]) => window.jupyterapp.serviceManager.settings.save(id, text)",
            [plugin, json.dumps(dict(values))],
        )

    def theme(self, name: str) -> None:
        """Change to a theme, as `JupyterLab Dark`, and wait until it is there."""
        splash = self.page.locator("#jupyterlab-splash")
        expect(splash).to_have_count(0)
        self.command("apputils:change-theme", {"theme": name})
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)
        expect(splash).to_have_count(0)

    def axe(self, selector: str) -> list[Any]:
        """Return what axe finds wrong below `selector`."""
        expect(self.page.locator(selector).first).to_be_visible()
        results = Axe().run(self.page, context=selector)
        return list(results.response["violations"])

    def picture(self, name: str) -> None:
        """Keep a picture for the documentation, where CLOUDML_SHOTS=1 asks for it."""
        if os.environ.get("CLOUDML_SHOTS") == "1":
            PICTURES.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
