"""What happens to jobs and runs, told to the pages: whoever did it, this server or another process of the same database."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import Store, StoreError
from jupyter_cloudml.store.jobs.records import FINAL

LOOK_S = 1.0  # between two looks at the table of events, unless something is known to have happened
RECORDS_S = 0.2  # between two looks at the records of the runs that somebody looks at
BATCH = 500
WATCHED = 100  # runs
NAMES = 10_000
LATE_S = 60.0  # a transaction takes its number before it is seen by others; none takes longer
MISSING = 1000
_log = logging.getLogger(__name__)
Emit = Callable[[str, Mapping[str, JSON]], None]


@dataclass
class Place:
    """How far the table of events was read, and which numbers before that may still come (PostgreSQL: others commit in another order)."""

    seq: int
    missing: dict[int, float] = field(default_factory=dict)  # since when it is waited for

    def went_on(self, numbers: Iterable[int], at: float) -> None:
        """Note what was read. `at` is of a monotonic clock."""
        for number in numbers:
            self.missing.pop(number, None)
            for skipped in range(max(self.seq + 1, number - MISSING), number):
                self.missing[skipped] = at
            self.seq = max(self.seq, number)
        kept = [(n, since) for n, since in self.missing.items() if at - since < LATE_S]
        self.missing = dict(kept[-MISSING:])


@dataclass
class _Watched:
    """How many bytes of records a run has, and up to where somebody has read them."""

    size: Callable[[], int]
    told: int


class Follower:
    """Emits the events `run`, `job` and `run-records`, from a thread of its own. Costs a small query a second while nothing happens."""

    def __init__(self, store: Store, emit: Emit, clock: Callable[[], float] = time.monotonic):
        self._store, self._emit, self._clock = store, emit, clock
        self._place: Place | None = None
        self._names: dict[str, str] = {}
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs-follower", daemon=True)
        self._looked_at = 0.0
        self._troubled = False

    def start(self) -> None:
        """Begin with what happens from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Emit nothing more; returns at once."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Have it look at once: something has happened. From any thread, at almost no cost."""
        self._wake.set()

    def watch(self, run_id: str, size: Callable[[], int], told: int) -> None:
        """Tell when the size of a run's records grows beyond `told` bytes, until the run is over; the last 100 runs asked for are watched."""
        with self._lock:
            first = not self._watched
            self._watched[run_id] = _Watched(size, told)
            self._watched.move_to_end(run_id)
            while len(self._watched) > WATCHED:
                self._watched.popitem(last=False)
        if first:
            self._wake.set()

    def _run(self) -> None:
        self._look_again()
        records_at = 0.0
        while not self._stopping.is_set():
            woken = self._wake.wait(RECORDS_S if self._watched else LOOK_S)
            self._wake.clear()
            if self._stopping.is_set():
                return
            at = self._clock()
            if woken or at - self._looked_at >= LOOK_S:
                self._look_again()
            if at - records_at >= RECORDS_S:
                records_at = at
                self.look_at_records()
            if woken:  # a burst of wakes is one look
                self._stopping.wait(0.02)

    def _look_again(self) -> None:
        self._looked_at = self._clock()
        try:
            while self.look() and not self._stopping.is_set():
                pass
            self._troubled = False
        except StoreError as exc:
            if not self._troubled:
                _log.warning("jupyter-cloudml: pages hear of jobs when the database works: %s", exc)
            self._troubled = True
        except Exception:  # noqa: BLE001  # the edge of the thread
            _log.exception("jupyter-cloudml: an event of a job could not be told")

    def look(self) -> bool:
        """Tell what has happened since the last look; True where there is more. Raises StoreError."""
        if self._place is None:
            self._place = Place(self._store.events.last_seq())
            return False
        found = self._store.events.since(self._place.seq, BATCH, self._place.missing)
        self._place.went_on((event.seq for event in found), self._clock())
        last = {(event.noun, event.name): event for event in found}  # what was before is no news
        self._learn_names(last.values())
        for event in found:
            if last[event.noun, event.name] is event:
                self._tell(event)
        return len(found) == BATCH

    def _tell(self, event: Event) -> None:
        if event.noun == "job":
            self._emit("job", event.data)
        elif event.noun == "run":
            if event.state in FINAL:
                self.look_at_records(event.name)
                with self._lock:
                    self._watched.pop(event.name, None)
            self._emit("run", {**event.data, "job": self._names.get(str(event.data.get("job_id")))})

    def _learn_names(self, events: Iterable[Event]) -> None:
        ids = {str(event.data.get("job_id")) for event in events if event.noun == "run"}
        unknown = ids - self._names.keys()
        if unknown:
            if len(self._names) > NAMES:
                self._names.clear()
                unknown = ids
            self._names |= self._store.pages.names(unknown)

    def look_at_records(self, run_id: str | None = None) -> None:
        """Tell which of the watched runs, or whether this one, has said more."""
        with self._lock:
            watched = [
                each for each in self._watched.items() if run_id is None or each[0] == run_id
            ]
        for each, seen in watched:
            try:
                size = seen.size()
            except (OSError, StoreError):
                continue
            if size > seen.told:
                seen.told = size
                self._emit("run-records", {"id": each})
