"""What follows from what was seen of an attempt: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_cloudml.jobs.definition.retries import RetryPolicy
from jupyter_cloudml.jobs.scheduling.executor import Exit, NotStarted, Observation, Phase
from jupyter_cloudml.jobs.scheduling.states import State

TIMEOUT = "timeout"  # the reason of a run that is being ended because it took too long
_SOONEST_MS, _LATEST_MS = 1_000, 300_000  # between starts that fail without anything having run


@dataclass(frozen=True)
class Seen:
    """A run as the decision needs it.

    `tries`: attempts of which something may have run, this one included; `failed_starts`: those before of which nothing has.
    """

    state: State
    tries: int
    failed_starts: int
    cancel_requested: bool
    reason: str | None
    retry: RetryPolicy
    timeout_s: int | None


@dataclass(frozen=True)
class Verdict:
    """The state that follows, and what is written beside it."""

    state: State
    reason: str | None = None
    delay_ms: int = 0
    attempt_state: str | None = None
    exit: Exit | None = None
    via: tuple[State, ...] = ()


def of_end(seen: Seen, exit_: Exit) -> Verdict:
    """Say what follows when an attempt has ended."""
    via = _on_the_way(seen.state) if exit_.outcome == "succeeded" else ()
    if exit_.outcome == "succeeded":
        return Verdict(State.SUCCEEDED, "", attempt_state="succeeded", exit=exit_, via=via)
    if seen.cancel_requested:
        reason = seen.reason or "cancelled"
        return Verdict(State.CANCELLED, reason, attempt_state="cancelled", exit=exit_)
    late = seen.reason == TIMEOUT or exit_.outcome == "timed_out" or exit_.cause == "timeout"
    cause = "timeout" if late else exit_.cause
    last, attempt_state = (State.TIMED_OUT, "timed_out") if late else (State.FAILED, "failed")
    if cause == "lost":
        attempt_state = "lost"
    reason = _why(seen, cause, exit_)
    if seen.retry.covers(seen.tries, cause, exit_.exception):
        delay = seen.retry.delay_ms(seen.tries)
        return Verdict(State.RETRY_WAIT, reason, delay, attempt_state, exit_)
    return Verdict(last, reason, attempt_state=attempt_state, exit=exit_)


def of_failed_start(seen: Seen, error: NotStarted | None) -> Verdict:
    """Say what follows when nothing has run: another start where that may help, else the end as of any failure."""
    message = "the attempt was not started" if error is None else str(error)
    exit_ = Exit("failed", "error", None if error is None else error.code, message)
    if seen.cancel_requested:
        return Verdict(State.CANCELLED, seen.reason or "cancelled", attempt_state="never")
    if error is None or error.again:
        delay = min(_SOONEST_MS * 2 ** min(seen.failed_starts, 20), _LATEST_MS)
        if error is None and seen.failed_starts == 0:  # its server died, most likely
            delay = 0
        return Verdict(State.RETRY_WAIT, message, delay, "never", exit_)
    return of_end(seen, exit_)


def of_look(seen: Seen, look: Observation, *, fenced: bool, silent_long: bool) -> Verdict | None:
    """Say what follows from a look at an attempt; None: nothing new.

    `fenced`: the machine has not answered for so long that the runner has ended by itself; `silent_long`: for so long that the run counts
    as lost, which says nothing about the process.
    """
    if look.phase is Phase.ENDED:
        return of_end(seen, look.exit or Exit("failed", "lost", message="it left no result"))
    if look.phase is Phase.GONE:
        return of_end(seen, Exit("failed", "lost", message="its process ended and left no result"))
    if look.phase is Phase.NEVER:
        return of_failed_start(seen, None)
    if look.phase is Phase.UNREACHABLE:
        if fenced:
            return of_end(seen, Exit("failed", "lost", message="its machine does not answer"))
        if silent_long and seen.state is not State.LOST:
            return Verdict(State.LOST)
        return None
    if look.phase is Phase.STARTING:
        return Verdict(State.PROVISIONING) if seen.state in (State.CLAIMED, State.LOST) else None
    if seen.state is State.RUNNING:
        return None
    via = (State.PROVISIONING,) if seen.state is State.CLAIMED else ()
    return Verdict(State.RUNNING, attempt_state="running", via=via)


def is_late(seen: Seen, look: Observation) -> bool:
    """Tell whether a running attempt has to be ended for the time that it took."""
    running = look.phase is Phase.RUNNING and seen.reason != TIMEOUT
    return running and seen.timeout_s is not None and look.age_s >= seen.timeout_s


def _on_the_way(state: State) -> tuple[State, ...]:
    if state is State.CLAIMED:
        return (State.PROVISIONING, State.RUNNING)
    return () if state is State.RUNNING else (State.RUNNING,)


def _why(seen: Seen, cause: str, exit_: Exit) -> str:
    if cause == "timeout":
        return f"it took longer than {seen.timeout_s} s" if seen.timeout_s else "it took too long"
    if cause == "oom":
        why = exit_.message or "its machine ran out of memory"
        return f"oom: {why}; run it on a bigger machine: job retry RUN --on NAME"
    return exit_.message or cause
