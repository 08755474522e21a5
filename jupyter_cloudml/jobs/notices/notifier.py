"""Tells people of the ends of runs: takes notices, one server each, delivers them within a bound, and tries again what could not be delivered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ...clock import Clock, SystemClock
from ...errors import CloudMLError
from ...store import Store, StoreError
from ...store.jobs.notices import NoticeRecord
from ...store.jobs.records import RunRecord
from ..attempts.secrets import resolve
from ..definition.notify import REFERENCE
from ..results import Results
from ..scheduling import crash
from .delivery import DELIVER_S, deliver

log = logging.getLogger(__name__)

POLL_S = 1.0
TAKEN_MS = int((DELIVER_S + 30) * 1000)  # longer than a delivery can take
LAST_S = 15.0  # when a server ends, what is due is still delivered for so long
FIRST_AGAIN_MS, LONGEST_MS = 30_000, 3_600_000
TRIES = 12  # about seven hours
MOST = 3000  # characters of a text

Deliver = Callable[[str, str, str], "str | None"]
"""Delivers (address, title, text); returns why it could not."""


class Notifier:
    """Delivers notices once started. Any number of servers may have one."""

    def __init__(
        self,
        store: Store,
        results: Results,
        *,
        clock: Clock | None = None,
        deliver: Deliver = deliver,
    ) -> None:
        self._store, self._results, self._deliver = store, results, deliver
        self._clock = clock or SystemClock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep delivering, in a thread."""
        self._thread = threading.Thread(target=self._run, name="jobs-notifier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver what is due now, for some seconds, and no more."""
        self._stopping.set()
        if self._thread is not None:
            until = time.monotonic() + LAST_S
            self._thread.join(LAST_S)  # else another server tells it again
            while time.monotonic() < until and self._quietly():
                pass

    def tick(self) -> bool:
        """Deliver one notice that is due; tell whether there was one. Raises StoreError."""
        now = self._clock.now_ms()
        for notice in self._store.notices.take(now, now + TAKEN_MS, 1):
            crash.point("telling")
            error = self._tell(notice)
            crash.point("told")
            if error is None:
                self._store.notices.sent(notice, self._clock.now_ms())
            else:
                log.warning("nobody was told of the run %s: %s", notice.run_id, error)
                wait = again_ms(notice.tries)
                again = None if wait is None else self._clock.now_ms() + wait
                self._store.notices.failed(notice, error, again)
            return True
        return False

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            while not self._stopping.is_set() and self._quietly():
                pass

    def _quietly(self) -> bool:
        try:
            return self.tick()
        except StoreError as exc:
            log.warning("people are told when the database can be used: %s", exc)
        except Exception:  # the edge of the thread: without it nobody would be told any more
            log.exception("the notifier met an error of its own and goes on")
        return False

    def _tell(self, notice: NoticeRecord) -> str | None:
        """Tell somebody; return why that could not be. Raises StoreError."""
        try:
            address = notice.address
            if REFERENCE.fullmatch(address):
                address = resolve({"to": address})["to"].strip()
            run = self._store.runs.get(notice.run_id)
            shown = self._results.look(notice.run_id)
            source = self._source(run, shown)
            return self._deliver(address, *text_of(notice.about, shown, source))
        except StoreError:
            raise
        except CloudMLError as exc:
            return exc.message
        except Exception as exc:  # counted as a try, else it would be met for ever
            log.exception("the notice of the run %s met an error of the notifier", notice.run_id)
            return f"an error of the notifier: {type(exc).__name__}"

    def _source(self, run: RunRecord, shown: Mapping[str, Any]) -> tuple[int, str] | None:
        """Return place and code of the cell that failed."""
        failed = [cell["idx"] for cell in shown["cells"] if cell["status"] == "error"]
        sent = self._results.sent(run.id, run.attempts) if failed else None
        if sent is None or failed[-1] >= len(sent["cells"]):
            return None
        source = sent["cells"][failed[-1]]["source"]
        return failed[-1] + 1, source if isinstance(source, str) else "".join(source)


def again_ms(tries: int) -> int | None:
    """Return how long after so many tries the next one is; None: there is none. Pure."""
    if tries >= TRIES:
        return None
    return int(min(FIRST_AGAIN_MS * 2 ** max(tries - 1, 0), LONGEST_MS))


def text_of(about: str, shown: Mapping[str, Any], cell: tuple[int, str] | None) -> tuple[str, str]:
    """Return title and text of a notice. Pure."""
    words = {"failure": shown["state"], "recovery": "succeeded again", "success": "succeeded"}
    title = f"{shown['job']}: {words[about]}".replace("_", " ")
    lines = [
        f"Job: {shown['job']}",
        f"Run: {shown['run']}",
        f"State: {shown['state']}",
        f"Machine: {shown['machine']}",
    ]
    if shown["reason"]:
        lines.append(f"Reason: {shown['reason'][:1000]}")
    if cell is not None:
        code = "\n".join(f"    {line[:200]}" for line in cell[1].splitlines()[:10])
        lines.append(f"Cell {cell[0]}:\n{code}")
    lines.append(f"\njupyter cloudml job show {shown['run']}")
    return title[:200], "\n".join(lines)[:MOST]
