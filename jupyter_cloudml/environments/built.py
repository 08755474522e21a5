"""What came of a build, and what a machine tells of its environments, checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import JSON, ProtocolError
from .probe import is_plain_path

MAX_LISTED = 1000
MAX_TEXT = 300
_KEY = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Environment:
    """An environment on a machine. One without a name is found by its key; `source` is empty for one that only holds ipykernel."""

    key: str
    names: tuple[str, ...]
    python_path: str
    source: str
    python: str
    packages: int
    bytes: int
    built_ms: int | None
    used_ms: int
    in_use: bool

    @classmethod
    def parse(cls, raw: object) -> Environment | None:
        """Read one entry of a machine's list; None for what is none."""
        if not isinstance(raw, Mapping):
            return None
        key, path, names = raw.get("key"), raw.get("python_path"), raw.get("names")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            return None
        if not isinstance(path, str) or not is_plain_path(path):
            return None
        named = names if isinstance(names, list) else []
        return cls(
            key=key,
            names=tuple(n for n in named[:100] if isinstance(n, str) and _NAME.fullmatch(n)),
            python_path=path,
            source=_text(raw.get("source")),
            python=_text(raw.get("python")),
            packages=_count(raw.get("packages")) or 0,
            bytes=_count(raw.get("bytes")) or 0,
            built_ms=_count(raw.get("built_ms")),
            used_ms=_count(raw.get("used_ms")) or 0,
            in_use=raw.get("in_use") is True,
        )

    def to_dict(self) -> dict[str, JSON]:
        """Return it as it goes over REST and into `--json`."""
        return {
            "key": self.key,
            "names": list(self.names),
            "python_path": self.python_path,
            "source": self.source,
            "python": self.python,
            "packages": self.packages,
            "bytes": self.bytes,
            "built_ms": self.built_ms,
            "used_ms": self.used_ms,
            "in_use": self.in_use,
        }


@dataclass(frozen=True)
class Built:
    """What came of a build. `made`: it was not there before."""

    machine: str
    name: str
    key: str
    python_path: str
    source: str
    packages: int
    made: bool
    evicted: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Return it as it goes over REST and into `--json`."""
        return {
            "machine": self.machine,
            "name": self.name,
            "key": self.key,
            "python_path": self.python_path,
            "source": self.source,
            "packages": self.packages,
            "made": self.made,
            "evicted": list(self.evicted),
        }


def parse_list(raw: object) -> list[Environment]:
    """Return the environments of a machine's answer, at most 1000. Raises ProtocolError."""
    if not isinstance(raw, list):
        raise ProtocolError("the machine does not tell its environments")
    found = [Environment.parse(item) for item in raw[:MAX_LISTED]]
    return [each for each in found if each is not None]


def keys_in(raw: object) -> list[str]:
    """Return the keys in a machine's list of them."""
    found = raw[:MAX_LISTED] if isinstance(raw, list) else []
    return [key for key in found if isinstance(key, str) and _KEY.fullmatch(key)]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value[:MAX_TEXT])


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None
