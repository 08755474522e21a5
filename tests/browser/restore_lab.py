"""JupyterLab as the tests of outputs need it: gates for cells to wait at, and a look into the record."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page

from .lab import Lab, wait_for
from .view import View

KERNEL = "cloudml-local"

# In the notebooks' folder: cells wait there for the test instead of for seconds.
GATE = """\
import os, time
def gate(name):
    while not os.path.exists(name):
        time.sleep(0.01)
"""

# As ipykernel tells it: a file without it becomes dirty by being opened.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": ".".join(str(n) for n in sys.version_info[:3]),
}


class RestoreLab(Lab):
    """A Lab with cells that wait at gates."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        (self.root / "gate.py").write_text(GATE)

    def settings(self, package: str, plugin: str, values: Mapping[str, object]) -> None:
        """Write a user's settings file."""
        folder = self.folder / "settings" / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))

    def write(self, path: str, *sources: str, minor: int = 5, kernel: str = "") -> str:
        """Write a notebook with the code cells c0, c1, … and return its path."""
        cells = []
        for i, source in enumerate(sources):
            cell: dict[str, object] = {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
            }
            cells.append({**cell, "source": source} | ({"id": f"c{i}"} if minor >= 5 else {}))
        metadata = {"kernelspec": self._spec(kernel or KERNEL), "language_info": LANGUAGE}
        whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}
        (self.root / path).write_text(json.dumps(whole))
        return path

    def _spec(self, name: str) -> dict[str, str]:
        """Return the kernelspec as Lab writes it into a notebook."""
        _, specs = self.request("GET", "api/kernelspecs")
        spec = specs["kernelspecs"][name]["spec"]
        return {"display_name": spec["display_name"], "language": "python", "name": name}

    def saved(self, path: str) -> list[dict[str, Any]]:
        """Return the cells of a notebook file."""
        return list(json.loads((self.root / path).read_text())["cells"])

    def open_gate(self, name: str) -> None:
        """Let the cell go on that waits in `gate(name)`."""
        (self.root / name).touch()

    # -- the record --------------------------------------------------------------------------------
    def kernel_of(self, path: str) -> str:
        """Return the id of the kernel of a notebook."""
        _, sessions = self.request("GET", "api/sessions")
        return str(next(s["kernel"]["id"] for s in sessions if s["path"] == path))

    def executions(self, path: str, *, ended: bool = False) -> list[dict[str, Any]]:
        """Return what the recorder has of a notebook: of its kernel, or of those that have `ended`."""
        of = f"executions?path={quote(path)}&" if ended else f"{self._record_of(path)}?"
        found: dict[str, dict[str, Any]] = {}
        since, more = 0, True
        while more:
            part = self.api("GET", f"{of}since={since}")
            found |= {execution["msg_id"]: execution for execution in part["executions"]}
            since, more = part["seq"], part["more"]
        return list(found.values())

    def _record_of(self, path: str) -> str:
        return f"kernels/{self.kernel_of(path)}/executions"

    def wait_recorded(self, path: str, cell: str, status: str = "ok", seconds: float = 30) -> None:
        """Wait until the record says that the execution of a cell has come to this."""

        def recorded() -> bool:
            found = [e for e in self.executions(path) if e["cell_id"] == cell]
            return bool(found) and found[0]["status"] == status

        wait_for(recorded, f"cell {cell} of {path} to be {status}", seconds)

    def wait_acknowledged(self, path: str) -> None:
        """Wait until the recorder holds nothing more of a notebook."""
        wait_for(lambda: not self.executions(path), f"{path} to be acknowledged", 10)

    def end_kernel(self, path: str) -> None:
        """Shut the kernel of a notebook down."""
        kernel = self.kernel_of(path)
        assert self.request("DELETE", f"api/kernels/{kernel}")[0] == 204
        # With pending kernels the answer comes before the end.
        wait_for(lambda: kernel not in self._kernels(), "the end of the kernel")

    def _kernels(self) -> set[str]:
        _, sessions = self.request("GET", "api/sessions")
        return {session["kernel"]["id"] for session in sessions}


@contextmanager
def lab_page(browser: Browser, lab: Lab, port: int | None = None) -> Iterator[Page]:
    """Open Lab in a browser of its own, as far as cookies and storage go, and close it afterwards."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        load(page, lab, port)
        yield page
    finally:
        context.close()


def load(page: Page, lab: Lab, port: int | None = None) -> None:
    """Load Lab without what was open before, and wait until it can be used."""
    url = lab.url()
    page.goto(url if port is None else url.replace(f":{lab.port}/", f":{port}/"))
    View(page, lab).wait_ready()
