"""Machines on real hosts: adding one leaves all or nothing, and what goes wrong is said with its remedy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image
from installation import Installation

from jupyter_cloudml.errors import (
    AgentError,
    AuthRefused,
    Cancelled,
    CloudMLError,
    Conflict,
    HostKeyChanged,
    HostKeyUnknown,
    NoFolder,
    NoisyShell,
    NoPython,
    NoSpace,
    Unreachable,
    UsageError,
)
from jupyter_cloudml.events import Event
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines.model import CheckStep, Step
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import specs

from .links import wait_for


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder and a Jupyter data folder for one test."""
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "cloudml"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return tmp_path


@pytest.fixture
def here(home: Path) -> Iterator[Installation]:
    made = Installation()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_host(box: Box) -> Iterator[Host]:
    made = box.host()
    yield made
    box.destroy(made)


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """A host that several tests use one after the other; each leaves it without processes of ours."""
    yield shared_host
    if not (shared_host.root / "run/sshd.pid").exists():
        shared_host.start_sshd()
    for process in shared_host.processes("ada"):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    shared_host.run(["rm", "-rf", "/home/ada/.cache"])


def kernelspecs() -> set[str]:
    folder = specs.kernels_dir()
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def agents(host: Host) -> list[int]:
    """Return the agents on a host and what they run."""
    return [p.inner_pid for p in host.processes("ada") if not p.argv[0].startswith("sshd")]


def assert_nothing_left(here: Installation, host: Host | None = None) -> None:
    """Make sure that no trace of a machine is there."""
    assert [view.name for view in here.machines.list()] == ["local"]
    assert not {name for name in kernelspecs() if "box" in name}
    known = here.config.home / "known_hosts"
    assert not known.exists() or not known.read_text()
    if host is not None:
        wait_for(lambda: not agents(host), 15, "the end of the agent on the host")


# -- adding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", ["openssh", "paramiko"])
def test_a_machine_is_added_and_removed_without_a_trace(
    here: Installation, host: Host, ssh_config: SSHConfig, carrier: str
) -> None:
    steps: list[Step] = []
    alias = ssh_config.add(host)
    target = SSHTarget(alias, carrier=carrier)  # type: ignore[arg-type]
    view = here.machines.add_ssh("box", target, progress=steps.append)
    assert list(dict.fromkeys((step.n, step.text.split(":")[0]) for step in steps)) == [
        (1, "checking the host key"),
        (2, "signing in"),
        (3, "starting the agent"),
        (4, "preparing Python"),
    ]
    assert {step.of for step in steps} == {4}
    shown = view.to_dict()
    assert (shown["state"], shown["address"], shown["carrier"]) == ("running", alias, carrier)
    assert view.info.hostname == host.name
    assert view.info.cpus > 0
    assert view.python is not None
    assert "cloudml-box" in kernelspecs()
    assert here.machines.link("box").run(["hostname"]).stdout.decode().strip() == host.name
    assert here.events[0].data["state"] == "running", "nothing is told before it is there"

    here.machines.remove("box")
    assert here.events[-1].data["removed"] is True
    assert_nothing_left(here, host)
    audit = [(row.what, row.target, row.result) for row in here.store.audit.newest()]
    assert audit == [("machine.remove", "box", "done"), ("machine.add", "box", "done")]


def test_first_contact_shows_the_fingerprint_and_asks(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    alias = ssh_config.add(host, known=False)
    with pytest.raises(HostKeyUnknown) as caught:
        here.machines.add_ssh("box", SSHTarget(alias))
    assert caught.value.details["fingerprint"] == host.fingerprint
    assert caught.value.details["keytype"] == "ssh-ed25519"
    assert_nothing_left(here, host)
    confirmed = SSHTarget(alias, host_key=host.fingerprint)
    assert here.machines.add_ssh("box", confirmed).status.state.value == "running"
    here.machines.remove("box")
    assert_nothing_left(here, host)


def test_a_wrong_fingerprint_is_refused_before_any_sign_in(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    before = host.auth_log().count("Accepted")
    target = SSHTarget(ssh_config.add(host), host_key="SHA256:" + "A" * 43)
    with pytest.raises(HostKeyChanged) as caught:
        here.machines.add_ssh("box", target)
    assert host.fingerprint in caught.value.message
    assert host.auth_log().count("Accepted") == before
    assert_nothing_left(here, host)


@pytest.mark.parametrize(
    ("target", "error", "code", "says"),
    [
        ({"host": "no-such-host.invalid"}, Unreachable, "dns", "no-such-host.invalid"),
        ({"port": 9}, Unreachable, "refused", "9"),
        ({"user": "nobody-there"}, AuthRefused, "auth_refused", "nobody-there"),
        ({"identity": "/no/such/key"}, UsageError, "bad_identity", "/no/such/key"),
        ({"python": "/no/such/python"}, NoPython, "no_python", "/no/such/python"),
    ],
    ids=["unknown host", "closed port", "refused key", "no identity", "no such python"],
)
def test_bad_input_names_cause_and_remedy_and_leaves_nothing(
    here: Installation,
    host: Host,
    ssh_config: SSHConfig,
    target: dict[str, object],
    error: type[CloudMLError],
    code: str,
    says: str,
) -> None:
    values = {"host": ssh_config.add(host)} | target
    began = time.monotonic()
    with pytest.raises(error) as caught:
        here.machines.add_ssh("box", SSHTarget(**values))  # type: ignore[arg-type]
    assert time.monotonic() - began < 30, "the first failure is the answer"
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint
    assert_nothing_left(here, host)


@pytest.mark.parametrize(
    ("image", "prepare", "error"),
    [
        (Image(no_python=True), None, NoPython),
        (Image(), "head -c 3000000 /dev/zero | tr '\\0' x", NoisyShell),
        (Image(disk="64m"), "full", NoSpace),
    ],
    ids=["no python", "noisy shell", "no space"],
)
def test_a_host_that_cannot_be_used_is_said_to_be_so(
    here: Installation,
    box: Box,
    ssh_config: SSHConfig,
    image: Image,
    prepare: str | None,
    error: type[CloudMLError],
) -> None:
    host = box.host(image)
    try:
        if prepare == "full":
            host.fill_disk()
        elif prepare is not None:
            host.run(["tee", "/home/ada/.bashrc"], stdin=prepare)
        with pytest.raises(error) as caught:
            here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
        assert caught.value.hint
        assert_nothing_left(here, host)
    finally:
        box.destroy(host)


def test_a_login_shell_that_ends_in_silence_is_suspected(
    here: Installation, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host()
    try:
        host.run(["tee", "/home/ada/.bashrc"], stdin="exit 3")
        with pytest.raises(AgentError, match="ended with 3: it said nothing") as caught:
            here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
        assert "login shell" in caught.value.hint
        assert_nothing_left(here, host)
    finally:
        box.destroy(host)


def test_a_shell_that_prints_a_little_does_no_harm(
    here: Installation, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host(Image(noisy_shell=True))
    try:
        alias = ssh_config.add(host)
        assert here.machines.add_ssh("box", SSHTarget(alias)).status.state.value == "running"
        quiet = {step.step: step for step in here.machines.check("box")}["the login shell is quiet"]
        assert quiet.ok
        assert "bytes first" in quiet.detail
        assert quiet.hint
    finally:
        box.destroy(host)


@pytest.mark.parametrize(
    "hostile", ["-oProxyCommand=touch {}", "$(touch {})", "`touch {}`", "a;touch {}", "a\ntouch {}"]
)
def test_hostile_names_reach_no_command(
    here: Installation, host: Host, home: Path, ssh_config: SSHConfig, hostile: str
) -> None:
    alias = ssh_config.add(host)
    mark, there = home / "mark", "/tmp/mark"
    for where in (str(mark), there):
        text = hostile.format(where)
        with pytest.raises(UsageError):
            here.machines.add_ssh(text, SSHTarget(alias))
        for field in ("host", "user", "identity", "python"):
            values: dict[str, Any] = {"host": alias, field: text}
            with pytest.raises(CloudMLError):
                here.machines.add_ssh("box", SSHTarget(**values))
    assert not mark.exists()
    assert not (host.root / "tmp/mark").exists()
    assert_nothing_left(here, host)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_calling_it_off_at_any_step_leaves_nothing(
    here: Installation, host: Host, ssh_config: SSHConfig, at: int
) -> None:
    cancelled = threading.Event()
    target = SSHTarget(ssh_config.add(host, known=False), host_key=host.fingerprint)

    def progress(step: Step) -> None:
        if step.n == at:
            cancelled.set()

    with pytest.raises(Cancelled):
        here.machines.add_ssh("box", target, progress=progress, cancelled=cancelled)
    assert_nothing_left(here, host)


def test_calling_it_off_while_the_host_says_nothing_takes_no_long_time(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    cancelled, began = threading.Event(), time.monotonic()
    host.freeze()
    threading.Timer(0.5, cancelled.set).start()
    try:
        with pytest.raises(Cancelled):
            here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)), cancelled=cancelled)
        assert time.monotonic() - began < 5
    finally:
        host.thaw()
    assert_nothing_left(here, host)


def test_a_kernelspec_that_cannot_be_written_undoes_all(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    in_the_way = specs.kernels_dir() / "cloudml-box"
    in_the_way.mkdir(parents=True)
    (in_the_way / "kernel.json").write_text("{}")
    with pytest.raises(Conflict, match="cloudml-box"):
        here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    assert [view.name for view in here.machines.list()] == ["local"]
    assert (in_the_way / "kernel.json").read_text() == "{}", "what is somebody else's stays"
    wait_for(lambda: not agents(host), 15, "the end of the agent")


def test_a_kernelspec_folder_that_cannot_be_used_undoes_all(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    specs.kernels_dir().parent.mkdir(parents=True)
    specs.kernels_dir().write_text("")
    with pytest.raises(NoFolder, match="kernels"):
        here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    assert [view.name for view in here.machines.list()] == ["local"]
    wait_for(lambda: not agents(host), 15, "the end of the agent")


def test_of_two_that_add_one_name_one_succeeds(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    other = Installation()
    target = SSHTarget(ssh_config.add(host, known=False), host_key=host.fingerprint)
    outcomes: list[str] = []

    def add(who: Installation) -> None:
        try:
            who.machines.add_ssh("box", target)
            outcomes.append("added")
        except Conflict as exc:
            outcomes.append(exc.code)

    try:
        threads = [threading.Thread(target=add, args=(who,)) for who in (here, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(outcomes) == ["added", "exists"]
        assert "cloudml-box" in kernelspecs()
        assert here.machines.start("box").status.state.value == "running", "its key is still known"
    finally:
        other.close()


# The process kills itself: at a step, or when the kernelspec is about to be written (after the record was).
_KILLED = """
import os, signal, sys
from jupyter_cloudml.config import Config
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import specs

def die(*_args):
    os.kill(os.getpid(), signal.SIGKILL)

class Fatal:
    remove, reconcile = staticmethod(specs.remove), staticmethod(specs.reconcile)
    install = staticmethod(die)

at = sys.argv[1]
config = Config.from_environ()
machines = Machines(Store.open(config), config.home, kernelspecs=Fatal if at == "specs" else specs)
machines.add_ssh("box", SSHTarget(sys.argv[2]), progress=lambda step: str(step.n) == at and die())
"""


@pytest.mark.parametrize("at", ["1", "2", "3", "4", "specs"])
def test_a_kill_in_the_middle_leaves_all_or_nothing(
    home: Path, host: Host, ssh_config: SSHConfig, at: str
) -> None:
    alias = ssh_config.add(host)
    killed = subprocess.run([sys.executable, "-c", _KILLED, at, alias], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    here = Installation()
    try:
        names = [view.name for view in here.machines.list()]
        if at != "specs":
            assert names == ["local"]
            assert kernelspecs() == set()
            here.machines.add_ssh("box", SSHTarget(alias))  # the same again works
        else:
            assert names == ["local", "box"]
            here.machines.connect_all()
            wait_for(lambda: "cloudml-box" in kernelspecs(), 30, "the kernelspec")
        assert "cloudml-box" in kernelspecs()
        wait_for(lambda: here.state("box") == "running")
        here.machines.remove("box")
        here.machines.stop("local")
        assert_nothing_left(here, host)
    finally:
        here.close()


# -- removing, stopping ----------------------------------------------------------------------------


def test_a_machine_in_use_is_not_removed_unless_told_to(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    link = here.machines.link("box")
    row = link.call("start", argv=["sleep", "600"], kind="command", token="t")
    with pytest.raises(Conflict) as caught:
        here.machines.remove("box")
    assert caught.value.code == "in_use"
    assert caught.value.details["processes"] == [row["id"]]
    assert here.state("box") == "running"
    here.machines.remove("box", stop_processes=True)
    assert_nothing_left(here, host)


def test_an_unreachable_machine_is_forgotten_and_its_processes_go_on(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    row = here.machines.link("box").call("start", argv=["sleep", "600"], kind="command", token="t")
    host.stop_sshd(sessions=True)
    try:
        wait_for(lambda: here.state("box") == "unreachable")
        with pytest.raises(CloudMLError):
            here.machines.remove("box", stop_processes=True)
        assert here.state("box") == "unreachable", "its processes cannot be ended, so it stays"
        here.machines.remove("box")
    finally:
        host.start_sshd()
    assert [view.name for view in here.machines.list()] == ["local"]
    assert "cloudml-box" not in kernelspecs()
    assert any("sleep" in p.argv[0] for p in host.processes("ada"))
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    rows = here.machines.processes("box")
    assert isinstance(rows, list)
    assert [r["id"] for r in rows if isinstance(r, dict)] == [row["id"]], "added anew, it is there"


def test_stop_ends_what_runs_there_and_start_brings_it_back(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    here.machines.link("box").call("start", argv=["sleep", "600"], kind="command", token="t")
    stopped = here.machines.stop("box")
    assert stopped.status.state.value == "stopped"
    assert not any("sleep" in each.argv[0] for each in host.processes("ada"))
    wait_for(lambda: not agents(host), 15, "the end of the agent and of its session")
    assert host.running, "the computer is not ours to stop"
    assert "cloudml-box" in kernelspecs()
    with pytest.raises(Conflict):
        here.machines.link("box")
    steps: list[str] = []
    started = here.machines.start("box", progress=lambda step: steps.append(step.text))
    assert started.status.state.value == "running"
    assert [text.split(":")[0] for text in steps[:3]] == [
        "starting",
        "signing in",
        "starting the agent",
    ]
    states = [event.data["state"] for event in here.events]
    in_order = list(dict.fromkeys(states))
    assert in_order == ["running", "stopping", "stopped", "starting"], states
    assert states[-1] == "running"


def test_a_machine_that_cannot_be_reached_is_not_stopped_later(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    here.machines.link("box").call("start", argv=["sleep", "600"], kind="command", token="t")
    host.stop_sshd(sessions=True)
    wait_for(lambda: here.state("box") == "unreachable")
    with pytest.raises(CloudMLError):
        here.machines.stop("box")
    host.start_sshd()
    here.machines.retry("box")
    wait_for(lambda: here.state("box") == "running")
    assert any("sleep" in p.argv[0] for p in host.processes("ada"))


def test_a_stop_that_was_interrupted_is_finished_at_the_next_start(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    here.machines.link("box").call("start", argv=["sleep", "600"], kind="command", token="t")
    here.close()
    store = Store.open(here.config)

    def begin_a_stop() -> bool:
        record = store.machines.get("box")
        try:
            store.machines.update(
                record, lambda r: Event("machine", "box", "x", r.version, 0), desired="stopping"
            )
        except Conflict:  # a last word of the first process on the machine came between
            return False
        return True

    wait_for(begin_a_stop, 5, "the beginning of the stop")
    store.close()
    again = Installation()
    try:
        again.machines.connect_all()
        wait_for(lambda: again.state("box") == "stopped", 30, "the end of the stop")
        wait_for(lambda: not agents(host), 15, "the end of the agent and of its session")
        again.machines.stop("local")
    finally:
        again.close()


def test_what_another_process_stops_or_removes_is_let_go_of(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    other = Installation()
    try:
        other.machines.stop("box")
        wait_for(lambda: here.state("box") == "stopped")
        # The link of the first process would have come back by now, and the agent with it.
        wait_for(lambda: here.events[-1].data["state"] == "stopped")
        wait_for(lambda: not agents(host), 15, "the end of the agent and of its session")
        other.machines.start("box")
        assert here.machines.link("box").run(["true"]).code == 0
        other.machines.remove("box")
        wait_for(lambda: here.events[-1].data.get("removed"), 20, "the removal")
        assert_nothing_left(here, host)
    finally:
        other.close()


# -- living with it --------------------------------------------------------------------------------


def test_out_of_reach_is_said_with_cause_and_time_and_ends_by_itself(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    row = here.machines.link("box").call("start", argv=["sleep", "600"], kind="command", token="t")
    host.stop_sshd(sessions=True)
    wait_for(lambda: here.state("box") == "unreachable")
    first = here.machines.get("box").status
    assert first.cause
    assert first.next_action
    wait_for(lambda: getattr(here.machines.get("box").status.error, "code", "") == "refused")
    second = here.machines.get("box").status
    assert second.since_ms == first.since_ms, "since it went, not since the last try"
    assert second.error is not None
    host.start_sshd()
    here.machines.retry("box")
    wait_for(lambda: here.state("box") == "running")
    rows = here.machines.processes("box")
    assert isinstance(rows, list)
    assert [(r["id"], r["state"]) for r in rows if isinstance(r, dict)] == [(row["id"], "running")]
    versions = [event.version for event in here.events]
    assert versions == sorted(set(versions))


def test_a_changed_host_key_is_a_hard_stop(
    here: Installation, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host()
    try:
        alias = ssh_config.add(host, known=False)
        here.machines.add_ssh("box", SSHTarget(alias, host_key=host.fingerprint))
        accepted = host.auth_log().count("Accepted")
        host.change_host_key()
        host.stop_sshd(sessions=True)
        host.start_sshd()
        wait_for(
            lambda: getattr(here.machines.get("box").status.error, "code", "") == "host_key_changed"
        )
        status = here.machines.get("box").status
        assert status.state.value == "unreachable"
        assert status.next_action
        assert "by itself" not in status.next_action, "somebody has to act"
        with pytest.raises(HostKeyChanged):
            here.machines.start("box")
        assert host.auth_log().count("Accepted") == accepted
        here.machines.remove("box")
        renewed = SSHTarget(alias, host_key=host.fingerprint)
        assert here.machines.add_ssh("box", renewed).status.state.value == "running"
    finally:
        box.destroy(host)


def test_a_computer_that_shares_the_database_trusts_the_key_that_was_confirmed(
    here: Installation, host: Host, ssh_config: SSHConfig, tmp_path: Path
) -> None:
    alias = ssh_config.add(host, known=False)
    here.machines.add_ssh("box", SSHTarget(alias, host_key=host.fingerprint))
    other = Machines(here.store, tmp_path / "other")  # a home that has never seen the host
    (tmp_path / "other").mkdir(mode=0o700)
    try:
        assert other.link("box").run(["echo", "there"]).stdout == b"there\n"
    finally:
        other.close()


def test_policies_reach_the_agent_and_come_back_to_a_new_one(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    here.machines.change("box", prewarm=1)

    def warm() -> list[object]:
        rows = here.machines.processes("box")
        assert isinstance(rows, list)
        return [
            r["pid"] for r in rows if isinstance(r, dict) and r["warm"] and r["state"] == "running"
        ]

    first = wait_for(warm, 30, "the kernel that is kept ready")
    assert here.machines.get("box").kernels == 0, "one that waits is nobody's"
    epoch = here.machines.link("box").info["epoch"]
    agent = here.machines.link("box").info["pid"]
    host.run(["kill", "-9", str(agent)])
    wait_for(lambda: here.machines.link("box").info["epoch"] != epoch, 30, "the new agent")
    wait_for(lambda: here.state("box") == "running")
    assert wait_for(warm, 30, "the kernel that is kept ready") != [], first
    here.machines.remove("box")
    assert_nothing_left(here, host)


def test_all_machines_connect_side_by_side(
    here: Installation, box: Box, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    dead = box.host()
    here.machines.add_ssh("deadbox", SSHTarget(ssh_config.add(dead)))
    here.close()
    box.destroy(dead)
    again = Installation()
    try:
        again.machines.connect_all(wait_s=15)
        assert again.state("local") == "running"
        assert again.state("box") == "running"
        assert again.state("deadbox") in ("unreachable", "starting")
        again.machines.stop("local")
    finally:
        again.close()


# -- diagnosis -------------------------------------------------------------------------------------

SSH_STEPS = [
    "the name resolves",
    "the port answers",
    "the host key is the confirmed one",
    "the host lets us in",
    "the login shell is quiet",
    "the home folder has room",
    "there is a Python 3.9 or later",
]
AGENT_STEPS = [
    "the agent starts",
    "the clocks agree",
    "ipykernel is there",
    "a kernel starts and computes",
]


def test_a_diagnosis_goes_from_the_name_to_a_kernels_answer(
    here: Installation, host: Host, ssh_config: SSHConfig
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    found = list(here.machines.check("box"))
    assert [step.step for step in found] == SSH_STEPS + AGENT_STEPS
    assert [step for step in found if not step.ok] == []
    assert found[2].detail == f"ssh-ed25519 {host.fingerprint}"
    assert found[-1].detail == "1 + 1 gives 2"
    assert here.machines.processes("box") == [], "the kernel of the diagnosis is gone"
    assert [step.step for step in here.machines.check("local")] == AGENT_STEPS
    here.machines.stop("local")


Break = Callable[[Host, Box], None]


@pytest.mark.parametrize(
    ("fault", "mend", "step", "says"),
    [
        (lambda host: host.stop_sshd(), lambda host: host.start_sshd(), 1, "refused"),
        (lambda host: host.block("input"), lambda host: host.block("input", on=False), 1, "within"),
        (
            lambda host: host.run(["chmod", "000", "/home/ada/.ssh"]),
            lambda host: host.run(["chmod", "700", "/home/ada/.ssh"]),
            3,
            "",
        ),
        (
            lambda host: host.run(["tee", "/home/ada/.bashrc"], stdin="echo bye\nexit 1\n"),
            lambda host: host.run(["rm", "/home/ada/.bashrc"]),
            4,
            "bye",
        ),
        (lambda host: host.fill_disk(), lambda host: host.free_disk(), 5, "MB free"),
    ],
    ids=["no sshd", "firewall", "key refused", "shell that ends", "full disk"],
)
def test_a_diagnosis_ends_at_what_is_wrong(
    here: Installation,
    host: Host,
    ssh_config: SSHConfig,
    fault: Callable[[Host], object],
    mend: Callable[[Host], object],
    step: int,
    says: str,
) -> None:
    here.machines.add_ssh("box", SSHTarget(ssh_config.add(host)))
    fault(host)
    try:
        found = list(here.machines.check("box"))
    finally:
        mend(host)
    last = found[-1]
    assert [each.step for each in found] == SSH_STEPS[: step + 1]
    assert not last.ok
    assert says in last.detail
    assert last.hint
    assert all(each.ok for each in found[:-1])


def test_a_diagnosis_tells_of_a_swapped_host(
    here: Installation, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host()
    try:
        target = SSHTarget(ssh_config.add(host, known=False), host_key=host.fingerprint)
        here.machines.add_ssh("box", target)
        host.change_host_key()
        last = list(here.machines.check("box"))[-1]
        assert (last.step, last.ok) == (SSH_STEPS[2], False)
        assert host.fingerprint in last.detail
    finally:
        box.destroy(host)


def test_a_diagnosis_goes_through_a_jump_host(
    here: Installation, box: Box, host: Host, ssh_config: SSHConfig
) -> None:
    inner = box.host()
    try:
        gate = ssh_config.add(host, "gate")
        alias = ssh_config.add(inner, "inner", extra=f"  ProxyJump {gate}")
        here.machines.add_ssh("box", SSHTarget(alias, carrier="openssh"))
        found = list(here.machines.check("box"))
        assert [step.ok for step in found] == [True] * 11, found
        assert "gate" in found[1].detail
    finally:
        box.destroy(inner)


def test_no_python_is_found_by_the_diagnosis_too(
    here: Installation, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host(Image(no_python=True))
    try:
        alias = ssh_config.add(host)
        found = list(diagnose(here, alias))
        assert found[-1].step == SSH_STEPS[6]
        assert not found[-1].ok
        assert "--python" in found[-1].hint
    finally:
        box.destroy(host)


def diagnose(here: Installation, alias: str) -> Iterator[CheckStep]:
    """Diagnose a host that cannot be added."""
    from jupyter_cloudml.machines.providers.ssh import spec_of
    from jupyter_cloudml.store import MachineRecord

    record = MachineRecord("odd", "ssh", "odd", 0, "stopped", spec_of(SSHTarget(alias)))
    here.store.machines.insert(record, lambda r: Event("machine", "odd", "stopped", r.version, 0))
    return here.machines.check("odd")
