"""Runs of notebooks on a real host over SSH that has no internet and no nbclient of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from runs import Following, run, work

from jupyter_cloudml.jobs.attempt import Attempts
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link

from .kernels import own_machines


@pytest.fixture
def far(host: Host, ssh_config: SSHConfig, tmp_path: Path) -> Iterator[tuple[Host, Link]]:
    """A host and the link to it."""
    with own_machines(tmp_path / "own") as machines:
        name = ssh_config.add(host)
        machines.add_ssh(name, SSHTarget(name))
        yield host, machines.link(name)


def test_a_host_gets_what_runs_need_and_a_kernel_killed_for_memory_is_named(
    far: tuple[Host, Link],
) -> None:
    host, link = far
    said: list[str] = []
    attempts = Attempts()
    installed = attempts.prepare(link, progress=said.append)
    assert installed.python.startswith("/home/ada/.cache/jupyter-cloudml/env/")
    assert "making the environment that runs notebooks" in said
    assert Attempts().prepare(link) == installed  # found again, not made again
    wanted = work("import os\nprint(os.getcwd(), sorted(os.listdir()))", cwd="~")
    outcome, kept = run(link, wanted, attempts)
    assert outcome.state == "succeeded", outcome
    assert kept.text(dict(wanted.notebook), 0).startswith("/home/ada [")
    hungry = work("print('small')", "big = []\nwhile True: big.append(bytearray(10_000_000))")
    following = Following(attempts.start(link, hungry))
    following.kept.wait("cell", index=0, state="done")
    host.limit_memory(500_000_000)
    try:
        outcome = following.result()
    finally:
        host.limit_memory(None)
    assert (outcome.reason, outcome.cell) == ("out_of_memory", 1), outcome
    assert "ran out of memory (peak 0." in outcome.message
    following.attempt.forget()
