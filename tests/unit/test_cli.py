"""The command line without machines: addresses, rows, what is shown, exit statuses, and how little is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import notebook

from jupyter_cloudml.cli import COMMANDS, call, render
from jupyter_cloudml.client import KernelRow, Unreached, parse_address
from jupyter_cloudml.client.kernels import _pick
from jupyter_cloudml.errors import CloudMLError, Conflict, NotFound, UsageError
from jupyter_cloudml.machines.model import MachineInfo, Step


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("box", (None, "box", None)),
        ("ada@box.example.org", ("ada", "box.example.org", None)),
        ("ada@box:2222", ("ada", "box", 2222)),
        ("10.0.0.1:22", (None, "10.0.0.1", 22)),
        ("::1", (None, "::1", None)),
        ("ada@fe80::1%eth0", ("ada", "fe80::1%eth0", None)),
        ("[fe80::1]:22", (None, "fe80::1", 22)),
        ("ada@[::1]", ("ada", "::1", None)),
    ],
)
def test_an_address_has_a_user_a_host_and_a_port(text: str, parts: tuple[object, ...]) -> None:
    assert parse_address(text) == parts


@pytest.mark.parametrize(
    "text",
    ["", "@box", "ada@", "box:", "box:ssh", "box:-1", "box:999999", "a@b@c", ":22", "box:٢٢"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


# -- kernels -------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "id": "0a1b2c3d",
    "kind": "kernel",
    "labels": {"kernel_id": "5e6f-7a8b", "spec": "ir", "path": "/home/ada/a.ipynb"},
    "pid": 77,
    "started_ms": 1000,
    "state": "running",
    "exit": None,
    "attached": True,
    "execution_state": "busy",
}


@pytest.mark.parametrize(
    ("change", "state", "since", "cause"),
    [
        ({}, "connected", 1000, None),
        ({"attached": False}, "detached", 1000, None),
        (
            {"state": "exited", "exit": {"ended_ms": 5000, "reason": "it was killed for memory"}},
            "ended",
            5000,
            "it was killed for memory",
        ),
    ],
)
def test_a_kernel_is_told_as_over_rest(
    change: dict[str, Any], state: str, since: int, cause: str | None
) -> None:
    row = KernelRow.parse("box", {**ROW, **change}).to_dict()
    assert list(row)[:9] == [
        "id",
        "machine",
        "process",
        "spec",
        "path",
        "state",
        "since_ms",
        "cause",
        "exit",
    ]
    assert (row["state"], row["since_ms"], row["cause"]) == (state, since, cause)
    assert (row["id"], row["process"], row["spec"]) == ("5e6f-7a8b", "0a1b2c3d", "ir")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"labels": [], "exit": 7, "started_ms": "x", "id": 1, "pid": True},
        {"labels": {"kernel_id": ["x"]}, "state": None, "exit": {"ended_ms": -1, "reason": {}}},
        {"id": "x" * 100_000, "execution_state": {}},
        {
            "labels": {
                "code": {"url": 7, "tree": "x" * 9000, "dirty": "no", "diffstat": {"files": []}}
            }
        },
        {"labels": {"code": ["x"]}},
    ],
)
def test_an_odd_row_of_a_host_is_shown_and_harms_nothing(row: dict[str, Any]) -> None:
    shown = KernelRow.parse("box", row)
    json.dumps(shown.to_dict())
    assert len(shown.id) <= 1024


def test_a_kernel_tells_which_code_it_was_started_with() -> None:
    code = {
        "url": "https://example.org/digits.git",
        "branch": "main",
        "base_commit": "c0ffee",
        "snapshot": "beef",
        "tree": "ab",
        "dirty": True,
        "diffstat": {"files": 2, "insertions": 7, "deletions": None},
    }
    row = KernelRow.parse("a", {**ROW, "labels": {"kernel_id": "k", "code": code, "x": 1}})
    assert row.to_dict()["code"] == code
    assert KernelRow.parse("a", ROW).to_dict()["code"] is None


def test_a_kernel_is_picked_by_either_id_or_its_beginning() -> None:
    one = KernelRow.parse("a", ROW)
    two = KernelRow.parse("b", {**ROW, "id": "0a1bffff", "labels": {"kernel_id": "5e6f-9999"}})
    rows = [one, two]
    assert _pick(rows, "0a1b2c3d", Unreached()) is one
    assert _pick(rows, "5e6f-9", Unreached()) is two
    with pytest.raises(Conflict) as several:
        _pick(rows, "0a1b", Unreached())
    assert several.value.code == "ambiguous"
    with pytest.raises(NotFound):
        _pick(rows, "0a1", Unreached())
    with pytest.raises(NotFound, match="box-7"):
        _pick(rows, "ffff", Unreached({"box-7": CloudMLError("x")}))


# -- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (128_000_000, "128 MB"), (24e9, "24.0 GB")],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert render.size(int(count)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert render.age(1000, 1000 + seconds * 1000) == text
    assert render.age(9_000_000, 1000) == "0 s"


def test_hardware_counts_equal_gpus() -> None:
    gpus = ({"name": "A10G"}, {"name": "A10G"}, {"name": "T4"})
    info = MachineInfo(cpus=8, memory_bytes=16_000_000_000, gpus=gpus)
    assert render.hardware(info) == "8 CPUs, 16.0 GB, 2 × A10G, T4"
    assert render.hardware(MachineInfo()) == ""


def test_what_a_host_says_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(["name", "state"], [["\x1b[2J\x1b]0;x\x07box\n", "run\r\u202ening"]], "none")
    render.fields([("host name", "\x1b[31mred"), ("empty", "")])
    render.say("\x1b[31m")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\u202e" not in out
    assert len(out.splitlines()) == 3


def test_without_a_terminal_each_step_is_a_line_and_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with render.Progress("box") as progress:
        for text in ("signing in", "preparing Python", "preparing Python: 1 of 9 MB"):
            progress(Step(2, 4, text, 0))
    assert capsys.readouterr().err.splitlines() == [
        "box: 2/4 signing in",
        "box: 2/4 preparing Python",
    ]


# -- exit statuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["machine", "nonsense"],
        ["machine", "add"],
        ["machine", "add", "box"],
        ["machine", "add", "box", "--ssh", "box", "--carrier", "pigeon"],
        ["machine", "list", "--wait", "-1"],
        ["run", "--on", "box"],
        ["run", "--", "true"],
        ["stop"],
        ["kernel", "stop"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


def test_options_of_a_job_are_added_to_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    path, file = tmp_path / "a.ipynb", tmp_path / "job.json"
    path.write_text(json.dumps(notebook("alpha: int = 1", tags=[["parameters"]])))
    written = {
        "notebook": str(path),
        "parameters": {"alpha": 1, "beta": 2},
        "retry": {"delay_s": 5, "on": ["timeout"]},
        "secrets": {"A": "env:A"},
    }
    file.write_text(json.dumps(written))
    told = ["-p", "alpha=3", "--retries", "2", "--secret", "B=env:B", "--json"]
    assert call(["job", "create", "nightly", "-f", str(file), *told]) == 0
    assert json.loads(capsys.readouterr().out)["definition"] == {
        "name": "nightly",
        "notebook": str(path),
        "parameters": {"alpha": 3, "beta": 2},
        "retry": {"count": 2, "delay_s": 5, "on": ["timeout"]},
        "secrets": {"A": "env:A", "B": "env:B"},
    }
    file.write_text("{}")
    assert call(["job", "create", "x", "-f", str(file), "-p", "alpha=3"]) != 0
    assert "name the notebook too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (["--tz", "Europe/Prague"], "--cron or --at"),
        (["--ref", "main", "--cron", "@daily"], "--git"),
    ],
)
def test_an_option_without_what_it_belongs_to_is_refused(
    alone: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["job", "create", "nightly", "a.ipynb", *alone]) != 0
    assert f"means nothing without {said}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["machine", "add", "-h"]])
def test_help_ends_with_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(arguments) == 0
    assert "jupyter cloudml" in capsys.readouterr().out


def test_the_listing_of_nouns_says_what_the_nouns_say() -> None:
    from importlib import import_module

    for module, attribute, help in COMMANDS.values():
        command = getattr(import_module(f"jupyter_cloudml.cli.{module}"), attribute)
        assert command.name == attribute
        assert help


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from jupyter_cloudml.cli import call; call(['--help']); "
        "print([m for m in ('sqlalchemy', 'paramiko', 'rich', 'jupyter_client', 'asyncio', "
        "'jupyter_cloudml.client', 'jupyter_cloudml.link') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_is_imported_without_its_client() -> None:
    code = (
        "import sys, jupyter_cloudml; print('jupyter_cloudml.client' in sys.modules); "
        "from jupyter_cloudml import Client; print(Client.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "jupyter_cloudml.client"]


def test_all_that_is_wrong_with_a_job_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook("1")))
    wrong = ["--cron", "61 * * * *", "--tz", "Mars/Base"]
    assert call(["job", "create", "x", str(path), *wrong]) == 2
    said = capsys.readouterr().err
    assert "its minute is wrong" in said and "Mars/Base" in said
