"""Kernelspecs of machines: what is written, what is never touched, and what a hostile host can't do."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from jupyter_cloudml.errors import Conflict, NoFolder, UsageError
from jupyter_cloudml_kernels import host_specs, specs

PYTHON = "/home/ada/env/bin/python"
R = {
    "name": "ir",
    "resource_dir": "/usr/share/jupyter/kernels/ir",
    "spec": {
        "argv": [
            "/usr/lib/R/bin/R",
            "--slave",
            "-e",
            "IRkernel::main()",
            "--args",
            "{connection_file}",
        ],
        "display_name": "R",
        "language": "R",
        "interrupt_mode": "message",
        "metadata": {"debugger": True},
    },
}
HOSTILE_NAMES = [
    "-oProxyCommand=touch M",
    "$(touch M)",
    "`touch M`",
    ";touch M",
    "\ntouch M",
    "../../evil",
    "a/b",
    "..",
    ".hidden",
    "é",
    "",
    "a" * 64,
    "x" * 1_000_000,
    None,
    7,
    ["ir"],
]


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return tmp_path / "jupyter" / "kernels"


def read(kernels: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((kernels / name / "kernel.json").read_text())
    return document


def host(name: str = "ir", **changes: object) -> dict[str, object]:
    return {**R, "name": name, "spec": {**R["spec"], **changes}}  # type: ignore[dict-item]


def test_a_machine_brings_its_python_and_every_kernelspec_of_the_host(kernels: Path) -> None:
    names = specs.install("box-2", "box-2", [R], PYTHON)
    assert names == ["cloudml-box-2", "cloudml-box-2-ir"]
    assert set(
        KernelSpecManager(
            kernel_dirs=[str(kernels)], ensure_native_kernel=False
        ).find_kernel_specs()
    ) == set(names)

    python = read(kernels, "cloudml-box-2")
    assert python["display_name"] == "Python on box-2"
    assert python["language"] == "python"
    assert python["argv"] == [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert python["metadata"]["kernel_provisioner"] == {
        "provisioner_name": "cloudml",
        "config": {"machine": "box-2", "spec": "", "python": PYTHON},
    }
    r = read(kernels, "cloudml-box-2-ir")
    assert (r["display_name"], r["language"], r["interrupt_mode"]) == ("R on box-2", "R", "message")
    assert r["metadata"]["debugger"] is True
    assert r["metadata"]["kernel_provisioner"]["config"] == {
        "machine": "box-2",
        "spec": "ir",
        "python": "",
    }


def test_the_kernelspec_of_the_chosen_python_is_offered_once_and_lends_its_traits(
    kernels: Path,
) -> None:
    def python(name: str, folder: str, program: str) -> dict[str, object]:
        spec = {
            "argv": [program, "-m", "ipykernel_launcher"],
            "language": "python",
            "display_name": name,
            "metadata": {},
        }
        return {
            "name": name,
            "resource_dir": f"{folder}/share/jupyter/kernels/{name}",
            "spec": spec,
        }

    raw = [
        python("python3", "/home/ada/env", "python"),
        python("same", "/home/ada/.local", "/home/ada/env/bin/python3.11"),
        python("torch", "/opt/conda/envs/torch", "/opt/conda/envs/torch/bin/python"),
    ]
    assert specs.install("gpu", "gpu", raw, PYTHON) == [
        "cloudml-gpu",
        "cloudml-gpu-torch",
    ]
    assert read(kernels, "cloudml-gpu")["metadata"]["debugger"] is False


@pytest.mark.parametrize(
    ("folder", "argv", "runs"),
    [
        (
            "/opt/conda/envs/t/share/jupyter/kernels/python3",
            "python",
            "/opt/conda/envs/t/bin/python",
        ),
        (
            "/opt/conda/envs/t/share/jupyter/kernels/x",
            "python3.11",
            "/opt/conda/envs/t/bin/python3.11",
        ),
        ("/opt/conda/envs/t/share/jupyter/kernels/x", "bash", "bash"),
        ("/home/ada/.local/share/jupyter/kernels/python3", "python", "python"),
        ("/usr/share/jupyter/kernels/python3", "python", "python"),
        ("/home/ada/k", "{resource_dir}/start", "/home/ada/k/start"),
        ("/opt/conda/share/jupyter/kernels/ir", "{prefix}/bin/R", "/opt/conda/bin/R"),
        ("/home/ada/k", "{prefix}/bin/R", "{prefix}/bin/R"),
        ("relative", "{resource_dir}/start", "{resource_dir}/start"),
        (None, "python", "python"),
    ],
)
def test_folders_and_pythons_in_argv_are_the_hosts(folder: object, argv: str, runs: str) -> None:
    raw = {**R, "resource_dir": folder, "spec": {"argv": [argv, "{connection_file}"]}}
    (spec,) = host_specs.parse_host_specs([raw])
    assert spec.argv == (runs, "{connection_file}")


def test_variables_of_a_kernelspec_go_along_if_they_are_variables(kernels: Path) -> None:
    env = {"JULIA_NUM_THREADS": "4", "A B": "x", "N": 7, "Z": "a\0b", "H": "${HOME}/x", "": "x"}
    specs.install("box", "box", [host(env=env)])
    assert read(kernels, "cloudml-box-ir")["env"] == {"JULIA_NUM_THREADS": "4", "H": "${HOME}/x"}
    specs.install("box", "box", [host(env={f"V{n}": "x" for n in range(100)})])
    assert read(kernels, "cloudml-box-ir")["env"] == {}


def test_the_environment_is_in_the_name_that_is_shown(kernels: Path) -> None:
    specs.install("box", "box", [{**host(), "environment": "torch\x1b"}])
    assert read(kernels, "cloudml-box-ir")["display_name"] == "R [torch] on box"


def test_installing_again_follows_the_host_and_touches_nothing_that_is_as_before(
    kernels: Path,
) -> None:
    specs.install("box", "box", [R, host("julia")], PYTHON)
    before = (kernels / "cloudml-box-ir" / "kernel.json").stat()
    specs.install("box", "big box", [R], PYTHON)
    assert sorted(os.listdir(kernels)) == ["cloudml-box", "cloudml-box-ir"]
    assert read(kernels, "cloudml-box")["display_name"] == "Python on big box"
    specs.install("box", "box", [R], PYTHON)
    between = (kernels / "cloudml-box-ir" / "kernel.json").stat()
    specs.install("box", "box", [R], PYTHON)
    after = (kernels / "cloudml-box-ir" / "kernel.json").stat()
    assert after.st_mtime_ns == between.st_mtime_ns
    assert stat.S_IMODE(after.st_mode) == stat.S_IMODE(before.st_mode)
    assert os.listdir(kernels.parent) == ["kernels"]


def test_remove_and_reconcile_delete_ours_and_nothing_else(kernels: Path, tmp_path: Path) -> None:
    foreign = kernels / "cloudml-mine"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["x"], "display_name": "x", "language": "x"}')
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kernel.json").write_text(
        '{"metadata": {"cloudml": {"machine": "gone", "spec": ""}}}'
    )
    (kernels / "cloudml-link").symlink_to(outside)
    broken = kernels / "cloudml-broken"
    broken.mkdir()
    (broken / "kernel.json").write_text("[" * 100_000)
    for machine in ("one", "two", "gone"):
        specs.install(machine, machine, [R])

    assert specs.remove("one") == ["cloudml-one", "cloudml-one-ir"]
    assert specs.remove("one") == []
    assert specs.reconcile({"two"}) == ["cloudml-gone", "cloudml-gone-ir"]
    assert sorted(os.listdir(kernels)) == [
        "cloudml-broken",
        "cloudml-link",
        "cloudml-mine",
        "cloudml-two",
        "cloudml-two-ir",
    ]
    assert (outside / "kernel.json").is_file()
    assert os.listdir(kernels.parent) == ["kernels"]


def test_a_folder_of_somebody_else_is_never_overwritten(kernels: Path) -> None:
    foreign = kernels / "cloudml-box"
    foreign.mkdir(parents=True)
    with pytest.raises(Conflict, match="in the way"):
        specs.install("box", "box", [])
    assert os.listdir(foreign) == []


def test_machine_a_b_and_spec_b_of_machine_a_live_side_by_side(kernels: Path) -> None:
    (lesser,) = [n for n in specs.install("a", "a", [host("b")]) if n != "cloudml-a"]
    assert lesser == "cloudml-a-b"
    specs.install("a-b", "a-b", [])
    assert read(kernels, "cloudml-a-b")["metadata"]["cloudml"] == {"machine": "a-b", "spec": ""}
    again = specs.install("a", "a", [host("b")])
    assert "cloudml-a-b" not in again
    assert len(os.listdir(kernels)) == 3
    specs.remove("a")
    assert os.listdir(kernels) == ["cloudml-a-b"]


def test_names_that_differ_by_case_alone_are_refused(kernels: Path) -> None:
    specs.install("box", "box", [])
    with pytest.raises(Conflict):
        specs.install("BOX", "BOX", [])


def test_the_local_machine_has_its_python_kernelspec_from_the_package(kernels: Path) -> None:
    assert specs.install("local", "This machine", [R], PYTHON) == ["cloudml-local-ir"]
    assert read(kernels, "cloudml-local-ir")["display_name"] == "R on This machine"


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name)[:20])
def test_a_hostile_name_makes_no_folder(kernels: Path, name: object) -> None:
    assert host_specs.parse_host_specs([{**R, "name": name}]) == []
    if isinstance(name, str):
        with pytest.raises(UsageError):
            specs.install(name, "x", [])
    assert not kernels.exists()


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {},
        {"argv": "R"},
        {"argv": []},
        {"argv": ["R", 1]},
        {"argv": ["R\0"]},
        {"argv": ["x"] * 65},
        {"argv": ["x" * 5000]},
        {"argv": ["R"], "metadata": {"kernel_provisioner": {"provisioner_name": "cloudml"}}},
        {"argv": ["R"], "metadata": {"kernel_provisioner": "x"}},
    ],
    ids=lambda spec: repr(spec)[:30],
)
def test_a_spec_that_cannot_be_started_is_left_out(spec: object) -> None:
    assert host_specs.parse_host_specs([{"name": "ir", "spec": spec}]) == []


def test_texts_of_the_host_are_plain_and_bounded(kernels: Path) -> None:
    raw = host(
        display_name="\x1b]8;;http://x\x07R\u202e\n" + "y" * 500,
        language="R\n<b>",
        interrupt_mode="rm -rf",
        metadata="x",
    )
    specs.install("box", "<b>\x1b[31mred\nbox", [raw])
    document = read(kernels, "cloudml-box-ir")
    assert len(document["display_name"]) < 200
    assert document["display_name"].isprintable()
    assert document["display_name"].startswith("]8;;http://xR yyy")
    assert document["display_name"].endswith("on <b>[31mred box")
    assert (document["language"], document["interrupt_mode"]) == ("unknown", "signal")
    assert set(document) == {
        "argv",
        "display_name",
        "env",
        "interrupt_mode",
        "language",
        "metadata",
    }


def test_a_host_cannot_flood_the_launcher() -> None:
    assert (
        len(host_specs.parse_host_specs([host(f"s{i}") for i in range(10_000)]))
        == host_specs.MAX_SPECS
    )
    assert host_specs.parse_host_specs({"specs": 1}) == []


def _install_often(folder: str, turn: int) -> None:
    os.environ["JUPYTER_DATA_DIR"] = folder
    for _ in range(20):
        specs.install("box", f"box {turn}", [R])
        specs.remove("other")
        specs.install("other", "other", [])


def test_two_processes_that_install_at_once_leave_whole_kernelspecs(kernels: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_install_often, args=(str(kernels.parent), turn))
        for turn in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted(os.listdir(kernels)) == ["cloudml-box", "cloudml-box-ir", "cloudml-other"]
    assert sorted(os.listdir(kernels / "cloudml-box-ir")) == ["kernel.json"]
    assert os.listdir(kernels.parent) == ["kernels"]


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(kernels: Path) -> None:
    kernels.parent.mkdir()
    kernels.write_text("")  # root may write into any folder, so it is none
    with pytest.raises(NoFolder, match="kernels") as caught:
        specs.install("box", "box", [])
    assert caught.value.hint
    with pytest.raises(NoFolder, match="kernels"):
        specs.remove("box")
