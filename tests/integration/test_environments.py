"""Environments with ipykernel on real hosts that have none, and no internet either."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image

from jupyter_cloudml.environments import offline
from jupyter_cloudml.environments.builder import ensure_ipykernel
from jupyter_cloudml.errors import Cancelled, NoEnvironment, NoPython, NoSpace
from jupyter_cloudml.link.bootstrap import ssh_connect
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.link.link import Link

ROOT = ".cache/jupyter-cloudml/env"
BARE = Image(
    share=False
)  # the system's Python alone: no ipykernel, no uv, no name server, no route


@pytest.fixture
def bare(box: Box) -> Iterator[Host]:
    made = box.host(BARE)
    yield made
    box.destroy(made)


def connect(host: Host, config: SSHConfig) -> Link:
    link = Link(host.name, ssh_connect(SSHTarget(config.add(host))))
    link.open(30)
    return link


@pytest.fixture
def link(bare: Host, ssh_config: SSHConfig) -> Iterator[Link]:
    made = connect(bare, ssh_config)
    yield made
    made.close()


def left_behind(host: Host) -> set[str]:
    """What lies in the folder of environments but locks."""
    folder = host.root / "home/ada" / ROOT
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.endswith(".lock")}


def installers(host: Host) -> list[str]:
    return [
        " ".join(process.argv) for process in host.processes("ada") if "env" in str(process.argv)
    ]


def test_a_host_without_ipykernel_and_without_internet_gets_both(bare: Host, link: Link) -> None:
    """The link is cut in the middle, which the build takes no notice of."""
    steps: list[str] = []
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if line.startswith("Installing"):
            link.call_soon(lambda: link._lost(None))
            wait_until(lambda: link.drops == 1, "the cut")

    python = ensure_ipykernel(link, bare.name, steps.append, log=log)
    assert link.drops == 1

    assert python.startswith(f"/home/ada/{ROOT}/")
    assert bare.run([python, "-m", "ipykernel_launcher", "--version"]).strip()
    assert bare.run([str(Path(python).with_name("ipython")), "--version"]).strip()
    assert left_behind(bare) == {Path(python).parent.parent.name}
    words = [step.split(":")[0] for step in steps]
    assert list(dict.fromkeys(words)) == [
        "looking for a Python with ipykernel",
        "making an environment with ipykernel (Python 3.11.2)",
        "downloading the packages here",
        "sending packages",
        "installing the packages that were sent",
    ]
    assert sum(line.startswith("Successfully installed") for line in lines) == 1
    mode = bare.run(["stat", "-c", "%a", f"/home/ada/{ROOT}"]).strip()
    assert mode == "700"

    # It is found from now on, and nothing is made again.
    steps.clear()
    assert ensure_ipykernel(link, bare.name, steps.append) == python
    assert steps == ["looking for a Python with ipykernel"]
    assert ensure_ipykernel(link, bare.name, python=python) == python
    assert ensure_ipykernel(
        link, bare.name, python=f"~/{Path(python).relative_to('/home/ada')}"
    ) == (python)


def test_of_two_builds_at_once_one_waits_and_debian_needs_no_python3_venv(
    bare: Host, link: Link
) -> None:
    """Debian has the venv module without ensurepip until python3-venv is installed."""
    bare.run(["rm", "-rf", "/usr/lib/python3.11/ensurepip"], user="root")
    steps: list[list[str]] = [[], []]
    lines: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        builds = [
            pool.submit(ensure_ipykernel, link, bare.name, steps[n].append, log=lines.append)
            for n in range(2)
        ]
        first, second = (build.result(300) for build in builds)
    assert first == second
    assert sum(line.startswith("Successfully installed") for line in lines) == 1
    assert any("ensurepip" in line for line in lines)
    waited = "waiting for another build of the same environment"
    assert waited in steps[0] + steps[1]
    assert left_behind(bare) == {Path(first).parent.parent.name}


def test_a_build_that_is_called_off_leaves_nothing(bare: Host, link: Link) -> None:
    called_off = threading.Event()
    begun = threading.Event()

    def progress(step: str) -> None:
        if step.startswith("installing"):
            begun.set()

    def log(line: str) -> None:
        if begun.is_set() and line.startswith("Processing"):
            called_off.set()

    with pytest.raises(Cancelled):
        ensure_ipykernel(link, bare.name, progress, called_off, log=log)
    assert begun.is_set()
    assert left_behind(bare) == set()
    assert [argv for argv in installers(bare) if "pip" in argv] == []
    assert {row["id"] for row in link.call("list")} == set()


def test_a_full_disk_is_named_with_its_free_bytes_and_nothing_is_left(
    bare: Host, link: Link
) -> None:
    bare.fill_disk(leave=20 << 20)
    with pytest.raises(
        NoSpace, match=rf"no space left on {bare.name}.*/env has \d+\.\d MB"
    ) as told:
        ensure_ipykernel(link, bare.name)
    free = told.value.details["free_bytes"]
    assert isinstance(free, int)
    assert 10 << 20 < free <= 20 << 20
    assert told.value.details["path"] == f"/home/ada/{ROOT}"
    assert left_behind(bare) == set()


def test_a_disk_that_fills_up_during_the_build_is_named_too(bare: Host, link: Link) -> None:
    """The packages fit, the environment does not."""
    filled = threading.Event()

    def log(line: str) -> None:
        if line.startswith("Processing") and not filled.is_set():
            filled.set()
            bare.fill_disk(leave=5 << 20)

    with pytest.raises(NoSpace, match="no space left"):
        ensure_ipykernel(link, bare.name, log=log)
    assert filled.is_set()
    assert left_behind(bare) == set()


def test_the_python_that_was_named_must_be_one_with_ipykernel(
    bare: Host, link: Link, host: Host, ssh_config: SSHConfig
) -> None:
    with pytest.raises(NoEnvironment, match="/usr/bin/python3 has no ipykernel") as lacks:
        ensure_ipykernel(link, bare.name, python="/usr/bin/python3")
    assert "/usr/bin/python3 -m pip install ipykernel" in lacks.value.hint
    for odd in ("/usr/bin/env", "/etc/passwd", "/no/such/python", "-c", "python3; touch M", "\n"):
        with pytest.raises(NoPython):
            ensure_ipykernel(link, bare.name, python=odd)
    prepared = connect(host, ssh_config)
    path = ensure_ipykernel(prepared, host.name, python="python3")
    assert path.startswith("/")
    prepared.close()
    assert left_behind(bare) == set()


def test_when_nothing_helps_both_reasons_are_given(
    bare: Host, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(NoEnvironment) as told:
        ensure_ipykernel(link, bare.name)
    assert told.value.code == "no_wheels"
    assert "asttokens" in told.value.message
    assert "with packages from here: the packages for the host could not be downloaded here" in (
        told.value.message
    )
    assert left_behind(bare) == set()


def test_a_host_that_reaches_an_index_installs_from_it(
    bare: Host, link: Link, tmp_path: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pip's settings of the user there, and without anything being sent."""
    from jupyter_cloudml.environments import lock
    from jupyter_cloudml.environments.builder import facts_of
    from jupyter_cloudml.environments.program import Program, ignore

    facts = facts_of(Program(link, "/usr/bin/python3", ignore, ignore, threading.Event()))
    pins = lock.select(lock.shipped(), facts.markers)
    offline.download(pins, facts, tmp_path, threading.Event())
    folder = bare.root / "srv/index"
    folder.mkdir()
    for wheel in (tmp_path / "wheels").iterdir():
        (folder / wheel.name).write_bytes(wheel.read_bytes())
    settings = "[global]\nno-index = true\nfind-links = /srv/index\nuser = true\n"
    bare.run(["mkdir", "-p", "/home/ada/.config/pip"])
    bare.run(["tee", "/home/ada/.config/pip/pip.conf"], stdin=settings)
    steps: list[str] = []
    python = ensure_ipykernel(link, bare.name, steps.append)
    assert python.startswith(f"/home/ada/{ROOT}/")
    assert not any("download" in step for step in steps)
