"""What a machine sends of contents is read in whatever pieces it comes, and refused where it is not what it should be."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from jupyter_cloudml.workspaces.coming import LENGTH, Coming, Damaged
from jupyter_cloudml.workspaces.onhost.tree import blob_of


def framed(*files: tuple[str, list[bytes]], last: object = {}) -> bytes:
    told = b""
    for path, pieces in files:
        told += json.dumps([path, "100644"]).encode() + b"\n"
        told += b"".join(LENGTH.pack(len(piece)) + piece for piece in [*pieces, b""])
    return told + json.dumps(last).encode() + b"\n"


FILES = [("a\nb", [b"x" * 1000, b"\n"]), ("empty", []), ("c", [b"\0" * (3 << 20)])]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_contents_are_read_in_any_pieces(tmp_path: Path, step: int) -> None:
    sent = zlib.compress(framed(*FILES))
    coming = Coming(tmp_path, len(FILES))
    for at in range(0, len(sent), step):
        coming.feed(sent[at : at + step])
    coming.close()
    assert [(came.path, came.data.read_bytes()) for came in coming.files] == [
        (path, b"".join(pieces)) for path, pieces in FILES
    ]
    assert [came.blob for came in coming.files] == [blob_of(b"".join(p)) for _, p in FILES]
    assert coming.told == {} and coming.bytes == 1001 + (3 << 20)


@pytest.mark.parametrize(
    "sent",
    [
        b"no zlib",
        zlib.compress(framed(*FILES)) + b"more",
        zlib.compress(framed(*FILES, ("d", []))),
        zlib.compress(b"[1]\n"),
        zlib.compress(b"3\n"),
        zlib.compress(b"[" * 100_000 + b"\n"),
        zlib.compress(b"x" * (3 << 20)),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, sent: bytes) -> None:
    coming = Coming(tmp_path, len(FILES))
    with pytest.raises(Damaged):
        coming.feed(sent)
    coming.close()


def test_what_ends_too_soon_has_no_last_word(tmp_path: Path) -> None:
    coming = Coming(tmp_path, len(FILES))
    coming.feed(zlib.compress(framed(*FILES))[:-20])
    coming.close()
    assert coming.told is None
