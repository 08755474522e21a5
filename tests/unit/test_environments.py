"""Which Python is chosen, what an environment consists of, and what an odd host can't do."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.environments import lock, offline, probe
from jupyter_cloudml.environments.offline import HostFacts
from jupyter_cloudml.environments.probe import HostPython
from jupyter_cloudml.environments.program import Events
from jupyter_cloudml.errors import Cancelled, NoEnvironment, NoPython, ProtocolError
from jupyter_cloudml.link.process import Output


def python(path: str, version: str, ipykernel: str | None = None) -> HostPython:
    found = probe.parse([{"path": path, "version": version, "ipykernel": ipykernel}])
    assert len(found) == 1
    return found[0]


SYSTEM = python("/usr/bin/python3", "3.11.2")
OLD = python("/usr/bin/python3.8", "3.8.10")
CONDA = python("/opt/conda/bin/python", "3.12.4", "6.29.5")
NEWER = python("/home/ada/.venv/bin/python", "3.13.0", "7.4.0")
TWIN = python("/home/ada/twin/bin/python", "3.13.1", "6.31.0")
DATED = python("/usr/bin/python3.10", "3.10.2", "5.5.6")
PRE = python("/opt/py/bin/python", "3.14.0rc2", "7.0.0a1")


@pytest.mark.parametrize(
    ("pythons", "wanted", "path", "ready"),
    [
        ([SYSTEM], None, SYSTEM.path, False),
        ([OLD, SYSTEM], None, SYSTEM.path, False),
        ([SYSTEM, CONDA], None, CONDA.path, True),
        ([CONDA, NEWER], None, NEWER.path, True),
        ([TWIN, NEWER], None, NEWER.path, True),
        ([NEWER, PRE], None, PRE.path, True),
        ([DATED, SYSTEM], None, DATED.path, False),
        ([NEWER, CONDA], CONDA.path, CONDA.path, True),
    ],
)
def test_the_python_named_or_the_newest_with_ipykernel_runs_the_kernels(
    pythons: list[HostPython], wanted: str | None, path: str, ready: bool
) -> None:
    choice = probe.choose(pythons, wanted)
    assert (choice.python.path, choice.ready) == (path, ready)


@pytest.mark.parametrize(
    ("pythons", "wanted", "code", "says"),
    [
        ([], None, "no_python", "no Python 3.9"),
        ([OLD], None, "no_python", r"/usr/bin/python3.8 \(3.8.10\)"),
        ([NEWER], "/nowhere", "no_python", "/nowhere"),
        ([NEWER, SYSTEM], SYSTEM.path, "no_ipykernel", "/usr/bin/python3 has no ipykernel"),
        ([DATED], DATED.path, "no_ipykernel", "5.5.6, which is too old"),
    ],
)
def test_a_host_without_a_usable_python_is_told_what_to_do(
    pythons: list[HostPython], wanted: str | None, code: str, says: str
) -> None:
    with pytest.raises((NoPython, NoEnvironment), match=says) as caught:
        probe.choose(pythons, wanted)
    assert caught.value.code == code
    assert caught.value.hint
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {"path": "/usr/bin/python3"},
        {"path": 3, "version": "3.11"},
        {"path": "-c", "version": "3.11"},
        {"path": "python3", "version": "3.11"},
        {"path": "/a\nb", "version": "3.11"},
        {"path": "/\x1b[31m", "version": "3.11"},
        {"path": "/" + "x" * 5000, "version": "3.11"},
        {"path": "/usr/bin/python3", "version": "three"},
        {"path": "/usr/bin/python3", "version": 3.11},
        {"path": "/usr/bin/python3", "version": None},
    ],
)
def test_an_odd_entry_is_no_python(item: object) -> None:
    assert probe.parse([item]) == ()
    assert probe.parse(item) == ()


def test_a_host_cannot_list_pythons_without_end() -> None:
    many = [{"path": f"/p/{n}", "version": "3.11.1"} for n in range(10_000)]
    assert len(probe.parse(many)) == probe.MAX_PYTHONS


# -- what is installed ---------------------------------------------------------------------------


def facts(version: str = "3.11.2", platform: str = "linux-x86_64", **changes: Any) -> HostFacts:
    system = "Darwin" if str(platform).startswith("macosx") else "Linux"
    raw: dict[str, Any] = {
        "executable": "/usr/bin/python3",
        "base": "/usr/bin/python3",
        "ipykernel": None,
        "markers": {
            "implementation_name": "cpython",
            "implementation_version": version,
            "os_name": "posix",
            "platform_machine": str(platform).rpartition("-")[2][:20],
            "platform_python_implementation": "CPython",
            "platform_release": "6.1",
            "platform_system": system,
            "platform_version": "#1",
            "python_full_version": version,
            "python_version": ".".join(version.split(".")[:2]),
            "sys_platform": system.lower(),
        },
        "platform": platform,
        "bits": 64,
        "libc": ["glibc", "2.36"] if system == "Linux" else ["", ""],
        "threaded": False,
    }
    markers = {k: changes.pop(k) for k in list(changes) if k in raw["markers"]}
    return HostFacts.parse({**raw, **changes, "markers": {**raw["markers"], **markers}})


@pytest.mark.parametrize("version", ["3.9.2", "3.10.0", "3.11.2", "3.12.1", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("platform", ["linux-x86_64", "linux-aarch64", "macosx-11.0-arm64"])
def test_the_lock_holds_each_package_once_for_every_python(version: str, platform: str) -> None:
    pins = lock.select(lock.shipped(), facts(version, platform).markers)
    names = [pin.name for pin in pins]
    assert len(names) == len(set(names))
    assert {"ipykernel", "pip", "pyzmq", "tornado", "traitlets", "debugpy"} <= set(names)
    assert all(pin.hashes and pin.version for pin in pins)
    assert ("appnope" in names) == platform.startswith("macosx")
    assert ("importlib-metadata" in names) == version.startswith("3.9")


def test_requirements_name_versions_and_digests_and_no_markers() -> None:
    text = lock.render(lock.select(lock.shipped(), facts().markers))
    assert ";" not in text
    assert lock.parse(text) == [
        lock.Pin(pin.name, pin.version, "", pin.hashes)
        for pin in lock.select(lock.shipped(), facts().markers)
    ]


def test_the_key_changes_with_python_platform_and_pins_alone() -> None:
    pins = lock.select(lock.shipped(), facts().markers)
    keys = {
        lock.key(pins, "/usr/bin/python3 3.11.2", "linux-x86_64"),
        lock.key(pins[::-1], "/usr/bin/python3 3.11.2", "linux-x86_64"),
        lock.key(pins, "/usr/bin/python3 3.11.3", "linux-x86_64"),
        lock.key(pins, "/usr/bin/python3 3.11.2", "linux-aarch64"),
        lock.key(pins[1:], "/usr/bin/python3 3.11.2", "linux-x86_64"),
    }
    assert len(keys) == 4
    assert all(key.isalnum() and len(key) == 16 for key in keys)


@pytest.mark.parametrize(
    ("host", "first", "holds", "lacks"),
    [
        (facts(), "manylinux_2_36_x86_64", "manylinux1_x86_64", "manylinux_2_37_x86_64"),
        (
            facts(libc=["glibc", "2.17"]),
            "manylinux_2_17_x86_64",
            "manylinux2014_x86_64",
            "manylinux_2_28_x86_64",
        ),
        (facts(bits=32), "manylinux_2_36_i686", "linux_i686", "manylinux_2_36_x86_64"),
        (
            facts(platform="linux-aarch64"),
            "manylinux_2_36_aarch64",
            "manylinux2014_aarch64",
            "manylinux1_aarch64",
        ),
        (
            facts(libc=["musl", "1.2"]),
            "musllinux_1_2_x86_64",
            "musllinux_1_1_x86_64",
            "manylinux_2_17_x86_64",
        ),
        (
            facts(platform="macosx-11.0-arm64"),
            "macosx_11_0_arm64",
            "macosx_11_0_arm64",
            "linux_arm64",
        ),
        (
            facts(platform="macosx-10.9-universal2", platform_machine="x86_64"),
            "macosx_10_9_x86_64",
            "macosx_10_9_x86_64",
            "macosx_10_9_universal2",
        ),
    ],
)
def test_wheels_are_those_that_the_host_can_load(
    host: HostFacts, first: str, holds: str, lacks: str
) -> None:
    tags = offline.platform_tags(host)
    assert tags[0] == first
    assert holds in tags
    assert lacks not in tags


def test_pip_downloads_for_the_host_and_not_for_itself() -> None:
    options = offline.pip_arguments(facts("3.13.1", threaded=True))
    assert {"--python-version=3.13", "--abi=cp313t", "--only-binary=:all:"} <= set(options)


@pytest.mark.parametrize(
    "host",
    [
        facts(platform="freebsd-13-amd64"),
        facts(libc=["", ""]),
        facts(libc=["glibc", "2.x"]),
        facts(platform="linux-$(touch M)"),
        facts(platform="macosx-11.0-arm64 --index-url=http://evil"),
        facts(implementation_name="pypy"),
    ],
    ids=lambda host: host.platform,
)
def test_a_system_without_wheels_is_said_to_be_so(host: HostFacts) -> None:
    with pytest.raises(NoEnvironment) as caught:
        offline.pip_arguments(host)
    assert caught.value.code == "no_wheels"
    assert "--python" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"libc": ["glibc"]},
        {"libc": "glibc"},
        {"libc": [1, 2]},
        {"bits": "many"},
        {"platform": None},
        {"platform": "x" * 5000},
        {"executable": ["python"]},
        {"ipykernel": 7},
        {"base": None},
        {"uv": 7},
        {"python_version": "three"},
        {"python_version": None},
    ],
    ids=str,
)
def test_odd_facts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        facts(**change)
    with pytest.raises(ProtocolError):
        HostFacts.parse([change])


def test_a_download_that_is_called_off_leaves_no_program_behind(tmp_path: Path) -> None:
    called_off = threading.Event()
    called_off.set()
    with pytest.raises(Cancelled):
        offline.download(
            lock.select(lock.shipped(), facts().markers), facts(), tmp_path, called_off
        )


# -- what the host says meanwhile ----------------------------------------------------------------


def test_events_and_log_are_told_apart_and_kept_plain() -> None:
    steps: list[str] = []
    lines: list[str] = []
    events = Events(steps.append, lines.append)
    for at in range(0, len(said := b'{"step": "one\\u001b[2J"}\n{"ready": "/x"}\n'), 5):
        events.take(Output(True, said[at : at + 5]))
    events.take(Output(False, b"Collecting \x1b[31mipykernel\n\nno end of line"))
    assert steps == ["one [2J"]
    assert lines == ["Collecting  [31mipykernel"]
    assert events.last == {"ready": "/x"}


@pytest.mark.parametrize(
    "said",
    [b"[" * 100_000 + b"\n", b"\xff\xfe\n", b"null\n", b"Traceback: boom\n", b'{"step": 7}\n'],
    ids=lambda said: str(said[:12]),
)
def test_what_is_no_event_is_only_remembered_to_be_shown(said: bytes) -> None:
    events = Events(pytest.fail, pytest.fail)
    events.take(Output(True, said))
    assert events.last in (None, {"step": 7})
    assert events.tail().isprintable()


def test_an_endless_line_does_not_fill_memory() -> None:
    events = Events(pytest.fail, lambda line: None)
    for _ in range(200):
        events.take(Output(False, b"x" * (1 << 16)))
        events.take(Output(True, b"x" * (1 << 16)))
    assert len(json.dumps([len(rest) for rest in events._rest.values()])) < 20
    assert [len(rest) for rest in events._rest.values()] == [1 << 16, 1 << 20]
