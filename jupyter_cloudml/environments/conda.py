"""An environment.yml: read here, resolved and installed by the conda of the machine. It is no lock: what it came to is noted there."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import NoEnvironment, UsageError

MAX_BYTES = 1 << 20
NEEDED = ("ipykernel", "pip")


def read(path: Path) -> str:
    """Return the text of an environment.yml with what each environment has, and without its own name and place. Raises UsageError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too long for an environment.yml")
        said: Any = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise UsageError(f"{path} is not YAML: {str(exc)[:200]}") from exc
    asked = said.get("dependencies") if isinstance(said, dict) else None
    if not isinstance(asked, list) or not asked:
        raise UsageError(f"{path} has no list of dependencies")
    names = {_name(entry) for entry in asked if isinstance(entry, str)}
    missing = [name for name in NEEDED if name not in names]
    kept = {key: said[key] for key in ("channels", "variables") if key in said}
    return yaml.safe_dump({**kept, "dependencies": [*asked, *missing]}, sort_keys=True)


def key(text: str, platform: str, gpu: str) -> str:
    """Return the name of the environment on a machine."""
    return hashlib.sha256(json.dumps(["conda", text, platform, gpu]).encode()).hexdigest()[:16]


def missing(machine: str) -> NoEnvironment:
    """Return the error for a machine without conda."""
    return NoEnvironment(
        f"{machine} has neither micromamba nor mamba nor conda",
        code="no_conda",
        hint="install micromamba there, or give a requirements.txt",
    )


def _name(entry: str) -> str:
    """Return the name in `conda-forge::numpy >=1.26`."""
    return re.split(r"[\s=<>!\[]", entry.rpartition("::")[2].strip(), maxsplit=1)[0].lower()
