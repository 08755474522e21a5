"""Kernelspecs that are found on a host, as any Jupyter front end starts them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import start_new_kernel

from jupyter_cloudml import Client
from jupyter_cloudml_kernels import machines

TORCH = "/home/ada/miniconda3/envs/torch"
KERNEL = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    with Client() as made:
        machines.use(made.core)
        yield made
        machines.use(None)


def put(host: Host, path: str, text: str, mode: str = "644") -> None:
    host.run(["mkdir", "-p", str(Path(path).parent)])
    host.run(["tee", path], stdin=text)
    host.run(["chmod", mode, path])


def prepare(host: Host) -> None:
    """Give the host a conda environment and a kernelspec of its user's."""
    python = f'#!/bin/sh\nexport FROM_ENVIRONMENT=torch\nexec {sys.prefix}/bin/python "$@"\n'
    put(host, f"{TORCH}/bin/python", python, "755")
    put(host, "/home/ada/miniconda3/conda-meta/history", "")
    shipped = {"argv": ["python", *KERNEL], "display_name": "Python 3", "language": "python"}
    put(host, f"{TORCH}/share/jupyter/kernels/python3/kernel.json", json.dumps(shipped))
    own = {
        "argv": ["/bin/sh", "{resource_dir}/start", "{connection_file}"],
        "display_name": "Mine",
        "language": "python",
        "env": {"WHERE": "${HOME}/here"},
    }
    folder = "/home/ada/.local/share/jupyter/kernels/mine"
    put(host, f"{folder}/kernel.json", json.dumps(own))
    put(host, f"{folder}/start", f'exec {sys.prefix}/bin/python -m ipykernel_launcher -f "$1"\n')


def evaluate(kernel: str, expression: str) -> str:
    manager, client = start_new_kernel(kernel_name=kernel, startup_timeout=60)
    try:
        told: list[str] = []
        client.execute_interactive(
            f"print({expression})",
            timeout=60,
            allow_stdin=False,
            output_hook=lambda message: told.append(message["content"].get("text", "")),
        )
        return "".join(told).strip()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_each_kernelspec_of_a_host_is_offered_and_runs_there(
    host: Host, ssh_config: SSHConfig, client: Client
) -> None:
    prepare(host)
    client.machines.add("box-2", ssh_config.add(host))
    found = KernelSpecManager().get_all_specs()
    ours = {
        name: each["spec"]["display_name"]
        for name, each in found.items()
        if name.startswith("cloudml-box-2")
    }
    assert ours == {
        "cloudml-box-2": "Python on box-2",
        "cloudml-box-2-mine": "Mine on box-2",
        "cloudml-box-2-torch-python3": "Python 3 [torch] on box-2",
    }
    get = "__import__('os').environ.get"
    where = "__import__('socket').gethostname()"
    assert evaluate("cloudml-box-2", f"{where}, {get}('WHERE')") == f"{host.name} None"
    assert (
        evaluate("cloudml-box-2-mine", f"{where}, {get}('WHERE')") == f"{host.name} /home/ada/here"
    )
    told = evaluate("cloudml-box-2-torch-python3", f"{where}, {get}('FROM_ENVIRONMENT')")
    assert told == f"{host.name} torch"

    client.machines.remove("box-2", stop_processes=True)
    assert not any("box-2" in name for name in KernelSpecManager().find_kernel_specs())
