"""pytest fixtures: `s3` is a real S3 service that the hosts of the box reach too, `bucket` a bucket of one test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from cloudbox.fixture import Box

from benchmarks.s3 import S3, server


@pytest.fixture(scope="session")
def s3(box: Box) -> Iterator[S3]:
    """An S3 service that this computer and the hosts of the box reach; the variables of this process lead to it."""
    with server(box.fabric.gateway) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environ().items():
            patch.setenv(name, value)
        yield running


class Bucket:
    """A bucket of one test."""

    def __init__(self, s3: S3, name: str = "") -> None:
        self.client, self.name = s3.client(), name or f"t-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=self.name)

    def put(self, **objects: bytes) -> None:
        for key, data in objects.items():
            self.write(key, data)

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def keys(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [each["Key"] for each in found]

    def url(self, prefix: str = "") -> str:
        return f"s3://{self.name}/{prefix}"


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket(s3)
