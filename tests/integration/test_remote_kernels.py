"""Kernels on a real host over SSH, under an unmodified KernelManager: as on this computer, and through cuts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, Identity

from jupyter_cloudml.errors import LinkDown
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml_kernels import provisioner

from .kernels import Talk, own_machines, started, wait_for

CUT_S = 40.0  # keepalives notice a cut within 15 s


@pytest.fixture(scope="module")
def far(box: Box) -> Iterator[Host]:
    """A host for the tests of this module."""
    made = box.host()
    yield made
    box.destroy(made)


@pytest.fixture(scope="module", params=["openssh", "paramiko"])
def machines(
    request: pytest.FixtureRequest,
    far: Host,
    identity: Identity,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machines]:
    """Machines with one host, `box`, over one of the carriers."""
    home = tmp_path_factory.mktemp("remote")
    with own_machines(home) as made:
        target = SSHTarget(
            far.address,
            user="ada",
            identity=str(identity.private),
            host_key=far.fingerprint,
            carrier=request.param,
        )
        made.add_ssh("box", target)
        yield made


@pytest.fixture(scope="module")
def shared(machines: Machines) -> Iterator[tuple[Any, Talk]]:
    env = {**os.environ, "PLANTED": "correct-horse"}
    with started("cloudml-box", env=env, cwd="/only/here") as both:
        yield both


@pytest.fixture
def kernel(shared: tuple[Any, Talk]) -> tuple[Any, Talk]:
    return shared


def state() -> str:
    (view,) = [view for view in provisioner.live() if view.state != "ended"]
    return view.state


def test_it_runs_there_and_knows_nothing_of_this_computers_environment(
    kernel: tuple[Any, Talk], far: Host
) -> None:
    _, talk = kernel
    seen = json.loads(
        talk.run(
            "import json, os, socket; print(json.dumps([socket.gethostname(), os.getcwd(), dict(os.environ)]))"
        )
    )
    assert seen[0] == far.name and seen[1] == "/home/ada"
    assert "correct-horse" not in json.dumps(seen[2]) and seen[2]["HOME"] == "/home/ada"


def test_stdin_and_interrupt(kernel: tuple[Any, Talk]) -> None:
    manager, talk = kernel
    msg_id = talk.client.execute("name = input('Name? ')", allow_stdin=True)
    assert talk.client.get_stdin_msg(timeout=20)["content"]["prompt"] == "Name? "
    talk.client.input("Ada")
    assert talk.reply(msg_id)["content"]["status"] == "ok" and talk.run("print(name)") == "Ada\n"
    msg_id = talk.client.execute("print(1)\nwhile True: pass")
    talk.begun(msg_id)
    manager.interrupt_kernel()
    assert talk.reply(msg_id)["content"]["ename"] == "KeyboardInterrupt"
    talk.settle()


def test_large_buffers_come_whole(kernel: tuple[Any, Talk]) -> None:
    _, talk = kernel
    talk.run("import hashlib, os; blob = os.urandom(20_000_000)")
    msg_id = talk.client.execute(
        "k = get_ipython().kernel\n"
        "k.session.send(k.iopub_socket, 'display_data', {'data': {}, 'metadata': {}}, parent=k.get_parent(), buffers=[blob])"
    )
    (shown,) = [m for m in talk.messages(msg_id) if m["msg_type"] == "display_data"]
    assert (
        talk.run("print(hashlib.sha256(blob).hexdigest())").strip()
        == hashlib.sha256(shown["buffers"][0]).hexdigest()
    )


def test_a_notebooks_folder_is_found_there(machines: Machines, far: Host, tmp_path: Path) -> None:
    far.run(["mkdir", "-p", "/home/ada/work/deep"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        with started("cloudml-box", cwd=str(tmp_path / "work" / "deep")) as (_, talk):
            assert talk.run("import os; print(os.getcwd())") == "/home/ada/work/deep\n"


def test_a_cut_is_no_end_and_loses_nothing(
    kernel: tuple[Any, Talk], far: Host, machines: Machines
) -> None:
    manager, talk = kernel
    msg_id = talk.client.execute(
        "import time\nfor i in range(3000):\n    print(i)\n    if i % 10 == 0: time.sleep(0.01)"
    )
    text = talk.begun(msg_id)
    far.link(up=False)
    link = machines.link("box")
    link.call_soon(
        lambda: link._lost(None)
    )  # at once: that silence is noticed has tests of its own
    wait_for(lambda: state() == "reconnecting", "the cut", CUT_S)
    assert manager.is_alive() and asyncio.run(manager.provisioner.poll()) is None
    began = time.monotonic()
    with pytest.raises(LinkDown, match="box cannot be reached"):
        manager.interrupt_kernel()
    assert time.monotonic() - began < 1, "nobody is waited for"
    queued = talk.client.execute("print('sent meanwhile')")
    far.link(up=True)
    text += "".join(
        m["content"]["text"] for m in talk.messages(msg_id) if m["msg_type"] == "stream"
    )
    assert text == "".join(f"{i}\n" for i in range(3000))
    (once,) = [m for m in talk.messages(queued) if m["msg_type"] == "stream"]
    assert once["content"]["text"] == "sent meanwhile\n" and state() == "connected"


def test_restart_and_shutdown(machines: Machines, far: Host) -> None:
    with started("cloudml-box") as (manager, talk):
        talk.run("x = 1")
        manager.restart_kernel()
        talk.client.wait_for_ready(timeout=60)
        assert talk.run("print('x' in globals())") == "False\n"
        talk.close()
        manager.shutdown_kernel()
        process = manager.provisioner.kernel.record.process
    rows = machines.link("box").call
    wait_for(lambda: process not in [r["id"] for r in rows("list")], "its being forgotten")


def test_a_kernel_killed_for_memory_is_said_to_be_so(machines: Machines, far: Host) -> None:
    with started("cloudml-box") as (manager, talk):
        talk.run("small = bytearray(50_000_000)")
        far.limit_memory(400_000_000)
        try:
            talk.client.execute("big = []\nwhile True: big.append(bytearray(10_000_000))")
            wait_for(lambda: not manager.is_alive(), "its end", 60)
        finally:
            far.limit_memory(None)
        view = provisioner.find(manager.kernel_id)
        assert view is not None and view.cause is not None and view.exit is not None
        assert view.exit["oom"] is True and view.cause.startswith("ended for memory (peak 0."), view


def test_a_home_folder_whose_path_is_too_long_for_a_socket(
    machines: Machines, box: Box, identity: Identity
) -> None:
    host = box.host()
    home = f"/home/{'long' * 30}"
    host.run(
        ["sh", "-c", f"mv /home/ada {home} && sed -i 's#/home/ada:#{home}:#' /etc/passwd"], "root"
    )
    machines.add_ssh(
        "deep",
        SSHTarget(
            host.address, user="ada", identity=str(identity.private), host_key=host.fingerprint
        ),
    )
    with started("cloudml-deep") as (_, talk):
        where = talk.run("import os; print(os.path.expanduser('~'))")
    assert where == f"{home}\n"
    machines.remove("deep", stop_processes=True)
    box.destroy(host)
