"""The contents of Git LFS in a clone: fetched with the user's own git-lfs, checked, and put where their pointers would be."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import Cancelled, CloudMLError, NoSpace
from .git import Git
from .merge import File
from .modules import source_of
from .objects import Objects
from .progress import Steps
from .snapshot import make_repository
from .source import Source
from .submodules import Report
from .users_git import UsersGit

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n"
)
MAX_POINTER = 1024
MAX_CONFIG = 1 << 20
PIECE = 1 << 20
KNOWN = "cloudml-lfs.json"  # the blob of the content of each pointer that was here
ASIDE = (
    "cloudml-lfs"  # a repository without a commit: git-lfs reads .lfsconfig of what is checked out
)


@dataclass(frozen=True)
class Content:
    """A content that is here: its file, and its blob."""

    path: Path
    blob: str


class Lfs:
    """Those of one clone. `git` is its repository."""

    def __init__(
        self, git: Git, source: Source, steps: Steps, objects: Objects, report: Report
    ) -> None:
        self._git, self._source, self._steps = git, source, steps
        self._objects, self._report = objects, report
        self._inner = git.folder / ".git"

    def known(self) -> dict[str, str]:
        """Return the blob of the content of each pointer, by the pointer's blob."""
        try:
            return dict(json.loads((self._inner / KNOWN).read_bytes()))
        except (FileNotFoundError, ValueError):
            return {}

    def contents(self, commit: str, files: Mapping[str, File]) -> dict[str, Content]:
        """Fetch what the pointers of a commit stand for; returns what is here then, by the pointer's blob.

        What cannot be had is told in a warning. Raises Cancelled, NoSpace.
        """
        pointers = self._pointers(files)
        if not pointers:
            return {}
        lacking = [oid for oid, size in pointers.values() if not self._is_here(oid, size)]
        why = self._fetch(commit, files, len(lacking)) if lacking else ""
        known, found = self.known(), {}
        before = dict(known)
        for blob, (oid, size) in pointers.items():
            if self._is_here(oid, size):
                if blob not in known:
                    known[blob] = self._checked(oid, size)
                if known[blob]:
                    found[blob] = Content(self._place(oid), known[blob])
        known = {pointer: blob for pointer, blob in known.items() if blob}
        if known != before:
            temporary = self._inner / f"{KNOWN}.new"
            temporary.write_text(json.dumps(known))
            temporary.replace(self._inner / KNOWN)
        if len(found) < len(pointers):
            missing = [path for path, file in files.items() if file.blob in {*pointers} - {*found}]
            shown = ", ".join(sorted(missing)[:5]) + (" and others" if len(missing) > 5 else "")
            self._report.warnings.append(
                f"Git LFS: {len(missing)} of {self._git.folder.name} stay pointers ({shown}): "
                f"{why or 'what came is damaged'}"
            )
        return found

    def _pointers(self, files: Mapping[str, File]) -> dict[str, tuple[str, int]]:
        """Return the digest and the size that each pointer names, by its blob."""
        rules = [
            file.blob for path, file in files.items() if path.split("/")[-1] == ".gitattributes"
        ]
        if not any(
            b"lfs" in text for text in self._objects.contents(rules, self._objects.sizes(rules))
        ):
            return {}
        blobs = list({file.blob for file in files.values() if file.mode.startswith("100")})
        sizes = self._objects.sizes(blobs)
        small = [(b, size) for b, size in zip(blobs, sizes, strict=True) if size <= MAX_POINTER]
        texts = self._objects.contents([b for b, _ in small], [size for _, size in small])
        found = {}
        for (blob, _), text in zip(small, texts, strict=True):
            match = POINTER.fullmatch(text)
            if match:
                found[blob] = match[1].decode(), int(match[2])
        return found

    def _fetch(self, commit: str, files: Mapping[str, File], count: int) -> str:
        """Have git-lfs fetch what a commit lacks; returns why it did not, "" where it did."""
        if shutil.which("git-lfs") is None:
            return "git-lfs is not installed on this computer; install it, and clone again"
        self._steps.also(f"fetching {count} contents of Git LFS of {self._source.name}")
        try:
            source, url = self._endpoint(files)
            aside = self._inner / ASIDE
            make_repository(aside)
            alternates = aside / "objects" / "info" / "alternates"
            alternates.write_text(f"{self._inner / 'objects'}\n")
            shallow = self._inner / "shallow"
            (aside / "shallow").unlink(missing_ok=True)
            if shallow.exists():
                shutil.copyfile(shallow, aside / "shallow")
            # In its file: an option would hold for the far side too, where that is a folder.
            for key, value in {
                "storage": str(self._inner / "lfs"),
                **({"url": url} if url else {}),
            }.items():
                self._git.run("config", "--file", str(aside / "config"), f"lfs.{key}", value)
            remote = f"remote.origin.url={_url(self._source)}"
            UsersGit(aside, source, self._steps).run("-c", remote, "lfs", "fetch", "origin", commit)
        except (Cancelled, NoSpace):
            raise
        except CloudMLError as exc:
            return str(exc)
        return ""

    def _endpoint(self, files: Mapping[str, File]) -> tuple[Source, str]:
        """Return who is asked, and the URL for lfs.url where .lfsconfig names one. Raises UsageError for one that is refused."""
        names = files.get(".lfsconfig")
        if names is None or self._objects.sizes([names.blob])[0] > MAX_CONFIG:
            return self._source, ""
        url = self._git.ask("config", "--no-includes", f"--blob={names.blob}", "--get", "lfs.url")
        if not url:
            return self._source, ""
        source = source_of(url, self._source)
        return source, _url(source)

    def _place(self, oid: str) -> Path:
        return self._inner / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def _is_here(self, oid: str, size: int) -> bool:
        try:
            return os.lstat(self._place(oid)).st_size == size
        except OSError:
            return False

    def _checked(self, oid: str, size: int) -> str:
        """Return the blob of a content; deletes one that is not what its pointer says, and returns ""."""
        digest = hashlib.sha256()
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with open(self._place(oid), "rb") as file:
            while piece := file.read(PIECE):
                self._steps.stop_if_cancelled()
                digest.update(piece)
                blob.update(piece)
        if digest.hexdigest() == oid:
            return blob.hexdigest()
        self._place(oid).unlink()
        return ""


def _url(source: Source) -> str:
    return f"file://{quote(source.url)}" if source.protocol == "file" else source.url
