"""The runs that a server owns, as it has them in mind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs.definition.retries import RetryPolicy
from jupyter_cloudml.jobs.scheduling.executor import NotStarted, Observation, Order, Phase
from jupyter_cloudml.jobs.scheduling.states import State
from jupyter_cloudml.jobs.scheduling.verdict import (
    TIMEOUT,
    Seen,
    Verdict,
    is_late,
    of_failed_start,
    of_look,
)
from jupyter_cloudml.store.jobs.moving import Move
from jupyter_cloudml.store.jobs.records import Claim, RunRecord


class Stage(Enum):
    """What the server does about a run."""

    NEW = "new"  # to be started
    STARTING = "starting"  # being started, in a thread
    UNSURE = "unsure"  # to be settled: nobody knows what became of its name
    SETTLING = "settling"  # being settled, in a thread
    WATCHED = "watched"


@dataclass
class Held:
    """One run of this server; `run` is as the store has it."""

    claim: Claim
    run: RunRecord
    stage: Stage
    silent_since: float | None = None  # the machine has not answered since then (monotonic)
    asked_to_end: float | None = None  # when its end was last asked for (monotonic)
    not_before: float = 0.0  # the next try to settle (monotonic)
    verdict: Verdict | None = None  # reached, and not yet in the store
    retry: RetryPolicy = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.retry = RetryPolicy.from_dict(self.claim.spec.get("retry") or {})
        except UsageError:  # written by another version: rather no attempt too many
            self.retry = RetryPolicy()

    @property
    def order(self) -> Order:
        """Return what the executor is told."""
        attempt = self.claim.attempt
        params = _mapping(self.claim.spec.get("parameters")) | dict(self.run.params)
        return Order(
            name=str(attempt.handle["name"]),
            run_id=self.run.id,
            attempt=attempt.n,
            fence=self.run.fence,
            machine=attempt.machine,
            job_name=self.claim.job_name,
            spec=self.claim.spec,
            params=params,
            cause=self.run.cause,
            failed_starts=self.claim.failed_starts,
            wanted=self._is_wanted,
        )

    def _is_wanted(self) -> bool:
        return not self.run.cancel_requested and self.run.reason != TIMEOUT

    @property
    def name(self) -> str:
        """Return the name of the attempt's process."""
        return str(self.claim.attempt.handle["name"])

    @property
    def seen(self) -> Seen:
        """Return the run as decisions need it."""
        timeout = self.claim.spec.get("timeout_s")
        return Seen(
            state=State(self.run.state),
            tries=self.run.attempts - self.claim.failed_starts,
            failed_starts=self.claim.failed_starts,
            cancel_requested=self.run.cancel_requested,
            reason=self.run.reason,
            retry=self.retry,
            timeout_s=timeout if isinstance(timeout, int) else None,
        )

    def asked_for_end(self, reason: str | None) -> None:
        """Note that somebody wants the run to end, and why."""
        self.run = replace(self.run, cancel_requested=True, reason=reason or self.run.reason)

    def is_to_be_asked(self, at: float, again_s: float) -> bool:
        """Tell whether the process has to be asked to end now, for the first time or again."""
        if self._is_wanted():
            return False
        return self.asked_to_end is None or at - self.asked_to_end >= again_s

    def look(self, seen: Observation, at: float, *, lost_s: float, fence_s: float | None) -> None:
        """Take in what a look at the attempt showed."""
        if seen.phase is not Phase.UNREACHABLE:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = at
        silent = 0.0 if self.silent_since is None else at - self.silent_since
        fenced = fence_s is not None and silent >= fence_s
        self.verdict = of_look(self.seen, seen, fenced=fenced, silent_long=silent >= lost_s)

    def failed_to_start(self, error: NotStarted) -> None:
        """Take in that nothing runs and nothing will."""
        self.verdict = of_failed_start(self.seen, error)

    def is_late(self, seen: Observation) -> bool:
        """Tell whether the attempt has to be ended for the time that it took; one that is being ended keeps its reason."""
        return not self.run.cancel_requested and is_late(self.seen, seen)

    def move(self, now_ms: int) -> Move:
        """Return the change of the store that the verdict asks for."""
        verdict = self.verdict
        if verdict is None:
            raise ValueError(f"nothing was decided about {self.run.id}")
        exit_ = verdict.exit
        return Move(
            run=self.run,
            state=verdict.state.value,
            via=tuple(state.value for state in verdict.via),
            reason=verdict.reason,
            not_before_ms=now_ms + verdict.delay_ms if verdict.state is State.RETRY_WAIT else None,
            attempt_state=verdict.attempt_state,
            exit=None if exit_ is None else exit_.to_dict(),
            cost_micros=None if exit_ is None else exit_.cost_micros,
        )


def _mapping(value: JSON) -> dict[str, JSON]:
    return dict(value) if isinstance(value, dict) else {}
