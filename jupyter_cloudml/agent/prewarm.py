"""Processes started before they are asked for: the next start of the same kind takes one of them.

A kernel waits with nothing executed, a command with its standard input unread.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from . import importable, joined
from .command import Command
from .kernel import Kernel
from .process import MARK, now_ms, working_folder, write_json
from .sockets import ASKED_AT

if TYPE_CHECKING:
    from .owned import Owned
    from .server import Agent

JSON = dict[str, Any]
# Only for kernels that understand Python: what the waiting kernel has to be told about the notebook that takes it.
MOVE_IN = "import os as _o\n_o.chdir({cwd!r})\n_o.environ.update({env!r})\ndel _o\n"
MAX_LEARNT = 3  # kinds; each kernel that waits has its memory
MAX_HELD = 4  # kinds that clients want for a time, the newest
MAX_OFFERED = 4  # processes that wait for more; each has the memory of what it ran
GRACE_S = 5.0
MARGIN_MS = 3000  # one that is about to end is given nothing more
UNWANTED_S = (
    120.0  # from an agent's start: what waits for an earlier one and is not asked for again ends
)
NEVER = {MARK, ASKED_AT, "JPY_PARENT_PID"}


class Prewarm:
    """The waiting processes, by key."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.wanted: dict[str, JSON] = {}  # key -> {argv, env, count, kind}
        self.others = 0  # how many of any other kind, once one of it was started
        self._learnt: list[str] = []  # those kinds, the one started last at the end
        self._held: dict[str, dict[str, float]] = {}  # key -> who wants it, and until when
        agent.loop.after(UNWANTED_S, self._end_unwanted)

    def configure(
        self,
        key: str,
        argv: list[str] | None = None,
        env: dict[str, str] | None = None,
        count: int = 1,
        others: int | None = None,
        kind: str = "kernel",
        who: str | None = None,
        for_s: float = 0.0,
    ) -> JSON:
        """Keep ``count`` processes of this key ready; 0 ends those that wait. ``others`` is for each other kind of kernel, from its next start on.

        Wanted by ``who`` it is kept for ``for_s`` seconds, unless that is said again; it ends once nobody wants it any more.
        """
        if who is not None and not self._hold(key, who, float(for_s) if int(count) else 0.0):
            return {"key": key, "waiting": len(self._waiting(key)), "count": 0}
        if who is not None and not int(count):  # somebody else wants it still
            return {"key": key, "waiting": len(self._waiting(key)), "count": self._count(key)}
        if not 0 <= int(count) <= 4 or not 0 <= int(others or 0) <= 4:
            raise ValueError("count has to be 0 to 4")
        if count and not argv:
            raise ValueError("argv is missing")
        if kind not in ("kernel", "command"):
            raise ValueError("kind has to be kernel or command")
        self.wanted[key] = {"argv": argv, "env": env or {}, "count": int(count), "kind": kind}
        if key in self._learnt:
            self._learnt.remove(key)
        for owned in self._waiting(key)[int(count) :]:
            owned.stop(0)
        if others is not None:
            self.others = int(others)
            self._forget_kinds(MAX_LEARNT if others else 0)
        self.agent.loop.after(0, self.refill)
        return {"key": key, "waiting": len(self._waiting(key)), "count": int(count)}

    def _hold(self, key: str, who: str, for_s: float) -> bool:
        """Note for how long somebody wants a key; whether anybody does."""
        holders = self._held.pop(key, {})
        holders.pop(who, None)
        if for_s > 0:
            holders[who] = time.monotonic() + for_s
            self.agent.loop.after(for_s + 0.1, self._end_held)
        self._held[key] = holders
        if not holders:
            self._drop(key)
        for old in list(self._held)[:-MAX_HELD]:
            self._drop(old)
        return bool(holders)

    def _count(self, key: str) -> int:
        return int(self.wanted.get(key, {}).get("count", 0))

    def _end_held(self) -> None:
        now = time.monotonic()
        for key, holders in list(self._held.items()):
            left = {who: until for who, until in holders.items() if until > now}
            self._held[key] = left
            if not left:
                self._drop(key)

    def _drop(self, key: str) -> None:
        self._held.pop(key, None)
        self.wanted.pop(key, None)
        for owned in self._waiting(key):
            owned.stop(0)

    def _end_unwanted(self) -> None:
        for owned in list(self.agent.owned.values()):
            spec = owned.process.spec
            key, until = spec.get("warm"), spec.get("until_ms")
            if key and not until and isinstance(owned.end, Command) and key not in self.wanted:
                owned.stop(0)

    def offer(self, id: str, key: str, for_s: float) -> JSON:
        """Let a later start of this key take over a command that runs: it has said that it waits for more. At most MAX_OFFERED do; the oldest end.

        Those whose kernels somebody has joined are not counted.
        """
        owned = self.agent.find(id)
        if not isinstance(owned.end, Command) or owned.process.ending:
            raise ValueError(f"process {id} takes nothing more")
        until = now_ms() + int(1000 * float(for_s))
        base = [owned.journal.seq, owned.end.received]
        owned.process.spec.update(until_ms=until, base=base)
        self._mark(owned, key)
        open_ones = joined.held_open(self.agent)
        offered = [
            each
            for each in self.agent.owned.values()
            if _is_offered(each) and not each.process.ending and each.process.id not in open_ones
        ]
        offered.sort(key=lambda o: int(o.process.spec["until_ms"]))
        for old in offered[:-MAX_OFFERED]:
            old.process.end_reason = "too many wait"
            old.stop(GRACE_S)
        return owned.row()

    def _learn(self, key: str, argv: list[str]) -> None:
        """A kernel of this kind is started: the next one may find another waiting."""
        if key in self.wanted and key not in self._learnt:
            return
        self._learnt = [*(k for k in self._learnt if k != key), key]
        self.wanted[key] = {"argv": argv, "env": {}, "count": self.others, "kind": "kernel"}
        self._forget_kinds(MAX_LEARNT)
        self.agent.loop.after(1.0, self.refill)

    def _forget_kinds(self, keep: int) -> None:
        while len(self._learnt) > keep:
            key = self._learnt.pop(0)
            del self.wanted[key]
            for owned in self._waiting(key):
                owned.stop(0)

    def _waiting(self, key: str) -> list[Owned]:
        return [
            owned
            for owned in self.agent.owned.values()
            if owned.process.spec.get("warm") == key and not owned.process.ending
        ]

    def refill(self) -> None:
        """Start what is missing. What cannot be started is logged and left alone until the next time."""
        from .server import RPCError

        self._forget_ended()
        for key, want in self.wanted.items():
            try:
                for _ in range(want["count"] - len(self._waiting(key))):
                    owned = self.agent.launch({**want, "stdin": True, "notebook": True, "cwd": "~"})
                    self._mark(owned, key)
            except (RPCError, OSError) as exc:
                self.agent.log(f"no {want['kind']} could be kept ready: {exc}")

    def _forget_ended(self) -> None:
        """Forget those that ended. A kind of which one ended before it took a request is started no more: it never would."""
        for owned in list(self.agent.owned.values()):
            key, exit = owned.process.spec.get("warm"), owned.process.exit
            if key is None or exit is None or not owned.finished:
                continue
            if not _is_ready(owned) and not exit["asked"]:
                self.agent.log(f"processes of {key} do not start, and none is kept ready")
                self.wanted.pop(key, None)
                self._learnt = [k for k in self._learnt if k != key]
            self.agent.forget(owned.process.id)

    def claim(self, params: JSON) -> Owned | None:
        """A waiting process for this start, or None; of several keys the first that has one.

        A command learns from its standard input where and with what it works.
        """
        wanted, kind = params.get("prewarm_key"), params.get("kind", "command")
        if isinstance(wanted, str) and self.others:
            self._learn(wanted, params["argv"])
        keys = wanted if isinstance(wanted, list) else [wanted] if wanted else []
        waiting = [each for key in keys for each in self._waiting(key)]
        ready = [each for each in waiting if each.process.kind == kind and _is_ready(each)]
        ready = [each for each in ready if _has_time(each)]
        if not ready:
            return None
        owned = ready[0]
        cwd = working_folder(params.get("cwd"))
        if isinstance(owned.end, Kernel):
            env = {k: v for k, v in (params.get("env") or {}).items() if k not in NEVER}
            if "PYTHONPATH" in env:
                env = importable.with_path(self.agent.base, env)
            owned.end.execute(MOVE_IN.format(cwd=cwd, env=json.loads(json.dumps(env))))
        spec = owned.process.spec
        spec.update(
            cwd=cwd,
            until_ms=None,
            token=params.get("token"),
            labels=dict(params.get("labels") or {}),
            started_ms=now_ms(),
            claimed=True,
            orphan_s=params.get("orphan_s"),
            patient=bool(params.get("patient")),
            whole=bool(params.get("whole")),
        )
        self._mark(owned, None)
        self.agent.loop.after(1.0, self.refill)
        return owned

    @staticmethod
    def _mark(owned: Owned, key: str | None) -> None:
        owned.process.spec["warm"] = key
        write_json(owned.process.folder / "spec.json", owned.process.spec)

    def off(self) -> None:
        """End all that wait."""
        self.others = 0
        self._held.clear()
        for key in list(self.wanted):
            self.wanted[key]["count"] = 0
            for owned in self._waiting(key):
                owned.stop(0)


def _is_ready(owned: Owned) -> bool:
    """Whether a waiting process can be handed out: a kernel takes requests, a command has said so on its standard output."""
    if isinstance(owned.end, Command):
        return owned.end.spoke
    return owned.end.joined or (owned.process.exit is not None and owned.end.was_joined)


def _is_offered(owned: Owned) -> bool:
    """Whether a process waits for more once it has done what it was started for."""
    return bool(owned.process.spec.get("warm") and owned.process.spec.get("until_ms"))


def _has_time(owned: Owned) -> bool:
    until = owned.process.spec.get("until_ms")
    return until is None or int(until) > now_ms() + MARGIN_MS
