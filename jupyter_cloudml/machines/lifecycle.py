"""The life of a machine as pure functions: what to do next, and what to call the state it is in.

An unreachable machine is never taken for a stopped one: only the agent's word or the provider's ends anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from jupyter_cloudml.errors import CloudMLError
from jupyter_cloudml.link.state import LinkState, is_final
from jupyter_cloudml.machines.model import Box, Desired, State, Status, Step

RETRIED = "it is tried again by itself"


class Action(str, Enum):
    """One thing to do about a machine."""

    START_BOX = "start the computer"
    CONNECT = "connect"
    EQUIP = "send the policies and bring the kernelspecs up to date"
    END_PROCESSES = "end the processes and the agent"
    DISCONNECT = "close the link"
    STOP_BOX = "stop the computer"
    SETTLE = "note that it is stopped"
    REMOVE_KERNELSPECS = "remove its kernelspecs"
    FORGET = "delete the record"


@dataclass(frozen=True)
class Observed:
    """What is known of a machine now: the computer, the link's phase (None: no link yet), and whether it was equipped since."""

    box: Box = Box.RUNNING
    link: str | None = None
    equipped: bool = False


def reconcile(desired: Desired, observed: Observed) -> list[Action]:
    """Return what brings the machine nearer to what is desired, in order; nothing when it is to be waited for."""
    connected = observed.link not in (None, "closed")
    leave = [Action.DISCONNECT] if connected else []
    if desired is Desired.ABSENT:
        return [Action.REMOVE_KERNELSPECS, *leave, Action.FORGET]
    if observed.box is Box.GONE:
        return leave
    if desired is Desired.RUNNING:
        return _run(observed, connected)
    if desired is Desired.STOPPING:
        return _stop(observed, connected)
    return leave


def _run(observed: Observed, connected: bool) -> list[Action]:
    if observed.box is Box.STOPPED:
        return [Action.START_BOX, Action.CONNECT]
    if observed.box is Box.STARTING:
        return []
    if not connected:
        return [Action.CONNECT]
    return [Action.EQUIP] if observed.link == "up" and not observed.equipped else []


def _stop(observed: Observed, connected: bool) -> list[Action]:
    if observed.box is Box.STOPPED:
        return [*([Action.DISCONNECT] if connected else []), Action.SETTLE]
    if not connected:
        return [Action.CONNECT]
    if observed.link == "up":
        return [Action.END_PROCESSES, Action.DISCONNECT, Action.STOP_BOX, Action.SETTLE]
    return []


def status(
    desired: Desired,
    link: LinkState | None = None,
    *,
    box: Box = Box.RUNNING,
    step: Step | None = None,
    failure: CloudMLError | None = None,
) -> Status:
    """Name the state of a machine.

    `link` is None while this process has not connected; `step` belongs to an operation that works on the machine now;
    `failure` is why the last attempt to open a link was given up.
    """
    if box is Box.GONE:
        return Status(State.GONE, cause="it does not exist any more", next_action="remove it")
    if desired in (Desired.STOPPING, Desired.ABSENT):
        return _stopping(link, step)
    if desired is Desired.STOPPED:
        return Status(State.STOPPED, next_action="start it")
    if step is not None and not (link and link.phase == "up"):
        return Status(State.STARTING, step.since_ms, step)
    if link is None or (link.phase == "closed" and link.error is None):
        if failure is not None:
            return _unreachable(failure, retried=False)
        return Status(State.STOPPED, cause="not connected", next_action="start it")
    return _linked(link)


def _stopping(link: LinkState | None, step: Step | None) -> Status:
    cause = link.error.message if link and link.error and link.phase != "up" else None
    return Status(State.STOPPING, step.since_ms if step else 0, step, cause)


def _linked(link: LinkState) -> Status:
    if link.phase == "up":
        return Status(State.RUNNING, link.since_ms)
    if link.error is not None:
        return _unreachable(link.error, link.since_ms, retried=not is_final(link.error))
    if link.phase == "connecting":
        return Status(State.STARTING, link.since_ms, Step(1, 1, "connecting", link.since_ms))
    return Status(State.UNREACHABLE, link.since_ms, cause="the link was cut", next_action=RETRIED)


def _unreachable(error: CloudMLError, since_ms: int = 0, *, retried: bool) -> Status:
    advice = [error.hint] if error.hint else []
    if retried and RETRIED not in error.hint:
        advice.append(RETRIED)
    return Status(
        State.UNREACHABLE,
        since_ms,
        cause=error.message,
        next_action="; ".join(advice) or "retry",
        error=error,
    )


def follow(before: Status | None, now: Status, now_ms: int) -> Status:
    """Keep the time at which a state was entered through all that changes within it, retries above all."""
    if before is not None and before.state is now.state:
        return replace(now, since_ms=before.since_ms)
    return now if now.since_ms else replace(now, since_ms=now_ms)
