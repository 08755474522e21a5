"""What is written down about the end of a process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from jupyter_cloudml.agent import process as module
from jupyter_cloudml.agent.process import Process

DEAF = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); sys.stdin.read(); sys.exit(3)"


def test_an_end_long_after_it_was_asked_for_is_not_the_one_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path, {"id": "a", "number": 1, "kind": "command"})
    ours, theirs = os.pipe()
    said, say = os.pipe()
    process.launch([sys.executable, "-c", DEAF], dict(os.environ), "/", ours, say, say)
    os.read(said, 1)  # it is deaf from here on
    process.signal(signal.SIGTERM)
    monkeypatch.setattr(module, "ASKED_FOR", 0.0)
    os.close(theirs)
    assert process.pid is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.poll()
    assert process.exit is not None
    assert (process.exit["code"], process.exit["asked"]) == (3, False)
    for fd in (ours, said, say):
        os.close(fd)
