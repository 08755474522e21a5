"""The tests' own small disks: one that a killed test has left goes when the next one is made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from disks import small_disk

TESTS = Path(__file__).parents[1]
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from disks import small_disk
with small_disk(pathlib.Path(sys.argv[2]), "64k"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_test_has_mounted_goes(tmp_path: Path) -> None:
    left, mine = tmp_path / "left", tmp_path / "mine"
    left.mkdir()
    mine.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(TESTS), str(left)], timeout=60)
    assert done.returncode == -signal.SIGKILL and os.path.ismount(left)
    with small_disk(mine, "64k"):
        assert os.path.ismount(mine) and not os.path.ismount(left)
    assert not os.path.ismount(mine)
