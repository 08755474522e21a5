"""What the scheduler asks of whoever runs attempts: the seam between deciding and doing.

An attempt is a process on a machine, known by its name, which is in the store before anything is started. Promises of an executor:

- `start` said twice starts once. When it raises NotStarted nothing runs under the name, and nothing ever will. After any other exception
  nobody knows: the scheduler settles the name.
- `settle` finds out what became of a name. When it answers NEVER, a start under that name that comes later, be it from a server that was
  taken for dead, is refused on the machine itself.
- ENDED and GONE are said only of processes that are dead, with all that they had started.
- The end of an attempt is kept on the machine until `forget`.
- A runner that hears of no server for `fence_s` seconds ends by itself; None: it never does. By that, and by nothing else, an attempt
  counts as dead on a machine that cannot be asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from jupyter_cloudml.errors import JSON, CloudMLError


class Phase(str, Enum):
    """What is known of an attempt's process."""

    STARTING = "starting"  # there, or about to be; nothing of the notebook has run
    RUNNING = "running"
    ENDED = "ended"  # dead, and it left how it ended
    NEVER = "never"  # was never started, and cannot be from now on
    GONE = "gone"  # was started and is dead, and nobody knows how it ended
    UNREACHABLE = "unreachable"  # the machine does not answer


@dataclass(frozen=True)
class Exit:
    """How an attempt ended.

    `outcome`: succeeded, failed, timed_out (by the runner's own limit) or cancelled. `cause` of a failure: error, timeout, lost or oom,
    `exception` the name of the exception, if there was one.
    """

    outcome: str
    cause: str = "error"
    exception: str | None = None
    message: str = ""
    cost_micros: int | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {
            "outcome": self.outcome,
            "cause": None if self.outcome == "succeeded" else self.cause,
            "exception": self.exception,
            "message": self.message,
        }


@dataclass(frozen=True)
class Observation:
    """What a look at an attempt showed; `age_s` is how long it has been running, by the clock of its machine that only goes forward."""

    phase: Phase
    age_s: float = 0.0
    exit: Exit | None = None


@dataclass(frozen=True)
class Order:
    """One attempt: what to run, where, and under which name."""

    name: str
    run_id: str
    attempt: int
    fence: int
    machine: str
    job_name: str
    spec: Mapping[str, JSON]
    params: Mapping[str, JSON] = field(default_factory=dict)
    cause: Mapping[str, JSON] = field(default_factory=dict)
    failed_starts: int = 0  # attempts before this one of which nothing has run
    wanted: Callable[[], bool] = field(default=lambda: True, compare=False)
    """Whether it is still to run, asked from any thread: while it is being started, somebody may have called it off."""

    @property
    def tries(self) -> int:
        """Return how many attempts there are of which something may have run, this one included."""
        return self.attempt - self.failed_starts

    @property
    def environ(self) -> dict[str, str]:
        """Return what the notebook finds in its environment: which attempt it is, and what its trigger has found, if anything."""
        found = {"CLOUDML_RUN_ID": self.run_id, "CLOUDML_ATTEMPT": str(self.attempt)}
        return found | ({"CLOUDML_TRIGGER": json.dumps(self.cause)} if self.cause else {})


class NotStarted(CloudMLError):
    """Nothing runs under the name and nothing will; `again`: the cause may pass by itself (no link, no room)."""

    code = "not_started"
    status = 422

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, again: bool = False
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.again = again


def called_off(order: Order) -> NotStarted:
    """Return what a start answers that is not wanted any more."""
    return NotStarted(f"the attempt {order.name} was called off before it was started")


class Executor(Protocol):
    """Runs attempts on machines. Each method but `observe` may take its time, in a thread of its own, within a bound of its own."""

    fence_s: float | None

    def start(self, order: Order) -> None:
        """Start an attempt's process, unless it is not `wanted` any more; return when it is there or about to be. Raises NotStarted."""

    def observe(self, orders: Sequence[Order]) -> Mapping[str, Observation]:
        """Say what is known now of these attempts, by name, without waiting for any machine."""

    def settle(self, order: Order) -> Observation:
        """Ask the machine what became of a name: reattach to a process that lives, and see to it that one that was never started never is.

        What waits to be given its notebook is given it where the order is still `wanted`, and ended where it is not.
        """

    def cancel(self, order: Order) -> None:
        """Ask the process to end, then make it; that it has ended is seen by `observe`. Said again it goes on where it was."""

    def forget(self, order: Order) -> None:
        """Drop what the machine keeps of an attempt whose end is in the store."""

    def drop(self, order: Order) -> None:
        """Have no more to do with an attempt that another server has by now; it goes on. Called by who watches: it waits for nothing."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called, from any thread, when `observe` would say something new; the answer ends that."""
