"""The figures say what was measured: percentiles, promises, and the table that both documents show."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.figures import Figure, Row, percentile


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 50), (99, 99), (100, 100), (1, 1)],
)
def test_a_percentile_is_one_of_the_samples(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_the_99th_percentile_of_few_samples_is_the_worst() -> None:
    assert percentile([3, 1, 2], 99) == 3


def test_a_pooled_percentile_is_over_all_samples_and_its_range_over_the_rounds() -> None:
    rounds = [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]
    assert Figure.pooled(rounds, 50) == Figure(3.0, 2.0, 20.0)


def execute(ours: float) -> Row:
    return Row(
        "execute",
        "ms",
        "≤ local + 1 ms",
        bounds={"openssh": lambda ours, local: ours <= local + 1},
        figures={"local": Figure.of([5, 6, 7]), "openssh": Figure.of([ours])},
    )


@pytest.mark.parametrize(("ours", "kept"), [(7.0, True), (7.1, False)])
def test_a_promise_is_kept_or_named_as_missed(ours: float, kept: bool) -> None:
    row = execute(ours)
    assert row.kept("openssh") is kept
    assert row.kept("local") is None
    missed = report.misses([row], ["local", "openssh"])
    assert missed == [] if kept else "≤ local + 1 ms" in missed[0]


def test_what_a_run_did_not_measure_of_a_candidate_is_a_miss() -> None:
    row = execute(6)
    del row.figures["openssh"]
    assert row.kept("openssh") is False
    assert report.misses([row], ["local"]) == []


def test_a_cell_shows_median_range_ratio_and_verdict() -> None:
    assert report.cell(execute(9), "local") == "6.00 (5.00–7.00)"
    assert report.cell(execute(9), "openssh") == "9.00 ×1.50 ✗"
    assert report.cell(execute(6), "openssh") == "6.00 ×1.00 ✓"
    assert report.cell(execute(6), "sshpyk") == "–"


def test_writing_replaces_the_figures_in_the_readme_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    for _ in range(2):
        report.write(tmp_path, "all of it", [execute(6)])
    text = readme.read_text()
    assert text.startswith("before\n<!-- figures -->\n## Figures\n")
    assert text.endswith("<!-- /figures -->\nafter\n")
    assert "old" not in text
    assert text.count("| execute, ms | 6.00 | 6.00 |") == 1
    assert (tmp_path / "docs" / "benchmarks.md").read_text() == "all of it"
