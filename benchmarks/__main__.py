"""`python -m benchmarks`: measure, print, and renew the parts of docs/benchmarks.md that were measured whole."""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import websocket

from benchmarks import (
    code,
    data,
    environments,
    jobs,
    kernels,
    parts,
    report,
    runs,
    servers,
    startup,
)
from benchmarks.candidates import AGENT, LOCAL, OPENSSH, PARAMIKO, SSHPYK, Field
from benchmarks.figures import Row
from benchmarks.session import NoAnswer
from jupyter_cloudml.errors import CloudMLError

ROOT = Path(__file__).resolve().parents[1]
NAMES = [LOCAL, AGENT, OPENSSH, PARAMIKO, SSHPYK]
GROUPS = [group for part in parts.PARTS for group in part.groups]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    executes: tuple[int, ...] = (200, 2000)
    batches: int = 10
    starts: int = 7
    scale: float = 1.0
    bulk: int = 9
    lines: int = 20_000
    kills: int = 20
    cut_s: float = 30.0
    restarts: int = 3
    idle: int = 20
    idle_s: float = 30.0
    code: code.Amount = field(default_factory=code.Amount)
    data: data.Amount = field(default_factory=data.Amount)
    environments: int = 5
    runs: int = 7
    jobs: jobs.Amount = field(default_factory=jobs.Amount)


QUICK = Size(
    (40,),
    2,
    1,
    0.05,
    1,
    1000,
    3,
    5.0,
    1,
    3,
    3.0,
    code.Amount(1, 50, 100, 500),
    data.Amount(1, 50, 200),
    1,
    1,
    jobs.QUICK,
)


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prove the harness; writes no figures")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP")
    parser.add_argument("--candidates", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the candidates")
    return parser.parse_args(argv)


def settle_in(folder: Path) -> None:
    """Keep the user's home, Jupyter folders, agent and keys out of it."""
    home = folder / "home"
    home.mkdir()
    (folder / "jupyter" / "runtime").mkdir(parents=True)  # sshpyk writes there before Jupyter does
    os.environ |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "JUPYTER_CLOUDML_HOME": str(folder / "cloudml"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter" / "config"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter" / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter" / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    for name in ("SSH_AUTH_SOCK", "JUPYTER_TOKEN", "JUPYTER_CLOUDML_DB"):
        os.environ.pop(name, None)


class Run:
    """Measures the groups one after another; what fails is named, and the rest is measured all the same."""

    def __init__(self, field: Field, size: Size, rng: random.Random) -> None:
        self.field, self.size, self.rng = field, size, rng
        self.rows: dict[str, list[Row]] = {}
        self.failures: dict[str, str] = {}

    def measured(self, part: parts.Part) -> parts.Measured:
        """What there is for a part of the document."""
        rows = [row for group in part.groups for row in self.rows.get(group, [])]
        return parts.Measured(rows, [self.failures[g] for g in part.groups if g in self.failures])

    def measure(self, groups: list[str]) -> None:
        """Measure these groups."""
        field, size, candidates = self.field, self.size, self.field.candidates
        if "start" in groups:
            self._try("start", lambda: startup.measure(candidates, size.starts, self.rng))
        if {"roundtrip", "bulk"} & set(groups):
            self._measure_running(groups)
        if "cuts" in groups:
            self._try("cuts", lambda: kernels.cuts(candidates, size.lines, size.kills, size.cut_s))
        if "restart" in groups:
            folder = field.folder / "restart"
            self._try("restart", lambda: servers.restart(folder, candidates, size.restarts, 500))
        if "idle" in groups:
            idle = field.folder / "idle"
            self._try("idle", lambda: servers.idle(idle, candidates, size.idle, size.idle_s))
        if "code" in groups:
            self._try("code", lambda: code.measure(field.folder / "code", candidates, size.code))
        if "env" in groups:
            place = field.folder / "environments"
            self._try("env", lambda: environments.measure(place, candidates, size.environments))
        if "runs" in groups:
            self._try("runs", lambda: runs.measure(field.folder / "runs", size.runs))
        if "jobs" in groups:
            self._try("jobs", lambda: jobs.measure(field.folder / "jobs", size.jobs))
        if "data" in groups:
            self._try("data", lambda: data.measure(field.folder / "data", candidates, size.data))

    def _measure_running(self, groups: list[str]) -> None:
        """Measure what needs a kernel of each candidate, side by side."""
        size, candidates = self.size, self.field.candidates
        with kernels.sessions_of(candidates) as sessions:
            for count in size.executes if "roundtrip" in groups else ():
                args = (sessions, candidates, count, size.batches, self.rng)
                self._try("roundtrip", functools.partial(kernels.round_trips, *args))
            if "bulk" in groups:
                self._try(
                    "bulk",
                    lambda: kernels.bulk(sessions, candidates, size.scale, size.bulk, self.rng),
                )

    def _try(self, group: str, measured: Callable[[], list[Row]]) -> None:
        try:
            rows = measured()
        except (NoAnswer, OSError, websocket.WebSocketException, CloudMLError) as exc:
            traceback.print_exc()
            self.failures[group] = f"{group}: {exc}"
            return
        self.rows.setdefault(group, []).extend(rows)
        for row in rows:
            figures = [f"{n} {report.cell(row, n)}" for n in NAMES if n in row.figures]
            print(f"{row.title} [{row.unit}]: {'  '.join(figures)}", flush=True)


def main(argv: list[str]) -> int:
    """Return 0; 1 when something could not be measured or, in a full run, a promise was not kept."""
    options = parse(argv)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # clean up as well
    size = QUICK if options.quick else Size()
    before = os.getloadavg()[0]
    if before > 0.5 and not options.quick:
        print(
            f"The load average is {before:.2f}: other work will show in the figures.",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory(prefix="cmlbench-", ignore_cleanup_errors=True) as name:
        settle_in(Path(name))
        began = time.monotonic()
        field = Field(Path(name), options.candidates)
        run = Run(field, size, random.Random(options.seed))
        try:
            run.measure(options.only)
        finally:
            field.close()
    load = f"Load average {before:.2f} before, {os.getloadavg()[0]:.2f} after."
    circumstances = f"{report.environment(options.candidates)} {load}"
    done = {p: run.measured(p) for p in parts.PARTS if {*p.groups} & {*options.only}}
    for part, measured in done.items():
        print(f"\n{parts.text(part, measured, options.candidates, circumstances)}")
    print(f"{time.monotonic() - began:.0f} s")
    if options.quick:
        return 1 if run.failures else 0
    if options.candidates == NAMES:
        whole = {p: m for p, m in done.items() if {*p.groups} <= {*options.only}}
        parts.write(ROOT, whole, options.candidates, circumstances)
    rows = [row for measured in done.values() for row in measured.rows]
    return 1 if run.failures or report.misses(rows, options.candidates) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
