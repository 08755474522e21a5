"""What the agent decides by itself."""

from __future__ import annotations

import pytest

from jupyter_cloudml.agent.policy import cull_now, forget_now

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("state", "idle_ms", "limit_s", "ended"),
    [
        ("idle", 60_000, 60.0, True),
        ("idle", 59_999, 60.0, False),
        ("busy", 10**9, 60.0, False),
        ("starting", 10**9, 60.0, False),
        ("idle", 10**9, None, False),
    ],
)
def test_only_kernels_that_were_idle_for_long_enough_are_culled(
    state: str, idle_ms: int, limit_s: float | None, ended: bool
) -> None:
    assert cull_now(state, idle_ms, limit_s) is ended


@pytest.mark.parametrize(
    ("ended_ms_ago", "known", "forgotten"),
    [
        (5 * 60_000, True, False),
        (11 * 60_000, True, True),
        (DAY_MS, False, False),
        (8 * DAY_MS, False, True),
    ],
)
def test_what_a_client_has_not_had_is_kept_for_a_week(
    ended_ms_ago: int, known: bool, forgotten: bool
) -> None:
    assert forget_now(ended_ms_ago, known) is forgotten
