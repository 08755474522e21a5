"""What a Jupyter server with our kernels costs, and how soon it has them back after SIGKILL."""

from __future__ import annotations

import time
import urllib.error
from pathlib import Path

from benchmarks.candidates import LOCAL, OURS, Candidate
from benchmarks.figures import Figure, Row
from benchmarks.server import JupyterServer
from benchmarks.session import NoAnswer

CELL = """\
import time
for i in range({lines}):
    print(i)
    time.sleep(0.002)
"""


def restart(folder: Path, candidates: list[Candidate], rounds: int, lines: int) -> list[Row]:
    """Kill the server in the middle of a cell; time from its first answer to a usable kernel and the whole output."""
    usable = Row("server SIGKILL → same kernel answers an execute", "s", "< 5 s")
    shown = Row("server SIGKILL → the output missed meanwhile is there", "s", "< 5 s")
    for row in (usable, shown):
        row.bounds = dict.fromkeys(OURS, lambda ours, local: ours < 5)
        row.baseline = ""
    for candidate in candidates:
        if candidate.name not in OURS:
            continue
        times = [
            _kill_and_return(folder / f"{candidate.name}-{number}", candidate, lines)
            for number in range(rounds)
        ]
        usable.figures[candidate.name] = Figure.of([answered for answered, _ in times])
        shown.figures[candidate.name] = Figure.of([complete for _, complete in times])
    for row in (usable, shown):
        row.notes[LOCAL] = "the kernel is lost"
    return [usable, shown]


def _kill_and_return(folder: Path, candidate: Candidate, lines: int) -> tuple[float, float]:
    """Return the seconds to the answered execute and to the complete output."""
    server = JupyterServer(folder)
    server.start()
    try:
        kernel = server.open_notebook("work.ipynb", candidate.spec)
        with server.channels(kernel) as channels:
            channels.run("value = 6 * 7", "first")
            cell = channels.send(CELL.format(lines=lines), "second")
            while channels.answer(cell)["header"]["msg_type"] != "stream":
                pass
        server.kill()
        server.start()
        answered = time.perf_counter()
        with server.channels(kernel) as channels:
            answers = channels.run("print(value)", "third")
            usable = time.perf_counter() - answered
        texts = [m["content"]["text"] for m in answers if m["header"]["msg_type"] == "stream"]
        if "".join(texts) != "42\n":
            raise NoAnswer(f"{candidate.name}: the kernel answered {texts} instead of 42")
        while _lines_shown(server, kernel) != list(range(lines)):
            if time.perf_counter() - answered > 30:
                raise NoAnswer(f"{candidate.name}: the missed output did not come")
            time.sleep(0.02)
        return usable, time.perf_counter() - answered
    finally:
        for session in _sessions(server):
            server.delete(f"api/sessions/{session}")
        server.stop()


def _lines_shown(server: JupyterServer, kernel: str) -> list[int]:
    """Return the numbers that a page is told for the second cell."""
    answer = server.get(f"cloudml/api/v1/kernels/{kernel}/executions")
    for execution in answer["executions"]:
        if execution["cell_id"] == "second":
            streams = [m["content"]["text"] for m in execution["messages"] if m["type"] == "stream"]
            return [int(line) for line in "".join(streams).split()]
    return []


def _sessions(server: JupyterServer) -> list[str]:
    try:
        return [session["id"] for session in server.get("api/sessions")]
    except (urllib.error.URLError, OSError):
        return []


def idle(folder: Path, candidates: list[Candidate], kernels: int, seconds: float) -> list[Row]:
    """Measure what the server spends on kernels that nobody talks to, more than on none."""
    cpu = Row(f"idle: CPU of the server for {kernels} kernels", "% of a core", "≤ 1 %")
    memory = Row("idle: memory of the server for each", "MB", "≤ 1 MB")
    cpu.bounds = dict.fromkeys(OURS, lambda ours, local: ours <= 1)
    memory.bounds = dict.fromkeys(OURS, lambda ours, local: ours <= 1)
    for candidate in candidates:
        if candidate.name not in (LOCAL, *OURS):
            continue
        spent, held = _cost(folder / f"idle-{candidate.name}", candidate, kernels, seconds)
        cpu.figures[candidate.name] = Figure.of([spent])
        memory.figures[candidate.name] = Figure.of([held])
    return [cpu, memory]


def _cost(folder: Path, candidate: Candidate, kernels: int, seconds: float) -> tuple[float, float]:
    """Return percent of a core for all kernels, and MB for each, beyond a server that has had one."""
    server = JupyterServer(folder)
    server.start()
    try:
        # The first kernel brings the modules and the link that all share.
        server.delete(f"api/kernels/{_start(server, candidate)}")
        alone, before = _measure(server, seconds)
        for _ in range(kernels):
            _start(server, candidate)
        busy, after = _measure(server, seconds)
        return (busy - alone) * 100, (after - before) / kernels / 1e6
    finally:
        for kernel in server.get("api/kernels"):
            server.delete(f"api/kernels/{kernel['id']}")
        server.stop()


def _measure(server: JupyterServer, seconds: float) -> tuple[float, int]:
    """Return the cores used and the bytes held while nothing happens."""
    time.sleep(2)  # what starting left to do
    began, used = time.monotonic(), server.usage()[0]
    time.sleep(seconds)
    total, memory = server.usage()
    return (total - used) / (time.monotonic() - began), memory


def _start(server: JupyterServer, candidate: Candidate) -> str:
    """Start a kernel, let it answer once, and leave it alone."""
    kernel: str = server.post("api/kernels", {"name": candidate.spec})["id"]
    with server.channels(kernel) as channels:
        channels.run("1", "first")
    return kernel
