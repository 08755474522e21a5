"""What the command line shows: tables, progress, JSON. On a terminal with rich, elsewhere in plain lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from jupyter_cloudml.errors import JSON

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from jupyter_cloudml.machines.model import MachineInfo, Step

STATES = {
    "running": "green",
    "connected": "green",
    "ok": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "detached": "yellow",
    "warn": "yellow",
    "unreachable": "red",
    "gone": "red",
    "fail": "red",
}
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def plain(text: str) -> str:
    """Return a text in which nothing moves the cursor or changes colours: part of it may come from a host."""
    return "".join(c if c.isprintable() else " " for c in text)


def show_json(document: Mapping[str, JSON]) -> None:
    """Write a document for programs to standard output."""
    click.echo(json.dumps(document, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Write rows under headings, or `empty` where there are none. Without a terminal the columns are only aligned."""
    if not rows:
        click.echo(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, rows)
    else:
        lines = [[name.upper() for name in columns], *([plain(cell) for cell in r] for r in rows)]
        widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(cells).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name.upper(), overflow="fold")
    for row in rows:
        cells = [plain(cell) for cell in row]
        shown.add_row(*(Text(cell, style=STATES.get(cell.split(" ")[0], "")) for cell in cells))
    Console().print(shown)


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Write names and values, one pair a line; pairs without a value are left out."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value:
            click.echo(f"{name.ljust(width)}  {plain(value)}")


def say(text: str) -> None:
    """Write a line for people to standard error."""
    click.echo(plain(text), err=True)


class Progress:
    """Shows the steps of slow work on standard error: a bar on a terminal; elsewhere a line for each step, if `lines`."""

    def __init__(self, what: str, step: str = "", *, lines: bool = True) -> None:
        self._what = what
        self._step = step
        self._lines = lines
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._said = ""

    def __enter__(self) -> Progress:
        self.resume()
        if self._step:
            self.tell(self._step)
        return self

    def resume(self) -> None:
        """Show the bar, on a terminal."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(20),
            TextColumn("{task.fields[step]}", markup=False),
            TimeElapsedColumn(),
        )
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        what, step = plain(self._what), plain(self._step)
        self._task = self._bar.add_task("", total=None, what=what, step=step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.pause()

    def __call__(self, step: Step) -> None:
        """Enter a step (the `progress` of machines)."""
        self.tell(step.text, step.n, step.of)

    def tell(self, text: str, n: int = 0, of: int = 0) -> None:
        """Say what is being done; `n` of `of` steps, where they are counted."""
        count = f"{n}/{of} " if of else ""
        self._step = count + text
        if self._bar is not None and self._task is not None:
            step = plain(self._step)
            self._bar.update(self._task, total=of or None, completed=max(0, n - 1), step=step)
            return
        line = plain(f"{self._what}: {count}{text.split(': ')[0]}")  # not each megabyte a line
        if self._lines and line != self._said:
            self._said = line
            click.echo(line, err=True)

    def pause(self) -> None:
        """Clear the bar away, to ask or to say something."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def size(count: int) -> str:
    """Return a number of bytes with its unit."""
    value = float(count)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def age(since_ms: int, now_ms: int | None = None) -> str:
    """Return how long ago that was: 38 s, 2 min, 5 h, 3 d."""
    seconds = max(0, ((now_ms or int(time.time() * 1000)) - since_ms) // 1000)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def hardware(info: MachineInfo) -> str:
    """Return cores, memory and GPUs in a few words."""
    if not info.cpus:
        return ""
    gpus = [str(gpu.get("name") or "GPU") for gpu in info.gpus]
    counted: dict[str, int] = {}
    for name in gpus:
        counted[name] = counted.get(name, 0) + 1
    named = [f"{n} × {name}" if n > 1 else name for name, n in counted.items()]
    return ", ".join([f"{info.cpus} CPUs", size(info.memory_bytes), *named])


def json_option(command: Any) -> Any:
    """Add `--json` to a command."""
    return click.option("as_json", "--json", is_flag=True, help="Write JSON, for programs.")(
        command
    )


def moment(at_ms: JSON) -> str:
    """Return a time (UTC ms) as this computer's clock shows it; nothing for none."""
    if not isinstance(at_ms, int):
        return ""
    return (
        datetime.fromtimestamp(at_ms / 1000, timezone.utc)
        .astimezone()
        .strftime("%Y-%m-%d %H:%M:%S")
    )
