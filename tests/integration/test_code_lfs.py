"""`code clone` of a repository with Git LFS (the one of Debian): real contents, checked; without git-lfs their pointers, with a warning."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from jupyter_cloudml.errors import Conflict
from jupyter_cloudml.workspaces.clone import Clone
from jupyter_cloudml.workspaces.progress import Steps
from jupyter_cloudml.workspaces.source import Source

from .repositories import git
from .test_code_clone import GitHub, Remote, github, remote  # noqa: F401 - the fixtures

FIRST, SECOND = b"\0weights" * 5000, b"\1weights" * 6000


def pointer(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"


def stored(remote: Remote, data: bytes) -> Path:  # noqa: F811
    """Put a content where the server of a bare repository has it."""
    oid = hashlib.sha256(data).hexdigest()
    place = remote.bare / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.fixture
def large(remote: Remote) -> Remote:  # noqa: F811
    """The remote with a file of LFS."""
    (remote.work / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git(remote.work, "config", "filter.lfs.required", "false")
    for verb in ("clean", "smudge", "process"):
        git(remote.work, "config", f"filter.lfs.{verb}", "" if verb == "process" else "cat")
    stored(remote, FIRST)
    stored(remote, SECOND)
    (remote.work / "w.bin").write_text(pointer(FIRST))
    remote.commit("With LFS", more_py="m\n")
    return remote


def cloned(folder: Path, source: str) -> list[str]:
    clone = Clone(folder, Source.parse(source), Steps(of=4))
    clone.update(None)
    return clone.report.warnings


def change(remote: Remote, data: bytes) -> None:  # noqa: F811
    (remote.work / "w.bin").write_text(pointer(data))
    remote.commit("Newer", new_py="n\n")


def test_contents_come_and_are_updated_and_changes_are_kept(tmp_path: Path, large: Remote) -> None:
    there = tmp_path / "clone"
    assert cloned(there, str(large.bare)) == []
    assert (there / "w.bin").read_bytes() == FIRST
    assert git(there, "status", "--porcelain") == "", "the user's own git-lfs knows them"
    assert cloned(there, str(large.bare)) == []

    change(large, SECOND)
    assert cloned(there, str(large.bare)) == []
    assert (there / "w.bin").read_bytes() == SECOND

    (there / "w.bin").write_bytes(b"mine")
    change(large, FIRST)
    with pytest.raises(Conflict, match=r"w\.bin"):
        cloned(there, str(large.bare))
    assert (there / "w.bin").read_bytes() == b"mine"


def test_without_git_lfs_the_pointers_come_and_contents_once_it_is_there(
    tmp_path: Path, large: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, programs = tmp_path / "clone", tmp_path / "bin"
    programs.mkdir()
    path = os.environ["PATH"]
    for name in ("git", "sh", "uname"):
        (programs / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(programs))
    (warning,) = cloned(there, str(large.bare))
    assert "1 of clone stay pointers (w.bin)" in warning and "install it" in warning
    assert (there / "w.bin").read_text() == pointer(FIRST)
    monkeypatch.setenv("PATH", path)
    assert cloned(there, str(large.bare)) == []
    assert (there / "w.bin").read_bytes() == FIRST


def test_a_content_that_is_missing_or_damaged_is_named(tmp_path: Path, large: Remote) -> None:
    there = tmp_path / "clone"
    place = stored(large, FIRST)
    place.unlink()
    (warning,) = cloned(there, str(large.bare))
    assert "w.bin" in warning and (there / "w.bin").read_text() == pointer(FIRST)
    place.write_bytes(FIRST[:-1] + b"x")
    (warning,) = cloned(there, str(large.bare))
    assert "w.bin" in warning and (there / "w.bin").read_text() == pointer(FIRST)
    assert (there / "more.py").read_text() == "m\n"


def test_contents_come_with_the_password_of_the_url_and_it_stays_with_git(
    tmp_path: Path,
    large: Remote,
    github: GitHub,  # noqa: F811
) -> None:
    there = tmp_path / "clone"
    url = github.url.replace("https://", f"https://ada:{github.password}@")
    assert cloned(there, url) == []
    assert (there / "w.bin").read_bytes() == FIRST
    for path in there.rglob("*"):
        assert not path.is_file() or github.password.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::touch MARK", "http://h.example/x", "https://localhost:PORT/x"]
)
def test_a_strangers_lfsconfig_gets_neither_files_nor_passwords(
    tmp_path: Path,
    large: Remote,
    github: GitHub,  # noqa: F811
    url: str,
) -> None:
    mark = tmp_path / "ran"
    port = github.url.split(":")[2].split("/")[0]
    url = url.replace("MARK", str(mark)).replace("PORT", port)
    (large.work / ".lfsconfig").write_text(
        f'[lfs]\n\turl = {url}\n\tstandalonetransferagent = evil\n[lfs "customtransfer.evil"]\n\tpath = touch\n\targs = {mark}\n'
    )
    remote_url = github.url.replace("https://", f"https://ada:{github.password}@")
    large.commit("Evil", evil_py="e\n")
    (warning,) = cloned(tmp_path / "clone", remote_url)
    assert "w.bin" in warning and not mark.exists()
    assert (tmp_path / "clone/w.bin").read_text() == pointer(FIRST)
    assert github.password not in json.dumps(warning)
