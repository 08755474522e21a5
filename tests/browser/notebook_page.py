"""A notebook that is open in a page, as its model tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as WaitedTooLong

from .lab import wait_for

# The notebook with a path, in the page.
_FIND = """
const panel = path => [...jupyterapp.shell.widgets('main')].find(w => w.context?.path === path);
const kernelOf = path => panel(path)?.sessionContext.session?.kernel;
const cellOf = (path, id) => panel(path)?.content.widgets.find(c => c.model.id === id);
"""
_CELLS = """
path => (panel(path)?.content.widgets ?? []).filter(c => c.model.type === 'code').map(c => ({
  id: c.model.id, source: c.model.sharedModel.getSource(), count: c.model.executionCount,
  state: c.model.executionState, prompt: c.promptNode?.textContent ?? '',
  outputs: c.model.outputs.toJSON()
}))
"""


@dataclass
class Notebook:
    """A notebook that is open in a page."""

    page: Page
    path: str

    def js(self, body: str, argument: Any = None) -> Any:
        """Run JavaScript with `panel(path)`, `cellOf(path, id)` and the arguments `path` and `argument`."""
        code = f"([path, argument]) => {{ {_FIND} {body} }}"
        return self.page.evaluate(code, [self.path, argument])

    # -- what it shows -----------------------------------------------------------------------------
    def cells(self) -> dict[str, dict[str, Any]]:
        """Return the code cells by id."""
        found = self.js(f"return ({_CELLS})(path)")
        return {cell["id"]: cell for cell in found}

    def cell(self, cell: str) -> dict[str, Any]:
        return self.cells()[cell]

    def outputs(self, cell: str) -> list[dict[str, Any]]:
        """Return the outputs of a cell as a file has them."""
        return [
            {key: value for key, value in output.items() if key != "transient"}
            for output in self.cell(cell)["outputs"]
        ]

    def text(self, cell: str) -> str:
        """Return the stream text of a cell."""
        outputs = self.outputs(cell)
        return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")

    @property
    def dirty(self) -> bool:
        return bool(self.js("return panel(path).context.model.dirty"))

    @property
    def undoable(self) -> bool:
        """Whether anything can be undone, in the notebook or in a cell."""
        return bool(
            self.js(
                "const {content} = panel(path); const model = content.model.sharedModel;"
                "return model.canUndo() || content.widgets.some(c => c.model.sharedModel.canUndo())"
            )
        )

    @property
    def connection(self) -> str:
        """The state of the socket to the kernel."""
        return str(self.js("return kernelOf(path)?.connectionStatus ?? 'none'"))

    # -- what a person does ------------------------------------------------------------------------
    def run(self, *cells: str) -> None:
        """Run cells, as Shift+Enter on each does, without waiting for their ends."""
        for cell in cells:
            self.js(
                "const {content} = panel(path);"
                "content.activeCellIndex = content.widgets.findIndex(c => c.model.id === argument);"
                "content.deselectAll(); content.mode = 'command';"
                "void jupyterapp.commands.execute('notebook:run-cell');",
                cell,
            )

    def type(self, cell: str, source: str) -> None:
        """Replace the source of a cell."""
        self.js(
            "cellOf(path, argument[0]).model.sharedModel.setSource(argument[1])", [cell, source]
        )

    def command(self, command: str) -> None:
        """Run a command of Lab on this notebook."""
        self.js(
            "jupyterapp.shell.activateById(panel(path).id);"
            "return jupyterapp.commands.execute(argument).then(() => null)",
            command,
        )

    def save(self) -> None:
        self.js("return panel(path).context.save().then(() => null)")

    def leave(self) -> None:
        """Close the tab and throw away what is not saved."""
        self.js("panel(path).dispose()")

    # -- waiting -----------------------------------------------------------------------------------
    def wait(self, condition: str, what: str, argument: Any = None, seconds: float = 30) -> None:
        """Wait until a JavaScript expression over `path` and `argument` is true."""
        code = f"([path, argument]) => {{ {_FIND} return {condition}; }}"
        try:
            self.page.wait_for_function(
                code, arg=[self.path, argument], timeout=seconds * 1000, polling=50
            )
        except WaitedTooLong as error:
            raise AssertionError(f"waited {seconds:.0f} s for {what}: {self.cells()}") from error

    def wait_text(self, cell: str, text: str, seconds: float = 30) -> None:
        """Wait until the text of a cell is exactly this."""
        try:
            wait_for(lambda: self.text(cell) == text, "the text", seconds)
        except TimeoutError:
            assert self.text(cell) == text

    def wait_done(self, cell: str, seconds: float = 30) -> None:
        """Wait until a cell has run to its end."""
        self.wait(
            "cellOf(path, argument)?.model.executionState === 'idle'"
            " && cellOf(path, argument).model.executionCount !== null",
            f"the end of {cell}",
            cell,
            seconds,
        )

    def wait_settled(self) -> None:
        """Wait until the record of the kernel has been read, and the page has had time to show it."""
        self.wait(
            "performance.getEntriesByType('resource').some(e =>"
            " e.responseEnd > 0 && /kernels.[^/]+.executions/.test(e.name))",
            "the record to be read",
        )
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def wait_connected(self, seconds: float = 40) -> None:
        """Wait until the socket to the kernel is open."""
        self.wait("kernelOf(path)?.connectionStatus === 'connected'", "the kernel", None, seconds)


def open_notebook(page: Page, path: str, *, kernel: bool = True) -> Notebook:
    """Open a notebook in a page, and wait for its kernel."""
    page.evaluate("performance.clearResourceTimings()")
    page.evaluate(
        "path => window.jupyterapp.commands.execute('docmanager:open', {path}).then(() => null)",
        path,
    )
    notebook = Notebook(page, path)
    notebook.wait(
        "panel(path)?.context.isReady && panel(path).content.widgets.length > 0", "the cells"
    )
    if kernel:
        notebook.wait_connected()
    return notebook
