"""The models of the Lab extension keep their promises: its own tests, in labextension/test, run in Node."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

LABEXTENSION = Path(__file__).parents[2] / "labextension"


def test_models_of_pages() -> None:
    command = ["node", "--test-reporter=tap", "--require", "./test/hook.cjs", "test/index.ts"]
    done = subprocess.run(command, cwd=LABEXTENSION, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    files = list((LABEXTENSION / "test").glob("test_*.ts"))
    started = (LABEXTENSION / "test" / "index.ts").read_text()
    assert passed and int(passed[1]) >= len(files) > 0
    assert [each.stem for each in files if f"'./{each.stem}'" not in started] == []
