"""Databases for tests of what is kept: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest

from jupyter_cloudml.config import Config
from jupyter_cloudml.store import Store

_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    """An installation without any table yet."""
    if request.param == "sqlite":
        yield Config(home=tmp_path)
        return
    with postgres.database(
        request.getfixturevalue("postgres_server"), f"test_{next(_numbers)}"
    ) as url:
        yield Config(home=tmp_path, database=url)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    store = Store.open(config)
    yield store
    store.close()
