"""What one kernel is like: round trips, bulk output, outputs through a cut link."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.candidates import OPENSSH, OURS, PARAMIKO, Candidate
from benchmarks.figures import Bound, Figure, Row
from benchmarks.session import Execution, NoAnswer, Session, running

MB = 1_000_000
PRINT = "print('x' * {size})"
MANY = """\
from IPython.display import publish_display_data
for _ in range({count}):
    publish_display_data({{'text/plain': 'x' * {size}}})
"""
LINES = """\
import time
for i in range({lines}):
    print(i)
    if not i % 50:
        time.sleep({pause})
"""


def shuffled(candidates: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Return the candidates in another order, so that none is always the one after another."""
    return rng.sample(candidates, len(candidates))


def within(extra_ms: float) -> dict[str, Bound]:
    """Promise at most the local kernel's time and so many milliseconds."""
    return dict.fromkeys(OURS, lambda ours, local: ours <= local + extra_ms)


def round_trips(
    sessions: dict[str, Session],
    candidates: list[Candidate],
    count: int,
    rounds: int,
    rng: random.Random,
) -> list[Row]:
    """Execute `1` count times in all, a batch of each candidate in turn."""
    taken: dict[str, list[list[Execution]]] = {c.name: [] for c in candidates}
    for _ in range(rounds):
        for candidate in shuffled(candidates, rng):
            session = sessions[candidate.name]
            taken[candidate.name].append([session.execute("1") for _ in range(count // rounds)])
    times = {
        "reply": {
            name: [[e.reply_s * 1000 for e in batch] for batch in batches]
            for name, batches in taken.items()
        },
        "idle": {
            name: [[e.idle_s * 1000 for e in batch] for batch in batches]
            for name, batches in taken.items()
        },
    }
    rows = []
    for what, percent, extra in [
        ("reply", 50, 1.0),
        ("reply", 99, 5.0),
        ("idle", 50, None),
        ("idle", 99, None),
    ]:
        row = Row(f"execute, {count:,} times: {what} p{percent}", "ms")
        if extra is not None:
            row.promise, row.bounds = f"≤ local + RTT + {extra:g} ms", within(extra)
        row.figures = {
            name: Figure.pooled(batches, percent) for name, batches in times[what].items()
        }
        rows.append(row)
    return rows


def bulk(
    sessions: dict[str, Session],
    candidates: list[Candidate],
    scale: float,
    rounds: int,
    rng: random.Random,
) -> list[Row]:
    """Let each candidate put out 100 MB in one print, 200 outputs of 0.5 MB and one of 50 MB."""
    count = max(1, int(200 * scale))
    cells: list[tuple[str, str, float, Callable[[Execution], int]]] = [
        (
            f"print {100 * scale:g} MB",
            PRINT.format(size=int(100 * MB * scale)),
            100 * scale,
            lambda done: done.text().count("x"),
        ),
        (
            f"{count} outputs of 0.5 MB",
            MANY.format(count=count, size=MB // 2),
            count / 2,
            displayed,
        ),
        (
            f"one output of {50 * scale:g} MB",
            MANY.format(count=1, size=int(50 * MB * scale)),
            50 * scale,
            displayed,
        ),
    ]
    rows = []
    for title, code, megabytes, arrived in cells:
        row = Row(title, "MB/s", "≥ 0.85 × local (openssh), ≥ 0.75 × (paramiko)", digits=1)
        row.bounds = {
            OPENSSH: lambda ours, local: ours >= 0.85 * local,
            PARAMIKO: lambda ours, local: ours >= 0.75 * local,
        }
        speeds: dict[str, list[float]] = {c.name: [] for c in candidates}
        for _ in range(rounds):
            for candidate in shuffled(candidates, rng):
                done = sessions[candidate.name].execute(code, timeout=120)
                if arrived(done) != int(megabytes * MB):
                    raise NoAnswer(f"{candidate.name}: {title}: {arrived(done)} characters came")
                speeds[candidate.name].append(megabytes / done.idle_s)
        row.figures = {name: Figure.of(each) for name, each in speeds.items()}
        rows.append(row)
    return rows


def displayed(done: Execution) -> int:
    """Count the characters in displayed plain text."""
    return sum(len(c["data"]["text/plain"]) for c in done.contents("display_data"))


def cuts(candidates: list[Candidate], lines: int, kills: int, seconds: float) -> list[Row]:
    """Kill the carrier again and again while a cell prints numbered lines; count what came."""
    lost = Row(f"lines lost in {kills} carrier kills during {lines:,} lines", "", "0", digits=0)
    doubled = Row("lines doubled in the same", "", "0", digits=0)
    for row in (lost, doubled):
        row.bounds = dict.fromkeys((OPENSSH, PARAMIKO), lambda ours, local: ours == 0)
    for candidate in candidates:
        if candidate.server is None:
            continue
        numbers, made = _print_through_cuts(candidate, lines, kills, seconds)
        counted = Counter(numbers)
        missing = sum(1 for number in range(lines) if not counted[number])
        lost.figures[candidate.name] = Figure.of([missing])
        doubled.figures[candidate.name] = Figure.of([sum(counted.values()) - len(counted)])
        if made != kills:
            lost.notes[candidate.name] = f"{made} kills"
        if numbers != sorted(numbers):
            doubled.notes[candidate.name] = "not in order"
    lost.baseline = doubled.baseline = ""
    return [lost, doubled]


def _print_through_cuts(
    candidate: Candidate, lines: int, kills: int, seconds: float
) -> tuple[list[int], int]:
    """Return the numbers in the order in which they came, and how many live connections were killed."""
    server = candidate.server
    if server is None:
        raise ValueError(f"{candidate.name} has no carrier to kill")
    spacing = seconds / (kills + 1)
    made, next_kill, next_poll, came = 0, time.monotonic() + spacing, time.monotonic() + 3, 0

    def tick() -> None:
        nonlocal made, next_kill, next_poll, came
        now = time.monotonic()
        if (
            now >= next_poll
        ):  # a server asks every 3 s whether the kernel lives; some repair themselves then
            session.manager.is_alive()
            next_poll = now + 3
        if made == kills or now < next_kill:
            return
        if session.progress > came and server.cut():  # only a link that is carrying lines
            made, came, next_kill = made + 1, session.progress, now + spacing

    code = LINES.format(lines=lines, pause=seconds / (lines / 50))
    with running(candidate.spec) as session:
        try:
            done = session.execute(code, timeout=seconds * 2 + 10, tick=tick)
        except NoAnswer:
            done = session.current
        return [int(line) for line in done.text().split()], made


@contextmanager
def sessions_of(candidates: list[Candidate]) -> Iterator[dict[str, Session]]:
    """Start a kernel of each candidate for the block."""
    with ExitStack() as stack:
        yield {c.name: stack.enter_context(running(c.spec)) for c in candidates}
