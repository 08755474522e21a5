"""Runs of notebooks on a real host over SSH that has no internet and no nbclient of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from runs import Following, run, work

from jupyter_cloudml.jobs.attempt import Attempts
from jupyter_cloudml.jobs.installation import Installations, Installed, put
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link

from .kernels import own_machines, wait_for


@pytest.fixture
def far(host: Host, ssh_config: SSHConfig, tmp_path: Path) -> Iterator[tuple[Host, Link]]:
    """A host and the link to it."""
    with own_machines(tmp_path / "own") as machines:
        name = ssh_config.add(host)
        machines.add_ssh(name, SSHTarget(name))
        yield host, machines.link(name)


class AtHand(Installations):
    """Uses the Python of these tests, which the hosts have as well."""

    def on(self, link: Link, *args: Any, **more: Any) -> Installed:
        return Installed(sys.executable, put(link, sys.executable))


@pytest.mark.nightly
def test_a_host_gets_what_runs_need(far: tuple[Host, Link]) -> None:
    _, link = far
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


def test_a_run_goes_on_through_a_cut_and_a_kernel_killed_for_memory_is_named(
    far: tuple[Host, Link],
) -> None:
    host, link = far
    attempts = Attempts(AtHand())
    waits = "import os, time\nprint('small', flush=True)\nwhile not os.path.exists('/tmp/go'): time.sleep(0.05)\nprint('large')"
    hungry = work(waits, "big = []\nwhile True: big.append(bytearray(10_000_000))")
    following = Following(attempts.start(link, hungry))
    following.kept.wait("output")
    drops = link.drops
    link.call_soon(lambda: link._lost(None))
    wait_for(lambda: link.drops > drops, why="the cut")
    host.limit_memory(500_000_000)
    host.run(["touch", "/tmp/go"])
    try:
        outcome = following.result()
    finally:
        host.limit_memory(None)
    assert (outcome.reason, outcome.cell) == ("out_of_memory", 1), outcome
    assert "ran out of memory (peak 0." in outcome.message
    assert following.kept.text(dict(hungry.notebook), 0) == "small\nlarge\n"
    following.attempt.forget()
