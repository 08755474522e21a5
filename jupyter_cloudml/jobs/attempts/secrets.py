"""Secrets of runs: references that a job has, and what stands for them when a run starts. Nothing of it is kept or logged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ...errors import UsageError

LIMIT = 1 << 20


def resolve(references: Mapping[str, str]) -> dict[str, str]:
    """Return the values of {variable: env:NAME | keyring:SERVICE/NAME | file:PATH}. Raises UsageError (`no_secret`) that names the reference alone."""
    return {variable: _value(uri) for variable, uri in references.items()}


def _value(uri: str) -> str:
    kind, _, rest = uri.partition(":")
    found = {"env": _of_environment, "keyring": _of_keyring, "file": _of_file}[kind](uri, rest)
    if "\0" in found:
        raise _missing(uri, "has a zero byte", "store a text")
    return found


def _of_environment(uri: str, name: str) -> str:
    if name not in os.environ:
        raise _missing(uri, "is not in the environment of the scheduler", f"set {name} there")
    return os.environ[name]


def _of_file(uri: str, name: str) -> str:
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            text = file.read(LIMIT + 1)
    except RuntimeError as exc:
        raise _missing(uri, "is below the home folder of nobody", "name the whole path") from exc
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise _missing(uri, f"cannot be read: {why}", "see that the file is there") from exc
    if len(text) > LIMIT:
        raise _missing(uri, "is larger than 1 MB", "point to a file with the secret alone")
    return text.rstrip("\r\n")


def _of_keyring(uri: str, rest: str) -> str:
    service, _, name = rest.rpartition("/")
    try:
        keyring = import_module("keyring")
    except ImportError as exc:
        raise _missing(uri, "needs keyring, which is not installed", "pip install keyring") from exc
    try:
        found = keyring.get_password(service, name)
    except Exception as exc:  # each backend has errors of its own
        raise _missing(uri, f"cannot be read: {type(exc).__name__}", "unlock the keyring") from exc
    if not isinstance(found, str):
        raise _missing(uri, "is not in the keyring", f"keyring set {service} {name}")
    return found


def _missing(uri: str, why: str, hint: str) -> UsageError:
    return UsageError(f"the secret {uri} {why}", code="no_secret", hint=hint)
