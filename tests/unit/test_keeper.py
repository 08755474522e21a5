"""The keeper of agents that cannot start: it gives up where that costs nobody anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from jupyter_cloudml.agent import keeper
keeper.LONGEST_PAUSE, keeper.HOPELESS = 0.01, 10
folder, gone, keeps, ends_well_at = sys.argv[1], sys.argv[2] == "gone", sys.argv[3] == "keeps", int(sys.argv[4])
lock = os.open(folder + "/lock", os.O_CREAT | os.O_RDWR)
if gone:
    os.unlink(folder + "/lock")
def run(fd):
    starts = os.open(folder + "/starts", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(starts, b".")
    if keeps:
        keeper.Keeper(fd).keep("kernel", [lock])
    return 0 if os.fstat(starts).st_size == ends_well_at else 1
sys.exit(keeper.keep(lock, run))
"""


@pytest.mark.parametrize(
    ("words", "code", "starts"),
    [
        (("there", "nothing", "0"), 1, 11),
        (("gone", "nothing", "0"), 1, 6),
        (("there", "keeps", "20"), 0, 20),
        (("gone", "keeps", "20"), 0, 20),
    ],
)
def test_agents_that_cannot_start_are_given_up_where_nothing_is_kept(
    tmp_path: Path, words: tuple[str, ...], code: int, starts: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *words], capture_output=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert (tmp_path / "starts").stat().st_size == starts
