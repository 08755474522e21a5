"""Kernels that failed runs have left: where each is and for how long, and whether a run can go on in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...clock import Clock, SystemClock
from ...errors import JSON, Conflict, NotFound
from ...machines.model import LOCAL
from ...store import Store
from ...store.jobs.records import RunRecord
from ..notebooks.records import Record
from .run_files import RunFiles


@dataclass(frozen=True)
class Left:
    """The kernel of a failed attempt: `name` is the attempt's, `cell` the one that failed (from 0), `until_ms` when it ends (UTC ms), `pid` its process there."""

    run: str
    name: str
    machine: str
    connection_file: str
    until_ms: int
    cell: int | None
    pid: int = 0

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Way:
    """How a run is run again: `changes` of it, and that in words."""

    changes: dict[str, JSON]
    words: str


class KeptKernels:
    """What is known of them here, below the folder of runs; what became of one only its machine knows."""

    def __init__(self, store: Store, folder: Path, clock: Clock | None = None) -> None:
        self._store, self._files = store, RunFiles(folder, store.files)
        self._clock = clock or SystemClock()

    def note(
        self, run_id: str, attempt: int, name: str, machine: str, records: Iterable[Record]
    ) -> None:
        """Note the kernel that an attempt has left, if it has. Raises NoFolder, NoSpace."""
        for record in records:
            if record["record"] == "kept":
                left = Left(
                    run_id,
                    name,
                    machine,
                    str(record["connection_file"]),
                    int(record["until_ms"]),
                    record.get("cell"),
                    int(record.get("pid") or 0),
                )
                self._write(run_id, attempt, left)

    def of(self, run: RunRecord) -> Left | None:
        """Return the kernel that a run has left and that is there still, as far as is known here."""
        if run.ended_ms is None:
            return None
        found = self._files.read(run.id, _name(run.attempts))
        if found is None:
            return None
        left = Left(**json.loads(found))
        return left if left.until_ms > self._clock.now_ms() else None

    def must(self, run: RunRecord) -> Left:
        """Return the kernel that a run has left. Raises NotFound (`no_kernel`) that says why there is none, Conflict (`other_computer`) where
        only another computer that shares the database can reach it.
        """
        left = self.of(run)
        if left is None:
            raise no_kernel(run.id, self.why_not(run))
        if self.is_elsewhere(run, left):
            raise Conflict(
                f"the kernel of the run {run.id} is on another computer, which has run it itself",
                code="other_computer",
                hint="ask for it there",
            )
        return left

    def is_elsewhere(self, run: RunRecord, left: Left) -> bool:
        """Tell whether it is on another of the computers that share the database, as what that has run itself."""
        here = self._store.computer
        return left.machine == LOCAL and bool(here) and run.computer not in (None, here)

    def longer(self, run: RunRecord, until_ms: int) -> Left:
        """Note that the kernel of a run is kept until then. Raises NotFound, NoFolder, NoSpace."""
        left = replace(self.must(run), until_ms=until_ms)
        self._write(run.id, run.attempts, left)
        return left

    def gone(self, run: RunRecord) -> None:
        """Note that the kernel of a run is another run's now, or was ended."""
        self._files.remove(run.id, _name(run.attempts))

    def _write(self, run_id: str, attempt: int, left: Left) -> None:
        self._files.write(run_id, _name(attempt), json.dumps(left.to_dict()).encode())

    def way(self, run: RunRecord, machine: str | None, *, from_failed: bool) -> Way:
        """Decide how a run that is over is run again."""
        changes: dict[str, JSON] = {} if machine is None else {"machine": machine}
        if not from_failed:
            return Way(changes, "all cells run")
        left = self.of(run)
        if left is None:
            return Way(changes, f"all cells run: {self.why_not(run)}")
        if machine is not None and machine != left.machine:
            return Way(changes, f"all cells run: the kernel that was kept is on {left.machine}")
        if self.is_elsewhere(run, left):
            return Way(changes, "all cells run: the kernel is on another computer")
        if left.cell is None:
            return Way(changes, "all cells run: no cell has failed")
        changes |= {"machine": left.machine, "resume": {"of": left.name, "at": left.cell}}
        return Way(changes, f"it goes on at cell {left.cell + 1}, in the kernel that was kept")

    def why_not(self, run: RunRecord) -> str:
        """Say why there is no kernel of a run."""
        if run.ended_ms is None:
            return "it is not over"
        if run.state not in ("failed", "timed_out"):
            return "no cell has failed"
        spec = self._store.jobs.revision(run.job_id, run.job_rev)
        if not spec.get("keep_on_failure"):
            return "its kernel was not kept (keep_on_failure in the definition keeps it)"
        return "its kernel is not there any more"


def _name(attempt: int) -> str:
    return f"{attempt}.kept.json"


def no_kernel(run_id: str, why: str) -> NotFound:
    """Return the error that says why a run has left no kernel."""
    return NotFound(
        f"the run {run_id} has left no kernel: {why}",
        code="no_kernel",
        hint="`keep_on_failure` in the definition of its job keeps it; run it again",
    )


def resumed(run: RunRecord, records: Iterable[Record]) -> dict[str, JSON] | None:
    """Return from which cell a run has gone on, and of which attempt; None where nobody has asked it to. Pure."""
    wanted = run.changes.get("resume")
    if not isinstance(wanted, dict):
        return None
    begun = next((each for each in records if each["record"] == "begun"), None)
    at = None if begun is None else begun.get("resumed_at")
    if begun is not None and at is None:
        return {"of": wanted["of"], "at": 0, "why": "the kernel was gone: all cells have run"}
    return {"of": wanted["of"], "at": wanted["at"] if at is None else at, "why": None}
