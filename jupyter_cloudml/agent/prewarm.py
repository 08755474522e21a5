"""Kernels started before they are asked for: the next start of the same kind takes one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import importable
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
NEVER = {MARK, ASKED_AT, "JPY_PARENT_PID"}


class Prewarm:
    """The waiting kernels, by key."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.wanted: dict[str, JSON] = {}  # key -> {argv, env, count}
        self.others = 0  # how many of any other kind, once one of it was started
        self._learnt: list[str] = []  # those kinds, the one started last at the end

    def configure(
        self,
        key: str,
        argv: list[str] | None = None,
        env: dict[str, str] | None = None,
        count: int = 1,
        others: int | None = None,
    ) -> JSON:
        """Keep ``count`` kernels of this key ready; 0 ends those that wait. ``others`` is for each other kind, from its next start on."""
        if not 0 <= int(count) <= 4 or not 0 <= int(others or 0) <= 4:
            raise ValueError("count has to be 0 to 4")
        if count and not argv:
            raise ValueError("argv is missing")
        self.wanted[key] = {"argv": argv, "env": env or {}, "count": int(count)}
        if key in self._learnt:
            self._learnt.remove(key)
        for owned in self._waiting(key)[int(count) :]:
            owned.stop(0)
        if others is not None:
            self.others = int(others)
            self._forget_kinds(MAX_LEARNT if others else 0)
        self.agent.loop.after(0, self.refill)
        return {"key": key, "waiting": len(self._waiting(key)), "count": int(count)}

    def _learn(self, key: str, argv: list[str]) -> None:
        """A kernel of this kind is started: the next one may find another waiting."""
        if key in self.wanted and key not in self._learnt:
            return
        self._learnt = [*(k for k in self._learnt if k != key), key]
        self.wanted[key] = {"argv": argv, "env": {}, "count": self.others}
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
                    owned = self.agent.launch(
                        {"argv": want["argv"], "env": want["env"], "kind": "kernel", "cwd": "~"}
                    )
                    self._mark(owned, key)
            except (RPCError, OSError) as exc:
                self.agent.log(f"no kernel could be kept ready: {exc}")

    def _forget_ended(self) -> None:
        """Forget those that ended. A kind of which one ended before it took a request is started no more: it never would."""
        for owned in list(self.agent.owned.values()):
            key, exit = owned.process.spec.get("warm"), owned.process.exit
            if key is None or exit is None or not owned.finished:
                continue
            if isinstance(owned.end, Kernel) and not owned.end.was_joined and not exit["asked"]:
                self.agent.log(f"kernels of {key} do not start, and none is kept ready")
                self.wanted.pop(key, None)
                self._learnt = [k for k in self._learnt if k != key]
            self.agent.forget(owned.process.id)

    def claim(self, params: JSON) -> Owned | None:
        """A waiting kernel for this start, or None."""
        key = params.get("prewarm_key")
        if key and self.others:
            self._learn(key, params["argv"])
        ready = [
            (owned, owned.end)
            for owned in (self._waiting(key) if key else [])
            if isinstance(owned.end, Kernel) and owned.end.joined
        ]
        if not ready:
            return None
        owned, kernel = ready[0]
        cwd = working_folder(params.get("cwd"))
        env = {k: v for k, v in (params.get("env") or {}).items() if k not in NEVER}
        if "PYTHONPATH" in env:
            env = importable.with_path(self.agent.base, env)
        kernel.execute(MOVE_IN.format(cwd=cwd, env=json.loads(json.dumps(env))))
        spec = owned.process.spec
        spec.update(
            cwd=cwd,
            token=params.get("token"),
            labels=dict(params.get("labels") or {}),
            started_ms=now_ms(),
            claimed=True,
            orphan_s=params.get("orphan_s"),
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
        for key in list(self.wanted):
            self.wanted[key]["count"] = 0
            for owned in self._waiting(key):
                owned.stop(0)
