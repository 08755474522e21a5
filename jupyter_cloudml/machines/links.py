"""The links of this process: one per machine, opened when it is first needed, shared by everyone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jupyter_cloudml.errors import AgentError, Cancelled, LinkDown
from jupyter_cloudml.link.bootstrap import Connect, Opened
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.link.state import LinkState

POLL_S = 0.1  # how often a wait looks whether it was called off


class SharedLink:
    """A link and what it takes to part from it: once `leave` was said it does not connect again."""

    def __init__(self, name: str, connect: Connect, changed: Callable[[], None]) -> None:
        self._connect = connect
        self._leaving = threading.Event()
        self._changed = threading.Condition()
        self._tell = changed
        self._started = False
        self.link = Link(name, self._open, self._on_state)

    @property
    def state(self) -> LinkState:
        """Return what the link is doing."""
        return self.link.state

    def wait(self, timeout: float, cancelled: threading.Event) -> None:
        """Wait until the link is up.

        Raises the cause as soon as a try fails (the link goes on trying), Cancelled, and LinkDown when time is over.
        """
        deadline = time.monotonic() + timeout
        tries = self.state.attempt
        self.begin()
        with self._changed:
            while (state := self.state).phase != "up":
                if cancelled.is_set():
                    raise Cancelled(f"connecting to {self.link.machine} was cancelled")
                if state.phase == "closed":
                    raise state.error or LinkDown(f"the link to {self.link.machine} was closed")
                if state.phase == "down" and state.attempt > tries and state.error is not None:
                    raise state.error
                left = deadline - time.monotonic()
                if left <= 0:
                    raise state.error or LinkDown(
                        f"{self.link.machine} could not be reached within {timeout:.0f} s",
                        code="timeout",
                        hint="it is tried again by itself",
                    )
                self._changed.wait(min(left, POLL_S))

    def begin(self) -> None:
        """Connect, or try again now instead of later; does not wait."""
        with self._changed:
            started, self._started = self._started, True
        if not started:
            self.link.start()
        elif self.state.phase == "down":
            self.link.retry_now()

    def wait_down(self, timeout: float) -> None:
        """Wait until the other end has closed the link. Raises AgentError when it does not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.state.phase != "up", timeout):
                raise AgentError(
                    f"the processes of {self.link.machine} did not end within {timeout:.0f} s",
                    code="timeout",
                    hint="see which are left: jupyter cloudml kernel list",
                )

    def leave(self) -> None:
        """Connect no more: the agent there is about to end, and must not be started anew."""
        self._leaving.set()

    def stay(self) -> None:
        """Take `leave` back."""
        self._leaving.clear()

    def _open(self, cancelled: threading.Event) -> Opened:
        if self._leaving.is_set():
            raise LinkDown(f"{self.link.machine} is being stopped")
        return self._connect(cancelled)

    def _on_state(self, _state: LinkState) -> None:
        with self._changed:
            self._changed.notify_all()
        self._tell()


class Links:
    """The shared links by name of the machine. Thread-safe."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._links: dict[str, SharedLink] = {}
        self._lock = threading.Lock()
        self._closed = False

    def make(self, name: str, connect: Connect) -> SharedLink:
        """Make a link that belongs to the caller until it is adopted."""
        return SharedLink(name, connect, lambda: self._changed(name))

    def adopt(self, name: str, shared: SharedLink) -> None:
        """Make a link everybody's."""
        with self._lock:
            before = self._links.get(name)
            self._links[name] = shared
        if before is not None:
            before.link.close()

    def find(self, name: str) -> SharedLink | None:
        """Return the link if there is one, open or not."""
        with self._lock:
            return self._links.get(name)

    def names(self) -> set[str]:
        """Return the machines that there are links to."""
        with self._lock:
            return set(self._links)

    def get(self, name: str, connect: Callable[[], Connect]) -> SharedLink:
        """Return the link, made now if there was none; nobody has waited for it yet."""
        with self._lock:
            if self._closed:
                raise LinkDown("the machines of this process were closed")
            shared = self._links.get(name)
            if shared is None or shared.state.phase == "closed":
                shared = self._links[name] = self.make(name, connect())
            return shared

    def close(self, name: str) -> None:
        """Close a machine's link; what runs there goes on."""
        with self._lock:
            shared = self._links.pop(name, None)
        if shared is not None:
            shared.leave()
            shared.link.close()

    def close_all(self) -> None:
        """Close every link and make no more."""
        with self._lock:
            self._closed = True
            links, self._links = list(self._links.values()), {}
        for shared in links:
            shared.leave()
        for shared in links:
            shared.link.close()
