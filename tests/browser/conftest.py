"""A JupyterLab for each test file, and a page on it for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .aside import Aside
from .lab import Lab
from .view import View

ASSETS = Path(__file__).parents[2] / "jupyter_cloudml" / "labextension" / "package.json"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# A bound for what should take a moment, with room for a computer that is busy with other tests.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def base_url() -> None:
    """Stand in for the plugin's fixture, a method, which pytest warns about; every test names its whole address."""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The system's Chromium; as root in a network where no host comes or goes."""
    if os.geteuid() != 0:
        yield CHROMIUM
        return
    network = Aside()
    try:
        yield str(network.wrap(CHROMIUM, tmp_path_factory.mktemp("chromium")))
    finally:
        network.close()


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], chromium: str
) -> dict[str, Any]:
    """Use that Chromium."""
    return {**browser_type_launch_args, "executable_path": chromium, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """Give every test a window of the same size."""
    return {
        **browser_context_args,
        "viewport": {"width": 1280, "height": 800},
        "reduced_motion": "reduce",
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server for the tests of one file."""
    if not ASSETS.exists():
        pytest.fail("The Lab assets are not built: make assets")
    server = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def view(page: Page, lab: Lab) -> Iterator[View]:
    """An open page. A test that leaves an error in its console fails."""
    made = View(page, lab).open()
    yield made
    assert made.errors == []
