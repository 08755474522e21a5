"""The figures say what was measured: percentiles, promises, and the table that both documents show."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import parts, report
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


KERNELS, CODE = parts.PARTS[0], parts.PARTS[1]
MARKED = "before\n<!-- kernels -->\nold\n<!-- /kernels -->\nbetween\n<!-- code -->\nkept\n<!-- /code -->\n"


def documents(root: Path, content: str) -> list[Path]:
    (root / "docs").mkdir()
    both = [root / "README.md", root / "docs" / "benchmarks.md"]
    for path in both:
        path.write_text(content)
    return both


def test_writing_a_part_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    readme, document = documents(tmp_path, MARKED)
    for _ in range(2):
        measured = parts.Measured([execute(6)], ["bulk: no answer"])
        parts.write(tmp_path, {KERNELS: measured}, ["local", "openssh"], "measured on this")
    for text in (readme.read_text(), document.read_text()):
        assert text.startswith("before\n<!-- kernels -->\n") and "old" not in text
        assert text.endswith(MARKED[MARKED.index("<!-- /kernels -->") :])
    assert readme.read_text().count("| execute, ms | 6.00 | 6.00 |") == 1
    assert "## Kernels\n" in document.read_text() and "measured on this" in document.read_text()
    assert "- bulk: no answer\n" in document.read_text()


def test_a_part_has_a_table_beside_its_tool(tmp_path: Path) -> None:
    row = Row("first", "s", "≤ tar", figures={"openssh": Figure.of([1]), "tar": Figure.of([2])})
    row.baseline = row.tool = "tar"
    readme, _ = documents(tmp_path, MARKED)
    parts.write(tmp_path, {CODE: parts.Measured([row])}, ["local", "openssh"], "")
    assert "| first, s | 1.00 ×0.50 | 2.00 tar | ≤ tar |\n<!-- /code -->" in readme.read_text()


def test_a_document_without_the_parts_marks_is_refused(tmp_path: Path) -> None:
    documents(tmp_path, "nothing")
    with pytest.raises(ValueError, match="no marks for the part kernels"):
        parts.write(tmp_path, {KERNELS: parts.Measured([execute(6)])}, ["local"], "")


def test_the_documents_have_marks_for_every_part() -> None:
    for name in ("README.md", "docs/benchmarks.md"):
        text = (Path(__file__).parents[2] / name).read_text()
        for part in parts.PARTS:
            assert text.index(f"<!-- {part.name} -->\n") < text.index(f"<!-- /{part.name} -->\n")
