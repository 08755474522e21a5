"""What holds for every test: no network but our own, no settings of the user's, nightly tests on request."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["cloudbox.fixture", "buckets", "postgres"]

# Undecorated core handlers then refuse to start, and undecorated ones of ours warn: an error here.
os.environ["JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS"] = "0"

# A server that must compile all that it imports takes twice the time to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TESTS = Path(__file__).parent
RERUN_TEXT = 4000  # characters of each
ORDER = ["unit", "integration", "faults", "browser"]
# Files of tests that take longest, longest first: the last of all should be short ones, lest one process works alone in the end.
LONGEST = ["test_reattach", "test_env_builds", "test_data", "test_links", "test_environments"]
LONGEST += ["test_restore_pages", "test_reconnect", "test_restore", "test_panel", "test_quickstart"]
LONGEST += ["test_add_machine", "test_code", "test_jobs", "test_picker", "test_datasets"]

OWN_NETWORKS = [
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
    ipaddress.ip_network("10.208.0.0/12"),  # the hosts of tests/cloudbox, in their own namespaces
]


class NetworkRefused(AssertionError):
    """A test reached for an address that is not its own."""


def _refuse_foreign_addresses(event: str, args: tuple[object, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return
    address = args[1]
    if not isinstance(address, tuple) or not isinstance(address[0], str):
        return  # a unix socket, or a datagram on a connected one
    host = address[0].partition("%")[0]
    if host == "localhost":
        return
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise NetworkRefused(f"test connects to {host!r}: only literal test addresses") from None
    if not any(ip.version == net.version and ip in net for net in OWN_NETWORKS):
        raise NetworkRefused(f"test connects to {host}: only loopback and the tests' own hosts")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--nightly`."""
    parser.addoption("--nightly", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse foreign addresses to this process from here on (an audit hook cannot be removed)."""
    sys.addaudithook(_refuse_foreign_addresses)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the quick tests first and the browser's last; leave the nightly ones out unless asked for.

    Playwright keeps an event loop running in the main thread, so after it nothing can start another.
    """
    items.sort(key=_turn)
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="takes minutes: --nightly runs it")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)


def _turn(item: pytest.Item) -> tuple[int, int]:
    room, name = item.path.relative_to(TESTS).parts[0], item.path.stem
    return ORDER.index(room), LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were tried again: without it a first failure is lost once the next try passes, or fails of its traces."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"tried again: {report.nodeid} ({report.when})")
        terminalreporter.line(report.longreprtext[-RERUN_TEXT:])


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's Jupyter and CloudML folders out of every test."""
    home = tmp_path_factory.mktemp("home", numbered=False)
    places = {
        "JUPYTER_CLOUDML_HOME": home / "cloudml",
        "JUPYTER_CONFIG_DIR": home / "jupyter" / "config",
        "JUPYTER_DATA_DIR": home / "jupyter" / "data",
        "JUPYTER_RUNTIME_DIR": home / "jupyter" / "runtime",
        "IPYTHONDIR": home / "ipython",
        "MPLCONFIGDIR": home / "matplotlib",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, path in places.items():
            patch.setenv(name, str(path))
        for name in ("JUPYTER_TOKEN", "JUPYTER_PATH", "JUPYTER_CLOUDML_DB", "SSH_AUTH_SOCK"):
            patch.delenv(name, raising=False)
        yield home
