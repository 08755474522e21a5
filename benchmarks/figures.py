"""Samples, what is said of them, and the rows of the report."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


@dataclass(frozen=True)
class Figure:
    """What was measured of one candidate: the median over the rounds, and their range."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Figure:
        """Sum the rounds up; raises StatisticsError when there are none."""
        return cls(statistics.median(rounds), min(rounds), max(rounds))

    @classmethod
    def pooled(cls, rounds: Sequence[Sequence[float]], percent: float) -> Figure:
        """Take a percentile over all samples, and its range over the rounds."""
        each = [percentile(samples, percent) for samples in rounds]
        everything = [sample for samples in rounds for sample in samples]
        return cls(percentile(everything, percent), min(each), max(each))


Bound = Callable[[float, float], bool]
"""Says of (ours, the local kernel's) whether the promise is kept."""


@dataclass
class Row:
    """One line of the report: what was measured, of whom, and what was promised of it.

    `tool`: what the baseline's figure is of where that is no kernel ("" where there is none); such rows have a table of their own.
    """

    title: str
    unit: str
    promise: str = ""
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    baseline: str = "local"
    digits: int = 2
    tool: str | None = None

    def kept(self, candidate: str) -> bool | None:
        """Tell whether the promise is kept; None when none was made or nothing was measured."""
        bound, ours = self.bounds.get(candidate), self.figures.get(candidate)
        if bound is None:
            return None
        if ours is None:
            return False
        local = self.figures.get(self.baseline)
        return bound(ours.value, local.value if local else float("nan"))

    def ratio(self, candidate: str) -> float | None:
        """Return the figure as a multiple of the local kernel's, where there is one."""
        ours, local = self.figures.get(candidate), self.figures.get(self.baseline)
        if ours is None or local is None or candidate == self.baseline or not local.value:
            return None
        return ours.value / local.value
