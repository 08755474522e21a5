"""How far the cells of an attempt have come, by what it says; of one that goes on, only what is new is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..store.jobs.results import CellResult
from .attempts.run_log import RunLog
from .notebooks.records import Record

MOST = 32  # attempts of which it is remembered how far they were read


@dataclass(frozen=True)
class _Known:
    log: RunLog  # as far as it was read
    cells: dict[int, CellResult] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class CellsSoFar:
    """Reads on where it has read before, for the attempts that were asked for lately. Threads may share it."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, log: RunLog) -> list[CellResult]:
        """Return how far each cell has come. Raises OSError."""
        with self._lock:
            known = self._known.setdefault(log.path, _Known(log))
            self._known.move_to_end(log.path)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        with known.lock:  # a long file keeps nobody waiting for another one
            return cells_of(known.log.read_on(), known.cells)


def cells_of(
    records: Iterable[Record], found: dict[int, CellResult] | None = None
) -> list[CellResult]:
    """Return how far each cell has come, by the records of an attempt; `found` is what those before these have told, and is added to."""
    found = {} if found is None else found
    for record in records:
        if record["record"] != "cell" or not isinstance(record.get("index"), int):
            continue
        index, done = record["index"], record["state"] == "done"
        known = found.get(index)
        found[index] = CellResult(
            cell_id=str(record.get("id") or ""),
            idx=index,
            status=str(record.get("status")) if done else "running",
            started_ms=known.started_ms if known and done else record.get("at_ms"),
            ended_ms=record.get("at_ms") if done else None,
        )
    return [found[index] for index in sorted(found)]
