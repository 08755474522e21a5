"""What the machine and its processes use now: CPU, memory, disk, GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .owned import Owned

JSON = dict[str, Any]
FRESH = 1.0  # seconds for which an answer is given again
GPU_FRESH = 2.0
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
GPU_QUERY = [
    "--query-gpu=name,memory.used,memory.total,utilization.gpu",
    "--format=csv,noheader,nounits",
]
APP_QUERY = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
MIB = 1 << 20


def memory_total() -> int:
    """Bytes of memory of this machine."""
    return int(os.sysconf("SC_PHYS_PAGES")) * PAGE


def _memory_used() -> int:
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return (int(fields["MemTotal"].split()[0]) - int(fields["MemAvailable"].split()[0])) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def _cpu_times() -> tuple[float, float] | None:
    """(busy, all) jiffies since boot."""
    try:
        with open("/proc/stat") as file:
            fields = [float(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(fields) - fields[3] - fields[4], sum(fields)


class Session:
    """The processes of a session, and of those that were started from within it: CPU seconds, resident bytes, pids."""

    def __init__(self) -> None:
        self.seconds, self.memory = 0.0, 0
        self.pids: list[int] = []


def gather(rows: Iterable[tuple[int, int, int, float, int]]) -> dict[int, Session]:
    """Sessions from rows of (pid, parent, session, CPU seconds, bytes): a run's kernel has a session of its own, and is the run's. Pure."""
    members: dict[int, list[tuple[int, float, int]]] = {}
    session_of: dict[int, int] = {}
    starter: dict[int, int] = {}  # session -> the parent of its first process
    for pid, parent, session, seconds, memory in rows:
        members.setdefault(session, []).append((pid, seconds, memory))
        session_of[pid] = session
        if pid == session:
            starter[session] = parent
    found = {session: Session() for session in members}
    for session, processes in members.items():
        at, seen = session, set[int]()
        while at in found and at not in seen:
            seen.add(at)
            for pid, seconds, memory in processes:
                found[at].seconds += seconds
                found[at].memory += memory
                found[at].pids.append(pid)
            at = session_of.get(starter.get(at, 0), 0)
    return found


def _sessions() -> dict[int, Session]:
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return gather(_rows_of_ps())
    return gather(_rows(pids))


def _rows(pids: Iterable[int]) -> Iterator[tuple[int, int, int, float, int]]:
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        seconds = (int(fields[11]) + int(fields[12])) / TICKS
        yield pid, int(fields[1]), int(fields[3]), seconds, int(fields[21]) * PAGE


def _rows_of_ps() -> Iterator[tuple[int, int, int, float, int]]:
    """Yield the same where there is no /proc; a group stands for a session there."""
    done = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,pgid=,time=,rss="], capture_output=True, text=True
    )
    for line in done.stdout.splitlines():
        pid, parent, group, spent, rss = line.split()
        seconds = 0.0
        for part in spent.replace("-", ":").split(":"):
            seconds = seconds * 60 + float(part)
        yield int(pid), int(parent), int(group), seconds, int(rss) * 1024


class Gpus:
    """nvidia-smi, asked in the background: it takes up to a second."""

    def __init__(self) -> None:
        self.program = shutil.which("nvidia-smi")
        self.cards: list[JSON] = []
        self.by_pid: dict[int, int] = {}
        self._runs: list[subprocess.Popen[bytes]] = []
        self._asked = 0.0
        if self.program:
            self._ask()
            self._collect(wait=5.0)

    def read(self) -> None:
        """Collect what was asked for, and ask anew when that is old."""
        if self.program is None:
            return
        self._collect(wait=0.0)
        if not self._runs and time.monotonic() - self._asked > GPU_FRESH:
            self._ask()

    def _ask(self) -> None:
        self._asked = time.monotonic()
        try:
            for query in (GPU_QUERY, APP_QUERY):
                argv = [str(self.program), *query]
                self._runs.append(
                    subprocess.Popen(
                        argv,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                    )
                )
        except OSError:
            self.program = None

    def _collect(self, wait: float) -> None:
        if not self._runs:
            return
        try:
            if wait:
                for run in self._runs:
                    run.wait(wait)
        except subprocess.TimeoutExpired:
            pass
        if any(run.poll() is None for run in self._runs):
            return
        texts = []
        for run in self._runs:
            texts.append(run.communicate()[0].decode("utf-8", "replace"))
        self._runs = []
        self.cards, self.by_pid = parse_cards(texts[0]), parse_apps(texts[1])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # "[N/A]"


def parse_cards(text: str) -> list[JSON]:
    """The GPUs in nvidia-smi's answer to GPU_QUERY; bytes and per cent, None where the driver does not tell."""
    cards = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 4:
            continue
        used, total, percent = (_number(field) for field in fields[1:])
        cards.append(
            {
                "name": fields[0],
                "memory_used": None if used is None else int(used * MIB),
                "memory_total": None if total is None else int(total * MIB),
                "percent": percent,
            }
        )
    return cards


def parse_apps(text: str) -> dict[int, int]:
    """Pid -> bytes of GPU memory in nvidia-smi's answer to APP_QUERY."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        pid, _, used = line.partition(",")
        amount = _number(used)
        if pid.strip().isdigit() and amount is not None:
            found[int(pid)] = found.get(int(pid), 0) + int(amount * MIB)
    return found


class Gauges:
    """Reads all gauges at most once a second."""

    def __init__(self) -> None:
        self.gpus = Gpus()
        self._cpu = _cpu_times()
        self._spent: dict[str, tuple[float, float]] = {}  # process id -> (when, CPU seconds)
        self._answer: JSON = {}
        self._answered = 0.0

    def gpu_names(self) -> list[str]:
        """The names of the GPUs."""
        return [card["name"] for card in self.gpus.cards]

    def read(self, owned: Iterable[Owned]) -> JSON:
        """The gauges of the machine and of its running processes, by id."""
        now = time.monotonic()
        if now - self._answered < FRESH:
            return self._answer
        self.gpus.read()
        cpu, before = _cpu_times(), self._cpu
        percent = None
        if cpu and before and cpu[1] > before[1]:
            percent = round(100 * (cpu[0] - before[0]) / (cpu[1] - before[1]), 1)
        self._cpu = cpu
        disk = shutil.disk_usage(os.path.expanduser("~"))
        machine = {
            "cpu_percent": percent,
            "memory_used": _memory_used(),
            "memory_total": memory_total(),
            "disk_free": disk.free,
            "disk_total": disk.total,
            "load": os.getloadavg()[0],
            "gpus": self.gpus.cards,
        }
        sessions = _sessions()
        processes = {
            o.process.id: self._of(o, sessions, now) for o in owned if o.process.exit is None
        }
        self._spent = {id: spent for id, spent in self._spent.items() if id in processes}
        self._answer, self._answered = {"machine": machine, "processes": processes}, now
        return self._answer

    def _of(self, owned: Owned, sessions: dict[int, Session], now: float) -> JSON:
        session = sessions.get(owned.process.pid or 0) or Session()
        seconds, memory, pids = session.seconds, session.memory, session.pids
        at, before = self._spent.get(owned.process.id, (now, seconds))
        self._spent[owned.process.id] = (now, seconds)
        owned.process.peak_bytes = max(owned.process.peak_bytes, memory)
        gpu = sum(self.gpus.by_pid.get(pid, 0) for pid in pids)
        return {
            "cpu_percent": round(100 * max(0.0, seconds - before) / (now - at), 1)
            if now > at
            else None,
            "memory_used": memory,
            "peak_memory": owned.process.peak_bytes,
            "gpu_memory_used": gpu if self.gpus.program else None,
        }
