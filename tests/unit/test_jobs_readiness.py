"""Which runners are kept ready, for how long, and that all are taken back."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_cloudml.errors import LinkDown
from jupyter_cloudml.jobs.attempts.readiness import Patience, Readiness

PYTHON = {"argv": ["python"], "language": "python"}
OTHER = {"argv": ["python", "-X", "dev"], "language": "python"}
THIRD = {"argv": ["python", "-I"], "language": "python"}


def link(machine: str, phase: str = "up") -> Any:
    return SimpleNamespace(machine=machine, state=SimpleNamespace(phase=phase))


class Told:
    """Notes what machines are told to keep ready."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, int, float]] = []
        self.seen = threading.Event()
        self.down = False

    def __call__(
        self,
        link: Any,
        kernel: Mapping[str, Any] | None,
        count: int = 1,
        *,
        who: str | None = None,
        for_s: float = 0.0,
    ) -> None:
        assert who and kernel
        self.said.append((link.machine, " ".join(kernel["argv"]), count, for_s))
        self.seen.set()
        if self.down:
            raise LinkDown("gone")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands; nothing is done but by `look`."""
    monkeypatch.setattr(Readiness, "_run", lambda self: None)
    return [100.0]


def test_the_kernels_used_last_are_kept_ready_for_a_time(now: list[float]) -> None:
    told = Told()
    patience = Patience(most=2, idle_s=600, hold_s=90, renew_s=30, after_s=3)
    ready = Readiness(told, patience, clock=lambda: now[0])
    box = link("box")
    ready.used(box, PYTHON)
    ready.look()
    assert told.said == [], "the run that has begun has the processor for itself"
    now[0] += 3
    ready.look()
    ready.used(box, PYTHON)
    ready.look()
    assert told.said == [("box", "python", 1, 90.0)]
    now[0] += 30
    ready.look()
    assert told.said[1:] == [("box", "python", 1, 90.0)], "said again before the machine gives up"
    ready.used(box, {"argv": ["ir"], "language": "r"})
    ready.used(box, OTHER)
    ready.used(box, THIRD)
    told.said.clear()
    now[0] += 3
    ready.look()
    assert ("box", "python", 0, 0.0) in told.said, "one too many for the machine"
    assert {said[1] for said in told.said if said[2]} == {"python -X dev", "python -I"}
    told.said.clear()
    told.down = True
    now[0] += 598
    ready.used(box, THIRD)
    ready.look()
    assert ("box", "python -X dev", 0, 0.0) in told.said, "it was not used any more"
    told.said.clear()
    ready.close()
    ready.used(box, PYTHON)
    assert told.said == [("box", "python -I", 0, 0.0)]


def test_a_machine_out_of_reach_is_not_asked(now: list[float]) -> None:
    told = Told()
    ready = Readiness(told, clock=lambda: now[0])
    ready.used(link("far", "down"), PYTHON)
    now[0] += 60
    ready.look()
    ready.close()
    assert told.said == []


def test_its_thread_acts_by_itself_and_ends() -> None:
    told = Told()
    ready = Readiness(told, Patience(after_s=0.01))
    ready.used(link("box"), PYTHON)
    assert told.seen.wait(30)
    before = time.monotonic()
    ready.close()
    assert told.said[-1][2] == 0 and time.monotonic() - before < 4
    assert not [each for each in threading.enumerate() if each.name == "runners-ready"]
