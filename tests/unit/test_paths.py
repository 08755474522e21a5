"""Private files, short socket folders, and joins that stay in their folder."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_cloudml import paths
from jupyter_cloudml.errors import CloudMLError, NoFolder, UsageError


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def short_temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="cm") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_is_made_private_and_narrowed(own_home: Path) -> None:
    assert paths.home() == own_home and mode(own_home) == 0o700
    own_home.chmod(0o755)
    paths.home()
    assert mode(own_home) == 0o700


def test_a_folder_planted_by_somebody_else_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(tmp_path)
    (shared / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(CloudMLError) as refused:
            paths.private_dir(shared / name)
        assert refused.value.code == "not_private"


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoFolder, match=r"cannot be used: (File exists|Not a directory)") as refused:
        paths.private_dir(tmp_path / "file" / "home")
    assert refused.value.code == "folder_unusable" and refused.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 7001, 7001)
    with pytest.raises(CloudMLError):
        paths.private_dir(tmp_path / "theirs")


@pytest.mark.parametrize("depth", [90, 200])
def test_sockets_fit_however_long_home_is(
    depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_temporary: Path
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / ("d" * depth)))
    folder = paths.socket_dir("0b2cf6a2-3f0f-4d0e-9d1e-3f4f0a9c6f55")
    assert folder == paths.socket_dir("0b2cf6a2-3f0f-4d0e-9d1e-3f4f0a9c6f55")
    assert mode(folder) == 0o700 and mode(folder.parent) == 0o700
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / ("s" * 19)))
    assert folder.is_relative_to(short_temporary)


def test_sockets_lie_under_home_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, short_temporary: Path
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(short_temporary / "h"))
    assert paths.socket_dir("local") == short_temporary / "h/run/local"


@pytest.mark.parametrize(
    "part", ["..", "/etc/passwd", "a/../../b", "", ".", "a//b", "a\0b", "a/.", "out/x", "out"]
)
def test_joins_stay_inside(part: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "rootsecret").mkdir()
    (root / "out").symlink_to(tmp_path / "rootsecret")
    with pytest.raises(UsageError) as refused:
        paths.safe_join(root, part)
    assert refused.value.code == "bad_path"


def test_ordinary_joins_work_also_under_a_linked_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert paths.safe_join(tmp_path / "root", "a/b.ipynb", "..c") == tmp_path / "root/a/b.ipynb/..c"


def test_private_files_are_whole_and_ours_alone(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    target.chmod(0o644)
    paths.write_private(target, b"new")
    assert target.read_bytes() == b"new" and mode(target) == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        paths.write_private(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]
