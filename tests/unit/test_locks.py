"""What a lock is, what environments can be made from, and how two Pythons differ."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from jupyter_cloudml.environments import conda, drift, images, lock, sources
from jupyter_cloudml.environments.built import keys_in, parse_list
from jupyter_cloudml.environments.drift import Difference, Packages
from jupyter_cloudml.environments.resolver import Resolver
from jupyter_cloudml.environments.sources import Kind, Locker
from jupyter_cloudml.errors import Cancelled, NoEnvironment, NotFound, ProtocolError, UsageError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LOCK = f"six==1.16.0 ; python_version >= '3' \\\n    --hash={A} \\\n    --hash={B}\n    # via app\n"


def test_a_lock_is_read_with_comments_options_and_odd_spelling() -> None:
    text = f"--index-url https://user:word@example.org/simple\n# said\nMsg_Pack[x]==1.0 --hash {A}\n{LOCK}"
    assert lock.parse(text) == [
        lock.Pin("msg-pack", "1.0", "", (A,)),
        lock.Pin("six", "1.16.0", 'python_version >= "3"', (A, B)),
    ]
    assert lock.parse(lock.render(lock.parse(text), markers=True)) == lock.parse(text)
    assert "example.org" not in lock.render(lock.parse(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("six\n", "no single version"),
        (f"six>=1 --hash={A}\n", "no single version"),
        (f"six==1.* --hash={A}\n", "no single version"),
        ("six==1.16.0\n", "no digest"),
        ("six==1.16.0 --hash=md5:00\n", "no digest"),
        (f"six @ https://example.org/six.whl --hash={A}\n", "from an address"),
        ("./here\n", "no requirement"),
    ],
)
def test_what_is_not_pinned_is_named(text: str, says: str) -> None:
    assert not lock.is_lock(text)
    with pytest.raises(NoEnvironment, match=says) as told:
        lock.parse(text)
    assert told.value.code == "not_pinned" and told.value.hint


def test_a_file_that_leads_to_others_is_no_lock_by_itself() -> None:
    assert lock.is_lock(LOCK)
    for line in ("-r more.txt", "--constraint c.txt", "-e .", "-rmore.txt", "-cc.txt"):
        assert not lock.is_lock(f"{LOCK}{line}\n")
    assert not lock.is_lock("# nothing\n")


def test_the_key_changes_with_digests_gpu_and_isolation_too() -> None:
    pin = lock.Pin("six", "1", "", (A,))
    keys = {
        lock.key([pin], "p", "linux"),
        lock.key([lock.Pin("six", "1", "", (B,))], "p", "linux"),
        lock.key([pin], "p", "linux", "NVIDIA H100"),
        lock.key([pin], "p", "linux", isolated=True),
    }
    assert len(keys) == 4


# -- sources -----------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """Publish a wheel with nothing in it."""
    folder = folder / name
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            lines.append(f"{path},sha256={digest.decode()},{len(text)}\n")
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    links = [
        f'<a href="{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
        for file in sorted(folder.glob("*.whl"))
    ]
    (folder / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index in a folder, and nothing else for uv to ask."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, version, *requires in (
        ("ipykernel", "6.30.0", "tornado>=6", "appnope; sys_platform == 'darwin'"),
        ("tornado", "6.1"),
        ("tornado", "6.5"),
        ("appnope", "0.1"),
        ("pip", "25.1"),
        ("app", "1.0", "tornado<6.2"),
        ("app", "2.0", "tornado<6"),
    ):
        wheel(folder, name, version, *requires)
    monkeypatch.setenv("UV_DEFAULT_INDEX", folder.as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return folder


def locker(tmp_path: Path) -> Locker:
    return Locker(tmp_path / "locks", Resolver(Packages.here().minor, threading.Event()))


def versions(pins: list[lock.Pin]) -> dict[str, str]:
    assert all(pin.hashes for pin in pins)
    return {pin.name: pin.version for pin in pins}


def test_requirements_are_locked_once_with_ipykernel_for_every_system(
    tmp_path: Path, index: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("app<2\n")
    source = sources.find(str(tmp_path))
    assert (source.kind, source.path) == (Kind.REQUIREMENTS, file)
    first = locker(tmp_path).lock(source)
    assert versions(first) == {
        "app": "1.0",
        "appnope": "0.1",
        "ipykernel": "6.30.0",
        "pip": "25.1",
        "tornado": "6.1",
    }
    assert next(pin for pin in first if pin.name == "appnope").marker
    wheel(index, "app", "1.5")
    assert locker(tmp_path).lock(source) == first, "the same source is the same lock"
    assert versions(locker(tmp_path).lock(source, upgrade=True))["app"] == "1.5"
    file.write_text("app<1.5\n")
    assert locker(tmp_path).lock(source) == first


def test_a_lock_is_taken_as_it_is_and_completed_in_agreement_with_it(
    tmp_path: Path, index: Path
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"tornado==6.1 --hash={A}\n")
    pins = locker(tmp_path).lock(sources.find(str(file)))
    assert versions(pins)["tornado"] == "6.1"
    assert next(pin for pin in pins if pin.name == "tornado").hashes == (A,)
    assert {"ipykernel", "pip"} <= set(versions(pins))
    left_out = locker(tmp_path).lock(sources.find(str(file)), leave_out=["Tornado"])
    assert versions(left_out)["tornado"] == "6.5", "it comes back as what ipykernel needs"


def test_the_resolvers_reason_is_shown(tmp_path: Path, index: Path) -> None:
    (tmp_path / "requirements.txt").write_text("app==2.0\n")
    with pytest.raises(NoEnvironment, match="tornado<6") as told:
        locker(tmp_path).lock(sources.find(str(tmp_path)))
    assert told.value.code == "unresolvable" and told.value.hint
    assert not list((tmp_path / "locks").glob("*"))


def test_no_password_of_an_index_is_told(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://ada:canary@127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    (tmp_path / "requirements.txt").write_text("app\n")
    said: list[str] = []
    resolver = Resolver(Packages.here().minor, threading.Event(), said.append)
    asking = Locker(tmp_path / "locks", resolver)
    with pytest.raises(NoEnvironment, match=r"127\.0\.0\.1") as told:
        asking.lock(sources.find(str(tmp_path)))
    assert said and "canary" not in str(told.value) + "".join(said)


def test_resolving_can_be_called_off(tmp_path: Path, index: Path) -> None:
    (tmp_path / "requirements.txt").write_text("app\n")
    off = threading.Event()
    off.set()
    with pytest.raises(Cancelled):
        Locker(tmp_path / "locks", Resolver("3.11", off)).lock(sources.find(str(tmp_path)))


def test_a_project_is_locked_and_its_own_lock_comes_first(tmp_path: Path, index: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["app<1.1"]\n'
    )
    source = sources.find(str(tmp_path))
    assert source.kind is Kind.PROJECT
    assert versions(locker(tmp_path).lock(source))["app"] == "1.0"
    (tmp_path / "uv.lock").write_text(
        'version = 1\nrequires-python = ">=3.10"\n\n'
        '[[package]]\nname = "demo"\nversion = "1"\nsource = { virtual = "." }\ndependencies = [{ name = "app" }]\n\n'
        '[[package]]\nname = "app"\nversion = "0.9"\nsource = { registry = "https://index.invalid/simple" }\n'
        f'wheels = [{{ url = "https://index.invalid/app-0.9-py3-none-any.whl", hash = "{A}" }}]\n'
    )
    source = sources.find(str(tmp_path))
    assert source.kind is Kind.UV_LOCK
    pins = locker(tmp_path).lock(source)
    assert versions(pins)["app"] == "0.9" and "demo" not in versions(pins)
    kept = "".join(path.read_text() for path in (tmp_path / "locks").iterdir())
    assert "index.invalid" not in kept, "a lock names no host"


def test_same_as_here_pins_what_is_installed_and_nothing_of_our_own(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"tornado": "6.1", "jupyter-cloudml": "0.1.0", "mine": "1", "ipykernel": "6.30.0"}
    here = Packages("3.11.2", found, frozenset({"mine"}))
    monkeypatch.setattr(Packages, "here", classmethod(lambda cls: here))
    source = sources.same()
    assert source.python == "3.11"
    pins = versions(locker(tmp_path).lock(source))
    assert pins == {"ipykernel": "6.30.0", "pip": "25.1", "tornado": "6.1"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("environment.yml", Kind.CONDA), ("app.lock", Kind.REQUIREMENTS), ("a.in", Kind.REQUIREMENTS)],
)
def test_a_file_says_by_its_name_what_it_is(tmp_path: Path, name: str, kind: Kind) -> None:
    folder = tmp_path / "my project!"
    folder.mkdir()
    (folder / name).write_text("")
    source = sources.find(str(folder / name))
    assert (source.kind, source.name) == (kind, "my-project")


def test_what_is_no_source_is_said_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("")
    for text in (str(tmp_path), str(tmp_path / "x.png"), str(tmp_path / "nothing.txt")):
        with pytest.raises(UsageError) as told:
            sources.find(text)
        assert told.value.hint
    with pytest.raises(NotFound, match="no image 'x'") as unknown:
        sources.find("image:x")
    assert "cpu" in unknown.value.hint
    with pytest.raises(NotFound):
        sources.find("image:../cpu")


def test_an_environment_yml_gets_ipykernel_and_loses_its_name(tmp_path: Path) -> None:
    file = tmp_path / "environment.yml"
    file.write_text("name: x\nprefix: /y\nchannels: [c]\ndependencies: [python=3.11, c::pip]\n")
    text = conda.read(file)
    assert text == "channels:\n- c\ndependencies:\n- python=3.11\n- c::pip\n- ipykernel\n"
    assert conda.key(text, "linux", "") != conda.key(text, "linux", "H100")
    for odd in ("[", "a: 1\n", "dependencies: x\n", "!!python/object/apply:os.getcwd []\n"):
        file.write_text(odd)
        with pytest.raises(UsageError):
            conda.read(file)


# -- images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cpu", "dask", "gpu"])
def test_the_lock_of_an_image_holds_what_the_image_names(name: str) -> None:
    image = images.get(name)
    text = image.lock.read_text()
    assert lock.is_lock(text)
    assert "://" not in text, "a lock names no host"
    pins = lock.parse(text)
    for line in (*image.packages, "ipykernel", "pip"):
        asked = Requirement(line)
        found = [pin for pin in pins if pin.name == asked.name]
        assert found, f"{line} is not locked"
        assert all(pin.version in asked.specifier for pin in found), line
    assert SpecifierSet(f">={image.python}")
    dockerfile = (image.folder / "Dockerfile").read_text()
    assert image.lock.name in dockerfile and "--require-hashes" in dockerfile


def test_there_are_three_images() -> None:
    assert images.names() == ["cpu", "dask", "gpu"]


# -- drift -------------------------------------------------------------------------------------------


def test_what_travels_must_agree_and_the_rest_is_a_note() -> None:
    here = Packages("3.11.2", {"ipykernel": "6.29", "numpy": "1.26", "msgpack": "1.0", "six": "1"})
    there = Packages(
        "3.11.4", {"ipykernel": "6.30", "numpy": "2.0", "distributed": "1", "six": "1"}
    )
    assert drift.compare(here, there) == [
        Difference("ipykernel", "6.29", "6.30", True),
        Difference("python", "3.11.2", "3.11.4", False),
        Difference("distributed", None, "1", False),
        Difference("msgpack", "1.0", None, False),
        Difference("numpy", "1.26", "2.0", False),
    ]
    assert drift.compare(here, here) == []
    minor = drift.compare(here, Packages("3.12.1", here.versions))
    assert minor == [Difference("python", "3.11.2", "3.12.1", True)]


@pytest.mark.parametrize("name", drift.MUST_AGREE)
def test_each_of_those_is_an_error(name: str) -> None:
    (found,) = drift.compare(Packages("3.11", {name: "1"}), Packages("3.11", {name: "2"}))
    assert found.is_error and found.to_dict()["level"] == "error"


def test_the_scan_sees_what_the_slow_way_sees() -> None:
    from importlib.metadata import distributions

    slow: dict[str, str] = {}
    for found in distributions():
        slow.setdefault(
            found.metadata["Name"].lower().replace("_", "-").replace(".", "-"), found.version
        )
    here = Packages.here()
    assert here.versions == slow
    assert "jupyter-cloudml" in here.local and "ipykernel" not in here.local
    assert here.python.startswith("{}.{}.".format(*sys.version_info))


@pytest.mark.parametrize(
    "raw",
    [None, {}, {"packages": {}}, {"python": "x y", "packages": {}}, {"python": 3, "packages": {}}],
)
def test_odd_packages_of_a_machine_are_refused(raw: object) -> None:
    with pytest.raises(ProtocolError):
        Packages.parse(raw)


def test_odd_names_of_packages_are_left_out() -> None:
    odd = {"a": "1", "B": "1", "\x1b[2J": "1", "c": "\n", "d": 7, 5: "1"}
    assert Packages.parse({"python": "3.11.2", "packages": odd}).versions == {"a": "1"}


# -- what a machine tells ------------------------------------------------------------------------------


def test_a_list_of_environments_is_checked_before_it_is_shown() -> None:
    good = {
        "key": "0123456789abcdef",
        "names": ["digits", "\x1b", 5, "../x"],
        "python_path": "/home/ada/env/bin/python",
        "source": "a\x1b[2Jb",
        "packages": -1,
        "bytes": True,
        "used_ms": 5,
    }
    odd = [{**good, "key": "../../etc"}, {**good, "python_path": "x"}, None, {**good, "key": None}]
    (found,) = parse_list([good, *odd])
    assert found.names == ("digits",)
    assert (found.source, found.packages, found.bytes) == ("a [2Jb", 0, 0)
    assert json.dumps(found.to_dict())
    with pytest.raises(ProtocolError):
        parse_list({"a": 1})
    assert keys_in(["0123456789abcdef", "../x", 5]) == ["0123456789abcdef"]
    assert keys_in("0123456789abcdef") == keys_in(None) == []


def test_the_files_beside_a_notebook_and_above_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    for name in ("requirements.txt", "environment.yaml"):
        (folder / name).touch()
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / "project" / name).touch()
    (tmp_path / "requirements.txt").touch()
    found = [
        (each.kind, each.text.removeprefix(str(tmp_path)))
        for each in sources.near(folder, tmp_path / "project")
    ]
    assert found == [
        (Kind.REQUIREMENTS, "/project/notebooks/requirements.txt"),
        (Kind.CONDA, "/project/notebooks/environment.yaml"),
        (Kind.UV_LOCK, "/project/uv.lock"),
    ]
    assert len(sources.near(folder, tmp_path)) == 4
    assert len(sources.near(folder, Path("/elsewhere"))) == 2, (
        "not above a folder that is elsewhere"
    )


@pytest.mark.parametrize("name", ["", "-v", "Upper/x", "a b", "a;b", "$x", "x" * 300])
def test_an_odd_name_is_no_image_of_an_engine(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a container image"):
        sources.container(name)


def test_an_environment_is_called_after_its_image() -> None:
    for ref in ("docker.io/jupyter/scipy:2", "scipy@sha256:" + "a" * 64, "localhost:5000/scipy"):
        assert sources.container(ref).name == "scipy"
