"""Datasets against services, machines and files that do what they should not: nothing wrong comes, nothing is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError
from buckets import Bucket
from faulty import Fault, proxy

from benchmarks.s3 import S3
from jupyter_cloudml.errors import CloudMLError

from .links import CutLink, link_at, wait_for
from .test_data import Background, Place, place  # noqa: F401 - the fixture

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLink]:
    with link_at(tmp_path_factory.mktemp("home")) as made:
        yield made


def test_a_file_that_is_replaced_while_it_is_sent_is_never_mixed(
    place: Place,  # noqa: F811
    bucket: Bucket,
    s3: S3,
) -> None:
    old, new = b"o" * 34_000_000, b"n" * 34_000_000
    place.folder.mkdir()
    big = place.folder / "big"
    big.write_bytes(old)
    replaced = threading.Event()

    def rule(method: str, target: str) -> Fault | None:
        if method != "PUT" or (replaced.is_set() and "partNumber=2" in target):
            return None
        if "partNumber=2" in target:  # it is opened again to be sent to another address
            (place.folder.parent / "new").write_bytes(new)
            os.replace(place.folder.parent / "new", big)
            replaced.set()
            return Fault(status=403, code="AccessDenied", drain=True)
        if "partNumber=1" in target and faulty.asked_for("/big", "PUT") <= 3:
            return Fault(hold=second)  # the last to end is of the old one
        return None

    second = threading.Event()
    with proxy(s3.url) as faulty:
        faulty.rule = rule
        sending = Background(lambda: place.send(bucket.url("up"), url=faulty.url))
        replaced.wait(60)
        wait_for(lambda: sending.ended or 2 in _parts(bucket, "up/big"), 60)
        second.set()
        done = sending.result()
    content = bucket.read("up/big")
    assert content in (old, new), (content.count(b"o"), content.count(b"n"), done)


def _parts(bucket: Bucket, key: str) -> list[int]:
    """The parts that have come of an upload."""
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    found = []
    for each in uploads:
        with suppress(ClientError):  # it has gone by now
            found.append(
                bucket.client.list_parts(Bucket=bucket.name, Key=key, UploadId=each["UploadId"])
            )
    return [part["PartNumber"] for each in found for part in each.get("Parts", [])]


def test_a_name_that_no_key_may_have_is_told_and_the_rest_is_sent(
    place: Place,  # noqa: F811
    bucket: Bucket,
) -> None:
    for name in ("a", "two\nlines", "sub/.cloudml-data/1.new"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_bytes(b"x")
    done = place.send(bucket.url("names"))
    assert [(name, code) for name, code, _ in done.failed] == [("'two\\nlines'", "bad_name")]
    assert bucket.keys() == ["names/a"]


def test_a_file_of_ones_own_is_not_deleted_for_it_was_the_same_once(
    place: Place,  # noqa: F811
    bucket: Bucket,
) -> None:
    bucket.put(mine=b"made here", theirs=b"made there")
    place.folder.mkdir()
    (place.folder / "mine").write_bytes(b"made here")  # and then sent with any tool
    assert place.sync(bucket.url()).counts["same"] == 1
    for key in ("mine", "theirs"):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    bucket.put(other=b"2")
    done = place.sync(bucket.url(), delete=True)
    assert sorted(place.files()) == ["mine", "other"]
    assert (done.counts["deleted"], done.kept) == (1, [])


def test_one_wrong_content_is_refused_where_the_others_agree_and_those_are_still_checked(
    place: Place,  # noqa: F811
    bucket: Bucket,
    s3: S3,
) -> None:
    data = {f"f{n}": os.urandom(500) for n in range(30)}
    bucket.put(**data)
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: (
            Fault(change=lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]))
            if "/f7?" in target
            else None
        )
        done = place.sync(bucket.url(), url=faulty.url)
    assert [(name, code) for name, code, _ in done.failed] == [("f7", "corrupt")]
    del data["f7"]
    assert {n: d for n, d in place.files().items() if "/" not in n} == data


def test_a_list_that_does_not_say_how_it_goes_on_is_not_taken_for_all(
    place: Place,  # noqa: F811
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3,
) -> None:
    bucket.put(a=b"1", b=b"2", c=b"3")
    place.sync(bucket.url())
    with proxy(s3.url) as faulty:
        faulty.rule = lambda method, target: (
            Fault(
                change=lambda answer: answer.replace(
                    b">false</IsTruncated>", b">true</IsTruncated> "
                )
            )
            if "list-type" in target
            else None
        )
        with pytest.raises(CloudMLError, match="how the list of"):
            place.sync(bucket.url(), url=faulty.url, delete=True)
    assert sorted(place.files()) == ["a", "b", "c"]
