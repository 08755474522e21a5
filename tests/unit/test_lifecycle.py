"""What is done next about a machine, and what its state is called, as tables."""

from __future__ import annotations

import pytest

from jupyter_cloudml.errors import CloudMLError, HostKeyChanged, Unreachable
from jupyter_cloudml.link.state import LinkState, Phase
from jupyter_cloudml.machines.lifecycle import RETRIED, Action, Observed, follow, reconcile, status
from jupyter_cloudml.machines.model import Box, Desired, MachineInfo, State, Status, Step

A = Action


@pytest.mark.parametrize(
    ("desired", "observed", "actions"),
    [
        # wanted to run
        (Desired.RUNNING, Observed(), [A.CONNECT]),
        (Desired.RUNNING, Observed(link="closed"), [A.CONNECT]),
        (Desired.RUNNING, Observed(link="connecting"), []),
        (Desired.RUNNING, Observed(link="down"), []),
        (Desired.RUNNING, Observed(link="down", equipped=True), []),
        (Desired.RUNNING, Observed(link="up"), [A.EQUIP]),
        (Desired.RUNNING, Observed(link="up", equipped=True), []),
        (Desired.RUNNING, Observed(box=Box.STOPPED), [A.START_BOX, A.CONNECT]),
        (Desired.RUNNING, Observed(box=Box.STARTING), []),
        (Desired.RUNNING, Observed(box=Box.GONE), []),
        (Desired.RUNNING, Observed(box=Box.GONE, link="down"), [A.DISCONNECT]),
        # asked to stop: only a machine that answers has its processes ended
        (
            Desired.STOPPING,
            Observed(link="up"),
            [A.END_PROCESSES, A.DISCONNECT, A.STOP_BOX, A.SETTLE],
        ),
        (Desired.STOPPING, Observed(), [A.CONNECT]),
        (Desired.STOPPING, Observed(link="down"), []),
        (Desired.STOPPING, Observed(link="connecting"), []),
        (Desired.STOPPING, Observed(box=Box.STOPPED), [A.SETTLE]),
        (Desired.STOPPING, Observed(box=Box.STOPPED, link="down"), [A.DISCONNECT, A.SETTLE]),
        # stopped
        (Desired.STOPPED, Observed(), []),
        (Desired.STOPPED, Observed(link="up"), [A.DISCONNECT]),
        (Desired.STOPPED, Observed(link="down"), [A.DISCONNECT]),
        # to be removed: the record goes last, so that a kill in between is made good
        (Desired.ABSENT, Observed(), [A.REMOVE_KERNELSPECS, A.FORGET]),
        (Desired.ABSENT, Observed(link="up"), [A.REMOVE_KERNELSPECS, A.DISCONNECT, A.FORGET]),
        (Desired.ABSENT, Observed(box=Box.GONE), [A.REMOVE_KERNELSPECS, A.FORGET]),
    ],
)
def test_what_is_done_next(desired: Desired, observed: Observed, actions: list[Action]) -> None:
    assert reconcile(desired, observed) == actions


def test_nothing_ends_on_a_machine_that_does_not_answer() -> None:
    for desired in Desired:
        for link in (None, "connecting", "down", "closed"):
            for box in Box:
                actions = reconcile(desired, Observed(box=box, link=link))
                assert Action.END_PROCESSES not in actions, (desired, link, box)


def test_every_desire_is_reached_and_then_left_alone() -> None:
    """Play the actions against a machine that does as it is told."""
    for desired in Desired:
        for link in (None, "up", "closed"):
            want, seen = desired, Observed(link=link)
            for _round in range(6):
                actions = reconcile(want, seen)
                if not actions or Action.FORGET in actions:
                    break
                for action in actions:
                    want, seen = _play(action, want, seen)
            else:
                pytest.fail(f"{desired} from {link} does not come to rest")
            reached = {Desired.RUNNING: Desired.RUNNING, Desired.ABSENT: Desired.ABSENT}
            assert want is reached.get(desired, Desired.STOPPED)


def _play(action: Action, want: Desired, seen: Observed) -> tuple[Desired, Observed]:
    if action is Action.CONNECT:
        return want, Observed(seen.box, "up")
    if action is Action.EQUIP:
        return want, Observed(seen.box, "up", equipped=True)
    if action is Action.DISCONNECT:
        return want, Observed(seen.box, "closed")
    if action is Action.SETTLE:
        return Desired.STOPPED, seen
    return want, seen


def link_state(
    phase: Phase, since_ms: int = 100, error: CloudMLError | None = None, attempt: int = 1
) -> LinkState:
    return LinkState(phase, since_ms, error, attempt)


NO_ROUTE = Unreachable("no route to box-7", code="no_route", hint="see whether it is switched on")
CHANGED = HostKeyChanged("box-7 shows another key", hint="find out why")
STEP = Step(2, 4, "signing in", 50)


@pytest.mark.parametrize(
    ("desired", "link", "more", "state", "cause", "next_action"),
    [
        (Desired.RUNNING, link_state("up"), {}, "running", None, None),
        (Desired.RUNNING, link_state("up"), {"step": STEP}, "running", None, None),
        (Desired.RUNNING, None, {}, "stopped", "not connected", "start it"),
        (Desired.RUNNING, link_state("closed"), {}, "stopped", "not connected", "start it"),
        (Desired.STOPPED, None, {}, "stopped", None, "start it"),
        (Desired.STOPPED, link_state("closed"), {"failure": NO_ROUTE}, "stopped", None, "start it"),
        (Desired.RUNNING, link_state("connecting"), {}, "starting", None, None),
        (Desired.RUNNING, link_state("connecting"), {"step": STEP}, "starting", None, None),
        (Desired.RUNNING, None, {"step": STEP}, "starting", None, None),
        (
            Desired.RUNNING,
            link_state("down", error=NO_ROUTE),
            {},
            "unreachable",
            "no route to box-7",
            f"see whether it is switched on; {RETRIED}",
        ),
        (
            Desired.RUNNING,
            link_state("connecting", error=NO_ROUTE, attempt=3),
            {},
            "unreachable",
            "no route to box-7",
            f"see whether it is switched on; {RETRIED}",
        ),
        (Desired.RUNNING, link_state("down"), {}, "unreachable", "the link was cut", RETRIED),
        (
            Desired.RUNNING,
            link_state("closed", error=CHANGED),
            {},
            "unreachable",
            "box-7 shows another key",
            "find out why",
        ),
        (
            Desired.RUNNING,
            None,
            {"failure": CHANGED},
            "unreachable",
            "box-7 shows another key",
            "find out why",
        ),
        (Desired.STOPPING, link_state("up"), {"step": STEP}, "stopping", None, None),
        (
            Desired.STOPPING,
            link_state("down", error=NO_ROUTE),
            {},
            "stopping",
            NO_ROUTE.message,
            None,
        ),
        (Desired.ABSENT, None, {}, "stopping", None, None),
        (
            Desired.RUNNING,
            link_state("down", error=NO_ROUTE),
            {"box": Box.GONE},
            "gone",
            "it does not exist any more",
            "remove it",
        ),
    ],
)
def test_what_the_state_is_called(
    desired: Desired,
    link: LinkState | None,
    more: dict[str, object],
    state: str,
    cause: str | None,
    next_action: str | None,
) -> None:
    found = status(desired, link, **more)  # type: ignore[arg-type]
    assert (found.state.value, found.cause, found.next_action) == (state, cause, next_action)
    assert (found.error is None) == (
        found.state is not State.UNREACHABLE or cause == "the link was cut"
    )


def test_a_machine_that_is_starting_says_at_which_step() -> None:
    assert status(Desired.RUNNING, None, step=STEP).step == STEP
    assert str(STEP) == "2/4 signing in"
    connecting = status(Desired.RUNNING, link_state("connecting")).step
    assert connecting is not None
    assert connecting.text == "connecting"


def test_since_is_when_the_state_was_entered_not_the_last_retry() -> None:
    up = follow(None, status(Desired.RUNNING, link_state("up", since_ms=10)), 11)
    assert up.since_ms == 10
    down = follow(up, status(Desired.RUNNING, link_state("down", 20, NO_ROUTE)), 21)
    retried = follow(down, status(Desired.RUNNING, link_state("connecting", 30, CHANGED, 2)), 31)
    assert (down.since_ms, retried.since_ms) == (20, 20)
    assert retried.cause == "box-7 shows another key"
    assert follow(retried, status(Desired.RUNNING, link_state("up", 40)), 41).since_ms == 40
    assert follow(None, Status(State.STOPPED), 41).since_ms == 41


def test_what_a_hostile_agent_says_of_its_machine_is_bounded() -> None:
    info = MachineInfo.from_hello(
        {
            "cpus": "many",
            "memory_bytes": 1 << 70,
            "gpus": [{"name": "x" * 10_000, "memory_total": -1}, 7, "A10G"] * 1000,
            "hostname": ["a"],
            "platform": "é" * 10_000,
        }
    )
    assert (info.cpus, info.memory_bytes, info.hostname) == (0, 0, "")
    assert len(info.gpus) == 64
    assert len(info.platform) == 256
    assert info.gpus[0] == {"name": "x" * 256, "memory_total": 0}
    assert info.gpus[2] == {"name": "A10G", "memory_total": 0}
    assert MachineInfo.from_hello({"gpus": None}) == MachineInfo()
    assert MachineInfo.from_hello({"cpus": True}).cpus == 0
