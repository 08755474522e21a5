"""Runners that wait with a started kernel, on the machines that a scheduler has used lately: the next run there begins at once.

What waits has run nothing and knows no run: parameters and secrets come with the run that takes it.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import CloudMLError
from ...link.link import Link

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How many runners wait and for how long; times in seconds.

    A machine has `most` kinds of kernel ready, those used last; each until `idle_s` after its last run. `hold_s` is how long it waits for
    a scheduler that is gone without a word; `after_s` lets a run that has just begun have the processor for itself.
    """

    most: int = 2
    idle_s: float = 600.0
    hold_s: float = 90.0
    renew_s: float = 30.0
    after_s: float = 3.0


class Keep(Protocol):
    """Has a machine keep runners ready, as `Attempts.keep_ready`."""

    def __call__(
        self,
        link: Link,
        kernel: Mapping[str, Any] | None,
        count: int = 1,
        *,
        who: str | None = None,
        for_s: float = 0.0,
    ) -> None: ...


@dataclass
class _Wanted:
    link: Link
    kernel: Mapping[str, Any]
    used: float
    due: float


class Readiness:
    """Keeps them. Thread-safe; one thread of its own, from the first use on."""

    def __init__(
        self,
        keep: Keep,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep, self._patience, self._clock = keep, patience or Patience(), clock
        self._who = secrets.token_hex(8)
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def used(self, link: Link, kernel: Mapping[str, Any]) -> None:
        """A run has begun there with this kernel: have one ready for the next. Kernels of other languages cannot move to a run's folder."""
        if kernel.get("language") != "python":
            return
        key = (link.machine, json.dumps(dict(kernel), sort_keys=True))
        now = self._clock()
        with self._changed:
            if self._closed:
                return
            known = self._wanted.pop(key, None)
            due = known.due if known and known.link is link else now + self._patience.after_s
            self._wanted[key] = _Wanted(link, kernel, now, due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="runners-ready", daemon=True)
                self._thread.start()
            self._changed.notify()

    def look(self) -> None:
        """Say anew what is wanted where it is time, and take back what is not."""
        now = self._clock()
        with self._changed:
            over = self._over(now)
            for key in over:
                self._due_now(key)
            asked = [
                (key, each, key not in over)
                for key, each in self._wanted.items()
                if each.due <= now
            ]
            for key in over:
                del self._wanted[key]
            for _, each, _ in asked:
                each.due = now + self._patience.renew_s
        for _, each, wanted in asked:
            self._say(each, wanted)

    def _over(self, now: float) -> list[tuple[str, str]]:
        """Return what has waited for too long, or is one too many on its machine. The newest are at the end."""
        counts: dict[str, int] = {}
        over = []
        for key in reversed(self._wanted):
            counts[key[0]] = counts.get(key[0], 0) + 1
            idle = now - self._wanted[key].used > self._patience.idle_s
            if idle or counts[key[0]] > self._patience.most:
                over.append(key)
        return over

    def _due_now(self, key: tuple[str, str]) -> None:
        self._wanted[key].due = 0.0

    def _say(self, each: _Wanted, wanted: bool) -> None:
        if each.link.state.phase != "up":  # what waits there ends by itself
            return
        try:
            for_s = self._patience.hold_s if wanted else 0.0
            self._keep(each.link, each.kernel, int(wanted), who=self._who, for_s=for_s)
        except CloudMLError as exc:
            log.info("%s keeps no runner ready: %s", each.link.machine, exc)

    def _run(self) -> None:
        while True:
            self.look()
            with self._changed:
                dues = [each.due for each in self._wanted.values()]
                if not self._closed:
                    self._changed.wait(max(0.0, min(dues) - self._clock()) if dues else None)
                if self._closed:
                    return

    def close(self) -> None:
        """Take all back; a machine that cannot be told ends them by itself."""
        with self._changed:
            self._closed = True
            left, self._wanted = list(self._wanted.values()), {}
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(5)
        for each in left:
            self._say(each, False)
