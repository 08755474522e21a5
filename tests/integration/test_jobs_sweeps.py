"""A sweep, with real runs: each with its parameters, and a table of what they have told."""

from __future__ import annotations

from pathlib import Path

from .test_cli import Home, home  # noqa: F401 - the fixture
from .test_jobs_cli import put


def test_a_sweep_has_a_table_of_what_its_runs_have_told(home: Home, tmp_path: Path) -> None:  # noqa: F811
    path = put(
        tmp_path,
        "sweep.ipynb",
        "alpha = 0.5\nname = 'x'",
        "from IPython.display import display\n"
        "display({'application/vnd.cloudml.result+json': {'score': alpha * 2}}, raw=True)\n"
        "assert alpha < 2, 'too much'",
        tags=[["parameters"]],
    )
    refused = home.run("job", "run", str(path), "--sweep", "alpha=1,much", check=2)
    assert "alpha" in refused.stderr
    assert home.json("job", "runs") == {"runs": []}, "what is refused makes no run"
    options = ("--sweep", "alpha=1,2", "--at-once", "2", "-p", "name=y", "--wait", "--json")
    home.run("job", "run", str(path), *options, check=1)
    (listed,) = home.json("job", "runs")["runs"]
    seen = home.json("job", "show", listed["run"])
    assert (seen["state"], seen["reason"]) == ("failed", "of 2 runs: 1 failed, 1 succeeded")
    assert [(c["parameters"], c["state"], c["result"]) for c in seen["children"]] == [
        ({"alpha": 1.0}, "succeeded", {"score": 2.0}),
        ({"alpha": 2.0}, "failed", {"score": 4.0}),
    ]
    child = home.json("job", "show", seen["children"][1]["run"])
    assert child["trigger"] == "sweep" and "too much" in child["reason"]
    digest = child["provenance"]["notebook_sha256"]
    assert digest == seen["provenance"]["notebook_sha256"] is not None
