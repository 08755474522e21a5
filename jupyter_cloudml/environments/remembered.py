"""What is remembered of a notebook about drift: the kernel here that it had before it went to a machine, and what a person waved aside."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

from ..errors import CloudMLError
from ..paths import private_dir, write_private

MAX_NOTEBOOKS = 1000
MAX_DISMISSED = 50  # of one notebook


class Remembered:
    """A small file; one that is lost or cannot be written costs a repeated word, no more. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def before(self, notebook: str) -> str | None:
        """Return the kernelspec here that the notebook had last."""
        spec = self._of(self._read(), notebook).get("before")
        return spec if isinstance(spec, str) else None

    def note_before(self, notebook: str, spec: str) -> None:
        """Remember the kernelspec here that the notebook has left."""
        with self._changing(notebook) as noted:
            noted["before"] = spec

    def is_dismissed(self, notebook: str, key: str) -> bool:
        """Say whether somebody has waved this aside for the notebook."""
        return key in _keys(self._of(self._read(), notebook))

    def dismiss(self, notebook: str, key: str) -> None:
        """Remember that somebody has waved this aside."""
        with self._changing(notebook) as noted:
            kept = [each for each in _keys(noted) if each != key]
            noted["dismissed"] = [*kept, key][-MAX_DISMISSED:]

    @contextlib.contextmanager
    def _changing(self, notebook: str) -> Any:
        with self._lock:
            known = self._read()
            noted = dict(self._of(known, notebook))
            yield noted
            known.pop(notebook, None)
            kept = list(known.items())[1 - MAX_NOTEBOOKS :]
            text = json.dumps({**dict(kept), notebook: noted})
            with contextlib.suppress(OSError, CloudMLError):
                write_private(private_dir(self._file.parent) / self._file.name, text.encode())

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}

    @staticmethod
    def _of(known: dict[str, Any], notebook: str) -> dict[str, Any]:
        found = known.get(notebook)
        return found if isinstance(found, dict) else {}


def _keys(noted: dict[str, Any]) -> list[str]:
    found = noted.get("dismissed")
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []
