"""What the program says to the other end, and hears from it: lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from typing import Any

from .matching import Patterns
from .wire import Wire, WireError

JSON = dict[str, Any]
TELL_S = 0.25
NAMED = 200  # errors and previews that are told one by one
TRIES = 7
PAUSE_S, LONGEST_S = 0.2, 8.0


class Talk:
    """Thread-safe."""

    def __init__(self) -> None:
        self.heard: queue.Queue[JSON | None] = queue.Queue(64)
        self.stop = threading.Event()
        self.fatal: tuple[str, str] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._told = 0.0
        self._named = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self.heard.put(json.loads(line))
        self.heard.put(None)

    def wake(self) -> None:
        """Have the main thread look now, not in a moment."""
        if self.heard.empty():
            with contextlib.suppress(queue.Full):
                self.heard.put_nowait({})

    def say(self, **what: Any) -> None:
        """Tell one thing."""
        data = json.dumps(what).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(1, data) :]

    def count(self, **more: int) -> None:
        """Add to what is done."""
        with self._lock:
            for name, number in more.items():
                self._counts[name] = self._counts.get(name, 0) + number

    def counts(self) -> dict[str, int]:
        """What was done until now."""
        with self._lock:
            return dict(self._counts)

    def tell(self) -> bool:
        """Tell what was done, a few times a second; True when that was now."""
        now = time.monotonic()
        if now - self._told < TELL_S:
            return False
        self._told = now
        self.say(at=self.counts())
        return True

    def error(self, path: str, code: str, why: str) -> None:
        """Name a file that could not be had; the rest goes on."""
        self.count(failed=1)
        self._named += 1
        if self._named <= NAMED:
            self.say(error=[path, code, why[:500]])

    def give_up(self, code: str, why: str) -> None:
        """End it all; the first reason is told."""
        if self.fatal is None:
            self.fatal = (code, why)
        self.stop.set()


class Choice:
    """The files that are meant."""

    def __init__(self, include: list[str], exclude: list[str]) -> None:
        self._include = Patterns(include) if include else None
        self._exclude = Patterns(exclude) if exclude else None

    def has(self, path: str) -> bool:
        """Whether a file is."""
        if self._include and not self._include.match(path):
            return False
        return not (self._exclude and self._exclude.match(path))


class Stopped(Exception):
    """The whole is ending."""


class Again(Exception):
    """Not done, and worth another try; `reached` says whether the service was."""

    def __init__(self, why: str, reached: bool = True) -> None:
        super().__init__(why)
        self.reached = reached


def tries(talk: Talk, attempt: Any, wire: Wire) -> Any:
    """Do `attempt`, again after a pause where it raises Again or the connection breaks. Raises Again at last, Stopped."""
    last = Again("")
    for turn in range(TRIES):
        if talk.stop.is_set():
            raise Stopped
        try:
            return attempt()
        except Again as exc:
            last = exc
        except (WireError, socket.timeout) as exc:
            wire.close()
            last = Again(str(exc) or "it does not answer")
        except ConnectionError as exc:
            wire.close()
            last = Again(exc.strerror or "the connection broke", reached=False)
        talk.count(retried=1)
        if turn < TRIES - 1:
            talk.stop.wait(min(LONGEST_S, PAUSE_S * 2**turn))
    raise last
