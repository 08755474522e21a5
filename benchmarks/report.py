"""Rows of figures as Markdown."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version

import psutil

from benchmarks.candidates import AGENT, LOCAL, OPENSSH, OURS, PARAMIKO, TITLES
from benchmarks.figures import Figure, Row

PACKAGES = ["jupyter-cloudml", "jupyter-client", "jupyter-server", "ipykernel", "pyzmq", "paramiko"]


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
    """Write rows beside other tools as a table: a machine over openssh, or this computer, and the tool beside it."""
    ours = AGENT if any(AGENT in row.figures for row in rows) else OPENSSH
    where = "ours, openssh" if ours == OPENSSH else TITLES[AGENT]
    lines = [["what", where, "beside it", "must"], ["---"] * 4]
    for row in rows:
        theirs = f"{cell(row, row.baseline)} {row.tool}" if row.tool else "–"
        lines.append([f"{row.title}, {row.unit}", cell(row, ours), theirs, row.promise])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def misses(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Name every promise that was not kept; one that was not measured is not."""
    return [
        f"{row.title}: {TITLES[name]} {cell(row, name)}, must be {row.promise}"
        for row in rows
        for name in names
        if name in OURS and row.kept(name) is False
    ]


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


def shortened(rows: Sequence[Row]) -> str:
    """Write rows about kernels as the README shows them: those with a promise, without ranges."""
    names = [LOCAL, OPENSSH, PARAMIKO, "sshpyk"]
    lines = [["what", *(TITLES[name] for name in names)], ["---"] * 5]
    for row in rows:
        if row.promise:
            figures = [row.figures.get(name) for name in names]
            shown = [
                f"{f.value:,.{row.digits}f}" if f else row.notes.get(n, "–")
                for n, f in zip(names, figures, strict=True)
            ]
            lines.append([f"{row.title}, {row.unit}" if row.unit else row.title, *shown])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
