"""Objects that are written without git: git finds them whole."""

from __future__ import annotations

import os
import random
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.workspaces import packing
from jupyter_cloudml.workspaces.merge import File
from jupyter_cloudml.workspaces.packing import Pack, Packed, clear_up, write_loose
from jupyter_cloudml.workspaces.snapshot import make_repository
from jupyter_cloudml.workspaces.trees import name_of, tree_objects


def git(store: Path, *words: str, stdin: bytes = b"") -> bytes:
    argv = ["git", f"--git-dir={store}", *words]  # nosemgrep: git-argv-without-dashes
    return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_repository(tmp_path / "code.git")
    return tmp_path / "code.git"


def contents() -> list[bytes]:
    chance = random.Random(0)
    sizes = [0, 1, 15, 16, 2047, 2048, 40_000, 3_000_000]
    return [chance.randbytes(size) for size in sizes] + [b"text\n" * 1000]


def test_git_reads_a_pack_and_what_lies_beside_it(store: Path) -> None:
    pack = Pack(store / "objects", len(contents()))
    for data in contents():
        pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        pack.add(name_of("blob", data), "blob", len(data), pieces)
    place = pack.finish()
    pack.discard()
    git(store, "verify-pack", "--", str(place))
    names = [name_of("blob", data) for data in contents()]
    assert [git(store, "cat-file", "blob", name) for name in names] == contents()
    sizes = [len(data) for data in contents()]
    told = list(Packed(place, pack.places).read(names, sizes))
    assert [size for size, _ in told if size] == [size for size in sizes if size]
    rest, got = b"".join(piece for _, piece in told), []
    while rest:
        unpack = zlib.decompressobj()
        got.append(unpack.decompress(rest))
        rest = unpack.unused_data
    assert got == contents()
    write_loose(store / "objects", name_of("blob", b"one"), "blob", 3, [b"o", b"ne"])
    assert git(store, "cat-file", "blob", name_of("blob", b"one")) == b"one"
    git(store, "fsck", "--full", "--strict")
    assert not list((store / "objects").rglob("tmp_*"))


def test_an_index_has_room_for_packs_of_many_gigabytes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git reads the table of 64 bits for offsets that are not that large as well."""
    monkeypatch.setattr(packing, "LARGE", 1 << 12)
    pack = Pack(store / "objects", len(contents()))
    for data in contents():
        pack.add(name_of("blob", data), "blob", len(data), [data])
    git(store, "verify-pack", "--", str(pack.finish()))
    found = [git(store, "cat-file", "blob", name_of("blob", data)) for data in contents()]
    assert found == contents()


def test_what_a_killed_writer_left_is_taken_away(store: Path) -> None:
    pack = Pack(store / "objects", 1)
    pack.add(name_of("blob", b"x"), "blob", 1, [b"x"])
    pack._file.close()
    (store / "objects" / "tmp_obj").write_bytes(b"half")
    clear_up(store / "objects")
    assert [p.name for p in (store / "objects").rglob("*") if p.is_file()] == []


PART = st.text("ab.-é\n", min_size=1, max_size=3).filter(lambda part: part not in (".", ".."))


def test_folders_are_as_git_writes_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("trees") / "code.git"
    make_repository(store)
    blob = name_of("blob", b"")
    write_loose(store / "objects", blob, "blob", 0, [])

    @settings(max_examples=20, deadline=None)
    @given(st.dictionaries(st.lists(PART, min_size=1, max_size=3).map("/".join), st.booleans()))
    def check(wanted: dict[str, bool]) -> None:
        paths = [p for p in wanted if not any(o != p and p.startswith(o + "/") for o in wanted)]
        files = {path: File("100755" if wanted[path] else "100644", blob) for path in paths}
        for name, data in tree_objects(files):
            write_loose(store / "objects", name, "tree", len(data), [data])
        told = git(store, "ls-tree", "-rz", name).split(b"\0")[:-1]
        rows = [row.split(b"\t", 1) for row in told]
        seen = {os.fsdecode(path): head.decode().split() for head, path in rows}
        assert seen == {path: [file.mode, "blob", blob] for path, file in files.items()}

    check()
    git(store, "fsck", "--strict", "--no-dangling")


def test_a_file_in_the_way_of_a_folder_is_named() -> None:
    file = File("100644", "0" * 40)
    for paths in (["a", "a/b"], ["a/b", "a"]):
        with pytest.raises(ValueError, match="a"):
            tree_objects(dict.fromkeys(paths, file))
