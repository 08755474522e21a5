"""How a scheduler works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the scheduler works; all times in seconds.

    A server that was not heard of for `lease_s` counts as dead. `capacity` runs at most are owned by one server, `workers` of them are
    started, settled or ended at once.
    """

    lease_s: float = 30.0
    heartbeat_s: float = 10.0
    poll_s: float = 1.0
    lost_s: float = 60.0
    end_again_s: float = 10.0
    settle_again_s: float = 5.0
    capacity: int = 1000
    workers: int = 8
