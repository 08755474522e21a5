"""A Git URL that a user typed: taken apart, refused where git would run something for it, and rid of its password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ..errors import NotFound, UsageError

MAX_URL = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")  # git-remote-helpers(7): ext::sh -c … runs a program
_SCP = re.compile(
    r"(?:(?P<user>[\w.][\w.-]*)@)?(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^-/].*|/[^/-].*)"
)
_REF = re.compile(r"[^\s~^:?*\[\\\x00-\x20\x7f-]([^\s~^:?*\[\\\x00-\x20\x7f])*")


@dataclass(frozen=True)
class Source:
    """Where code is cloned from. `url` holds no password; of an https URL `user` and `password` are given to git by its environment."""

    url: str
    name: str
    protocol: str  # the one transport that git may use
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read https://…, ssh://…, git@host:path, file://… or the path of a folder.

        Raises UsageError (`bad_url`) for anything else, NotFound for a folder that is not there. No error repeats what may hold a password.
        """
        if not text or len(text) > MAX_URL or text[0] == "-" or _CONTROL.search(text):
            raise _refused("it is empty, too long, begins with - or has characters that none has")
        if _HELPER.match(text):
            raise _refused("a URL with :: has git run a program")
        if "://" in text:
            return cls._of_url(text)
        scp = _SCP.fullmatch(text)
        if scp and not os.path.exists(text):
            return cls(text, _name(scp["path"]), "ssh")
        folder = os.path.abspath(os.path.expanduser(text))
        return cls._of_folder(folder)

    @classmethod
    def _of_url(cls, text: str) -> Source:
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
            _ = parts.port
        except ValueError as exc:
            raise _refused("it cannot be read") from exc
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise _refused("file:// names a folder of this computer")
            return cls._of_folder(unquote(parts.path))
        if parts.scheme not in ("https", "ssh"):
            raise _refused(f"{parts.scheme[:20]}:// is not among the ways that are used")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not host or host[0] == "-" or user[:1] == "-" or _CONTROL.search(user + password):
            raise _refused("its host or user cannot be one")
        if parts.path[1:2] == "-" or not parts.path.strip("/"):
            raise _refused("its path cannot be that of a repository")
        if parts.scheme == "ssh":
            return cls(_without(parts, user), _name(parts.path), "ssh")
        return cls(_without(parts), _name(parts.path), "https", user, password)

    @classmethod
    def _of_folder(cls, folder: str) -> Source:
        if not Path(folder).is_dir():
            raise NotFound(f"there is no folder {folder}", hint="give a Git URL or a folder")
        return cls(folder, _name(folder), "file")


def check_ref(ref: str) -> str:
    """Return a branch, tag or commit that a user named, if it can be one. Raises UsageError (`bad_ref`)."""
    if len(ref) > 255 or not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or "//" in ref:
        raise UsageError(
            f"{ref[:80]!r} is no branch, tag or commit", code="bad_ref", hint="see git branch -a"
        )
    return ref


def _without(parts: SplitResult, user: str = "") -> str:
    """Return a URL with a user at most."""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def _name(path: str) -> str:
    """Return what the folder is called: the last part of a path, plain."""
    last = path.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
    return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".-")[:100] or "code"


def _refused(why: str) -> UsageError:
    return UsageError(
        f"this is no Git URL to clone from: {why}",
        code="bad_url",
        hint="give https://…, ssh://…, git@host:path or the path of a folder",
    )
