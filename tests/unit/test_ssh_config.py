"""Hosts are read from the user's SSH configuration; nothing in it takes effect."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_cloudml.machines.ssh_config import suggestions

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a file of ~/.ssh, `config` by default."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JUPYTER_CLOUDML_SSH_CONFIG", raising=False)
    (tmp_path / ".ssh").mkdir()

    def write(text: str, name: str = "config") -> Path:
        path = tmp_path / ".ssh" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def names() -> list[str]:
    return [suggestion.host for suggestion in suggestions()]


def test_without_a_file_there_is_nothing_to_suggest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JUPYTER_CLOUDML_SSH_CONFIG", raising=False)
    assert suggestions() == []


def test_a_host_comes_with_what_the_file_says_of_it(write: Write, tmp_path: Path) -> None:
    path = write(
        """
# comment
Host box-2 box-3   # both
    HostName 10.0.0.2
    User ada
    Port 2222
    IdentityFile ~/.ssh/id_box
HOST=gpu
    hostname = gpu.example.org
    identityfile "/keys/with space"
Host *
    User everybody
    Port 22
"""
    )
    box, _, gpu = suggestions()
    assert box.to_dict() == {
        "name": "box-2",
        "host": "box-2",
        "user": "ada",
        "port": 2222,
        "identity": str(tmp_path / ".ssh" / "id_box"),
        "source": f"{path}:3",
    }
    assert (gpu.name, gpu.user, gpu.port) == ("gpu", "everybody", 22)
    assert gpu.identity == "/keys/with space"


def test_the_first_value_counts_as_in_ssh(write: Write) -> None:
    write("User first\nHost a\n User second\nHost a\n User third\n Port 5\n")
    (host,) = suggestions()
    assert (host.user, host.port) == ("first", 5)


def test_patterns_and_negations_are_no_hosts(write: Write) -> None:
    write("Host *\nHost web-? !web-1 web-1 *.example.org plain\nHost ?\n")
    assert names() == ["web-1", "plain"]


def test_options_under_a_pattern_apply_unless_negated(write: Write) -> None:
    write("Host web-1 web-2\nHost web-* !web-2\n User operator\n")
    assert [host.user for host in suggestions()] == ["operator", None]


def test_includes_are_read_in_their_place(write: Write) -> None:
    write("Host one\nInclude conf.d/*\nHost four\n")
    write("Host two\n User u2\n", "conf.d/10-two")
    write("Host three\n", "conf.d/20-three")
    assert names() == ["one", "four"], "an Include inside a Host block holds for that host alone"
    write("Include conf.d/* missing /nowhere/*\nHost four\n")
    assert names() == ["two", "three", "four"]
    assert suggestions()[0].source.endswith("conf.d/10-two:1")


def test_options_included_within_a_host_are_that_hosts_own(write: Write) -> None:
    write("Host one\n Include common\nHost two\n")
    write("User ada\n", "common")
    assert [host.user for host in suggestions()] == ["ada", None]


def test_an_include_of_itself_ends(write: Write) -> None:
    write("Include config config config\nHost here\n")
    assert names() == ["here"]


def test_match_is_passed_over(write: Write) -> None:
    write("Host a\nMatch host a\n User root\nMatch all\n Port 7\nHost b\n")
    hosts = suggestions()
    assert [(host.user, host.port) for host in hosts] == [(None, 7), (None, 7)]


def test_nothing_in_the_file_is_run(write: Write, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    write(
        f"""
Match exec "touch {mark}"
    User ada
Host box
    ProxyCommand touch {mark}
    LocalCommand touch {mark}
    PermitLocalCommand yes
    KnownHostsCommand /usr/bin/touch {mark}
    IdentityFile $(touch {mark})
Include $(touch {mark})
Include `touch {mark}`
Host `touch {mark}` $(touch {mark}) -oProxyCommand=touch
"""
    )
    assert names() == ["box"]
    assert not mark.exists()


def test_names_that_ssh_would_take_for_something_else_are_left_out(write: Write) -> None:
    write('Host -oProxyCommand=x "a b" a;b é a\x00b good\n User -oX\n Port 99999\n')
    (host,) = suggestions()
    assert (host.host, host.user, host.port) == ("good", None, None)


def test_an_address_gets_a_name_that_a_machine_can_have(write: Write) -> None:
    write("Host fe80::1%eth0 10.0.0.7\n")
    assert [(host.name, host.host) for host in suggestions()] == [
        ("fe80--1-eth0", "fe80::1%eth0"),
        ("10.0.0.7", "10.0.0.7"),
    ]


def test_key_files_with_tokens_are_left_to_ssh(write: Write) -> None:
    write("Host a\n IdentityFile ~/.ssh/%r@%h\nHost b\n IdentityFile none\n")
    assert [host.identity for host in suggestions()] == [None, None]


def test_unreadable_things_count_as_empty(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".ssh" / "fifo")
    (tmp_path / ".ssh" / "folder").mkdir()
    (tmp_path / ".ssh" / "binary").write_bytes(bytes(range(256)) * 100)
    write('Include fifo folder binary\nHost "unclosed\nHost a\n')
    assert names() == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "Host " + "a" * 200 + "\n" + ("Host " + "*a" * 120 + "b\n User x\n") * 100,
        "".join(f"Host host-{number}\n" for number in range(50_000)),
        "Host " + " ".join(f"h{number}" for number in range(100_000)) + "\n",
        "Host x\n" + " User y\n" * 100_000,
        "Include " + " ".join(["config"] * 5000) + "\nHost x\n",
    ],
    ids=["backtracking", "sections", "words", "options", "includes"],
)
def test_a_hostile_file_takes_no_long_time(write: Write, text: str) -> None:
    write(text)
    started = time.monotonic()
    assert len(suggestions()) <= 500
    assert time.monotonic() - started < 10


def test_users_and_ports_are_those_that_ssh_finds(write: Write, tmp_path: Path) -> None:
    path = write(
        f"""
Include {tmp_path}/.ssh/conf.d/*
User before
Host a b*
 User u1
 Include {tmp_path}/.ssh/common
Host bb !c
 User=u2
 Port 3
Match all
 Port 9
Host c
 User u3
Host d "e"
 Port "4" # four
"""
    )
    write("Port 5\nHost *\n User x\n", "common")
    write("Host c\n Port 6\nHost early\n", "conf.d/first")
    found = {host.host: (host.user, host.port or 22) for host in suggestions()}
    assert set(found) == {"a", "bb", "c", "d", "e", "early"}
    for host, values in found.items():
        assert values == ssh_says(path, host), host


def ssh_says(path: Path, host: str) -> tuple[str, int]:
    argv = ["ssh", "-G", "-F", str(path), "--", host]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout
    options = dict(line.split(" ", 1) for line in answer.splitlines() if " " in line)
    return options["user"], int(options["port"])
