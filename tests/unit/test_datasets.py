"""Datasets, the decisions: which keys can be files, which are meant, how requests are signed, what an answer means."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import unicodedata
import warnings
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_cloudml.datasets.address import (
    Address,
    File,
    Folder,
    Object,
    Refused,
    arrange,
    flaw,
)
from jupyter_cloudml.datasets.endpoint import Endpoint, _bounded, document, said
from jupyter_cloudml.datasets.errors import DataError, refusal
from jupyter_cloudml.datasets.globs import Choice
from jupyter_cloudml.datasets.listing import is_size
from jupyter_cloudml.datasets.multipart import MAX_PARTS, WHOLE, Multipart, part_size
from jupyter_cloudml.datasets.onhost.book import Book
from jupyter_cloudml.datasets.onhost.cache import Cache, blob_name
from jupyter_cloudml.datasets.onhost.durable import FEW, Disk
from jupyter_cloudml.datasets.onhost.folder import is_md5, matches
from jupyter_cloudml.datasets.onhost.wire import Wire, WireError, parsed
from jupyter_cloudml.datasets.progress import Progress, text
from jupyter_cloudml.datasets.sending import Send
from jupyter_cloudml.datasets.signing import Credentials, Place, Signer
from jupyter_cloudml.datasets.sync import Options
from jupyter_cloudml.errors import ProtocolError, UsageError
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.onhost.folder import Failed

# -- addresses and keys ------------------------------------------------------------------------------


def test_an_address_is_a_bucket_and_a_folder_in_it() -> None:
    assert Address.parse("s3://bucket") == Address.parse("s3://bucket/") == Address("bucket")
    found = Address.parse("s3://bucket/a b/ü/")
    assert (found.prefix, found.below, str(found)) == ("a b/ü", "a b/ü/", "s3://bucket/a b/ü")


@pytest.mark.parametrize(
    "text", ["bucket/x", "s3://", "s3:///x", "s3://a", "s3://-x/y", "s3://b b", "http://b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        Address.parse(text)


def arranged(*keys: str, below: str = "p/") -> list[File | Folder | Refused]:
    """A key that ends with `=` has content."""
    objects = sorted((key.rstrip("="), len(key) - len(key.rstrip("="))) for key in keys)
    return list(arrange([Object(below + name, size, "e") for name, size in objects], below))


def paths(found: list[File | Folder | Refused]) -> list[str]:
    return [each.path for each in found if isinstance(each, File)]


def refused(found: list[File | Folder | Refused]) -> list[str]:
    return [each.key for each in found if isinstance(each, Refused)]


def test_a_key_below_the_prefix_is_a_file_of_the_same_name() -> None:
    nfc, nfd = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    names = ["a", "b/c d", nfc, nfd, "-x", "~", "C:", "%41", "x" * 255, " "]
    assert paths(arranged(*(f"{name}=" for name in names))) == sorted(names)


@pytest.mark.parametrize(
    "key",
    [
        "../x",
        "a/../../x",
        "/abs",
        "a//b",
        "./x",
        "a/.",
        "..",
        "a\0b",
        "a\nb",
        "x" * 256,
        ".cloudml-data/x",
    ],
)
def test_a_key_that_no_folder_can_hold_is_refused_by_name_and_the_rest_goes_on(key: str) -> None:
    found = arranged(f"{key}=", "zz=", "!=")
    assert (paths(found), refused(found)) == (["!", "zz"], [f"p/{key}"])


def test_a_key_that_is_not_utf_8_is_refused() -> None:
    found = list(arrange([Object("a", 1, "e", is_text=False)], ""))
    assert refused(found) == ["a"]


@pytest.mark.parametrize(
    ("keys", "files", "no"),
    [
        (["a=", "a/b=", "a/c/d="], ["a"], ["p/a/b", "p/a/c/d"]),
        (["a", "a/b="], ["a/b"], []),  # an empty one is a folder's marker
        (["a=", "a!=", "a-b/c=", "a.b=", "a/b="], ["a", "a!", "a-b/c", "a.b"], ["p/a/b"]),
        (["a=", "a-=", "a-/x=", "a/b="], ["a", "a-"], ["p/a-/x", "p/a/b"]),
        (["a", "b=", "a0="], ["a", "a0", "b"], []),
        (["a=", "a/"], ["a"], ["p/a/"]),
        (["a", "a/", "a/b="], ["a/b"], []),
    ],
)
def test_of_a_file_and_what_lies_below_it_only_one_can_be(
    keys: list[str], files: list[str], no: list[str]
) -> None:
    found = arranged(*keys)
    assert (sorted(paths(found)), refused(found)) == (files, no)


def test_a_folder_s_marker_is_a_folder_and_one_with_content_is_refused() -> None:
    found = arranged("", "dir/", "full/=", "dir/x=")
    assert Folder("dir") in found
    assert (paths(found), refused(found)) == (["dir/x"], ["p/full/"])


@given(st.lists(st.text("ab/.-0", min_size=1, max_size=6), unique=True))
def test_no_two_of_the_files_are_in_each_other_s_way_and_nothing_is_lost(keys: list[str]) -> None:
    found = arranged(*(f"{key}=" for key in keys), below="")
    there = set(paths(found))
    assert not any(a != b and b.startswith(a + "/") for a in there for b in there)
    assert all(flaw(path) is None for path in there)
    assert there | set(refused(found)) == set(keys)


@pytest.mark.parametrize(
    ("include", "exclude", "path", "meant"),
    [
        ([], [], "a/b.csv", True),
        (["*.csv"], [], "a/b.csv", True),
        (["*.csv"], [], "a/b.csvx", False),
        (["a/*"], [], "a/b/c", False),
        (["a/**"], [], "a/b/c", True),
        (["**/c"], [], "c", True),
        (["a/"], [], "a/b/c", True),
        (["train/*.npy"], ["*_old*"], "train/x_old.npy", False),
        ([], ["tmp/"], "tmp/x", False),
        (["[a-c]?"], [], "b1", True),
        (["[!a-c]1"], [], "b1", False),
        (["x[1"], [], "x[1", True),
        (["a.b"], [], "aXb", False),
        (["*"], [], "new\nline", True),
        (["**/**/c"], [], "c", True),
        (["a/**/c"], [], "a/c", True),
        (["a/**/c"], [], "a/b/b/c", True),
        (["a/**/c"], [], "ab/c", False),
        (["a**/c"], [], "ab/c", True),
        (["x*[]-]"], [], "x1-", True),
        (["x[!]"], [], "x/", False),
        (["a", "b"], ["c", "b"], "b", False),
    ],
)
def test_globs_choose_what_they_say(
    include: list[str], exclude: list[str], path: str, meant: bool
) -> None:
    assert Choice(include, exclude).has(path) is meant


@given(st.text("ab/*?[]!-", min_size=1, max_size=9), st.text("ab/-", min_size=1, max_size=9))
def test_a_path_is_matched_as_the_same_regular_expression_would(pattern: str, path: str) -> None:
    try:
        meant = Choice([pattern]).has(path)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # "--" may mean something in a set one day
            expected = re.compile(expression(pattern), re.DOTALL).fullmatch(path)
    except (UsageError, re.error):
        return
    assert meant is bool(expected)


def expression(pattern: str) -> str:
    """A pattern as a regular expression."""
    pattern = pattern.removeprefix("./")
    head = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    pattern = (pattern + "**" if pattern.endswith("/") else pattern).removeprefix("/")
    out = ""
    for part in re.findall(r"\*\*/|\*\*|\[.[^]]*\]|.", pattern, re.DOTALL):
        if len(part) > 2 and part[0] == "[":
            inside = part[1:-1].replace("[", "\\[")
            out += f"[^/{inside[1:]}]" if inside[0] == "!" else f"[{inside}]"
        else:
            known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
            out += known.get(part) or re.escape(part)
    return head + out


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["*a" * 400, "**/*" * 200 + "b", "**a" * 300, "[a-z]*" * 300])
def test_no_pattern_takes_long(pattern: str) -> None:
    choice = Choice([pattern] * 20)
    for path in ("a" * 1000, "a/" * 500, "a" * 999 + "!"):
        choice.has(path)


@given(st.text(max_size=8))
def test_any_pattern_either_works_or_is_refused(pattern: str) -> None:
    try:
        Choice([pattern]).has("a/b")
    except UsageError:
        return


# -- signing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "a b/ü+%41", "x~-._", "(=&?#)", "日本"])
@pytest.mark.parametrize("token", [None, "to+ken/="])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:7480", "https://s3.example.org"])
def test_a_signed_address_is_the_one_that_botocore_makes(
    key: str, token: str | None, endpoint: str
) -> None:
    import boto3
    from botocore.client import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="eu-west-3",
        aws_access_key_id="AKIA",
        aws_secret_access_key="se/cr+et",
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    theirs = client.generate_presigned_url(
        "upload_part",
        Params={"Bucket": "bucket", "Key": key, "UploadId": "u/1", "PartNumber": 3},
        ExpiresIn=77,
    )
    told = parse_qs(urlsplit(theirs).query)
    now_s = _epoch(told["X-Amz-Date"][0])
    signer = Signer(Place(endpoint, "eu-west-3"), Credentials("AKIA", "se/cr+et", token))
    ours = signer.url(
        "PUT", "bucket", key, {"uploadId": "u/1", "partNumber": "3"}, now_s=now_s, expires_s=77
    )
    assert parse_qs(urlsplit(ours).query) == told
    assert ours.partition("?")[0] == theirs.partition("?")[0]


def _epoch(stamp: str) -> float:
    return datetime.strptime(stamp + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()


def test_a_bucket_may_be_in_the_name_of_the_host() -> None:
    place = Place("https://s3.eu-west-3.amazonaws.com", "eu-west-3", virtual_host=True)
    assert place.host("data") == "data.s3.eu-west-3.amazonaws.com"
    assert place.path("data", "a/b c") == "/a/b%20c"


def test_a_secret_is_in_no_text() -> None:
    credentials = Credentials("AKIA", "s3cr3t", "t0k3n")
    signer = Signer(Place("http://x", "r"), credentials)
    assert "s3cr3t" not in repr(signer) and "t0k3n" not in repr(signer)


# -- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "message", "skew", "expected"),
    [
        (404, "NoSuchBucket", "", 0, "no_such_bucket"),
        (403, "AccessDenied", "no", 0, "refused"),
        (403, "InvalidAccessKeyId", "", 0, "refused"),
        (403, "SignatureDoesNotMatch", "", 0, "refused"),
        (400, "ExpiredToken", "", 0, "expired"),
        (403, "AccessDenied", "Request has expired", 0, "expired"),
        (403, "AccessDenied", "Request has expired", -4000, "clock_skew"),
        (403, "RequestTimeTooSkewed", "", 4000, "clock_skew"),
        (301, "PermanentRedirect", "", 0, "wrong_region"),
        (503, "SlowDown", "", 0, "unavailable"),
        (500, "Odd", "", 0, "unavailable"),
        (400, "Odd", "", 0, "s3_error"),
    ],
)
def test_an_answer_is_named_by_its_cause(
    status: int, code: str, message: str, skew: float, expected: str
) -> None:
    now_s = 1_700_000_000.0
    date = formatdate(now_s - skew, usegmt=True)
    error = refusal("GET s3://b", status, code, message, date, now_s)
    assert error.code == expected and "s3://b" in error.message


@pytest.mark.parametrize("hidden", ["plain", "far", "utf-16"])
def test_an_answer_that_makes_the_parser_work_is_refused(hidden: str) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><Error><Code>&x;</Code></Error>'
    if hidden == "far":
        bomb = b"<!--" + b" " * 5000 + b"-->" + bomb
    elif hidden == "utf-16":
        bomb = bomb.decode().encode("utf-16")
    with pytest.raises(ProtocolError):
        document(bomb)
    assert said(bomb) == said(b"<html>") == ("", "")
    assert said(b"<Error><Code>A</Code><Message>b</Message></Error>") == ("A", "b")


# -- what runs on a machine --------------------------------------------------------------------------


def test_a_file_is_held_against_an_etag(tmp_path: Path) -> None:
    data = os.urandom(12_000_000)
    (tmp_path / "f").write_bytes(data)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        assert matches(fd, len(data), hashlib.md5(data).hexdigest()) is True
        assert matches(fd, len(data), hashlib.md5(b"").hexdigest()) is False
        for part in (8 << 20, 5 << 20, 6 << 20):
            pieces = [data[at : at + part] for at in range(0, len(data), part)]
            joined = b"".join(hashlib.md5(piece).digest() for piece in pieces)
            etag = f"{hashlib.md5(joined).hexdigest()}-{len(pieces)}"
            assert matches(fd, len(data), etag) is True
        assert matches(fd, len(data), "0" * 32 + "-2") is None
        assert matches(fd, len(data), "odd") is None
    finally:
        os.close(fd)
    assert not is_md5("A" * 32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Cache(Book())


def put(cache: Cache, name: str, size: int) -> bool:
    """Put an object into the cache, as a program does that fetches it."""
    if name not in cache.reserve({name: size}):
        return False
    path = Path(cache.blob(name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    status = path.stat()
    cache.keep({name: (status.st_mtime_ns, status.st_ino)})
    return True


def held(cache: Cache) -> int:
    objects = Path(cache.book.place, "objects").rglob("*")
    return sum(path.stat().st_size for path in objects if path.is_file())


def use(cache: Cache, dataset: int, at_ms: int, *names: str) -> None:
    cache.book.note(dataset, [(name, "e", 1, 0, 0, name) for name in names])
    cache.book.synced(dataset, at_ms)


def test_the_quota_is_never_passed_and_what_was_used_longest_ago_goes_first(cache: Cache) -> None:
    cache.set_quota(300)
    old, new = (cache.book.dataset(f"/{n}", "s3://b", False) for n in ("old", "new"))
    assert put(cache, "m-a", 100) and put(cache, "m-b", 100) and put(cache, "m-c", 100)
    use(cache, new, 9_000_000_000_000, "m-a")
    use(cache, old, 1, "m-b", "m-c")
    assert put(cache, "m-d", 150)
    assert cache.usable("m-a") and cache.usable("m-d")
    assert not cache.usable("m-b") and not cache.usable("m-c")
    assert held(cache) == cache.used() == 250
    assert not put(cache, "m-e", 301), "larger than the quota"
    assert cache.usable("m-a"), "nothing goes for what does not fit anyway"


def test_pins_stay_and_evicting_takes_the_rest(cache: Cache) -> None:
    cache.set_quota(200)
    pinned = cache.book.dataset("/pinned", "s3://b", False)
    put(cache, "m-a", 150)
    use(cache, pinned, 1, "m-a")
    with cache.book.writing() as database:
        database.execute("update datasets set pinned=1")
    assert not put(cache, "m-b", 100)
    with pytest.raises(Failed, match="pinned"):
        cache.set_quota(100)
    assert cache.quota == 200
    put(cache, "m-c", 50)
    assert cache.evict(None) == {"objects": 1, "bytes": 50}
    assert cache.usable("m-a") and held(cache) == 150


def test_room_that_a_killed_program_had_reserved_is_given_back(cache: Cache) -> None:
    cache.set_quota(100)
    cache.owner = "999999999.1"
    assert cache.reserve({"m-a": 100})
    Path(cache.blob("m-a")).parent.mkdir()
    Path(cache.blob("m-a")).write_bytes(b"x" * 100)
    again = Cache(Book())
    assert again.used() == held(again) == 0 and put(again, "m-b", 100)


def test_an_object_that_was_written_to_is_not_used_again(cache: Cache) -> None:
    put(cache, "m-a", 10)
    Path(cache.blob("m-a")).write_bytes(b"y" * 10)
    assert not cache.usable("m-a") and cache.used() == held(cache) == 0


def test_a_damaged_book_is_begun_anew(cache: Cache) -> None:
    put(cache, "m-a", 10)
    Path(cache.book.place, "book.db").write_bytes(b"no database" * 1000)
    again = Cache(Book())
    assert again.used() == held(again) == 0 and put(again, "m-a", 10)


def test_a_book_that_only_cannot_be_opened_is_not_begun_anew(cache: Cache) -> None:
    put(cache, "m-a", 10)
    book = Path(cache.book.place, "book.db")
    book.rename(book.with_name("kept"))
    book.mkdir()  # "unable to open database file", as with too many files
    with pytest.raises(Failed, match="unable to open"):
        Book()
    book.rmdir()
    book.with_name("kept").rename(book)
    assert Cache(Book()).usable("m-a")


def test_the_cache_tells_contents_apart() -> None:
    md5 = "0" * 32
    assert blob_name(md5, 1, "b/x", True) == blob_name(md5, 1, "b/y", True)
    assert blob_name(md5, 1, "b/x", True) != blob_name(md5, 2, "b/x", True)
    assert blob_name(md5, 1, "b/x", False) != blob_name(md5, 1, "b/y", False)
    assert blob_name("odd", 1, "b/x", True) != blob_name("odd", 1, "b/y", True)


# -- what a service may answer ------------------------------------------------------------------------


def test_what_follows_an_answer_is_not_taken_for_the_next() -> None:
    """A body that is longer than it said, and holds a whole answer for another file."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for body in (b"aa" + answer + b"no", b"bb"):
                sock, _ = server.accept()
                with sock:
                    sock.recv(1 << 16)
                    sock.sendall(answer + body)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        wire = Wire(None, 10.0)
        got = [wire.ask("GET", url + name, {}).text() for name in "ab"]
        wire.close()
        thread.join(20)
    assert got == ["aa", "bb"]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3",
        b"HTTP/1.1 \xb2 OK",
        b"garbage",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(WireError):
        parsed(head)


def test_of_an_answer_that_does_not_end_no_more_is_kept() -> None:
    raw = SimpleNamespace(read=lambda size: b"x" * size)
    assert _bounded(raw) is None


@pytest.mark.parametrize("text", ["²", "٣", "-1", "1" * 40, ""])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    assert not is_size(text) and is_size("1" * 18)


# -- what a machine may have done ---------------------------------------------------------------------


@pytest.mark.parametrize(("delete", "gone"), [(False, []), (True, ["p/b.txt"])])
def test_a_machine_deletes_only_what_was_asked_for(delete: bool, gone: list[str]) -> None:
    asked: list[str] = []
    endpoint = SimpleNamespace(ask=lambda method, bucket, key, **more: asked.append(key))
    options = Options(Choice(["*.txt"]), delete=delete)
    sending = Send(
        cast(Endpoint, endpoint),
        cast(Link, SimpleNamespace(machine="box")),
        Address("bucket", "p"),
        "out",
        "me",
        options,
        lambda progress: None,
        threading.Event(),
    )
    sending._without_extra({"extra": [0, 1]}, {0: "p/a.csv", 1: "p/b.txt"})
    assert asked == gone


# -- progress, parts ---------------------------------------------------------------------------------


def test_progress_says_rate_and_remaining_time() -> None:
    progress = Progress(listed=True)
    progress.take({"bytes": 0, "wanted": 10, "wanted_bytes": 40_000_000}, 1.0)
    progress.take({"bytes": 10_000_000, "files": 2, "wanted": 10, "wanted_bytes": 40_000_000}, 2.0)
    assert text(progress) == "2 of 10 files, 10.0 MB of 40.0 MB, 10.0 MB/s, 3 s to go"
    progress.take({"bytes": "x", "files": True}, 3.0)
    assert progress.get("bytes") == progress.get("files") == 0


@pytest.mark.parametrize("size", [1, 33 << 20, 160_000 << 20, 5 << 40])
def test_no_upload_has_too_many_parts(size: int) -> None:
    assert -(-size // part_size(size)) <= MAX_PARTS and part_size(size) >= 5 << 20


# -- on the disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("together", [True, False])
def test_files_are_on_the_disk_together_or_one_by_one(
    tmp_path: Path, count: int, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
    paths = [tmp_path / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
    folder = os.open(tmp_path, os.O_RDONLY)
    asked: list[int] = []
    try:
        disk = Disk(folder)

        def syncfs(fd: int) -> int:
            asked.append(fd)
            return 0 if together else -1

        disk._syncfs = syncfs
        disk.flush([str(path) for path in paths])
    finally:
        os.close(folder)
    every = [] if together and count > FEW else sorted(path.stat().st_ino for path in paths)
    assert sorted(flushed) == every and asked == ([folder] if count > FEW else [])


def test_a_file_that_cannot_be_flushed_is_told(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        disk = Disk(folder)
        disk._syncfs = None
        with pytest.raises(FileNotFoundError):
            disk.flush([str(tmp_path / "none")] * 20)
    finally:
        os.close(folder)


class Refusing:
    """A service that begins uploads and puts none together."""

    url = "http://s3"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(
        self, method: str, bucket: str, key: str, query: object, *more: object, **_: object
    ) -> Any:
        self.asked.append(method)
        upload = b"<R><UploadId>u</UploadId></R>"
        refusal = b"<Error><Code>InvalidPart</Code><Message>m</Message></Error>"
        return SimpleNamespace(body=refusal if more else upload)

    def signer(self, bucket: str) -> Any:
        return SimpleNamespace(url=lambda *words, **more: "http://s3/part")

    def now_s(self) -> int:
        return 0


def test_an_upload_that_could_not_be_put_together_can_be_abandoned() -> None:
    service = Refusing()
    with Multipart(cast("Any", service), "bucket", 60) as uploads:
        uploads.begin(7, "big", WHOLE + 1)
        with pytest.raises(DataError, match="InvalidPart"):
            uploads.finish(7, ["etag"])
        assert 7 in uploads.known, "the machine says that it gives it up"
        uploads.abandon(7)
    assert service.asked == ["POST", "POST", "DELETE"] and not uploads.known
