"""What a link is doing, and when it is to try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import CloudMLError

Phase = Literal["connecting", "up", "down", "closed"]
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between two tries
# Trying again cannot help: somebody has to act first.
FINAL = frozenset(
    {
        "host_key_unknown",
        "host_key_changed",
        "jump_host_key_unknown",
        "auth_refused",
        "bad_name",
        "bad_identity",
        "bad_ssh_config",
        "no_ssh",
        "no_python",
        "noisy_shell",
        "bad_host_key",
        "no_agent_here",
    }
)


@dataclass(frozen=True)
class LinkState:
    """``since_ms``: UTC epoch ms of the last change of phase; ``attempt`` counts the tries since the link was last up."""

    phase: Phase
    since_ms: int
    error: CloudMLError | None = None
    attempt: int = 0
    retry_at_ms: int | None = None


def pause_before(attempt: int) -> float:
    """Seconds to wait before the try of this number (1 is the first after the loss)."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 10)))


def is_final(error: CloudMLError | None) -> bool:
    """Whether the link waits to be told to try again."""
    return error is not None and error.code in FINAL
