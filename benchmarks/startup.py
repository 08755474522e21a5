"""From start_kernel to the first answer: with a warm agent, with a kernel kept ready, at first contact."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.candidates import AGENT, LOCAL, OPENSSH, OURS, PARAMIKO, Candidate
from benchmarks.figures import Figure, Row
from benchmarks.processes import end_all
from benchmarks.session import NoAnswer, running
from jupyter_cloudml.link.link import Link
from jupyter_cloudml_kernels.machines import current


def measure(candidates: list[Candidate], rounds: int, rng: random.Random) -> list[Row]:
    """Measure the three kinds of start, the candidates in turn in each round."""
    # First of all: a link that this process held would bring an ended agent back.
    first = Row("start → ready, first contact with a prepared host", "s", "≤ local + 1 s", digits=3)
    first.bounds = dict.fromkeys((OPENSSH, PARAMIKO), lambda ours, local: ours <= local + 1)
    strangers = [candidate for candidate in candidates if candidate.name != AGENT]
    first.figures = _in_turn(strangers, rounds, rng, _seconds_of_a_new_process)

    warm = Row("start → ready, warm agent", "s", "≤ 1.15 × local", digits=3)
    warm.bounds = dict.fromkeys(OURS, lambda ours, local: ours <= 1.15 * local)
    for candidate in candidates:  # links open, agents start, masters connect
        _seconds(candidate)
    warm.figures = _in_turn(candidates, rounds, rng, _seconds)

    ready = Row("start → ready, pre-warmed kernel", "s", "≤ 0.3 × local", digits=3)
    ready.bounds = dict.fromkeys(OURS, lambda ours, local: ours <= 0.3 * local)
    ours = [candidate for candidate in candidates if candidate.name in OURS]
    ready.figures = _in_turn(ours, rounds, rng, _seconds_prewarmed)
    if LOCAL in warm.figures:
        ready.figures[LOCAL] = warm.figures[LOCAL]
    return [warm, ready, first]


def _seconds(candidate: Candidate) -> float:
    with running(candidate.spec) as session:
        return session.ready_s


def _seconds_prewarmed(candidate: Candidate) -> float:
    with _kept_ready(candidate):
        return _seconds(candidate)


def _seconds_of_a_new_process(candidate: Candidate) -> float:
    """Start from a process that knows no link, on a host where no agent runs, its code and its Python being there."""
    if candidate.server is not None:
        candidate.server.cut()
        end_all(candidate.server.home)
    command = [sys.executable, "-m", "benchmarks.contact", candidate.spec]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise NoAnswer(f"{candidate.name}: {done.stderr}")
    return float(done.stdout.split()[-1])


@contextmanager
def _kept_ready(candidate: Candidate, timeout: float = 30) -> Iterator[None]:
    """Have the agent keep one kernel ready, and wait until it is."""
    name = candidate.machine
    if name is None:
        raise ValueError(f"{candidate.name} keeps no kernel ready")
    machines = current()
    link = machines.link(name)
    machines.change(name, prewarm=1)
    try:
        deadline = time.monotonic() + timeout
        while not _one_is_ready(link):
            if time.monotonic() > deadline:
                raise NoAnswer(f"{name} has no kernel ready after {timeout:.0f} s")
            time.sleep(0.05)
        yield
    finally:
        machines.change(name, prewarm=0)


def _one_is_ready(link: Link) -> bool:
    rows = link.call("list")
    return isinstance(rows, list) and any(
        isinstance(row, dict) and row.get("warm") and row.get("execution_state") == "idle"
        for row in rows
    )


def _in_turn(
    candidates: list[Candidate],
    rounds: int,
    rng: random.Random,
    measure_one: Callable[[Candidate], float],
) -> dict[str, Figure]:
    taken: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    for _ in range(rounds):
        for candidate in rng.sample(candidates, len(candidates)):
            taken[candidate.name].append(measure_one(candidate))
    return {name: Figure.of(seconds) for name, seconds in taken.items()}
