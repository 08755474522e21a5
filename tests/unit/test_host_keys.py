"""known_hosts files are read as ssh reads them, and the project's own holds one key a host."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from jupyter_cloudml.errors import HostKeyChanged, Unreachable
from jupyter_cloudml.link import dial, host_keys
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.host_keys import HostKey


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[HostKey]:
    folder = tmp_path_factory.mktemp("keys")
    made = []
    for number, kind in enumerate(["ed25519", "ed25519", "ecdsa"]):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / str(number)],
            check=True,
            timeout=20,
        )
        made.append(HostKey.from_line((folder / f"{number}.pub").read_text()))
    return made


def test_a_fingerprint_is_the_one_that_ssh_prints(tmp_path: Path, keys: list[HostKey]) -> None:
    (tmp_path / "k.pub").write_text(keys[0].line)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "k.pub"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert shown.stdout.split()[1] == keys[0].fingerprint


@pytest.mark.parametrize("name", ["box", "[box]:2222", "10.0.0.1", "::1"])
def test_hashed_names_are_found(name: str, tmp_path: Path, keys: list[HostKey]) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{name} {keys[0].line}\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-H", "-f", file], check=True, timeout=20, capture_output=True
    )
    assert name not in file.read_text()
    assert host_keys.known([file], name) == ([keys[0]], [])
    assert host_keys.known([file], "another") == ([], [])


def test_patterns_markers_and_broken_lines(tmp_path: Path, keys: list[HostKey]) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(
        f"# a comment\n\n*.example.org,!bad.example.org {keys[0].line} a comment\n@revoked * {keys[1].line}\n"
        f"@cert-authority *.example.org {keys[2].line}\ngarbage\nx ssh-ed25519 !!!\n|1|a|b {keys[2].line}\n"
        f"Box,10.0.0.? {keys[2].line}\n"
    )
    assert host_keys.known([file], "good.example.org") == ([keys[0]], [keys[1]])
    assert host_keys.known([file], "bad.example.org") == ([], [keys[1]])
    assert (
        host_keys.known([file], "box")
        == host_keys.known([file], "10.0.0.7")
        == ([keys[2]], [keys[1]])
    )
    assert host_keys.known([tmp_path / "absent", tmp_path], "box") == ([], [])


def test_accepting_replaces_the_key_of_that_host_alone(tmp_path: Path, keys: list[HostKey]) -> None:
    file = tmp_path / "home" / "known_hosts"
    box, port = SSHTarget("Box", known_hosts=file), SSHTarget("box", port=2222, known_hosts=file)
    host_keys.accept(box, keys[0])
    host_keys.accept(port, keys[1])
    host_keys.accept(box, keys[2])
    assert host_keys.confirmed(box) == [keys[2]] and host_keys.confirmed(port) == [keys[1]]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_confirmed_key_is_not_asked_for_again(
    tmp_path: Path, keys: list[HostKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SSHTarget("box", host_key=keys[0].fingerprint, known_hosts=tmp_path / "k")
    seen: list[str | None] = []

    def scan(target: SSHTarget, *, family: str | None = None, **rest: object) -> HostKey:
        seen.append(family)
        return keys[0]

    monkeypatch.setattr(dial, "scan", scan)
    dial.verify(target)
    dial.verify(target)
    assert seen == [None]


def test_every_kind_of_key_is_tried_before_a_host_is_refused(
    tmp_path: Path, keys: list[HostKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SSHTarget("box", host_key="SHA256:" + "A" * 43, known_hosts=tmp_path / "k")
    seen: list[str | None] = []

    def scan(target: SSHTarget, *, family: str | None = None, **rest: object) -> HostKey:
        seen.append(family)
        if family and "rsa" in family:
            raise Unreachable("no such key", code="no_common_algorithm")
        return keys[2] if family else keys[0]

    monkeypatch.setattr(dial, "scan", scan)
    with pytest.raises(HostKeyChanged) as refused:
        dial.verify(target)
    assert refused.value.details["fingerprint"] == keys[0].fingerprint
    assert seen == [None, *dial.FAMILIES[1:]]
    assert host_keys.confirmed(target) == []
