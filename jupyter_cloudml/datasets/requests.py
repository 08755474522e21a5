"""What a kernel may ask for: read with care, for it comes from a machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CloudMLError, Conflict, UsageError
from .address import Address
from .endpoint import Asked
from .globs import Choice
from .sync import Done, Options

MAX_TEXT = 4096
MAX_GLOBS, MAX_GLOB = 100, 1000
MAX_FAILED, MAX_NAME = 20, 300


@dataclass(frozen=True)
class Request:
    """A folder that a kernel wants to be as a prefix is. `folder` is None for the usual one."""

    source: str
    folder: str | None
    asked: Asked
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    size_only: bool

    @classmethod
    def parse(cls, what: Mapping[str, Any]) -> Request:
        """Read a question of a machine. Raises UsageError."""
        if what.get("method") != "dataset":
            raise UsageError("this server knows no such request", hint="update jupyter-cloudml")
        texts = {
            name: _text(what, name)
            for name in ("source", "folder", "endpoint_url", "profile", "region")
        }
        request = cls(
            str(Address.parse(texts["source"] or "")),
            texts["folder"],
            Asked(texts["endpoint_url"], texts["profile"], texts["region"]),
            _globs(what, "include"),
            _globs(what, "exclude"),
            what.get("size_only") is True,
        )
        request.options.choice.check()
        return request

    @property
    def options(self) -> Options:
        """How it is to be synced: the folder is to be what is there, so what is gone there goes."""
        choice = Choice(list(self.include), list(self.exclude))
        return Options(choice, "size" if self.size_only else "etag", delete=True)


def check_allowed(request: Request, allowed: Sequence[str]) -> None:
    """Raise Conflict for what is not synced for kernels here. `allowed`: `s3://`, `s3://bucket`, `s3://bucket/prefix`."""
    for each in allowed:
        if each == "s3://" or f"{request.source}/".startswith(f"{each.rstrip('/')}/"):
            return
    raise Conflict(
        f"the computer that is asked does not sync {request.source} for notebooks",
        code="not_allowed",
        hint="it is switched off or limited there: by CloudMLApp.notebook_data of the server, or JUPYTER_CLOUDML_NOTEBOOK_DATA",
    )


def answer(done: Done, name: str | None) -> dict[str, Any]:
    """Return what the kernel is told of a sync; bounded."""
    told = done.to_dict()
    names = ("source", "folder", "files", "same", "cached", "bytes", "deleted", "seconds", "state")
    failed = [{"name": one[:MAX_NAME], "why": why[:MAX_NAME]} for one, _, why in done.failed]
    return {
        **{each: told[each] for each in (*names, "total_files", "total_bytes", "failed_count")},
        "failed": failed[:MAX_FAILED],
        "name": name,
    }


def refusal(error: CloudMLError) -> dict[str, str]:
    """Return what the kernel is told of an error."""
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    return {name: text[:2000] for name, text in told.items()}


def _text(what: Mapping[str, Any], name: str) -> str | None:
    text = what.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not text or len(text) > MAX_TEXT or "\0" in text:
        raise UsageError(f"{name} is no text that can be used")
    return text


def _globs(what: Mapping[str, Any], name: str) -> tuple[str, ...]:
    globs = what.get(name) or []
    if not isinstance(globs, list) or len(globs) > MAX_GLOBS:
        raise UsageError(f"{name} has at most {MAX_GLOBS} patterns")
    if any(not isinstance(each, str) or len(each) > MAX_GLOB for each in globs):
        raise UsageError(f"a pattern of {name} has at most {MAX_GLOB} characters")
    return tuple(globs)
