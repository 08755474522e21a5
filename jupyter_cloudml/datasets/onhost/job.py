"""A file that is to come, and what is to be done for it."""

from __future__ import annotations

import os
import threading

RANGE = 16 << 20
LARGE = 32 << 20
WHOLE = -1
SSE = "x-amz-server-side-encryption"
JOIN = -2  # no range: all are there


class Job:
    """One file that is to come."""

    def __init__(self, number: int, path: str, size: int, etag: str, version: str = "") -> None:
        self.number, self.path, self.size, self.etag = number, path, size, etag
        self.version = version
        self.url = ""
        # Goes up when the object has changed: what belongs to an earlier one is dropped.
        self.round = 0
        self.asked = False  # a new address is on its way
        self.renewals = self.changes = 0
        self.parked: list[int] = []  # ranges that wait for it
        self.left: set[int] = set()
        self.part = ""
        self.room = ""  # its name in the cache, if there is room for it
        self.blob = ""
        self.modified = ""
        self.failed = False
        self.sealed = False  # encrypted by the service, so that its ETag is no MD5
        self.touched = False  # there is a file of it in the scratch folder
        self.digest = ""  # of a content that did not agree with the ETag
        self.lock = threading.Lock()
        # The system writes to a file for one at a time, and lets others wait by spinning.
        self.writing = threading.Lock()

    @property
    def name(self) -> str:
        """What one version of an object is called where not its content tells."""
        return f"{self.path}\n{self.version}" if self.version else self.path

    def is_same(self, headers: dict[str, str]) -> bool:
        """Whether an answer is of the object that was asked for; not every service knows If-Match, or has ETags that tell."""
        etag, modified = headers.get("etag", "").strip('"'), headers.get("last-modified", "")
        self.modified = self.modified or modified
        cipher = headers.get(SSE, "")
        self.sealed = "kms" in cipher or f"{SSE}-customer-algorithm" in headers
        version = headers.get("x-amz-version-id", "")
        if self.version and version not in ("", self.version):
            return False
        return (not self.etag or etag in ("", self.etag)) and modified == self.modified


def tag(etag: str, version: str) -> str:
    """What the book keeps to know an object again."""
    return f"{etag}\n{version}" if version else etag


def is_tag_of(known: str, etag: str, version: str) -> bool:
    """Whether what the book has is this object. A version counts where both are known: they may not be listed, or be new in a bucket."""
    before, _, then = known.partition("\n")
    return before == etag and (not then or not version or then == version)


# A job, its round, and a range, WHOLE or JOIN.
Task = tuple[Job, int, int]
# mtime_ns and inode: both stay when the file is renamed or linked.
Stamp = tuple[int, int]


def stamp(status: os.stat_result) -> Stamp:
    """What tells that a file was written to since."""
    return status.st_mtime_ns, status.st_ino


def read_text(path: str) -> str:
    """What is in a file; "" where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
