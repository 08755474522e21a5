"""What is to be run, as it came on standard input."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

JSON = dict[str, Any]
HOME = os.path.expanduser("~")
LIVE = "CLOUDML_PROJECT"  # the folder that links in a copy of the code lead into; a container has to have it


def read_spec() -> JSON | None:
    """What is to be run: one line of JSON. None when it did not come whole."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return None
    spec: JSON = json.loads(line)
    return spec


def folder(spec: JSON) -> str:
    """Where it runs."""
    return os.path.join(HOME, os.path.expanduser(spec.get("cwd") or "~"))


def env_of(spec: JSON) -> dict[str, str]:
    """What the kernel has in its environment, and nothing else has."""
    live = (spec.get("copy") or {}).get("live")
    return {
        **spec.get("env", {}),
        **spec.get("secrets", {}),
        **({LIVE: str(live)} if live else {}),
        "CLOUDML_RUN_ID": str(spec["run"]),
        "CLOUDML_ATTEMPT": str(spec["attempt"]),
    }


def suits(waiting: JSON, spec: JSON) -> bool:
    """Whether a kernel that waits is the one that a run wants."""
    python = spec["kernel"].get("language") == "python"
    return python and all(
        waiting.get(name) == spec["kernel"].get(name) for name in ("argv", "env", "interrupt_mode")
    )
