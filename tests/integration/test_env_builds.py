"""Environments built from locks on real hosts that have no internet: through kill -9, full disks, and two at once."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from jupyter_client.manager import KernelManager
from liveserver import Client, places, thread_server, wait_for
from uv import find_uv_bin

from jupyter_cloudml.environments import images, lock, offline, sources
from jupyter_cloudml.environments.offline import HostFacts
from jupyter_cloudml.environments.resolver import Resolver
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml.environments.sources import Locker
from jupyter_cloudml.errors import Cancelled, Conflict, NoEnvironment, NoSpace
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml_kernels import launching, specs

from .kernels import Talk, own_machines
from .test_cli import Home, home  # noqa: F401 - the fixture

ENV = ".cache/jupyter-cloudml/env"
ASKED = "six==1.17.0\n"
# Says what it was asked for, and waits before it installs for as long as a test wants it to.
UV = """\
#!/bin/sh
echo "$@" >> /tmp/uv.log
if [ "$1 $2" = "pip install" ]; then while [ -e /tmp/hold ]; do sleep 0.05; done; fi
exec /usr/local/lib/uv "$@"
"""


def left(host: Host) -> set[str]:
    """What lies among the environments but locks, names and tools."""
    folder = host.root / "home/ada" / ENV
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {n for n in found if not n.endswith(".lock")} - {"names", "tools"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the lock in it, and in `wheels` what the lock names, downloaded once."""
    folder = tmp_path_factory.mktemp("installation")
    asked = folder / "requirements.txt"
    asked.write_text(ASKED)
    # The hosts have the Python of this test.
    ask = "from jupyter_cloudml.environments.host.facts import facts; facts()"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, timeout=60)
    facts = HostFacts.parse(json.loads(told.stderr)["facts"])
    resolver = Resolver("{}.{}".format(*facts.python), threading.Event())
    pins = Locker(folder / "environments" / "locks", resolver).lock(sources.find(str(asked)))
    offline.download(lock.select(pins, facts.markers), facts, folder, threading.Event())
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    file = tmp_path / "digits" / "requirements.txt"
    file.parent.mkdir()
    file.write_text(ASKED)
    return file


@pytest.fixture
def supplied(host: Host, installation: Path) -> Host:
    """A host whose uv finds its packages in a folder of its own."""
    for path, content in (
        ("usr/local/lib/uv", Path(find_uv_bin()).read_bytes()),
        ("usr/local/bin/uv", UV.encode()),
    ):
        (host.root / path).write_bytes(content)
        (host.root / path).chmod(0o755)
    (host.root / "srv/index").mkdir()
    for wheel in (installation / "wheels").iterdir():
        (host.root / "srv/index" / wheel.name).write_bytes(wheel.read_bytes())
    host.run(["mkdir", "-p", "/home/ada/.config/uv"])
    settings = 'no-index = true\nfind-links = ["/srv/index"]\n'
    host.run(["tee", "/home/ada/.config/uv/uv.toml"], stdin=settings)
    return host


@pytest.fixture
def built(
    supplied: Host, ssh_config: SSHConfig, tmp_path: Path, installation: Path
) -> Iterator[tuple[Environments, str]]:
    """The environments of a machine, and its name."""
    with own_machines(tmp_path / "own") as machines:
        name = ssh_config.add(supplied)
        machines.add_ssh(name, SSHTarget(name))
        yield Environments(installation, machines), name


def hold(host: Host) -> None:
    """Have the next installation wait."""
    (host.root / "tmp/hold").touch()


def installing(host: Host) -> None:
    """Wait until it does."""
    log = host.root / "tmp/uv.log"
    wait_until(lambda: log.exists() and "pip install" in log.read_text(), "the installation")


def go_on(host: Host) -> None:
    (host.root / "tmp/hold").unlink()


def test_an_environment_is_built_once_offered_used_and_removed(
    built: tuple[Environments, str], host: Host, asked: Path
) -> None:
    environments, machine = built
    source = sources.find(str(asked))
    steps: list[str] = []
    first = environments.build(source, machine, progress=steps.append)
    assert (first.name, first.made, first.evicted) == ("digits", True, ())
    assert first.python_path == f"/home/ada/{ENV}/{first.key}/bin/python"
    assert steps[-1] == "offering it as a kernel"
    mode = (host.root / f"home/ada/{ENV}/{first.key}").stat().st_mode
    assert stat.S_IMODE(mode) == 0o700
    log = host.root / "tmp/uv.log"
    asked_for = log.read_text()
    steps.clear()
    again = environments.build(source, machine, progress=steps.append)
    assert (again.made, again.key) == (False, first.key)
    assert log.read_text() == asked_for, "nothing is installed again"
    assert steps == ["looking at the machine's Python", "resolving the packages"]
    other = environments.build(source, machine, name="second")
    assert (other.made, other.key) == (False, first.key)

    spec = f"cloudml-{machine}-digits-python3"
    kernel = KernelManager(kernel_name=spec)
    assert kernel.kernel_spec is not None
    assert kernel.kernel_spec.argv[0] == first.python_path
    assert launching.is_plain(kernel.kernel_spec.argv) and not kernel.kernel_spec.env, "kept ready"
    kernel.start_kernel()
    client = kernel.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        said = client.execute(
            "import six, sys; assert six.__version__ == '1.17.0', six", reply=True
        )
        assert said["content"]["status"] == "ok", said
        with pytest.raises(Conflict) as told:
            environments.remove(machine, first.key)
        assert told.value.code == "in_use"
        (listed,) = [each for each in environments.list(machine) if each.names]
        assert (listed.names, listed.in_use) == (("digits", "second"), True)
        assert listed.source == str(asked) and listed.bytes > 1_000_000
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    found = environments.check(machine, "digits")
    assert found.changed == ()
    site = next((host.root / f"home/ada/{ENV}/{first.key}/lib").glob("python*/site-packages"))
    (site / "six-1.17.0.dist-info").rename(site / "six-9.dist-info")
    (by_hand,) = environments.check(machine, "digits").changed
    assert (by_hand.name, by_hand.here, by_hand.there) == ("six", "1.17.0", "9")
    assert f"cloudml-{machine}-second-python3" in specs.installed()
    environments.remove(machine, "second")
    assert left(host) == {first.key}
    assert f"cloudml-{machine}-second-python3" not in specs.installed()
    environments.remove(machine, "digits")
    assert left(host) == set()
    assert not [name for name in specs.installed() if "digits" in name]


def test_a_build_that_is_killed_leaves_nothing_half_made(
    built: tuple[Environments, str], host: Host, asked: Path
) -> None:
    """kill -9 of the program on the machine: the packages are sent then, and the installer that lived on harms nothing."""
    environments, machine = built
    source = sources.find(str(asked))
    hold(host)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(environments.build, source, machine)
        installing(host)
        (program,) = [
            each
            for each in host.processes("ada")
            if "build.build" in each.argv and "-c" in each.argv
        ]
        os.kill(program.pid, signal.SIGKILL)
        log = host.root / "tmp/uv.log"
        wait_until(lambda: log.read_text().count("\nvenv ") > 0, "the next try")
        go_on(host)
        done = building.result(120)
    assert done.made
    assert (
        host.run([done.python_path, "-c", "import six, zmq; print(six.__version__)"]) == "1.17.0\n"
    )
    environments.build(sources.find(str(asked)), machine)
    assert left(host) == {done.key}


def test_a_client_that_is_killed_leaves_an_environment_or_nothing(
    home: Home,  # noqa: F811
    supplied: Host,
    ssh_config: SSHConfig,
    asked: Path,
) -> None:
    home.run("machine", "add", "box", "--ssh", ssh_config.add(supplied))
    hold(supplied)
    with home.start("env", "build", str(asked), "--on", "box") as client:
        installing(supplied)
        client.kill()
    go_on(supplied)
    done = home.json("env", "build", str(asked), "--on", "box")
    assert (supplied.root / "tmp/uv.log").read_text().count("pip install") == 1, "it went on"
    assert left(supplied) == {done["key"]}
    assert (home.kernels / "cloudml-box-digits-python3").is_dir()


def test_of_two_builds_of_one_lock_one_works(
    built: tuple[Environments, str], host: Host, asked: Path
) -> None:
    environments, machine = built
    source = sources.find(str(asked))
    hold(host)
    steps: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(environments.build, source, machine)
        installing(host)
        second = pool.submit(
            environments.build, source, machine, name="other", progress=steps.append
        )
        wait_until(lambda: any("waiting for another build" in step for step in steps), "the wait")
        go_on(host)
        one, two = first.result(60), second.result(60)
    assert one.key == two.key
    assert (host.root / "tmp/uv.log").read_text().count("pip install") == 1
    assert left(host) == {one.key}


def test_a_full_disk_and_a_build_called_off_leave_nothing(
    built: tuple[Environments, str], host: Host, asked: Path
) -> None:
    environments, machine = built
    source = sources.find(str(asked))
    hold(host)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(environments.build, source, machine)
        installing(host)
        host.fill_disk(leave=5 << 20)
        go_on(host)
        with pytest.raises(NoSpace, match="no space left"):
            building.result(60)
        assert left(host) == set()
        with pytest.raises(NoSpace):
            environments.build(source, machine)
        host.free_disk()

        off = threading.Event()
        (host.root / "tmp/uv.log").unlink()
        hold(host)
        building = pool.submit(environments.build, source, machine, cancelled=off)
        installing(host)
        off.set()
        with pytest.raises(Cancelled):
            building.result(60)
    go_on(host)
    assert left(host) == set()


def test_an_installers_failure_shows_its_reason_and_where_the_log_is(
    built: tuple[Environments, str], host: Host, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments, machine = built
    for wheel in (host.root / "srv/index").glob("six-*"):
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("six_more.py", "another file")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    source = sources.find(str(asked))
    with pytest.raises(NoEnvironment, match=r"[Hh]ash") as told:
        environments.build(source, machine)
    log = Path(str(told.value.details["log"]))
    assert str(log) in told.value.hint
    assert "six" in log.read_text()
    assert left(host) == set()


def test_without_internet_and_uv_both_are_sent(
    home: Home,  # noqa: F811
    host: Host,
    ssh_config: SSHConfig,
    asked: Path,
) -> None:
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    empty = home.run("env", "list", "--on", "box")
    assert "no environments on box" in empty.stdout
    done = home.json("env", "build", str(asked), "--on", "box", "--name", "d")
    assert (done["name"], done["made"]) == ("d", True)
    tools = [path.name for path in (host.root / "home/ada" / ENV / "tools").iterdir()]
    assert len(tools) == 1 and tools[0].startswith("uv-")
    again = home.run("env", "build", str(asked.parent), "--on", "box", "--name", "d")
    assert "was there already" in again.stdout
    (listed,) = home.json("env", "list", "--on", "box")["environments"]
    assert listed["names"] == ["d"]
    compared = home.json("env", "check", "--on", "box", "--env", "d")
    assert compared["changed"] == []
    own = home.json("env", "check", "--on", "box")
    assert (own["errors"], own["differences"]) == (0, []), "it is the very Python of this test"
    assert "no environment 'x'" in home.run("env", "remove", "x", "--on", "box", check=1).stderr
    assert "give a SOURCE" in home.run("env", "build", "--on", "box", check=2).stderr
    assert "removed d" in home.run("env", "remove", "d", "--on", "box").stdout
    assert home.json("env", "list", "--on", "box")["environments"] == []
    names = {path.name for path in home.kernels.iterdir()}
    assert names == {"cloudml-box"}


def test_pip_alone_builds_where_uv_cannot_be_and_its_kernels_are_kept_ready(
    host: Host, ssh_config: SSHConfig, tmp_path: Path, installation: Path, asked: Path
) -> None:
    host.run(
        ["sh", "-c", f"mkdir -p {ENV} && touch {ENV}/tools"]
    )  # in the way of the uv that is sent
    said: list[str] = []
    with own_machines(tmp_path / "own") as machines:
        machine = ssh_config.add(host)
        machines.add_ssh(machine, SSHTarget(machine))
        environments = Environments(installation, machines)
        built = environments.build(sources.find(str(asked)), machine, log=said.append)
        assert any("uv cannot be sent, pip is used" in line for line in said)
        assert any("Successfully installed" in line for line in said), "pip's own words"
        assert environments.check(machine, "digits").changed == ()

        machines.change(machine, prewarm=1)
        link = machines.link(machine)

        def ready() -> set[str]:
            rows = link.call("list")
            warm = [r for r in rows if r["warm"] and r["argv"][0] == built.python_path]
            return {r["id"] for r in warm if r["execution_state"] == "idle" and r["seq"]}

        def run_once() -> str:
            manager = KernelManager(kernel_name=f"cloudml-{machine}-digits-python3")
            manager.start_kernel()
            talk = Talk(manager)
            try:
                assert talk.run("import six; print(six.__version__)") == "1.17.0\n"
                provisioner: Any = manager.provisioner
                return str(provisioner.kernel.record.process)
            finally:
                talk.client.stop_channels()
                manager.shutdown_kernel(now=True)

        run_once()  # from then on one is kept ready
        wait_until(lambda: bool(ready()), "a kernel of the environment that is kept ready", 60)
        kept = ready()
        assert run_once() in kept


def test_the_image_for_cpus_builds_and_is_what_its_lock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this computer, from uv's cache as far as that has the packages."""
    uv = find_uv_bin()
    asked = [uv, "cache", "dir"]
    cache = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20)
    monkeypatch.setenv("UV_CACHE_DIR", cache.stdout.strip())
    monkeypatch.setenv("PATH", f"{Path(uv).parent}:{os.environ['PATH']}")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with own_machines(tmp_path / "own") as machines:
        environments = Environments(tmp_path / "kept", machines)
        done = environments.build(sources.find("image:cpu"), "local")
        assert done.python_path.startswith(str(tmp_path / "home"))
        code = "import ipykernel, ipywidgets, matplotlib, numpy, pandas, sklearn; print(numpy.__version__)"
        ran = machines.link("local").run([done.python_path, "-c", code])
        locked = {
            pin.version
            for pin in lock.parse(images.get("cpu").lock.read_text())
            if pin.name == "numpy"
        }
        assert ran.stdout.decode().strip() in locked, ran
        assert environments.check("local", "cpu").changed == ()


CONDA = """\
#!/bin/sh
echo "$@" >> /tmp/conda.log
if [ "$1" = list ]; then echo "@EXPLICIT"; exit; fi
cp "$6" /tmp/asked.yml
if grep -q impossible "$6"; then echo "error: nothing provides impossible"; exit 1; fi
/usr/local/lib/uv venv -q "$4" && /usr/local/lib/uv pip install -q --python "$4/bin/python" ipykernel six
"""


def test_an_environment_yml_goes_to_the_conda_of_the_machine(
    built: tuple[Environments, str], host: Host, tmp_path: Path
) -> None:
    """A stand-in for micromamba, which no registry here has: what it is called with, and what becomes of its failure."""
    environments, machine = built
    file = tmp_path / "plots" / "environment.yml"
    file.parent.mkdir()
    file.write_text("name: x\ndependencies: [python=3.11, six]\n")
    with pytest.raises(NoEnvironment, match="neither micromamba nor mamba nor conda") as told:
        environments.build(sources.find(str(file)), machine)
    assert told.value.code == "no_conda"
    (host.root / "usr/local/bin/micromamba").write_text(CONDA)
    (host.root / "usr/local/bin/micromamba").chmod(0o755)
    (host.root / "tmp/uv.log").unlink(missing_ok=True)
    again = Environments(environments._home, environments._machines)  # it looks at the machine anew
    done = again.build(sources.find(str(file)), machine)
    assert (done.name, done.made) == ("plots", True)
    prefix = f"/home/ada/{ENV}/{done.key}"
    called, listed = (host.root / "tmp/conda.log").read_text().splitlines()
    assert called.startswith(f"create --yes --prefix {prefix} --file {prefix}.new-")
    assert listed == f"list --prefix {prefix} --explicit --md5"
    assert "- ipykernel\n- pip\n" in (host.root / "tmp/asked.yml").read_text()
    assert host.run([done.python_path, "-c", "import six; print(six.__version__)"]) == "1.17.0\n"
    assert again.check(machine, "plots").changed == ()
    file.write_text("dependencies: [impossible]\n")
    with pytest.raises(NoEnvironment, match="nothing provides impossible"):
        again.build(sources.find(str(file)), machine)
    assert left(host) == {done.key}


def a_kernel_is_compared_beside_its_start(server: Client, host: Host, key: str) -> None:
    """What must agree and does not is an error until it is waved aside; other packages are a note."""
    site = next((host.root / f"home/ada/{ENV}/{key}/lib").glob("python*/site-packages"))
    for name, version in (("six", "9"), ("ipykernel", "6.0.1")):
        next(site.glob(f"{name}-*.dist-info")).rename(site / f"{name}-{version}.dist-info")
    unknown = "kernels/5b1c0e6e-8f2c-4b3e-9a57-0d4f8f1c2a33/drift"
    assert server.api("GET", unknown).status == 404
    for expected in (False, True):
        with server.events() as events:
            session = server.request(
                "POST",
                "api/sessions",
                {
                    "path": "a.ipynb",
                    "name": "",
                    "type": "notebook",
                    "kernel": {"name": "cloudml-box-d-python3"},
                },
            ).json()
            path = f"kernels/{session['kernel']['id']}/drift"
            assert server.api("POST", path, {"spec": "python3"}).status == 204
            event = events.until(lambda e: e["noun"] == "drift" and e["state"] == "done")
        assert (event["errors"], event["notes"], event["dismissed"]) == (1, 1, expected)
        found = server.get(path)
        wrong = found["found"]["differences"][0]
        assert (wrong["name"], wrong["there"], wrong["level"]) == ("ipykernel", "6.0.1", "error")
        assert {each["name"] for each in found["notes"]} == {"six"}
        assert found["found"]["locked"] and found["dismissed"] is expected
        assert server.api("POST", f"{path}/dismiss").status == 204
        assert server.get(path)["dismissed"] is True
        assert server.request("DELETE", f"api/sessions/{session['id']}").status == 204


def test_over_rest_a_build_is_an_operation_with_steps_a_log_and_an_end(
    supplied: Host, ssh_config: SSHConfig, asked: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(tmp_path).items():
            patch.setenv(name, value)
        with thread_server(tmp_path) as server:
            address = {"name": "box", "host": ssh_config.add(supplied)}
            assert server.operation(server.api("POST", "machines", address), 90)["state"] == "done"
            path = "machines/box/environments"
            assert server.get(path) == {"environments": []}
            assert [each["name"] for each in server.get("images")["images"]] == [
                "cpu",
                "dask",
                "gpu",
            ]
            for body in (
                {},
                {"same": True, "source": "x"},
                {"source": "/no/such.txt"},
                {"image": "Not An Image"},
                {"image": "x", "same": True},
                {"name": ""},
            ):
                assert server.api("POST", path, body).status == 400
            assert server.api("POST", path, {"source": "image:x"}).status == 404
            assert server.api("POST", "machines/x/environments", {"same": True}).status == 404
            in_image = server.operation(server.api("POST", path, {"image": "docker.io/x"}), 60)
            assert in_image["error"]["code"] == "no_image", "nothing to fetch from"
            assert server.get("environments/sources?path=") == {"sources": []}
            assert server.get(f"{path}/d/log") == {"log": ""}

            hold(supplied)
            begun = server.api("POST", path, {"source": str(asked), "name": "d"})
            installing(supplied)
            identity = begun.json()["operation"]["id"]
            step = server.get(f"operations/{identity}")["step"]
            assert (step["n"], step["text"].split(" ")[0]) == (3, "installing")
            assert server.api("DELETE", f"operations/{identity}").status == 202
            assert server.operation(begun, 60)["state"] == "cancelled"
            go_on(supplied)
            done = server.operation(
                server.api("POST", path, {"source": str(asked), "name": "d"}), 60
            )
            assert (done["state"], done["result"]["name"]) == ("done", "d"), done
            assert any("six" in line for line in done["log"])
            assert "six" in server.get(f"{path}/d/log")["log"]
            (listed,) = server.get(path)["environments"]
            assert listed["names"] == ["d"]
            drift = server.get("machines/box/drift?environment=d")
            assert drift["name"] == "d" and drift["changed"] == []
            assert server.get("machines/box/drift")["errors"] == 0
            assert server.api("GET", "machines/box/drift?environment=x").status == 404
            a_kernel_is_compared_beside_its_start(server, supplied, listed["key"])

            def is_free() -> bool:  # the kernel ends after its session
                return server.get(path)["environments"][0]["in_use"] is False

            wait_for(is_free, 60, "the end of the kernel")
            gone = server.operation(server.api("DELETE", f"{path}/d"), 60)
            assert gone["state"] == "done", gone
            assert server.get(path) == {"environments": []}
            server.operation(server.api("POST", "machines/box/stop"), 60)
            server.operation(server.api("POST", "machines/local/stop"), 60)
