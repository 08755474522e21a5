"""What ssh writes becomes a cause and a remedy; the lines are those of OpenSSH 7.4 to 9.2 on Linux and macOS."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_cloudml.link import openssh_says
from jupyter_cloudml.link.carrier import SSHTarget

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
The fingerprint for the ED25519 key sent by the remote host is
SHA256:GLq7gPxU4+3VS2YnuCP0NiaIZy6VzaPDkmVw4wTbn4M.
Please contact your system administrator.
Host key verification failed.
"""
JUMP = "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535\n"
BEFORE = [
    ("ssh: Could not resolve hostname nope: Name or service not known\n", "dns"),
    ("ssh: Could not resolve hostname nope: nodename nor servname provided, or not known\n", "dns"),
    ("ssh: connect to host box port 22: Connection refused\n", "refused"),
    ("ssh: connect to host box port 22: No route to host\n", "no_route"),
    ("ssh: connect to host box port 22: Network is unreachable\n", "no_route"),
    ("ssh: connect to host box port 22: Connection timed out\n", "timeout"),
    ("ssh: connect to host box port 22: Operation timed out\n", "timeout"),
    ("Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out\n", "timeout"),
    ("kex_exchange_identification: read: Connection reset by peer\n", "closed"),
    ("ssh_exchange_identification: Connection closed by remote host\n", "closed"),
    ("Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-dss\n", "no_common_algorithm"),
    ("kex_exchange_identification: banner line contains invalid characters\n", "not_ssh"),
    ("ada@box: Permission denied (publickey,password).\n", "auth_refused"),
    ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\n", "auth_refused"),
    ("No ED25519 host key is known for box and you have requested strict checking.\nHost key verification failed.\n", "host_key_unknown"),
    (CHANGED, "host_key_changed"),
    ("No ED25519 host key is known for gate and you have requested strict checking.\n"
     "Host key verification failed.\n" + JUMP, "jump_host_key_unknown"),
    ("ada@gate: Permission denied (publickey).\n" + JUMP, "auth_refused"),
    ("/home/ada/.ssh/config: line 3: Bad configuration option: prot\n"
     "/home/ada/.ssh/config: terminating, 1 bad configuration options\n", "bad_ssh_config"),
    ("Bad owner or permissions on /home/ada/.ssh/config\n", "bad_ssh_config"),
    ("something never seen before\n", "unreachable"),
    ("", "unreachable"),
]  # fmt: skip


@pytest.fixture
def target(tmp_path: Path) -> SSHTarget:
    return SSHTarget("box", known_hosts=tmp_path / "known_hosts")


@pytest.mark.parametrize(("text", "code"), BEFORE)
def test_each_failure_has_its_code_and_a_remedy(text: str, code: str, target: SSHTarget) -> None:
    error = openssh_says.before_sign_in(text, target)
    assert error.code == code
    assert "box" in error.message or code == "bad_ssh_config"
    assert error.hint and len(error.message) < 500


def test_a_changed_key_names_what_was_shown_and_what_is_expected(tmp_path: Path) -> None:
    confirmed = "SHA256:" + "A" * 43
    target = SSHTarget("box", host_key=confirmed, known_hosts=tmp_path / "k")
    error = openssh_says.before_sign_in(CHANGED, target)
    assert error.details["fingerprint"] == "SHA256:GLq7gPxU4+3VS2YnuCP0NiaIZy6VzaPDkmVw4wTbn4M"
    assert error.details["expected"] == confirmed
    # A host that was confirmed and now shows a key of another type is not a new host.
    other = "No RSA host key is known for box and you have requested strict checking.\nHost key verification failed.\n"
    assert openssh_says.before_sign_in(other, target).code == "host_key_changed"


def test_the_way_is_named_when_a_jump_host_is_at_fault(target: SSHTarget) -> None:
    error = openssh_says.before_sign_in("ada@gate: Permission denied (publickey).\n" + JUMP, target)
    assert "the way to box" in error.message and "ada@gate" in error.message


SIGNED_IN = 'Authenticated to box ([10.0.0.1]:22) using "publickey".\n'
AFTER = [
    (0, "", None),
    (127, "sh: 1: exec: nope: not found\n", "command_not_found"),
    (126, "sh: 1: exec: /etc/passwd: Permission denied\n", "command_not_found"),
    (3, "my reason\n", "command_failed"),
    (255, "Timeout, server box not responding.\n", "timeout"),
    (255, "Connection to box closed by remote host.\n", "closed"),
    (255, "client_loop: send disconnect: Broken pipe\n", "closed"),
    (-9, "", "closed"),
]


@pytest.mark.parametrize(("status", "text", "code"), AFTER)
def test_the_end_of_a_session_is_explained(
    status: int, text: str, code: str | None, target: SSHTarget
) -> None:
    farewell = "Transferred: sent 2080, received 1608 bytes, in 0.1 seconds\nBytes per second: sent 1, received 2\n"
    error = openssh_says.after_sign_in(SIGNED_IN + text + farewell, status, target)
    assert (error and error.code) == code
    if code == "command_failed":
        assert error is not None and error.details == {"status": 3, "stderr": "my reason"}


def test_what_the_host_writes_later_is_not_taken_for_ssh(target: SSHTarget) -> None:
    error = openssh_says.after_sign_in(SIGNED_IN + CHANGED, 1, target)
    assert error is not None and error.code == "command_failed"
