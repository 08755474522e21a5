"""No test reaches an address that is not the tests' own: the guard of conftest.py works."""

from __future__ import annotations

import os
import socket

import pytest

# TEST-NET-3 belongs to documentation: even without the guard nobody would answer.
FOREIGN = ["203.0.113.1", "10.1.2.3", "192.168.0.1", "8.8.8.8"]


@pytest.mark.parametrize("address", FOREIGN)
def test_a_foreign_address_is_refused_before_a_packet_leaves(address: str) -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match=address):
        sock.connect((address, 9))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(AssertionError, match=address),
    ):
        sock.sendto(b"", (address, 9))


def test_loopback_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_folders_of_the_person_at_the_keyboard_are_out_of_reach() -> None:
    for name in ("JUPYTER_CLOUDML_HOME", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        assert not os.environ[name].startswith(os.path.expanduser("~/."))
    assert os.environ["JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS"] == "0"
