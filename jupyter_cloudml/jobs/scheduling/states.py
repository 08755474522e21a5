"""The states of a run, and which may follow which."""

from __future__ import annotations

from enum import Enum

from jupyter_cloudml.store.jobs.records import FINAL


class State(str, Enum):
    """What a run is doing now."""

    SCHEDULED = "scheduled"  # waits for its time
    QUEUED = "queued"  # waits for room
    CLAIMED = "claimed"  # a server has it; nothing was started
    PROVISIONING = "provisioning"  # its process is being started
    RUNNING = "running"
    LOST = "lost"  # its server died, or its machine does not answer; the process may be alive
    RETRY_WAIT = "retry_wait"  # the attempt failed; the next one waits for its time
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # never ran; the reason says why

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.value in FINAL


_S = State
_ENDS = {_S.FAILED, _S.TIMED_OUT, _S.CANCELLED, _S.RETRY_WAIT}

FOLLOWS: dict[State, frozenset[State]] = {
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.SKIPPED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.CLAIMED, _S.SKIPPED, _S.CANCELLED}),
    _S.CLAIMED: frozenset({_S.PROVISIONING, _S.QUEUED, _S.LOST} | _ENDS),
    _S.PROVISIONING: frozenset({_S.RUNNING, _S.QUEUED, _S.LOST} | _ENDS),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.LOST} | _ENDS),
    _S.LOST: frozenset({_S.PROVISIONING, _S.RUNNING, _S.QUEUED, _S.LOST} | _ENDS),
    _S.RETRY_WAIT: frozenset({_S.QUEUED, _S.CANCELLED}),
    **{state: frozenset() for state in State if state.final},
}


def may_follow(before: State, after: State) -> bool:
    """Tell whether a run may go from one state to the other."""
    return after in FOLLOWS[before]
