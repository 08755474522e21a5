"""Pools as people set them: how many runs that share one go on at once."""

from __future__ import annotations

import re
from dataclasses import asdict

from ..errors import JSON, NotFound, UsageError
from ..store import Store
from ..store.jobs.pools import OF_MACHINE, PoolRecord

MOST = 10_000
_NAME = re.compile(rf"(?:{OF_MACHINE})?[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}")


class Pools:
    """The pools of one store; machine:NAME is that of everything that runs on a machine."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[PoolRecord]:
        """Return the pools that have a cap, a job, or runs that are not over, by name."""
        return self._store.pools.all()

    def set(self, name: str, cap: int) -> PoolRecord:
        """Have no more than `cap` runs of a pool go on at once; 0 lets none begin. What goes on already goes on. Raises UsageError (`bad_pool`)."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name of a pool",
                code="bad_pool",
                hint="take letters, digits, '.', '_' and '-', or machine:NAME for all runs of a machine",
            )
        if not 0 <= cap <= MOST:
            raise UsageError(
                f"a pool cannot have a cap of {cap}",
                code="bad_pool",
                hint=f"take a number from 0, where nothing begins, to {MOST:,}",
            )
        self._store.pools.set_cap(name, cap)
        return self._get(name)

    def remove(self, name: str) -> None:
        """Take the cap of a pool away. Raises NotFound where it has none."""
        if self._get(name).cap is None:
            raise _no_pool(name)
        self._store.pools.set_cap(name, None)

    def _get(self, name: str) -> PoolRecord:
        found = next((each for each in self.all() if each.name == name), None)
        if found is None:
            raise _no_pool(name)
        return found


def pool_to_dict(pool: PoolRecord) -> dict[str, JSON]:
    """Return a pool as it is listed: {name, cap, running, waiting}."""
    return asdict(pool)


def _no_pool(name: str) -> NotFound:
    return NotFound(f"there is no pool {name!r} with a cap", hint="look at the list of pools")
