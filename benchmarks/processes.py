"""End what was started in a home folder of the benchmark: agents outlive those who started them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import psutil


def end_all(home: Path, spare: Collection[int] = ()) -> int:
    """Kill every process whose HOME is this folder, and wait for their end; return how many there were."""
    kept = {os.getpid(), *spare}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in kept and process.environ().get("HOME") == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=10)
    return len(found)
