"""What is said of packages that differ at the start of a kernel, what it is compared with, and what is remembered of it."""

from __future__ import annotations

import asyncio
import sys
import threading
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jupyter_cloudml.environments import reference, sources
from jupyter_cloudml.environments.comparison import Checked, key_in
from jupyter_cloudml.environments.drift import Packages, compare
from jupyter_cloudml.environments.reference import Reference
from jupyter_cloudml.environments.remembered import MAX_DISMISSED, MAX_NOTEBOOKS, Remembered
from jupyter_cloudml.errors import NoPython
from jupyter_cloudml_kernels import provisioner
from jupyter_cloudml_kernels.running import KernelView
from jupyter_cloudml_server import drift
from jupyter_cloudml_server.calls import CallPool
from jupyter_cloudml_server.drift import DriftWatch

HERE = Packages("3.11.2", {"ipykernel": "6.29", "numpy": "1.26", "six": "1"})
THERE = Packages("3.11.4", {"ipykernel": "7.0", "numpy": "2.0", "six": "1", "extra": "1"})


def checked(there: Packages = THERE, locked: Packages | None = None) -> Checked:
    changed = compare(locked, there) if locked else ()
    return Checked(
        "box",
        "",
        "/usr/bin/python3",
        Reference("/here/python", HERE),
        tuple(compare(HERE, there)),
        tuple(changed),
        locked is not None,
    )


def test_a_note_names_what_differs_and_is_no_error() -> None:
    found = checked()
    assert found.errors == 1
    assert [each.name for each in found.notes] == ["python", "extra", "numpy"]


def test_packages_that_were_locked_are_noted_only_where_they_are_not_as_locked() -> None:
    assert checked(locked=THERE).notes == ()
    (note,) = checked(locked=Packages("3.11.4", {**THERE.versions, "numpy": "1.0"})).notes
    assert (note.name, note.here, note.there) == ("numpy", "1.0", "2.0")
    assert checked(locked=Packages("3.11.4", {**THERE.versions, "ipykernel": "1"})).notes == ()


def test_another_error_is_told_again_and_an_installed_package_is_not() -> None:
    found = checked()
    assert found.key == checked(Packages("3.11.4", {**THERE.versions, "new": "1"})).key
    assert found.key != checked(Packages("3.11.4", {**THERE.versions, "ipykernel": "7.1"})).key
    assert found.key != checked(Packages("3.12.0", THERE.versions)).key


def test_only_a_path_in_the_cache_folder_is_an_environment_there() -> None:
    key = "0123456789abcdef"
    assert key_in(f"/home/a/.cache/jupyter-cloudml/env/{key}/bin/python") == key
    for path in ("/usr/bin/python3", f"/home/a/env/{key}/bin/python", ""):
        assert key_in(path) is None


def test_another_python_of_this_computer_is_looked_at_by_itself(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    for name in ("only_there-1.5", "mine-2"):
        (site / f"{name}.dist-info").mkdir()
    (site / "mine-2.dist-info" / "direct_url.json").write_text("{}")
    found = reference.of(str(python), "my kernel")
    assert found.packages.versions == {"only-there": "1.5", "mine": "2"}
    assert found.packages.local == {"mine"}
    source = sources.same(found)
    assert (source.name, source.packages) == ("same-my-kernel", found.packages)
    assert source.python == "{}.{}".format(*sys.version_info)
    assert reference.of(None) == reference.of(sys.executable) == reference.this()


@pytest.mark.parametrize("path", ["/no/such/python", "/bin/true", "/bin/cat"])
def test_what_is_no_python_is_said_to_be_none(path: str) -> None:
    with pytest.raises(NoPython, match="here is not a Python"):
        reference.of(path)


def test_what_was_waved_aside_stays_so_for_that_notebook(tmp_path: Path) -> None:
    file = tmp_path / "new" / "drift.json"
    Remembered(file).dismiss("/a.ipynb", "k1")
    Remembered(file).note_before("/a.ipynb", "mine")
    again = Remembered(file)
    assert again.is_dismissed("/a.ipynb", "k1") and again.before("/a.ipynb") == "mine"
    assert not again.is_dismissed("/a.ipynb", "k2")
    assert not again.is_dismissed("/b.ipynb", "k1") and again.before("/b.ipynb") is None
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_remembered_has_an_end_and_a_broken_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "drift.json"
    remembered = Remembered(file)
    for n in range(MAX_DISMISSED + 3):
        remembered.dismiss("/a", f"k{n}")
    assert not remembered.is_dismissed("/a", "k2") and remembered.is_dismissed("/a", "k3")
    noted = ", ".join(f'"/{n}": {{}}' for n in range(MAX_NOTEBOOKS))
    file.write_text("{" + noted + "}")
    remembered.dismiss("/new", "k")
    assert '"/0"' not in file.read_text() and remembered.is_dismissed("/new", "k")
    for odd in ("[]", "{", '{"/a": 1}', '{"/a": {"before": 1, "dismissed": {}}}'):
        file.write_text(odd)
        assert remembered.before("/a") is None and not remembered.is_dismissed("/a", "k")


class Watched:
    """A watch over one kernel of a machine, with the sessions, the machine and the Pythons here as said."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.view = cast("KernelView", SimpleNamespace(id="k", machine="box", process="k-1"))
        self.sessions: list[dict[str, Any]] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()
        self.remembered = Remembered(home / "drift.json")
        self.pool = CallPool("test", threads=1, waiting=2)
        monkeypatch.setattr(drift, "SESSION_EVERY_S", 0.01)
        monkeypatch.setattr(provisioner, "find", lambda kernel_id: self.view)
        monkeypatch.setattr(reference, "of", lambda python, spec=None: Reference(str(python), HERE))
        self.watch = DriftWatch(
            cast("Any", self),
            self.remembered,
            self,
            "/root",
            lambda spec: f"/{spec}/python",
            lambda noun, data: None,
            remote=self.pool,
            later_s=0,
        )

    async def list_sessions(self) -> list[dict[str, Any]]:
        return self.sessions

    def python_of(self, machine: str, process: str) -> str:
        return "/there/python"

    def compare(self, machine: str, python: str, *, against: Reference) -> Checked:
        self.asked.set()
        self.may_answer.wait(10)
        return Checked(machine, "", python, against, ())

    @property
    def against(self) -> str:
        return str(cast("Any", self.watch.of("k")["found"])["against"]["python_path"])


SESSION = {"kernel": {"id": "k"}, "type": "notebook", "path": "a.ipynb"}


@pytest.mark.asyncio
async def test_a_kernel_is_compared_once_its_notebook_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, monkeypatch)
    watched.remembered.note_before("/root/a.ipynb", "small")
    started = asyncio.ensure_future(watched.watch.started(watched.view))
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert not watched.asked.is_set()
    watched.sessions = [SESSION]
    await started
    watched.pool.close()
    assert watched.against == "/small/python"


@pytest.mark.asyncio
async def test_a_kernelspec_that_is_told_during_a_comparison_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, monkeypatch)
    watched.sessions = [SESSION]
    watched.may_answer.clear()
    started = asyncio.ensure_future(watched.watch.started(watched.view))
    await asyncio.to_thread(watched.asked.wait, 10)
    await watched.watch.note_before("k", "small")
    watched.may_answer.set()
    await started
    watched.pool.close()
    assert watched.against == "/small/python"
