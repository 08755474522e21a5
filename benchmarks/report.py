"""Rows of figures as Markdown: for the screen, for docs/benchmarks.md and for the README."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.candidates import LOCAL, OPENSSH, OURS, PARAMIKO, TITLES
from benchmarks.figures import Figure, Row

PACKAGES = ["jupyter-cloudml", "jupyter-client", "jupyter-server", "ipykernel", "pyzmq", "paramiko"]
MARK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
HEAD = """\
# Benchmarks

Written by `make bench`, which starts SSH servers of its own on loopback ports and measures every candidate in turn within one run, through the
unmodified `KernelManager` of jupyter_client. A figure is the median over the rounds with the range of the rounds in brackets (a percentile
is over all samples), and its ratio to the local kernel. The round trip of the loopback is counted as 0. All candidates and the kernels
share one computer, so the processor time of SSH and of the agent is taken from the kernel.

Except where the rows speak of a server there is none in between: neither its own share nor the record that it keeps of outputs is in the figures.
First contact is measured in a new process that has its database open but no link, as a server has when it was started, on a host whose agent was
ended; for sshpyk it includes the start of its connection master. *ours, this machine* is a kernel of this computer under the agent, without SSH.
"""

BESIDE = """\
Code, datasets and environments, on a machine over openssh beside the tool that is named, in turn. Ceph's RGW on the same computer is the service for
datasets. The line with a round trip of 50 ms and 50 Mbit/s is a proxy in front of the SSH server; the other tools keep one connection open as well.
"""

WHY_BULK = """\
Why bulk output falls short: on 2 CPUs there is no processor left over for the way. For one output of 50 MB, which a local kernel brings in 0.24 s,
the agent takes 0.05 s of processor time, sshd 0.04 s, ssh 0.03 s and our end of the link 0.02 s (means of 12, taken aside on 2026-11-21;
paramiko, which decrypts in Python, 0.08 s in place of the last two).
"""


def environment(names: Sequence[str]) -> str:
    """Name what was measured on and with."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=10).stderr
    packages = PACKAGES + (["sshpyk"] if "sshpyk" in names else [])
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {os.cpu_count()} CPUs, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{ssh.split(',')[0].strip()}, {versions}."
    )


def cell(row: Row, name: str) -> str:
    """Write one figure: median, range, ratio, and whether the promise was kept."""
    figure, note = row.figures.get(name), row.notes.get(name, "")
    if figure is None:
        return note or "–"
    parts = [f"{figure.value:,.{row.digits}f}"]
    if figure.low != figure.high:
        parts.append(f"({figure.low:,.{row.digits}f}–{figure.high:,.{row.digits}f})")
    if (ratio := row.ratio(name)) is not None:
        parts.append(f"×{ratio:.2f}")
    if (kept := row.kept(name)) is not None:
        parts.append("✓" if kept else "✗")
    if note:
        parts.append(f"[{note}]")
    return " ".join(parts)


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Write rows as a Markdown table, a column for each candidate."""
    header = ["what", *(TITLES[name] for name in names), "must"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        title = f"{row.title}, {row.unit}" if row.unit else row.title
        lines.append([title, *(cell(row, name) for name in names), row.promise or ""])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def beside(rows: Sequence[Row]) -> str:
    """Write the rows about code, data and environments as a table: a machine over openssh, and the tool beside it."""
    lines = [["what", "ours, openssh", "beside it", "must"], ["---"] * 4]
    for row in rows:
        theirs = f"{cell(row, row.baseline)} {row.tool}" if row.tool else "–"
        lines.append([f"{row.title}, {row.unit}", cell(row, OPENSSH), theirs, row.promise])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Tell the rows about kernels from those beside other tools."""
    return [row for row in rows if row.tool is None], [row for row in rows if row.tool is not None]


def misses(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Name every promise that was not kept; one that was not measured is not."""
    return [
        f"{row.title}: {TITLES[name]} {cell(row, name)}, must be {row.promise}"
        for row in rows
        for name in names
        if name in OURS and row.kept(name) is False
    ]


def document(
    rows: Sequence[Row],
    names: Sequence[str],
    load: tuple[float, float],
    failures: Sequence[str] = (),
) -> str:
    """Write docs/benchmarks.md."""
    kernels, others = split(rows)
    tables = table(kernels, names) if kernels else ""
    tables += f"\n{BESIDE}\n{beside(others)}" if others else ""
    return (
        f"{HEAD}\n{environment(names)} Load average {load[0]:.2f} before, {load[1]:.2f} after.\n\n"
        f"{tables}\n{verdict(misses(rows, names), failures)}{why(rows, names)}{carrier(rows)}"
    )


def why(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Say why promises about bulk output were not kept, if any were not."""
    bulk = [row for row in rows if row.unit == "MB/s"]
    return WHY_BULK if misses(bulk, names) else ""


def verdict(missed: Sequence[str], failures: Sequence[str]) -> str:
    """Say what was not kept and what could not be measured."""
    if not missed and not failures:
        return "Every promise was kept in this run.\n"
    text = ""
    for title, lines in [("Not kept in this run", missed), ("Not measured", failures)]:
        if lines:
            text += f"{title}:\n\n" + "".join(f"- {line}\n" for line in lines) + "\n"
    return text


def carrier(rows: Sequence[Row]) -> str:
    """Say which carrier did better in this run, by the row that tells them apart most."""
    lines = []
    for row in rows:
        first, second = row.figures.get(OPENSSH), row.figures.get(PARAMIKO)
        if first and second and row.unit in ("ms", "MB/s", "s"):
            lines.append(_compare(row, first, second))
    if not lines:
        return ""
    ahead = sum(1 for better in lines if better == OPENSSH)
    return (
        f"\nBetween the carriers, openssh was ahead in {ahead} of {len(lines)} rows. It is the default where a system `ssh` exists, also because "
        "it honours all of `~/.ssh/config` and does its cryptography in a process of its own; paramiko serves where there is none.\n"
    )


def _compare(row: Row, first: Figure, second: Figure) -> str:
    more_is_better = row.unit == "MB/s"
    return OPENSSH if (first.value >= second.value) == more_is_better else PARAMIKO


def summary(rows: Sequence[Row]) -> str:
    """Write the README's section: the rows with a promise, without ranges."""
    names = [LOCAL, OPENSSH, PARAMIKO, "sshpyk"]
    lines = [["what", *(TITLES[name] for name in names)], ["---"] * 5]
    kernels, others = split(rows)
    for row in kernels:
        if row.promise:
            figures = [row.figures.get(name) for name in names]
            shown = [
                f"{f.value:,.{row.digits}f}" if f else row.notes.get(n, "–")
                for n, f in zip(names, figures, strict=True)
            ]
            lines.append([f"{row.title}, {row.unit}" if row.unit else row.title, *shown])
    rows_text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return (
        "## Figures\n\nMedians over loopback SSH, written by `make bench`; "
        f"[all figures, with ranges and what they were measured on](docs/benchmarks.md).\n\n{rows_text}"
        + (f"\n{beside(others)}" if others else "")
    )


def write(root: Path, text: str, rows: Sequence[Row]) -> None:
    """Write docs/benchmarks.md, and the README's table between its marks."""
    (root / "docs" / "benchmarks.md").write_text(text)
    readme = root / "README.md"
    old = readme.read_text()
    new = MARK.sub(lambda found: found[1] + summary(rows) + found[2], old)
    if new != old:
        readme.write_text(new)
