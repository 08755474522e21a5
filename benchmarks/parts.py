"""The parts of docs/benchmarks.md and of the README's figures: each is written by the runs that measure the whole of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Row

KERNELS = """\
Every candidate is measured in turn within one run, through the unmodified `KernelManager` of jupyter_client, on SSH servers of the benchmark's own on
loopback ports. A figure is the median over the rounds with the range of the rounds in brackets (a percentile is over all samples), and its ratio to
the local kernel. The round trip of the loopback is counted as 0. All candidates and the kernels share one computer, so the processor time of SSH and
of the agent is taken from the kernel.

Except where the rows speak of a server there is none in between: neither its own share nor the record that it keeps of outputs is in the figures.
First contact is measured in a new process that has its database open but no link, as a server has when it was started, on a host whose agent was
ended; for sshpyk it includes the start of its connection master. *ours, this machine* is a kernel of this computer under the agent, without SSH.
"""

CODE = """\
A repository of about 500 files, 11 MB and 6,000 commits goes to a machine over openssh, beside the tool that is named, in turn. Ours goes through the
link, which is open, as it is where a kernel runs. `tar | ssh` opens a connection, as it does where somebody types it; the rows with a connection that is
open already have a ControlMaster. The long line is a proxy in front of the SSH server: a round trip of 50 ms, 50 Mbit/s.
"""

DATA = """\
Datasets on a machine over openssh, beside the tool that is named, in turn. Ceph's RGW on the same computer is the service, and takes most of the
processor time in each row with small objects. Ours has every file on the disk for good before it gets its name (`fsync`, or `syncfs` for many); the other
tools leave that to the system, and their time ends with what the disk has not got yet.

The large object sways with the disk: the range of both is in the table, and a run 80 minutes before had ×1.07, with ×1.07 for the small ones and ×1.34 for
unchanged ones beside rclone.
"""

ENVIRONMENTS = """\
An environment on a machine over openssh from a lock whose wheels are in uv's cache, beside `uv pip sync` of the same lock there.
"""

RUNS = """\
Notebooks run on this computer under the agent, cell by cell with records that a reader gets live, beside the tool that is named, in turn. A *warm runner* is a process
that has imported all it needs and waits; a kernel kept ready waits with it. Where a run is asked for, its first cell says when it ran; jupyter-scheduler has a server of its own, in an
environment made for the benchmark. The rows about definitions and runs are of the scheduler alone, on SQLite: attempts end as soon as they are started.
"""

WHY_BULK = """\
Why bulk output falls short: on 2 CPUs there is no processor left over for the way. For one output of 50 MB, which a local kernel brings in 0.24 s,
the agent takes 0.05 s of processor time, sshd 0.04 s, ssh 0.03 s and our end of the link 0.02 s (means of 12, taken aside on 2026-11-21;
paramiko, which decrypts in Python, 0.08 s in place of the last two).
"""


@dataclass(frozen=True)
class Part:
    """A part of the document: its name and title, the groups that are measured for it in one run, and what is said before its table."""

    name: str
    title: str
    groups: tuple[str, ...]
    intro: str
    of_kernels: bool = False


PARTS = (
    Part(
        "kernels",
        "Kernels",
        ("roundtrip", "start", "bulk", "cuts", "restart", "idle"),
        KERNELS,
        of_kernels=True,
    ),
    Part("code", "Code", ("code",), CODE),
    Part("data", "Datasets", ("data",), DATA),
    Part("environments", "Environments", ("env",), ENVIRONMENTS),
    Part("runs", "Jobs", ("runs", "jobs"), RUNS),
)


@dataclass(frozen=True)
class Measured:
    """What a run measured for a part, and what it could not."""

    rows: Sequence[Row]
    failures: Sequence[str] = ()


def text(part: Part, measured: Measured, names: Sequence[str], circumstances: str) -> str:
    """Write a part of docs/benchmarks.md."""
    rows = measured.rows
    verdict = report.verdict(report.misses(rows, names), measured.failures)
    parts = [f"## {part.title}", part.intro.rstrip(), circumstances]
    if part.of_kernels:
        bulk = [row for row in rows if row.unit == "MB/s"]
        why = WHY_BULK if report.misses(bulk, names) else ""
        parts += [report.table(rows, names), verdict, why, report.carrier(rows)]
    else:
        parts += [report.beside(rows), verdict]
    return "\n\n".join(each.strip("\n") for each in parts if each) + "\n"


def write(
    root: Path, done: Mapping[Part, Measured], names: Sequence[str], circumstances: str
) -> None:
    """Renew these parts in docs/benchmarks.md and in the README, and nothing else there.

    Raises ValueError where a document has no marks for a part.
    """
    for part, measured in done.items():
        full = text(part, measured, names, circumstances)
        rows = measured.rows
        short = report.shortened(rows) if part.of_kernels else report.beside(rows)
        _renew(root / "docs" / "benchmarks.md", part, full)
        _renew(root / "README.md", part, short)


def _renew(document: Path, part: Part, written: str) -> None:
    old = document.read_text()
    first, last = f"<!-- {part.name} -->\n", f"<!-- /{part.name} -->"
    between = re.compile(f"({re.escape(first)}).*?({re.escape(last)})", re.DOTALL)
    new, found = between.subn(lambda marks: marks[1] + written + marks[2], old)
    if not found:
        raise ValueError(f"{document} has no marks for the part {part.name}")
    if new != old:
        document.write_text(new)
