"""RemoteCommand means the same in every login shell, and names keep to their allow-lists."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.link.command import RemoteCommand, check_name

SHELLS = ["sh", "bash", "dash", "zsh", "fish", "tcsh"]
ECHO_NUL = ["printf", r"%s\000"]
AWKWARD = [
    "", " ", "a b", "'", '"', "\\", "\\\\", "\\'", "it's", "$HOME", "$(touch M)", "`touch M`", ";touch M", "&& touch M",
    "|touch M", ">M", "\ntouch M", "a\n", "\n", "\t", "!", "a!b", "!!", "^a^b", "é", "日本", "\x7f", "\x01", "*", "?", "[a]", "~",
    "{a,b}", "=ls", "%self", "#x", "-oProxyCommand=touch M", "--upload-pack=touch M", "-", "--", "\udcff", "a" * 5000,
]  # fmt: skip


def run_in(shell: str, command: RemoteCommand, folder: Path) -> bytes:
    """What sshd does: hand the line to the user's login shell."""
    program = shutil.which(shell)
    assert program, f"{shell} is not installed: apt-get install zsh fish tcsh"
    done = subprocess.run(
        [program, "-c", command.shell()],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_every_argument_arrives_unchanged(shell: str, tmp_path: Path) -> None:
    out = run_in(shell, RemoteCommand([*ECHO_NUL, *AWKWARD]), tmp_path)
    assert out.split(b"\0")[:-1] == [os.fsencode(word) for word in AWKWARD]
    assert not (tmp_path / "M").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_one_awkward_argument_alone_arrives_unchanged(shell: str, tmp_path: Path) -> None:
    for word in AWKWARD[:24]:
        assert (
            run_in(shell, RemoteCommand([*ECHO_NUL, word]), tmp_path) == os.fsencode(word) + b"\0"
        )
    assert not (tmp_path / "M").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_variables_and_folder_are_set(shell: str, tmp_path: Path) -> None:
    folder = tmp_path / "-a 'strange' folder!"
    folder.mkdir()
    command = RemoteCommand(
        ["/bin/sh", "-c", 'printf "%s|%s" "$A" "$PWD"'],
        env={"A": "it's $(touch M)\n!"},
        cwd=folder.name,
    )
    assert run_in(shell, command, tmp_path) == f"it's $(touch M)\n!|{folder}".encode()
    assert not (tmp_path / "M").exists()


@given(
    words=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
        max_size=6,
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_arrives_unchanged(words: list[str], tmp_path: Path) -> None:
    for shell in ("dash", "bash"):
        out = run_in(shell, RemoteCommand([*ECHO_NUL, "first", *words]), tmp_path)
        assert out.split(b"\0")[1:-1] == [word.encode() for word in words]


def test_the_line_is_printable_ascii_without_newline() -> None:
    line = RemoteCommand(["x", *AWKWARD], env={"A": "\n!"}, cwd="/é").shell()
    assert line.isascii() and line.isprintable() and "!" not in line


def test_plain_commands_stay_readable() -> None:
    assert RemoteCommand(["python3", "-m", "x", "a b"]).shell() == "exec python3 -m x 'a b'"


@pytest.mark.parametrize("argv", [[], [""], ["-x"], ["a", "b\0"]])
def test_impossible_commands_are_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        RemoteCommand(argv)


@pytest.mark.parametrize("name", ["", "A B", "1A", "A;x", "A=B"])
def test_a_variable_needs_a_plain_name(name: str) -> None:
    with pytest.raises(UsageError):
        RemoteCommand(["x"], env={name: "v"})


def test_a_command_too_long_for_execve_is_refused_here() -> None:
    with pytest.raises(UsageError) as refused:
        RemoteCommand(["x", "a" * 200_000]).shell()
    assert refused.value.code == "command_too_long"


@pytest.mark.parametrize("kind", ["machine", "host", "user", "spec", "process"])
@pytest.mark.parametrize(
    "value",
    ["-oProxyCommand=touch M", "$(touch M)", "`touch M`", ";touch M", "\ntouch M", "a\n", "a b", "é", "", ".", "..", "a/b",
     "a" * 1_000_000, "%n", "a'b", "a@b"],
)  # fmt: skip
def test_hostile_names_are_refused(kind: str, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_name(kind, value)  # type: ignore[arg-type]
    assert refused.value.code == "bad_name"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("kind", "value"),
    [("machine", "gpu-1"), ("machine", "A.b_c"), ("user", "ada"), ("user", "j.doe-2"), ("host", "10.0.0.1"), ("host", "::1"),
     ("host", "fe80::1%eth0"), ("host", "2001:db8::ff00:42:8329"), ("host", "ec2-203-0-113-25.compute-1.amazonaws.com"),
     ("host", "a" * 63 + "." + "b" * 63)],
)  # fmt: skip
def test_ordinary_names_are_accepted(kind: str, value: str) -> None:
    assert check_name(kind, value) == value  # type: ignore[arg-type]
