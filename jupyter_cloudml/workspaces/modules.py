"""Where the submodules of a clone come from: what .gitmodules says, as data. Nothing that it names is run or used as an option."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from ..errors import NotFound, UsageError
from .source import Source

KEYS = ("path", "url")  # `update`, `branch` and the rest are not heeded


def urls_of(told: bytes) -> dict[str, str]:
    """Read what `git config -z --list` says of a .gitmodules: the URL of each path."""
    found: dict[str, dict[str, str]] = {}
    for row in told.split(b"\0"):
        key, _, value = os.fsdecode(row).partition("\n")
        section, _, rest = key.partition(".")
        name, _, what = rest.rpartition(".")
        if section == "submodule" and what in KEYS:
            found.setdefault(name, {})[what] = value
    return {each["path"]: each["url"] for each in found.values() if len(each) == len(KEYS)}


def source_of(url: str, parent: Source) -> Source:
    """Return where a submodule of what came from `parent` is fetched from.

    A folder of this computer is allowed to a folder of this computer alone; a password goes on to the same host alone. Raises UsageError
    (`bad_url`), NotFound.
    """
    if url.startswith(("./", "../")):
        url = _joined(parent, url)
    try:
        source = Source.parse(url)
    except NotFound:
        if parent.protocol == "file":
            raise
        raise _refused("a repository elsewhere may not name a folder of this computer") from None
    if source.protocol == "file":
        if parent.protocol != "file":
            raise _refused("a repository elsewhere may not name a folder of this computer")
        if not url.startswith(("/", "file://")):
            raise _refused("it is neither a URL nor relative to one: ./ or ../")
    if source.protocol == "https" and not source.user and _host(source) == _host(parent):
        return replace(source, user=parent.user, password=parent.password)
    return source


def _joined(parent: Source, relative: str) -> str:
    """Return a relative URL as git reads it: from the repository's own, which ../ takes the last part of."""
    if "://" in parent.url:
        split = urlsplit(parent.url)
        return urlunsplit(split._replace(path="/" + _climbed(split.path, relative)))
    host, colon, path = parent.url.partition(":") if parent.protocol == "ssh" else ("", "", "")
    if colon:
        root = "/" if path.startswith("/") else ""
        return f"{host}:{root}{_climbed(path, relative)}"
    return "/" + _climbed(parent.url, relative)


def _climbed(path: str, relative: str) -> str:
    parts = [part for part in path.split("/") if part]
    for part in relative.split("/"):
        if part == ".." and not parts:
            raise _refused("its ../ lead out of the host")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _host(source: Source) -> tuple[str, str]:
    return source.protocol, urlsplit(source.url).netloc if "://" in source.url else ""


def _refused(why: str) -> UsageError:
    return UsageError(
        f"its URL is refused: {why}",
        code="bad_url",
        hint="clone it by itself if you trust it",
    )
