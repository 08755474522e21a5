"""Datasets with a real S3 service: whole files alone, only what has changed, through every fault, and no key on the machine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from buckets import Bucket
from cloudbox.commands import sh
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from faulty import Fault, proxy
from liveserver import places, thread_server

from benchmarks.s3 import ACCESS_KEY, S3, SECRET_KEY, free_port
from jupyter_cloudml.datasets import listing
from jupyter_cloudml.datasets.endpoint import Asked
from jupyter_cloudml.datasets.globs import Choice
from jupyter_cloudml.datasets.onhost.job import LARGE
from jupyter_cloudml.datasets.progress import Progress
from jupyter_cloudml.datasets.service import Datasets
from jupyter_cloudml.datasets.sync import Done, Options
from jupyter_cloudml.errors import Busy, Cancelled, CloudMLError, NotFound, UsageError
from jupyter_cloudml.machines.service import Machines

from .links import CutLink, link_at, wait_for
from .test_cli import Home, home  # noqa: F401 - the fixture

pytestmark = pytest.mark.timeout(240)
BIG = LARGE + (9 << 20)  # fetched in ranges


class OneMachine:
    """The seam to machines: one link, which a test can cut."""

    def __init__(self, link: CutLink) -> None:
        self._link = link

    def link(self, name: str) -> CutLink:
        return self._link


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLink]:
    with link_at(tmp_path_factory.mktemp("home")) as made:
        yield made


class Place:
    """A folder of a machine, and the datasets of an installation."""

    def __init__(self, tmp_path: Path, link: CutLink, now_s: Callable[[], float]) -> None:
        self.folder, self.link, self.home = tmp_path / "data", link, tmp_path / "home"
        self.home.mkdir(parents=True)
        self.data = Datasets(self.home, cast(Machines, OneMachine(link)), now_s)

    def sync(
        self, source: str, *, url: str | None = None, to: Path | None = None, **more: Any
    ) -> Done:
        options = {
            name: more.pop(name)
            for name in list(more)
            if name not in ("progress", "cancelled", "profile")
        }
        asked = Asked(url, more.pop("profile", None))
        return self.data.sync(
            source, str(to or self.folder), asked=asked, options=Options(**options), **more
        )

    def send(self, target: str, *, url: str | None = None, **options: Any) -> Done:
        return self.data.sync(
            str(self.folder), target, asked=Asked(url), options=Options(**options)
        )

    def files(self, folder: Path | None = None) -> dict[str, bytes]:
        root = folder or self.folder
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    def program(self) -> int:
        """The process that fetches, as soon as there is one."""

        def found() -> int:
            rows = [
                row
                for row in self.link.call("list")
                if row["labels"].get("purpose") == "data" and row["state"] == "running"
            ]
            return int(rows[0]["pid"]) if rows else 0

        return int(wait_for(found))


@pytest.fixture
def place(tmp_path: Path, link: CutLink) -> Place:
    return Place(tmp_path, link, time.time)


class Background:
    """A sync in a thread; `result` waits for its end and raises what it raised."""

    def __init__(self, work: Callable[[], Done]) -> None:
        self._done: list[Done | BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], Done]) -> None:
        try:
            self._done.append(work())
        except BaseException as exc:  # noqa: BLE001 - `result` raises it
            self._done.append(exc)

    @property
    def ended(self) -> bool:
        return bool(self._done)

    def result(self) -> Done:
        self._thread.join(120)
        (done,) = self._done
        if isinstance(done, BaseException):
            raise done
        return done


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


# -- what comes --------------------------------------------------------------------------------------


def test_a_prefix_comes_whole_and_then_only_what_has_changed(place: Place, bucket: Bucket) -> None:
    nfc, nfd = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    wanted = {
        "a.csv": b"a",
        "deep/er/b c+d%41.bin": os.urandom(100_000),
        "empty": b"",
        nfc: b"nfc",
        nfd: b"nfd",
        "big": os.urandom(BIG),
    }
    for key, data in wanted.items():
        bucket.write(f"p/{key}", data)
    odd = ["p/../x", "p//abs", "p/a.csv/below", "p/n\nl", "p/full/"]
    for key in odd:
        bucket.write(key, b"no")
    bucket.write("p/folder/", b"")
    bucket.write("p2/other", b"not meant")
    seen: list[Progress] = []
    done = place.sync(bucket.url("p"), progress=seen.append)
    assert place.files() == wanted and (place.folder / "folder").is_dir()
    assert sorted(name for name, _, _ in done.failed) == sorted(odd)
    assert done.counts["files"] == len(wanted) and not (place.folder.parent / "x").exists()
    assert not (place.folder / ".cloudml-data").exists()

    again = place.sync(bucket.url("p"))
    assert (again.counts.get("files", 0), again.counts["same"]) == (0, len(wanted))

    bucket.write("p/a.csv", b"b")
    bucket.write("p/new", b"new")
    (place.folder / "empty").unlink()
    (place.folder / nfc).unlink()
    (place.folder / nfc).write_bytes(b"bad")  # of the same size
    done = place.sync(bucket.url("p"))
    assert done.counts["files"] == 4
    assert place.files() == {**wanted, "a.csv": b"b", "new": b"new"}
    assert place.sync(bucket.url("p/new"), to=place.folder / "one").counts["files"] == 1
    assert (place.folder / "one/new").read_bytes() == b"new"


def test_only_what_is_chosen_comes_and_only_what_came_is_deleted(
    place: Place, bucket: Bucket
) -> None:
    bucket.put(**{"a.csv": b"1", "b.txt": b"2", "c.csv": b"3", "d.csv": b"4"})
    place.sync(bucket.url(), choice=Choice(["*.csv"], ["c*"]))
    assert sorted(place.files()) == ["a.csv", "d.csv"]
    place.sync(bucket.url())
    (place.folder / "mine").write_text("mine")
    (place.folder / "d.csv").unlink()
    (place.folder / "d.csv").write_text("changed here")
    for key in ("a.csv", "b.txt", "d.csv"):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    bucket.write("e.csv", b"5")
    preview = place.sync(bucket.url(), delete=True, preview=True)
    assert sorted(preview.would) == [
        ["delete", "a.csv", 1],
        ["delete", "b.txt", 1],
        ["fetch", "e.csv", 1],
    ]
    assert sorted(place.files()) == ["a.csv", "b.txt", "c.csv", "d.csv", "mine"]
    done = place.sync(bucket.url(), delete=True, choice=Choice([], ["*.txt"]))
    assert (done.counts["deleted"], done.kept) == (1, ["d.csv"])
    assert sorted(place.files()) == ["b.txt", "c.csv", "d.csv", "e.csv", "mine"]


def test_where_there_are_versions_another_version_is_another_object(
    place: Place, bucket: Bucket, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)  # versions of one key are on several pages
    bucket.put(**{"p/before": b"0"})
    plain = place.sync(bucket.url("p"))
    versioning = {"Status": "Enabled"}
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration=versioning)
    assert (again := place.sync(bucket.url("p"))).counts["same"] == 1, again
    for n in range(5):
        bucket.put(**{"p/a b+c": b"%d" % n})
    bucket.put(**{"p/gone": b"1", "p/z": b"2"})
    bucket.client.delete_object(Bucket=bucket.name, Key="p/gone")
    first = place.sync(bucket.url("p"))
    assert first.state not in ("", plain.state) and len(first.state) == 64
    assert {p.name: p.read_bytes() for p in place.folder.iterdir() if p.is_file()} == {
        "before": b"0",
        "a b+c": b"4",
        "z": b"2",
    }
    same = place.sync(bucket.url("p"))
    assert (same.state, same.counts["same"], same.counts.get("files", 0)) == (first.state, 3, 0)
    bucket.put(**{"p/z": b"2"})  # the same bytes, and another version
    other = place.sync(bucket.url("p"))
    assert other.state != first.state
    assert (other.counts["same"], other.counts["cached"]) == (2, 1), "it came over the network"
    assert place.sync(bucket.url("p"), compare="size").counts["same"] == 3
    with proxy(s3.url) as slow:  # a user who may not list versions
        slow.rule = lambda method, target: (
            Fault(status=403, code="AccessDenied") if "versions=" in target else None
        )
        assert place.sync(bucket.url("p"), url=slow.url).counts["same"] == 3
        assert any("versions=" in target for _, target in slow.asked)


def test_what_is_there_already_is_compared_as_asked(place: Place, bucket: Bucket) -> None:
    bucket.put(a=b"one", b=b"two")
    place.folder.mkdir()
    (place.folder / "a").write_bytes(b"one")  # brought by another tool
    (place.folder / "b").write_bytes(b"xxx")
    assert place.sync(bucket.url(), compare="size").counts["same"] == 2
    assert place.files()["b"] == b"xxx"
    done = place.sync(bucket.url())
    assert (done.counts["same"], done.counts["files"]) == (1, 1)
    status = (place.folder / "b").stat()
    (place.folder / "b").chmod(0o600)
    with open(place.folder / "b", "r+b") as file:  # nothing but the content tells
        file.write(b"yyy")
    os.utime(place.folder / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place.sync(bucket.url()).counts["same"] == 2
    assert place.sync(bucket.url(), compare="checksum").counts["files"] == 1
    assert place.files() == {"a": b"one", "b": b"two"}


def test_links_in_the_folder_lead_nowhere_else(
    place: Place, bucket: Bucket, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    place.folder.mkdir()
    (place.folder / "sub").symlink_to(outside)
    (place.folder / "file").symlink_to(outside / "kept")
    (place.folder / "folder").mkdir()
    bucket.put(**{"sub/x": b"1", "file": b"2", "folder": b"3", "ok": b"4"})
    done = place.sync(bucket.url())
    assert sorted((name, code) for name, code, _ in done.failed) == [
        ("folder", "in_the_way"),
        ("sub/x", "in_the_way"),
    ]
    assert (place.folder / "file").read_bytes() == b"2" and not (place.folder / "file").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


# -- faults ------------------------------------------------------------------------------------------


def test_errors_and_cut_answers_are_tried_again(place: Place, bucket: Bucket, s3: S3) -> None:
    data = {"small": os.urandom(200_000), "big": os.urandom(BIG)}
    bucket.put(**data)
    turns: dict[str, int] = {}

    def rule(method: str, target: str) -> Fault | None:
        turns[target] = turns.get(target, 0) + 1
        kind = {1: Fault(status=503), 2: Fault(cut=150_000), 3: Fault(cut=20)}
        return kind.get(turns[target]) if "X-Amz" in target else None

    with proxy(s3.url) as faulty:
        faulty.rule = rule
        done = place.sync(bucket.url(), url=faulty.url)
    assert place.files() == data and done.counts["retried"] >= 3
    assert done.counts["bytes"] == sum(map(len, data.values())), "each byte is counted once"


def test_a_service_that_falls_silent_is_asked_again(place: Place, bucket: Bucket, s3: S3) -> None:
    data = {"a": os.urandom(9), "b": os.urandom(9)}  # not what the cache has by now
    bucket.put(**data)
    for_ever = threading.Event()
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: (
            Fault(hold=for_ever) if "/a?" in target and faulty.asked_for("/a") == 1 else None
        )
        done = place.sync(bucket.url(), url=faulty.url, silent_s=0.5)
        for_ever.set()
        assert faulty.asked_for("/a") == 2, done
    assert place.files() == data


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Another implementation of S3, which knows no If-Match, and has its own idea of an ETag; its buckets are folders."""
    root, port = tmp_path_factory.mktemp("odd"), free_port()
    program = str(Path(sys.executable).with_name("rclone"))
    keys = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", os.devnull]
    keys += ["--etag-hash", "", "--dir-cache-time", "0"]
    argv = [program, "serve", "s3", *keys, "--addr", f"127.0.0.1:{port}", str(root)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        wait_for(lambda: _listens(port), 30, "rclone")
        yield root, f"http://127.0.0.1:{port}"
        service.kill()


def _listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def test_an_odd_service_will_do(
    place: Place, odd: tuple[Path, str], s3: S3, tmp_path: Path
) -> None:
    root, url = odd
    data = {"a/b c": b"1", "big": os.urandom(BIG), "empty": b""}
    for name, content in data.items():
        (root / "bucket" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "bucket" / name).write_bytes(content)
    first = place.sync("s3://bucket", url=url)
    assert (first.failed, first.counts["files"]) == ([], 3)
    assert place.files() == data
    assert place.sync("s3://bucket", url=url).counts["same"] == 3
    (root / "bucket" / "a/b c").write_bytes(b"22")
    assert place.sync("s3://bucket", url=url).counts["files"] == 1
    assert place.files()["a/b c"] == b"22"
    sent = place.send("s3://bucket/back", url=url)
    assert (sent.failed, sent.counts["files"]) == ([], 3)
    assert place.files(root / "bucket" / "back") == place.files()

    old, new = b"o" * BIG, b"n" * BIG
    (root / "bucket" / "one").mkdir()
    (root / "bucket/one/big").write_bytes(old)
    os.utime(root / "bucket/one/big", (1_700_000_000, 1_700_000_000))
    with proxy(url) as faulty:

        def rule(method: str, target: str) -> Fault | None:
            if method == "GET" and "/one/big" in target and faulty.asked_for("/one/big") == 2:
                (tmp_path / "new").write_bytes(new)
                os.replace(tmp_path / "new", root / "bucket/one/big")
            return None

        faulty.rule = rule
        done = place.sync("s3://bucket/one", url=faulty.url, to=tmp_path / "one")
    assert md5((tmp_path / "one/big").read_bytes()) == md5(new), done
    with pytest.raises(CloudMLError) as caught:
        place.sync("s3://no-such", url=url)
    assert caught.value.code == "no_such_bucket"


def test_an_object_that_changes_meanwhile_is_fetched_again_and_never_mixed(
    place: Place, bucket: Bucket, s3: S3
) -> None:
    old, new = b"o" * BIG, b"n" * BIG
    bucket.put(big=old, small=os.urandom(3), gone=os.urandom(3))
    changed = threading.Event()
    lock = threading.Lock()

    def rule(method: str, target: str) -> Fault | None:
        path = target.partition("?")[0]
        with lock:
            second = method == "GET" and path.endswith("/big") and faulty.asked_for("/big") == 2
            if second and not changed.is_set():
                bucket.put(big=new, small=b"new!")
                bucket.client.delete_object(Bucket=bucket.name, Key="gone")
                changed.set()
        if path.endswith(("/small", "/gone")):
            changed.wait(30)
        return None

    with proxy(s3.url) as faulty:
        faulty.rule = rule
        done = place.sync(bucket.url(), url=faulty.url)
    assert {name: md5(data) for name, data in place.files().items()} == {
        "big": md5(new),
        "small": md5(b"new!"),
    }
    assert (done.failed, done.counts["gone"]) == ([], 1)


def test_addresses_that_expire_are_renewed(place: Place, bucket: Bucket, s3: S3) -> None:
    data = {"big": os.urandom(BIG), **{f"f{n}": os.urandom(1000) for n in range(40)}}
    bucket.put(**data)
    begun: list[float] = []

    def rule(method: str, target: str) -> Fault | None:
        if method == "GET" and "list-type" not in target:
            begun.append(time.monotonic())
            while time.monotonic() < begun[0] + 2.5:  # until the first addresses have expired
                time.sleep(0.05)
        return None

    with proxy(s3.url) as faulty:
        faulty.rule = rule
        done = place.sync(bucket.url(), url=faulty.url, expires_s=1)
    assert place.files() == data and done.failed == []


def test_a_cut_link_only_makes_it_take_longer(place: Place, bucket: Bucket, s3: S3) -> None:
    data = {f"f{n}": os.urandom(1000) for n in range(300)}
    bucket.put(**data)
    held = threading.Event()
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: Fault(hold=held) if "/f1" in target else None
        syncing = Background(lambda: place.sync(bucket.url(), url=faulty.url))
        wait_for(lambda: faulty.asked_for("/f1"))
        place.link.cut()
        held.set()
        place.link.wait_up(30)
        place.link.cut()
        assert syncing.result().counts["files"] == 300
    assert place.files() == data


@pytest.mark.parametrize("who", ["here", "there"])
def test_a_sync_that_is_killed_goes_on_where_it_was(
    home: Home,  # noqa: F811
    link: CutLink,
    tmp_path: Path,
    bucket: Bucket,
    s3: S3,
    who: str,
) -> None:
    """On either side, with half of a large file there; nothing of it has a name that says it is whole."""
    data = {"a": b"a", "big": os.urandom(3 * (16 << 20) + 5)}
    bucket.put(**data)
    folder = tmp_path / "data"
    held = threading.Event()
    ranges: set[str] = set()

    def rule(method: str, target: str) -> Fault | None:
        if method == "GET" and target.partition("?")[0].endswith("/big"):
            ranges.add(target)
            if faulty.asked_for("/big") > 2:
                return Fault(hold=held, cut=0)
        return None

    with proxy(s3.url) as faulty:
        faulty.rule = rule
        words = ["data", "sync", bucket.url(), str(folder), "--endpoint-url", faulty.url]
        running = home.start(*words)
        parts = folder / ".cloudml-data"
        wait_for(lambda: _ranges_there(parts) == 2 and (folder / "a").exists(), 60, "two ranges")
        from jupyter_cloudml import Client

        with Client() as client:
            (row,) = [
                row
                for row in client.core.link("local").call("list")
                if row["labels"].get("purpose") == "data"
            ]
        if who == "here":
            running.kill()
        else:
            os.kill(row["pid"], signal.SIGKILL)
        _, complaint = running.communicate(timeout=60)
        if who == "there":
            assert running.returncode == 1 and b"ended with 137" in complaint
        assert sorted(path.name for path in folder.iterdir()) == [".cloudml-data", "a"]
        faulty.rule = lambda method, target: None
        faulty.asked.clear()
        done = json.loads(home.program(*words, "--json").stdout)  # it ends one that is left over
        held.set()
        assert (done["files"], done["resumed"]) == (1, 1)
        assert faulty.asked_for("/big") == 2, "what was there is not fetched again"
    assert {path.name: md5(path.read_bytes()) for path in folder.iterdir()} == {
        name: md5(content) for name, content in data.items()
    }


def _ranges_there(parts: Path) -> int:
    return sum(len(path.read_text().splitlines()) - 1 for path in parts.glob("*.map"))


def test_calling_it_off_ends_it_on_both_sides(place: Place, bucket: Bucket, s3: S3) -> None:
    bucket.put(a=os.urandom(9))
    cancelled, held = threading.Event(), threading.Event()
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: Fault(hold=held) if "/a?" in target else None
        syncing = Background(lambda: place.sync(bucket.url(), url=faulty.url, cancelled=cancelled))
        pid = place.program()
        with pytest.raises(Busy, match="already"):
            place.sync(bucket.url(), url=faulty.url)
        cancelled.set()
        with pytest.raises(Cancelled):
            syncing.result()
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), why="the program's end")
        held.set()
    assert place.files() == {}


def test_each_cause_has_a_name(
    place: Place, bucket: Bucket, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put(**{"p/a": b"a"})

    def code(source: str, **more: Any) -> str:
        place.data = Datasets(place.home, cast(Machines, OneMachine(place.link)))
        with pytest.raises(CloudMLError) as caught:
            place.sync(source, **more)
        assert caught.value.hint, caught.value
        assert SECRET_KEY not in str(caught.value)
        return caught.value.code

    assert code("s3://no-such-bucket-here/x") == "no_such_bucket"
    assert code(bucket.url("nothing")) == "nothing_there"
    assert code(bucket.url(), url="http://127.0.0.1:9") == "wrong_endpoint"
    assert code(bucket.url(), url="gopher") == "wrong_endpoint"
    assert code(bucket.url(), profile="nobody") == "no_such_profile"
    with proxy(s3.url) as page:
        page.rule = lambda method, target: Fault(status=503)
        assert code(bucket.url(), url=page.url) == "unavailable"
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert code(bucket.url()) == "refused"
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        assert code(bucket.url()) == "no_credentials"
    late = Datasets(place.home, cast(Machines, OneMachine(place.link)), lambda: time.time() - 4000)
    with pytest.raises(CloudMLError) as caught:
        late.sync(bucket.url(), str(place.folder))
    assert caught.value.code == "clock_skew", caught.value
    for source, target in (("a", "b"), ("s3://bb/x", "s3://cc/y"), ("s3://bb/x", "")):
        with pytest.raises(UsageError):
            place.data.sync(source, target)


# -- the cache ---------------------------------------------------------------------------------------


def _certificate(folder: Path, name: str, begins_in_days: int) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that is its own authority, and what serves it."""
    file, key = folder / f"{name}.pem", folder / f"{name}.key"
    begins = datetime.now(timezone.utc) + timedelta(days=begins_in_days)
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, own.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=9))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(own, hashes.SHA256())
    )
    file.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


def test_an_authority_of_ones_own_goes_along_to_the_machine(
    place: Place, bucket: Bucket, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"a": os.urandom(9), "big": os.urandom(BIG)}
    for name, content in data.items():
        bucket.write(f"p/{name}", content)
    file, context = _certificate(tmp_path, "own", -1)
    later, of_tomorrow = _certificate(tmp_path, "tomorrow", 1)
    config = tmp_path / "config"
    config.write_text(f"[profile own]\nca_bundle = {file}\n")
    (tmp_path / "keys").write_text(
        f"[own]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
    )
    with proxy(s3.url, secure=context) as secure:
        caught = _fails(place, bucket.url("p"), url=secure.url)
        assert caught.code == "wrong_endpoint" and "certificate" in caught.message, caught
        with monkeypatch.context() as patch:
            patch.setenv("AWS_CONFIG_FILE", str(config))
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.delenv(name)
            patch.delenv("AWS_CA_BUNDLE", raising=False)  # it would come first
            place.sync(bucket.url("p"), url=secure.url, profile="own")
        assert (place.folder / "big").read_bytes() == data["big"]
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        place.send(bucket.url("back"), url=secure.url)
        assert bucket.read("back/big") == data["big"]

        both = tmp_path / "both"
        both.write_text(file.read_text() + later.read_text())
        monkeypatch.setenv("AWS_CA_BUNDLE", str(both))
        secure.secure = of_tomorrow
        anew = Place(tmp_path / "x", place.link, time.time)
        caught = _fails(anew, bucket.url("p"), url=secure.url)
        assert "not yet valid" in caught.message and "clock" in caught.message, caught
        secure.secure = context  # the machine alone is of yesterday

        def later_there(method: str, target: str) -> None:
            secure.secure = of_tomorrow if "list-type" in target else secure.secure

        secure.rule = later_there
        caught = _fails(anew, bucket.url("p"), url=secure.url, cache=False)
        assert caught.code == "endpoint_untrusted" and "clock" in caught.hint, caught
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "nowhere"))
        caught = _fails(Place(tmp_path / "y", place.link, time.time), bucket.url("p"))
        assert caught.code == "bad_ca_bundle" and "nowhere" in caught.message


def _fails(place: Place, source: str, **options: Any) -> CloudMLError:
    with pytest.raises(CloudMLError) as caught:
        place.sync(source, **options)
    return caught.value


def test_a_python_without_sqlite_is_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    blocked = "import sys; sys.modules['sqlite3'] = None\n"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -c "{blocked}$3"\n')
    python.chmod(0o755)
    monkeypatch.setitem(place.link.info, "python", str(python))
    with pytest.raises(CloudMLError) as caught:
        place.data.list("local")
    assert caught.value.code == "no_sqlite" and "--python" in caught.value.hint, caught.value


def test_two_folders_share_the_bytes_and_the_quota_is_never_passed(
    place: Place, bucket: Bucket, s3: S3, tmp_path: Path
) -> None:
    place.data.evict("local")
    place.data.set_quota("local", 10_000_000)
    data = {"a": os.urandom(3_000_000), "b": os.urandom(3_000_000)}
    bucket.put(**{f"p/{key}": content for key, content in data.items()})
    other = tmp_path / "other"
    with proxy(s3.url) as faulty:
        place.sync(bucket.url("p"), url=faulty.url)
        again = place.sync(bucket.url("p"), to=other, url=faulty.url)
        assert faulty.asked_for("/p/a") == 1
    assert (again.counts["cached"], place.files(other)) == (2, data)
    assert place.data.list("local").used == 6_000_000
    blocks = sum({p.stat().st_ino: p.stat().st_blocks for p in [*other.iterdir(), *place.folder.iterdir()]}.values())  # fmt: skip
    assert blocks * 512 < 7_000_000, "the bytes lie there once"

    for path in (other / "a", place.folder / "a"):
        assert not path.stat().st_mode & 0o222, "who writes to one would write to all"
    place.data.pin("local", str(other))
    bucket.put(**{"q/c": os.urandom(4_500_000), "q/d": os.urandom(1_000_000)})
    with _watched(Path(os.environ["HOME"], ".cache/jupyter-cloudml/data/objects")) as most:
        place.sync(bucket.url("q"), to=tmp_path / "q")
    assert most[0] <= 10_000_000
    listed = place.data.list("local")
    assert listed.used == 7_000_000, "what does not fit beside the pinned is fetched all the same"
    assert [each.pinned for each in listed.datasets if each.folder == str(other)] == [True]
    assert place.data.evict("local").evicted == (1, 1_000_000)
    place.data.pin("local", str(other), False)
    assert place.data.evict("local").evicted == (2, 6_000_000)
    assert place.files() == place.files(other) == data
    with pytest.raises(NotFound, match="no dataset"):
        place.data.pin("local", "/no/such/folder")
    place.data.set_quota("local", 10**12)


class _watched:
    """Looks all the time at how many bytes a folder holds."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stop, self.most = folder, threading.Event(), [0]
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.wait(0.002):
            held = 0
            for path in self._folder.rglob("*"):
                try:
                    held += path.stat().st_size if path.is_file() else 0
                except FileNotFoundError:
                    continue
            self.most[0] = max(self.most[0], held)

    def __enter__(self) -> list[int]:
        self._thread.start()
        return self.most

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


def test_the_cache_is_managed_from_the_command_line(
    home: Home,  # noqa: F811
    link: CutLink,
    tmp_path: Path,
    bucket: Bucket,
) -> None:
    bucket.put(**{"p/a": b"x" * 900_000, "p/b": b"y" * 900_000})
    folder = str(tmp_path / "data")
    home.run("data", "evict")
    assert "2 files came, 0 were there" in home.run("data", "sync", bucket.url("p"), folder).stdout
    assert "0 files came, 2 were there" in home.run("data", "sync", bucket.url("p"), folder).stdout
    assert "cache: 1.8 MB of" in home.run("data", "list").stdout
    assert home.json("data", "pin", bucket.url("p"))["cache"]["used"] == 1_800_000
    assert "pinned" in home.run("data", "list").stdout
    assert "pinned datasets take more" in home.run("data", "quota", "1MB", check=1).stderr
    home.run("data", "unpin", folder)
    assert home.json("data", "quota", "1MB")["cache"] == {"used": 900_000, "quota": 1_000_000}
    assert home.json("data", "evict", folder)["evicted"] == {"objects": 1, "bytes": 900_000}
    assert "no dataset" in home.run("data", "pin", "nowhere", check=1).stderr
    home.run("data", "quota", "much", check=2)
    home.run("data", "sync", bucket.url(), folder, "--size-only", "--checksum", check=2)
    home.run("data", "quota", "1TB")
    preview = home.run("data", "sync", bucket.url(), folder, "--preview", "--include", "p/a")
    assert "fetch  p/a (900 kB)" in preview.stdout


# -- the other way -----------------------------------------------------------------------------------


def test_a_folder_goes_to_a_prefix_and_then_only_what_has_changed(
    place: Place, bucket: Bucket, s3: S3
) -> None:
    data = {"model.bin": os.urandom(40_000_000), "sub/é x": b"log", "empty": b"", "out.tmp": b"x"}
    for name, content in data.items():
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_bytes(content)
    (place.folder / "link").symlink_to("/etc/passwd")
    turns: dict[str, int] = {}

    def rule(method: str, target: str) -> Fault | None:
        turns[target] = turns.get(target, 0) + 1
        return Fault(status=503) if method == "PUT" and turns[target] == 1 else None

    with proxy(s3.url) as faulty:
        faulty.rule = rule
        done = place.send(bucket.url("r"), url=faulty.url, choice=Choice([], ["*.tmp"]))
    assert (done.failed, done.counts["files"]) == ([], 3)
    assert bucket.keys() == ["r/empty", "r/model.bin", "r/sub/é x"]
    assert bucket.read("r/model.bin") == data["model.bin"]
    assert "-" in bucket.client.head_object(Bucket=bucket.name, Key="r/model.bin")["ETag"]

    assert place.send(bucket.url("r"), choice=Choice([], ["*.tmp"])).counts["same"] == 3
    (place.folder / "sub/é x").write_bytes(b"changed")
    (place.folder / "empty").unlink()
    done = place.send(bucket.url("r"), delete=True, preview=True)
    assert sorted(done.would) == [
        ["delete", "empty", 0],
        ["send", "out.tmp", 1],
        ["send", "sub/é x", 7],
    ]
    done = place.send(bucket.url("r"), delete=True, choice=Choice([], ["*.tmp"]))
    assert (done.counts["files"], done.counts["deleted"]) == (1, 1)
    assert bucket.read("r/sub/é x") == b"changed" and len(bucket.keys()) == 2


def test_an_upload_that_fails_leaves_nothing_behind(place: Place, bucket: Bucket, s3: S3) -> None:
    place.folder.mkdir()
    (place.folder / "big").write_bytes(os.urandom(40_000_000))
    cancelled, held = threading.Event(), threading.Event()
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: Fault(hold=held) if "partNumber=2" in target else None
        syncing = Background(
            lambda: place.data.sync(
                str(place.folder), bucket.url(), asked=Asked(faulty.url), cancelled=cancelled
            )
        )
        wait_for(lambda: faulty.asked_for("/big", "PUT"))
        cancelled.set()
        with pytest.raises(Cancelled):
            syncing.result()
        held.set()
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert (bucket.keys(), uploads.get("Uploads", [])) == ([], [])


# -- REST ----


def test_a_sync_over_rest_is_an_operation_that_can_be_called_off(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, bucket: Bucket, s3: S3
) -> None:
    root = tmp_path_factory.mktemp("rest")
    bucket.put(**{"p/a": b"a", "p/big": os.urandom(BIG)})
    folder, route = tmp_path / "data", "machines/local/datasets"
    held = threading.Event()
    with pytest.MonkeyPatch.context() as patch, proxy(s3.url) as slow:
        for name, value in {**places(root), "HOME": str(root)}.items():
            patch.setenv(name, value)
        with thread_server(root) as server:
            slow.rule = lambda method, target: Fault(hold=held) if "/big?" in target else None
            body = {"source": bucket.url("p"), "target": str(folder), "endpoint_url": slow.url}
            begun = server.api("POST", route, body)
            about = {"source": bucket.url("p"), "target": str(folder)}
            assert begun.json()["operation"]["about"] == about
            wait_for(lambda: slow.asked_for("/big"))
            identity = begun.json()["operation"]["id"]
            assert server.api("DELETE", f"operations/{identity}").status == 202
            assert server.operation(begun)["state"] == "cancelled"
            held.set()
            slow.rule = lambda method, target: None
            with server.events() as events:
                done = server.operation(server.api("POST", route, body))
                events.until(
                    lambda event: event["noun"] == "dataset" and event["machine"] == "local"
                )
            assert (done["state"], done["result"]["total_files"]) == ("done", 2), done
            assert "of" in done["step"]["text"]
            listed = server.get(route)
            assert [each["source"] for each in listed["datasets"]] == [bucket.url("p")]
            pinned = server.api("PATCH", route, {"dataset": bucket.url("p"), "pinned": True})
            assert pinned.json()["datasets"][0]["pinned"] is True
            assert server.api("PATCH", route, {"quota": 1}).code == "pinned"
            assert server.api("PATCH", route, {"quota": 1, "pinned": True}).status == 400
            assert server.api("PATCH", route, {"dataset": "s3://no", "pinned": True}).status == 404
            server.api("PATCH", route, {"dataset": bucket.url("p"), "pinned": False})
            assert server.api("DELETE", f"{route}?dataset=").json()["cache"]["used"] == 0
            wrong = server.operation(
                server.api("POST", route, {**body, "source": "s3://no-such/x"})
            )
            assert (wrong["state"], wrong["error"]["code"]) == ("failed", "no_such_bucket")
            assert server.api("POST", route, {**body, "target": "s3://b/x"}).status == 400
            assert server.api("POST", "machines/nobody/datasets", body).status == 404
            server.operation(server.api("POST", "machines/local/stop"))


def test_buckets_are_looked_into_page_by_page(
    tmp_path_factory: pytest.TempPathFactory, bucket: Bucket, s3: S3
) -> None:
    root = tmp_path_factory.mktemp("browse")
    odd = ["odd//x", "odd/a b+c%2F.txt", "odd/\u00e9", "odd/e\u0301", "odd/<&>", "odd/\n"]
    bucket.put(**{"p/": b"", "p/a": b"1", "p/a/b": b"22", "p/b.txt": b"333", "top": b""})
    for key in odd:
        bucket.write(key, b"1")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: bucket.write(f"many/{n:04}", b"x"), range(1200)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**places(root), "HOME": str(root)}.items():
            patch.setenv(name, value)
        (root / ".aws").mkdir()
        (root / ".aws" / "credentials").write_text("[lab]\naws_access_key_id = x\n")
        patch.delenv("AWS_SHARED_CREDENTIALS_FILE")
        with thread_server(root) as server:

            def look(what: str = "list", **body: Any) -> Any:
                reply = server.api("POST", f"buckets/{what}", body)
                assert SECRET_KEY.encode() not in reply.body
                return reply.json()

            def names(prefix: str) -> list[str]:
                entries = look(bucket=bucket.name, prefix=prefix)["entries"]
                return [each["key"].removeprefix(prefix) for each in entries]

            assert bucket.name in [each["name"] for each in look()["buckets"]]
            assert names("") == ["many/", "odd/", "p/", "top"]
            assert names("p/") == ["a", "a/", "b.txt"]
            assert names("odd/") == ["\n", "/", "<&>", "a b+c%2F.txt", "e\u0301", "\u00e9"]
            assert names("odd//") == ["x"]
            entry = look(bucket=bucket.name, prefix="p/b")["entries"][0]
            assert (entry["size"], entry["is_folder"], entry["is_text"]) == (3, False, True)
            assert abs(entry["modified_ms"] / 1000 - time.time()) < 600
            first = look(bucket=bucket.name, prefix="many/")
            second = look(bucket=bucket.name, prefix="many/", after=first["after"])
            assert (len(first["entries"]), second["after"]) == (1000, None)
            seen = [each["key"] for each in [*first["entries"], *second["entries"]]]
            assert seen == [f"many/{n:04}" for n in range(1200)]
            measured = look("measure", bucket=bucket.name, prefix="")
            usual = "data/{}/{}".format(
                urlsplit(s3.hosts_url).netloc.replace(":", "_"), bucket.name
            )
            assert measured == {"files": 1211, "bytes": 1212, "after": None, "folder": usual}
            assert look("measure", bucket=bucket.name, prefix="p/b.t")["folder"] == f"{usual}/p"
            assert server.get("buckets/profiles") == {"profiles": ["lab"]}

            assert look(bucket="no-such-bucket-here")["code"] == "no_such_bucket"
            assert look(profile="nobody")["code"] == "no_such_profile"
            assert look(profile="lab")["code"] == "no_credentials"
            assert look(endpoint_url="http://127.0.0.1:9")["code"] == "wrong_endpoint"
            assert look(bucket=bucket.name, prefix=3)["code"] == "usage"
            # What is mended in ~/.aws counts at once.
            keys = "[lab]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.delenv(name)
            patch.delenv("AWS_CA_BUNDLE", raising=False)  # it would come first
            (root / ".aws" / "credentials").write_text(keys.format(ACCESS_KEY, "wrong"))
            assert look(bucket=bucket.name, profile="lab")["code"] == "refused"
            assert look(profile="lab")["hint"].startswith("Type the address")
            (root / ".aws" / "credentials").write_text(keys.format(ACCESS_KEY, SECRET_KEY))
            assert "entries" in look(bucket=bucket.name, profile="lab")


# -- on a real host ----------------------------------------------------------------------------------


def test_a_host_gets_the_files_and_no_key(
    home: Home,  # noqa: F811
    bucket: Bucket,
    s3: S3,
    host: Host,
    ssh_config: SSHConfig,
) -> None:
    data = {
        "a/b.csv": b"1,2",
        "big": os.urandom(BIG),
        **{f"f/{n}": os.urandom(99) for n in range(50)},
    }
    for key, content in data.items():
        bucket.write(f"p/{key}", content)
    bucket.write("p/../evil", b"no")
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    held = threading.Event()
    words = ["data", "sync", bucket.url("p"), "data", "--on", "box"]
    with proxy(s3.url, s3.hosts_url.split("//")[1].partition(":")[0]) as slow:
        slow.rule = lambda method, target: Fault(hold=held) if "/f/7?" in target else None
        running = home.start(*words, "--endpoint-url", slow.url)
        wait_for(lambda: slow.asked_for("/f/7"), 60, "the file")
        _no_canary(host, "while it runs")
        for process in host.processes("ada"):
            if any("sys.stdin.buffer.read" in word for word in process.argv):
                os.kill(process.pid, signal.SIGKILL)
        running.communicate(timeout=60)
        assert running.returncode == 1
        _no_canary(host, "after a kill")
        held.set()
    done = home.run(*words, check=1)
    assert "bad_key: p/../evil" in done.stderr and "files came" in done.stdout
    there = host.root / "home/ada/data"
    assert {
        str(p.relative_to(there)): p.read_bytes() for p in there.rglob("*") if p.is_file()
    } == data
    assert home.json("data", "list", "--on", "box")["datasets"][0]["files"] == len(data)
    home.run("run", "--on", "box", "--", "sh", "-c", "mkdir out && echo done > out/result")
    home.run("data", "sync", "out", bucket.url("results"), "--on", "box")
    assert bucket.read("results/result") == b"done\n"
    _no_canary(host, "at the end")

    bucket.write("large", os.urandom(60_000_000))
    bucket.write("large2", os.urandom(60_000_000))
    host.fill_disk(leave=40_000_000)
    full = home.run("data", "sync", bucket.url(), "more", "--include", "large*", "--on", "box", check=1)  # fmt: skip
    assert "no space left on box" in full.stderr
    assert [p.name for p in (host.root / "home/ada/more").iterdir()] == []
    host.free_disk()
    home.run("data", "sync", bucket.url(), "more", "--include", "large*", "--on", "box")
    assert (host.root / "home/ada/more/large").stat().st_size == 60_000_000


def _no_canary(host: Host, when: str) -> None:
    """Look for keys, and for signed addresses, on all of the host's disk and in all that its processes show."""
    signs = [SECRET_KEY.encode(), ACCESS_KEY.encode(), b"X-Amz-Signature="]
    found = sh("find", host.disk / "upper", "-type", "f", "-print0").split("\0")
    for place in ("tmp", "run", "dev/shm"):
        found += sh("find", host.root / place, "-xdev", "-type", "f", "-print0").split("\0")
    for process in host.processes():
        found += [f"/proc/{process.pid}/{name}" for name in ("cmdline", "environ")]
    looked_at = 0
    for path in filter(None, found):
        try:
            content = Path(path).read_bytes()
        except OSError:
            continue  # it has ended, or was renamed
        looked_at += 1
        assert not [sign for sign in signs if sign in content], f"{path} {when}"
    assert looked_at > 30  # the agent, its processes and the first files
