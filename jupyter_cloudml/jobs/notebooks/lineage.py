"""What a run had besides notebook and code: the packages beside its kernel and the versions of its data, as its runner has told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import JSON
from ...store.jobs.results import Snapshot
from .records import Record


@dataclass(frozen=True)
class Had:
    """`environment`: {python, key, lock_sha256, packages, packages_sha256} or None; `data`: [{source, folder, state, total_files, total_bytes}]."""

    environment: Mapping[str, JSON] | None = None
    data: list[JSON] = field(default_factory=list)

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        told = None if self.environment is None else dict(self.environment)
        return {"environment": told, "data": self.data}


def had(records: Iterable[Record]) -> Had | None:
    """Return what the records of an attempt tell; None where its runner has not come to say. Pure."""
    found: Record | None = None
    for record in records:
        if record["record"] == "had":
            found = record
    if found is None:
        return None
    environment: Any = found.get("environment")
    data: Any = found.get("data")
    return Had(
        environment if isinstance(environment, Mapping) else None,
        data if isinstance(data, list) else [],
    )


def completed(snapshot: Snapshot, told: Had) -> Snapshot:
    """Return a snapshot with the lock of the packages and the versions of the data. Pure."""
    lock = None
    if told.environment is not None:
        key, digest = told.environment.get("key"), told.environment.get("packages_sha256")
        lock = f"{f'env:{key}:' if key else ''}sha256:{digest}"
    versions = {}
    for each in told.data:
        if isinstance(each, dict):
            versions[str(each.get("source"))] = each.get("state")
    what = {
        "notebook": snapshot.notebook_ref,
        "code": dict(snapshot.code),
        "environment": lock,
        "data": versions,
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return replace(snapshot, sha256=digest, env_lock_ref=lock, data_versions=versions)
