"""Snapshots of real repositories: exact, and nothing of the user's is touched or run."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from cloudbox.commands import wait_until

from jupyter_cloudml.errors import Busy, Cancelled
from jupyter_cloudml.workspaces.git import GitError
from jupyter_cloudml.workspaces.guard import Amount, LargeFiles, LargeFolder
from jupyter_cloudml.workspaces.packing import Pack
from jupyter_cloudml.workspaces.snapshot import Snapshots
from jupyter_cloudml.workspaces.workspace import root_of

from .repositories import git, run_git

ODD = ["a b", "é.py", "new\nline", 'quo"te', "-dash", "tab\t", ":(top)x", "*"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("print('one')\n")
    (folder / "old.py").write_text("gone soon\n")
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    return folder


@pytest.fixture
def snapshots(tmp_path: Path, repository: Path) -> Snapshots:
    return Snapshots(tmp_path / "state", repository)


def content(tmp_path: Path, tree: str) -> dict[str, tuple[str, bytes]]:
    """The paths of a tree with their modes and bytes."""
    store = tmp_path / "state" / "code.git"
    listing = run_git(store, "ls-tree", "-rz", tree)
    found = {}
    for line in listing.split(b"\0")[:-1]:
        head, path = line.split(b"\t", 1)
        mode, _, blob = head.decode().split()
        data = run_git(store, "cat-file", "blob", blob)
        found[os.fsdecode(path)] = (mode, data)
    return found


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, its repository too, with its mode, time and digest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (
            f"{status.st_mode} {status.st_mtime_ns} {hashlib.sha256(data).hexdigest()}"
        )
    return found


def test_committed_changed_and_untracked_files_are_in_it_and_ignored_ones_are_not(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    (repository / "train.py").write_text("print('two')\n")
    (repository / "old.py").unlink()
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("train.py")
    (repository / "noise.log").write_text("no")
    (repository / "build").mkdir()
    (repository / "build" / "out").write_text("no")
    for name in ODD:
        (repository / name).write_text(name)
    git(repository, "mv", "train.py", "learn.py")
    before = fingerprint(repository)
    taken = snapshots.take()
    assert fingerprint(repository) == before, "nothing of the user's is written"
    assert content(tmp_path, taken.tree) == {
        ".gitignore": ("100644", b"*.log\nbuild/\n"),
        "learn.py": ("100644", b"print('two')\n"),
        "run.sh": ("100755", b"#!/bin/sh\n"),
        "link": ("120000", b"train.py"),
        **{name: ("100644", name.encode()) for name in ODD},
    }
    assert taken.base_commit == git(repository, "rev-parse", "HEAD")
    assert (taken.branch, taken.dirty, taken.changed) == ("main", True, len(ODD) + 5)
    # One for each, learn.py, run.sh and link too, and one more for a name of two lines; gone are train.py and old.py.
    assert (taken.insertions, taken.deletions) == (len(ODD) + 4, 2)


def test_an_unchanged_folder_has_the_same_snapshot_again(
    repository: Path, snapshots: Snapshots
) -> None:
    first = snapshots.take()
    assert (first.dirty, first.changed) == (False, 0)
    os.utime(repository / "train.py", (1, 1))
    assert snapshots.take() == first
    (repository / "new.py").write_text("")
    second = snapshots.take()
    assert second.tree != first.tree and second.changed == 1
    (repository / "new.py").unlink()
    third = snapshots.take()
    assert third.tree == first.tree and third.commit != first.commit
    assert snapshots.newest() == third


def test_lines_are_counted_of_text_alone_and_of_no_end_of_files(
    repository: Path, snapshots: Snapshots
) -> None:
    (repository / ".gitattributes").write_text("*.py binary\n")
    (repository / "train.py").write_text("print('one')\nprint('two')\n")
    (repository / "image.png").write_bytes(b"\0\1\n" * 1000)
    (repository / "log.txt").write_text("line\n" * 300_000)
    taken = snapshots.take()
    assert taken.diffstat == {"files": 4, "insertions": 2, "deletions": 0}
    (repository / "many").mkdir()
    for number in range(600):
        (repository / "many" / f"{number}").write_text("x\n")
    assert snapshots.take().diffstat == {"files": 604, "insertions": None, "deletions": None}


def test_another_branch_of_the_same_commit_is_told(repository: Path, snapshots: Snapshots) -> None:
    first = snapshots.take()
    git(repository, "checkout", "-q", "-b", "other")
    second = snapshots.take()
    assert (second.commit, second.branch) == (first.commit, "other")
    assert snapshots.newest() == second


def test_a_file_may_become_a_folder_and_a_folder_a_link(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    (repository / "pkg").mkdir()
    (repository / "pkg" / "a.py").write_text("a")
    git(repository, "add", "-A")
    snapshots.take()
    (repository / "train.py").unlink()
    (repository / "train.py").mkdir()
    (repository / "train.py" / "x").write_text("x")
    (repository / "pkg" / "a.py").rename(tmp_path / "a.py")
    (repository / "pkg").rmdir()
    (repository / "pkg").symlink_to(tmp_path)
    found = content(tmp_path, snapshots.take().tree)
    assert found["train.py/x"] == ("100644", b"x")
    assert found["pkg"] == ("120000", os.fsencode(tmp_path))
    assert not [path for path in found if path.startswith("pkg/")], "nothing behind a link"


def test_submodules_and_repositories_inside_are_taken_as_they_are_on_the_disk(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "lib.py").write_text("lib")
    (library / ".gitignore").write_text("*.tmp\n")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "Library")
    git(repository, "submodule", "add", "-q", str(library), "vendored lib")
    git(repository, "commit", "-qm", "Vendor")
    assert snapshots.take().changed == 0
    inner = repository / "vendored lib"
    (inner / "lib.py").write_text("changed")
    (inner / "more.py").write_text("more")
    (inner / "x.tmp").write_text("ignored by the submodule itself")
    empty = repository / "experiments" / "own"
    empty.mkdir(parents=True)
    git(empty, "init", "-q")
    (empty / "try.py").write_text("try")
    found = content(tmp_path, snapshots.take().tree)
    assert found["vendored lib/lib.py"] == ("100644", b"changed")
    assert found["vendored lib/more.py"] == ("100644", b"more")
    assert found["experiments/own/try.py"] == ("100644", b"try")
    assert not [path for path in found if path.endswith(".tmp") or "/.git/" in path]
    git(inner, "commit", "-qam", "Further")
    git(inner, "clean", "-qfd")
    (empty / "try.py").unlink()
    assert snapshots.take().changed == 1, "the submodule is at another commit"


def test_files_of_lfs_are_there_with_their_content(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    data = b"a large model" * 1000
    digest = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"
    (repository / "model.bin").write_text(pointer)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "As git has it")
    (repository / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git(repository, "-c", "filter.lfs.clean=cat", "add", ".gitattributes")
    git(repository, "commit", "-qm", "Attributes")
    (repository / "model.bin").write_bytes(data)
    taken = snapshots.take()
    assert content(tmp_path, taken.tree)["model.bin"] == ("100644", data)
    assert taken.changed == 0, "the pointer stands for these bytes"
    (repository / "model.bin").write_bytes(data + b"!")
    assert snapshots.take().changed == 1


def test_bytes_are_not_converted(tmp_path: Path, repository: Path, snapshots: Snapshots) -> None:
    attributes = "*.txt text eol=crlf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n"
    (repository / ".gitattributes").write_text(attributes)
    texts = {"a.txt": b"one\r\ntwo\n", "b.id": b"$Id: x$\n", "c.u16": "é".encode("utf-16")}
    for name, data in texts.items():
        (repository / name).write_bytes(data)
    found = content(tmp_path, snapshots.take().tree)
    assert {name: found[name][1] for name in texts} == texts


@pytest.mark.parametrize(
    "kind", ["shallow", "detached", "worktree", "unborn", "none", "below", "ignored"]
)
def test_any_folder_will_do(tmp_path: Path, repository: Path, kind: str) -> None:
    folder, base = repository, git(repository, "rev-parse", "HEAD")
    if kind == "shallow":
        (repository / "train.py").write_text("second\n")
        git(repository, "commit", "-qam", "Second")
        base = git(repository, "rev-parse", "HEAD")
        folder = tmp_path / "shallow"
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(folder))
    elif kind == "detached":
        git(folder, "checkout", "-q", "--detach")
    elif kind == "worktree":
        folder = tmp_path / "tree"
        git(repository, "worktree", "add", "-q", "-b", "other", str(folder))
    elif kind in ("unborn", "none"):
        folder, base = tmp_path / "plain", ""
        folder.mkdir()
        if kind == "unborn":
            git(folder, "init", "-q")
        (folder / "train.py").write_text("x")
        (folder / ".gitignore").write_text("*.log\n")
    elif kind == "below":
        folder = repository / "pkg"
        folder.mkdir()
        (folder / "train.py").write_text("x")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "Package")
        base = git(repository, "rev-parse", "HEAD")
    else:
        folder, base = repository / "build" / "work", ""
        folder.mkdir(parents=True)
        (folder / "train.py").write_text("x")
    (folder / "noise.log").write_text("no")
    snapshots = Snapshots(tmp_path / "state", folder)
    taken = snapshots.take()
    found = content(tmp_path, taken.tree)
    assert "train.py" in found
    assert ("noise.log" in found) == (kind == "ignored"), (
        "there the list of its parent does not hold"
    )
    assert (taken.base_commit or "") == base
    assert taken.changed == (None if kind in ("unborn", "none", "ignored") else 0)
    assert taken.branch == {
        "worktree": "other",
        "detached": None,
        "none": None,
        "unborn": None,
        "ignored": None,
    }.get(kind, "main")
    assert snapshots.take() == taken


@pytest.mark.parametrize(
    ("kind", "changed"), [("sha256", None), ("partial", 2), ("colon", 1), ("lines", 1)]
)
def test_a_repository_that_cannot_be_compared_with_is_taken_all_the_same(
    tmp_path: Path, repository: Path, kind: str, changed: int | None
) -> None:
    folder = tmp_path / {"colon": "a:b", "lines": "a\nb"}.get(kind, kind)
    if kind == "partial":
        (repository / "pkg").mkdir()
        (repository / "pkg" / "inside.py").write_text("x\n")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "Package")
        git(repository, "config", "uploadpack.allowFilter", "true")
        source = f"file://{repository}"
        git(tmp_path, "clone", "-q", "--filter=blob:none", "--sparse", source, str(folder))
    else:
        git(
            tmp_path,
            "init",
            "-q",
            f"--object-format={'sha256' if kind == 'sha256' else 'sha1'}",
            str(folder),
        )
        (folder / "train.py").write_text("one\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "First")
    (folder / "train.py").write_text("two\n")
    taken = Snapshots(tmp_path / "state", folder).take()
    assert content(tmp_path, taken.tree)["train.py"] == ("100644", b"two\n")
    assert taken.base_commit == git(folder, "rev-parse", "HEAD")
    assert (taken.changed, taken.dirty) == (changed, True)


def test_nothing_that_a_repository_asks_for_is_run(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    mark = tmp_path / "M"
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "diff.external",
                "core.gitProxy", "gpg.program", "credential.helper", "core.alternateRefsCommand",
                "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv",
                "uploadpack.packObjectsHook"):  # fmt: skip
        git(repository, "config", key, str(program))
    git(repository, "config", "filter.evil.required", "true")
    git(repository, "config", "core.hooksPath", str(tmp_path))
    git(repository, "config", "log.showSignature", "true")
    (repository / ".gitattributes").write_text("* filter=evil diff=evil\n")
    for hook in ("post-index-change", "pre-commit", "reference-transaction", "post-checkout"):
        (tmp_path / hook).write_bytes(program.read_bytes())
        (tmp_path / hook).chmod(0o755)
    (repository / "train.py").write_text("changed\n")
    taken = snapshots.take()
    assert content(tmp_path, taken.tree)["train.py"] == ("100644", b"changed\n")
    assert not mark.exists()
    run_git(repository, "add", "train.py", check=False)
    assert mark.exists(), "the trap works where git is not deaf"


def test_nothing_is_fetched_that_a_repository_lacks(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    mark = tmp_path / "M"
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "evil",
        "remote.evil.promisor": "true",
        "remote.evil.url": f"ext::touch {mark}",
        "protocol.ext.allow": "always",
    }.items():
        git(repository, "config", key, value)
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    assert "train.py" in content(tmp_path, snapshots.take().tree)
    assert not mark.exists()
    run_git(repository, "cat-file", "-p", "HEAD:./", check=False)
    assert mark.exists(), "the trap works where git is not deaf"


def test_a_repository_does_not_choose_the_folder_that_is_sent(
    tmp_path: Path, repository: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "id_rsa").write_text("secret")
    (tmp_path / "way").symlink_to(repository)
    (repository / "inner").mkdir()
    assert root_of(tmp_path / "way" / "inner") == repository.resolve()
    git(repository, "config", "core.worktree", str(keys))
    assert root_of(repository) == repository


def test_a_token_in_the_remote_is_not_kept(repository: Path, snapshots: Snapshots) -> None:
    git(repository, "remote", "add", "origin", "https://ada:s3cret@git.example.org/x.git")
    assert snapshots.take().url == "https://git.example.org/x.git"


def test_large_files_are_asked_about(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    (repository / "big é.bin").write_bytes(b"x" * 3000)
    (repository / "big.log").write_bytes(b"x" * 3000)
    with pytest.raises(LargeFiles) as asked:
        snapshots.take(limit=2000)
    assert asked.value.details["files"] == [{"path": "big é.bin", "size": 3000}]
    left = snapshots.take(limit=2000, leave=["big é.bin"])
    assert "big é.bin" not in content(tmp_path, left.tree)
    sent = snapshots.take(limit=2000, send=["big é.bin"])
    assert content(tmp_path, sent.tree)["big é.bin"][1] == b"x" * 3000


def test_more_than_goes_without_a_question_is_asked_about(
    repository: Path, snapshots: Snapshots
) -> None:
    (repository / "data").mkdir()
    for number in range(9):
        (repository / "data" / f"{number}.bin").write_bytes(b"x" * 1000)
    with pytest.raises(LargeFolder) as asked:
        snapshots.take(most=Amount(5000, 100))
    assert asked.value.details["files"] == 12
    assert asked.value.details["folders"] == [{"path": "data", "bytes": 9000, "files": 9}]
    with pytest.raises(LargeFolder):
        snapshots.take(most=Amount(1 << 30, 11))
    assert snapshots.newest() is None
    snapshots.take(most=Amount(1 << 30, 12))
    assert snapshots.amount.files == 12


def test_a_snapshot_that_is_called_off_ends_git_at_once(tmp_path: Path, repository: Path) -> None:
    """Git waits for a pipe, which it takes for a list of what is ignored."""
    (repository / "deep").mkdir()
    os.mkfifo(repository / "deep" / ".gitignore")
    (repository / "deep" / "x").write_text("x")
    cancelled = threading.Event()
    snapshots = Snapshots(tmp_path / "state", repository, cancelled)
    caught: list[BaseException] = []

    def take() -> None:
        try:
            snapshots.take()
        except Cancelled as exc:
            caught.append(exc)

    thread = threading.Thread(target=take)
    thread.start()

    def children() -> list[psutil.Process]:
        found = psutil.Process().children(recursive=True)
        return [each for each in found if "ls-files" in each.cmdline()]

    wait_until(lambda: bool(children()), "git to wait", 30)
    cancelled.set()
    thread.join(30)
    assert len(caught) == 1 and children() == [] and snapshots.newest() is None
    (repository / "deep" / ".gitignore").unlink()
    assert Snapshots(tmp_path / "state", repository).take().changed == 1


def test_what_cannot_be_read_is_named_and_nothing_is_half_taken(
    tmp_path: Path, snapshots: Snapshots
) -> None:
    first = snapshots.take()
    with pytest.raises(GitError, match="no folder"):
        Snapshots(tmp_path / "other", tmp_path / "nowhere").take()
    os.mkfifo(tmp_path / "code" / "pipe")
    assert snapshots.take() == first, "a pipe is no file"


def test_a_file_that_was_written_again_is_read_again(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    """Of the same size, in the same moment, or with its time set back."""
    path = repository / "train.py"
    for number in range(20):
        path.write_text(f"{number:02}")
        assert content(tmp_path, snapshots.take().tree)["train.py"][1] == f"{number:02}".encode()
    os.utime(path, (1, 1))
    snapshots.take()
    path.write_text("xx")
    os.utime(path, (1, 1))
    assert content(tmp_path, snapshots.take().tree)["train.py"][1] == b"xx"


def test_many_files_become_one_pack_and_files_that_change_meanwhile_are_read_again(
    tmp_path: Path, repository: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (repository / f"f{number}.py").write_text(f"{number}\n")
    add = Pack.add

    def meddle(*words: Any) -> None:
        monkeypatch.setattr(Pack, "add", add)
        (repository / "f99.py").write_text("changed\n")
        (repository / "f98.py").unlink()
        add(*words)

    monkeypatch.setattr(Pack, "add", meddle)
    taken = snapshots.take()
    found = content(tmp_path, taken.tree)
    assert found["f99.py"][1] == b"changed\n" and "f98.py" not in found
    store = tmp_path / "state" / "code.git"
    assert run_git(store, "count-objects", "-v").decode().split()[7] == "1", "packs"
    run_git(store, "fsck", "--full", "--strict")
    monkeypatch.setattr(Pack, "add", lambda *words: meddle_always(repository, add, *words))
    for number in range(100):
        (repository / f"f{number}.py").write_text(f"and {number}\n")
    with pytest.raises(Busy, match="all the time"):
        snapshots.take()
    assert snapshots.newest() == taken and not list(store.rglob("tmp_*"))


def meddle_always(repository: Path, add: Any, *words: Any) -> None:
    (repository / "f99.py").write_text(f"{time.monotonic_ns()}")
    add(*words)


def test_a_store_that_is_gone_is_made_anew(
    tmp_path: Path, repository: Path, snapshots: Snapshots
) -> None:
    first = snapshots.take()
    shutil.rmtree(tmp_path / "state" / "code.git")
    assert snapshots.take().tree == first.tree
    assert content(tmp_path, first.tree)["train.py"][1] == b"print('one')\n"
    (tmp_path / "state" / "known.json").write_text("{")
    assert snapshots.take().tree == first.tree
