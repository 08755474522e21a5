"""Runs of notebooks on a real host over SSH that has no internet and no nbclient of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from jupyter_client.blocking.client import BlockingKernelClient
from runs import Following, run, work

from jupyter_cloudml.jobs.attempts.attempt import Attempts
from jupyter_cloudml.jobs.attempts.bridge import Bridge
from jupyter_cloudml.jobs.attempts.installation import Installations, Installed, put
from jupyter_cloudml.jobs.attempts.work import Resume
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


HIDES = (
    "import os, signal, sys, time\n"
    "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.execve('/bin/sleep', ['hidden-of-run', '600'], {})\n"
    "    os._exit(0)\n"
    "print('hidden', flush=True)\n"
    "while True: time.sleep(1)"
)


def test_a_kernel_that_was_left_is_opened_from_here_and_a_hidden_job_ends_when_cancelled(
    far: tuple[Host, Link],
) -> None:
    host, link = far
    attempts = Attempts(AtHand())
    failing = work("there = 41", "1 / 0", keep_on_failure_s=300)
    following = Following(attempts.start(link, failing))
    outcome = following.result()
    assert outcome.kept is not None
    assert attempts.offer(following.attempt, failing.token, outcome.kept.until_ms)
    with Bridge(link, outcome.kept.connection_file) as bridge:
        assert bridge.file != outcome.kept.connection_file
        client = BlockingKernelClient(connection_file=bridge.file)
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            reply = client.execute("", user_expressions={"x": "there + 1"}, reply=True, timeout=60)
        finally:
            client.stop_channels()
        assert reply["content"]["user_expressions"]["x"]["data"]["text/plain"] == "42"
    assert not os.path.exists(bridge.file)

    # A run goes on in it, hides a process, heeds no signal, and is cancelled all the same.
    hiding = work("0", HIDES, resume=Resume(failing.token, 1))
    hidden = Following(attempts.start(link, hiding))
    hidden.kept.wait("output")
    assert hidden.kept.records[0]["resumed_at"] == 1
    looked = ["sh", "-c", "grep -la ^hidden-of-run /proc/[0-9]*/cmdline"]
    wait_for(lambda: "cmdline" in host.run(looked, check=False), why="the hidden process")
    hidden.attempt.cancel()
    outcome = hidden.result()
    assert (outcome.state, outcome.reason) == ("cancelled", "cancelled"), outcome
    assert "cmdline" not in host.run(looked, check=False)
    hidden.attempt.forget()
