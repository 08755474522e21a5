"""Kernels in containers of a real podman: an image becomes an environment, signals reach its kernel, and no end leaves a container behind.

The image is a tree of empty folders; its Python is this one's, mounted by a wrapper of podman, which also does without what this system's root
may not do (cgroups, limits).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from jupyter_cloudml.environments import sources
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml.errors import NoEnvironment, UsageError
from jupyter_cloudml.machines.service import Machines

from .kernels import Talk, own_machines, wait_for

PODMAN = """\
#!/bin/sh
# As podman, with its files in a folder of the test.
verb=$1; shift
if [ "$verb" = run ]; then
  set -- --cgroups=disabled --ulimit=nofile=1024:1024 --ulimit=nproc=4096:4096 --pids-limit=0 {volumes} "$@"
fi
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh \
  {podman} --root {folder}/graph --runroot {folder}/run --tmpdir {folder}/tmp --storage-driver vfs \
  --cgroup-manager cgroupfs --runtime crun --events-backend none --log-level error "$verb" "$@"
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A podman whose containers have this Python; the image `bare` is there."""
    podman = shutil.which("podman")
    assert podman and shutil.which("crun"), "run tools/install_os_packages.sh"
    folder = Path(tempfile.mkdtemp(prefix="pm-"))  # podman takes no long path for its state
    (folder / "bin").mkdir()
    real = Path(sys.executable).resolve().parent.parent
    seen = {"/usr", "/etc/ld.so.cache", sys.prefix, str(real)}
    outer = {p for p in seen if not any(p != q and p.startswith(q + "/") for q in seen)}
    volumes = " ".join(f"--volume={path}:{path}:ro" for path in sorted(outer))
    wrapper = folder / "bin" / "podman"
    wrapper.write_text(PODMAN.format(podman=podman, folder=folder, volumes=volumes))
    wrapper.chmod(0o755)
    tree = tmp_path / "tree"
    for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "root"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    with tarfile.open(tmp_path / "bare.tar", "w") as tar:
        tar.add(tree, ".")
    path = f"PATH={sys.prefix}/bin:/usr/bin:/bin"
    argv = [str(wrapper), "import", "--change", f"ENV {path}", str(tmp_path / "bare.tar")]
    subprocess.run([*argv, "localhost/bare:1"], check=True, capture_output=True, timeout=60)
    home = tmp_path / "home"
    (home / "work" / "notebooks").mkdir(parents=True)
    (home / "work" / "beside.py").write_text("x = 42\n")
    (home / "secret").write_text("canary")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    yield wrapper
    assert containers(wrapper) == []
    shutil.rmtree(folder, ignore_errors=True)


def containers(engine: Path) -> list[str]:
    asked = [str(engine), "ps", "--all", "--format", "{{.Names}}"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60)
    return told.stdout.split()


@pytest.fixture
def machines(engine: Path, tmp_path: Path) -> Iterator[Machines]:
    with own_machines(tmp_path / "own") as made:
        yield made


@pytest.fixture
def environments(machines: Machines, tmp_path: Path) -> Environments:
    return Environments(tmp_path / "kept", machines)


SEES = """\
import os, sys
sys.path.insert(0, "..")
import beside
open("made.txt", "w").write("by the container")
print(os.getpid(), beside.x, os.path.exists(os.path.expanduser("~/secret")), os.path.expanduser("~"))
"""


def test_a_kernel_runs_in_an_image_and_leaves_nothing(
    engine: Path, environments: Environments, tmp_path: Path
) -> None:
    steps: list[str] = []
    built = environments.build(
        sources.container("localhost/bare:1"), "local", progress=steps.append
    )
    assert (built.name, built.made) == ("bare", True)
    assert "looking for ipykernel in the image" in steps
    assert not environments.build(sources.container("localhost/bare:1"), "local").made
    (listed,) = environments.list("local")
    assert listed.source == "container localhost/bare:1" and not listed.in_use

    folder = tmp_path / "home" / "work" / "notebooks"
    manager = KernelManager(kernel_name="cloudml-local-bare-python3")
    manager.start_kernel(cwd=str(folder))
    talk = Talk(manager)
    try:
        pid, x, secret, home = talk.run(SEES).split()
        assert (pid, x, secret) == ("1", "42", "False"), "a container of its own"
        assert home == str(tmp_path / "home")
        assert (folder / "made.txt").read_text() == "by the container"
        assert (folder / "made.txt").stat().st_uid == os.getuid()
        (name,) = containers(engine)
        assert environments.list("local")[0].in_use

        asked = talk.client.execute("print('on', flush=True)\nimport time; time.sleep(600)")
        assert talk.begun(asked).startswith("on")
        manager.interrupt_kernel()
        assert talk.reply(asked)["content"]["ename"] == "KeyboardInterrupt"
        talk.settle()
        assert "42" in talk.run("print(beside.x)"), "it goes on after an interrupt"

        assert environments.check("local", "bare").errors == 0, "looked at inside the container"
    finally:
        talk.client.stop_channels()
    manager.shutdown_kernel(now=True)
    wait_for(lambda: name not in containers(engine), "the end of the container", 30)
    environments.remove("local", "bare")
    assert environments.list("local") == []


def test_a_launcher_that_is_killed_takes_its_container_with_it(
    engine: Path, environments: Environments, tmp_path: Path
) -> None:
    environments.build(sources.container("localhost/bare:1"), "local", name="b")
    manager = KernelManager(kernel_name="cloudml-local-b-python3")
    manager.start_kernel(cwd=str(tmp_path / "home" / "work"))
    talk = Talk(manager)
    talk.run("kept = 1")
    (name,) = containers(engine)
    os.kill(int(name.split("-")[1]), 9)
    talk.client.stop_channels()
    wait_for(lambda: containers(engine) == [], "the end of the container", 30)
    manager.shutdown_kernel(now=True)


def test_what_is_no_image_and_what_has_no_python_is_said(
    engine: Path, environments: Environments, tmp_path: Path
) -> None:
    with pytest.raises(NoEnvironment, match="podman ended with") as told:
        environments.build(sources.container("localhost/no/such:1"), "local")
    assert told.value.code == "no_image"
    with pytest.raises(UsageError, match="not the name of a container image"):
        sources.container("--privileged")
    empty = ["import", str(tmp_path / "bare.tar"), "localhost/empty:1"]
    subprocess.run([str(engine), *empty], check=True, capture_output=True, timeout=60)
    with pytest.raises(NoEnvironment, match="the image has no Python with ipykernel") as told:
        environments.build(sources.container("localhost/empty:1"), "local")
    assert told.value.code == "no_ipykernel"
    assert environments.list("local") == []
