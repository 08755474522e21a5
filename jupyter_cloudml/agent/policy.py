"""What the agent decides while nobody looks: ending idle kernels, and what happens when its lease runs out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .kernel import Kernel
from .process import now_ms

if TYPE_CHECKING:
    from .owned import Owned
    from .server import Agent

FORGET_KNOWN_S = 600  # an ended process whose client has had everything
FORGET_S = 7 * 24 * 3600  # one whose client has not come back


def cull_now(state: str, idle_ms: int, limit_s: float | None) -> bool:
    """Whether a kernel in this state, idle for so long, is to be ended."""
    return limit_s is not None and state == "idle" and idle_ms >= limit_s * 1000


def forget_now(ended_ms_ago: int, known: bool) -> bool:
    """Whether a process that ended so long ago is to be forgotten; ``known``: its client has had everything."""
    return ended_ms_ago > (FORGET_KNOWN_S if known else FORGET_S) * 1000


class Policy:
    """Off until a client sets it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.cull_idle_s: float | None = None
        self._lease_ends: float | None = None

    def configure(self, cull_idle_s: float | None = None) -> dict[str, Any]:
        """End kernels that have been idle for so many seconds; None: never."""
        if cull_idle_s is not None and cull_idle_s <= 0:
            raise ValueError("cull_idle_s has to be positive, or null")
        self.cull_idle_s = cull_idle_s
        if cull_idle_s is not None:
            self.agent.loop.after(min(30.0, cull_idle_s), self.look)
        return {"cull_idle_s": self.cull_idle_s}

    def lease(self, seconds: float | None = None) -> dict[str, Any]:
        """End all processes unless a client asks for more time within so many seconds; None: no lease."""
        self._lease_ends = None if seconds is None else time.monotonic() + float(seconds)
        if seconds is not None:
            self.agent.loop.after(float(seconds) + 0.1, self.look)
        return {"lease_s": seconds}

    def expect(self, owned: Owned) -> None:
        """A process has no client, or has none any more: where it is to end with its client, look again in time."""
        orphan_s = owned.process.spec.get("orphan_s")
        if orphan_s is not None:
            self.agent.loop.after(float(orphan_s) + 0.1, self.look)

    def _end_orphan(self, owned: Owned) -> None:
        orphan_s = owned.process.spec.get("orphan_s")
        if orphan_s is None or owned.connection is not None:
            return
        if time.monotonic() - owned.alone_since < float(orphan_s):
            return
        if owned.process.exit is None:
            owned.process.end_reason = "its client has gone"
            owned.stop(5.0)
            self.agent.loop.after(6.0, self.look)
        elif owned.finished:
            self.agent.forget(owned.process.id)

    def look(self) -> None:
        """End what is to be ended, and forget what ended long ago."""
        self._forget_old()
        if self._lease_ends is not None and time.monotonic() > self._lease_ends:
            self.agent.log("the lease has run out: ending all processes")
            self._lease_ends = None
            self.agent.shutdown(stop_processes=True)
            return
        now = now_ms()
        for owned in list(self.agent.owned.values()):
            self._end_orphan(owned)
            if (
                not isinstance(owned.end, Kernel)
                or owned.process.exit is not None
                or owned.process.spec.get("warm")
            ):
                continue
            idle_ms = now - owned.end.last_activity_ms
            if cull_now(owned.end.state(), idle_ms, self.cull_idle_s):
                owned.process.end_reason = (
                    f"it was idle for {idle_ms // 60000} minutes (policy of this machine)"
                )
                owned.stop(5.0)

    def _forget_old(self) -> None:
        now = now_ms()
        for owned in list(self.agent.owned.values()):
            exit = owned.process.exit
            if exit is None or not owned.finished or owned.connection is not None:
                continue
            known = owned.journal.acked >= owned.journal.seq
            if forget_now(now - int(exit["ended_ms"]), known):
                self.agent.forget(owned.process.id)
