"""The command line by which a kernel runs in a container: what it may see, as whom, and which containers nobody has any more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.environments.host import launcher

PODMAN = {
    "engine": "/usr/bin/podman",
    "docker": False,
    "rootless": False,
    "image": "abc",
    "python": "python",
}
DOCKER = {**PODMAN, "engine": "/usr/bin/docker", "docker": True}


def line(settings: dict[str, Any], uid: int = 1000, **changes: Any) -> list[str]:
    values: dict[str, Any] = {
        "name": "cloudml-1-2-00000000",
        "cwd": "/home/ada/project/notebooks",
        "home": "/home/ada",
        "private": "/cache/home",
        "seen": ["/home/ada/project", "/run/k"],
        "env": {"LANG": "C.UTF-8", "AWS_SECRET_ACCESS_KEY": "canary", "OMP_NUM_THREADS": "2"},
        "ids": (uid, 100),
        **changes,
    }
    return launcher.command(settings, ["-m", "ipykernel_launcher", "-f", "/run/k/c.json"], **values)


def test_podman_runs_as_this_user_and_sees_what_it_needs() -> None:
    found = line(PODMAN)
    assert found == [
        "/usr/bin/podman",
        "run",
        "--rm",
        "--interactive",
        "--name",
        "cloudml-1-2-00000000",
        "--label",
        "jupyter-cloudml.user=1000",
        "--network=host",
        "--ipc=host",
        "--security-opt=label=disable",
        "--workdir=/home/ada/project/notebooks",
        "--userns=keep-id",
        "--volume=/cache/home:/home/ada",
        "--volume=/home/ada/project:/home/ada/project",
        "--volume=/run/k:/run/k",
        "--env=HOME=/home/ada",
        "--env=PYTHONUNBUFFERED=1",
        "--env=LANG",
        "--env=OMP_NUM_THREADS",
        "--entrypoint=python",
        "abc",
        "-m",
        "ipykernel_launcher",
        "-f",
        "/run/k/c.json",
    ]
    assert "canary" not in " ".join(found) and "--privileged" not in found


@pytest.mark.parametrize(
    ("settings", "uid", "has", "lacks"),
    [
        (DOCKER, 1000, "--user=1000:100", "--userns=keep-id"),
        ({**DOCKER, "rootless": True}, 1000, "--rm", "--user=1000:100"),
        (PODMAN, 0, "--rm", "--userns=keep-id"),
        ({**DOCKER, "gpu": True}, 1000, "--gpus=all", "--device=nvidia.com/gpu=all"),
        ({**PODMAN, "gpu": True}, 1000, "--device=nvidia.com/gpu=all", "--gpus=all"),
        ({**PODMAN, "init": True}, 1000, "--init", "--user=1000:100"),
    ],
)
def test_engines_differ_in_users_and_gpus(
    settings: dict[str, Any], uid: int, has: str, lacks: str
) -> None:
    found = line(settings, uid)
    assert has in found and lacks not in found


def test_the_home_folder_is_seen_only_where_the_notebook_lies_in_it() -> None:
    found = line(PODMAN, cwd="/home/ada", seen=["/home/ada"])
    assert "--volume=/home/ada:/home/ada" in found
    assert not any(each.startswith("--volume=/cache/home") for each in found)


def test_a_run_has_the_variables_that_its_program_names_and_no_value_is_an_argument() -> None:
    env = {"CLOUDML_PASSED": "CLOUDML_RUN_ID,TOKEN", "CLOUDML_RUN_ID": "7", "TOKEN": "canary"}
    found = line(PODMAN, env={**env, "OTHER": "1"})
    assert {"--env=CLOUDML_RUN_ID", "--env=TOKEN"} <= {*found}
    assert "--env=OTHER" not in found and "canary" not in " ".join(found)


def test_the_project_the_data_and_the_sockets_are_seen(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    cwd = home / "project" / "a" / "b"
    data = home / ".cache/jupyter-cloudml/data"
    outside = tmp_path / "srv"
    for folder in (cwd, data, run / "k", run / "s", run / "agent", outside):
        folder.mkdir(parents=True)
    file, ipc = str(run / "k" / "connection.json"), {"transport": "ipc", "ip": str(run / "s" / "k")}
    agent = str(run / "agent" / "ctl")
    assert launcher.mounts(str(cwd), str(home), ipc, file, agent) == sorted(
        map(str, (home / "project", data, run / "k", run / "s", run / "agent"))
    )
    tcp = {"transport": "tcp", "ip": "127.0.0.1"}
    assert launcher.mounts(str(outside), str(home), tcp, None) == sorted(map(str, (data, outside)))
    assert launcher.mounts(str(home), str(home), tcp, None) == [str(home)], (
        "one stands for what it holds"
    )
    # A run has its own copy of the code, no other one, and the project that links in it lead into.
    copies = home / ".cache/jupyter-cloudml/copies/runs"
    mine = copies / "r1-1" / "digits" / "nb"
    mine.mkdir(parents=True)
    live = str(home / "project" / "a")
    assert launcher.mounts(str(mine), str(home), tcp, None, None, live) == sorted(
        map(str, (copies / "r1-1", data, home / "project"))
    )
    odd = home / "a:b"
    odd.mkdir()
    with pytest.raises(SystemExit, match="a colon"):
        launcher.mounts(str(odd), str(home), tcp, None)


def test_only_containers_whose_program_is_gone_are_left_over() -> None:
    mine = f"cloudml-{os.getpid()}-{launcher.started(os.getpid())}-0123abcd"
    reused, gone = f"cloudml-{os.getpid()}-1-0123abcd", "cloudml-4194999-1-0123abcd"
    others = ["cloudml-web", "postgres", ""]
    assert launcher.abandoned([mine, reused, gone, *others]) == [reused, gone]
