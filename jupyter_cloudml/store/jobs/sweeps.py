"""Sweeps: one run that stands for many, each with parameters of its own. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from jupyter_cloudml.errors import JSON

MOST = 1000  # runs of a sweep
AT_ONCE = 4  # of them go on at once where the job does not say
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"


def sets_of(sweep: JSON) -> tuple[Mapping[str, JSON], ...]:
    """Return the parameters of each run of {name: [values]} (each with each, the last name the fastest), or of a list of them; at most MOST."""
    if isinstance(sweep, list):
        return tuple(dict(each) for each in sweep[:MOST] if isinstance(each, dict))
    if not isinstance(sweep, dict) or not sweep:
        return ()
    lists = [values if isinstance(values, list) else [values] for values in sweep.values()]
    return tuple(
        dict(zip(sweep, values, strict=True))
        for values in itertools.islice(itertools.product(*lists), MOST)
    )


def end_of(states: Mapping[str, int], *, cancelled: bool) -> tuple[str, str | None]:
    """Return state and reason of a sweep whose runs ended like this."""
    count = sum(states.values())
    bad = count - states.get(SUCCEEDED, 0)
    if not bad:
        return SUCCEEDED, None
    told = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    if cancelled or states.get(CANCELLED, 0) == bad:
        return CANCELLED, f"of {count} runs: {told}"
    return FAILED, f"of {count} runs: {told}"
