"""Which files of a dataset are meant: `--include` and `--exclude`. Pure.

`*` and `?` stay within a name, `**` goes across; `[a-z]` as in a shell. A pattern without `/` is held against the file's name alone, one that ends with
`/` against folders. A file is meant when an `--include` fits (or there is none) and no `--exclude` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import UsageError


@dataclass(frozen=True)
class Choice:
    """What was chosen of a dataset."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        return _any(self.include), _any(self.exclude)

    @property
    def expressions(self) -> tuple[str | None, str | None]:
        """The regular expressions, for the machine: a path is meant when the first matches it and the second does not."""
        include, exclude = self._compiled
        return include.pattern if include else None, exclude.pattern if exclude else None

    def has(self, path: str) -> bool:
        """Whether a file is meant."""
        include, exclude = self._compiled
        if include is not None and not include.fullmatch(path):
            return False
        return exclude is None or not exclude.fullmatch(path)


def _any(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    try:
        return re.compile("|".join(f"(?:{expression(each)})" for each in patterns), re.DOTALL)
    except re.error as exc:
        raise UsageError(f"{exc.pattern!r:.200} is no pattern: {exc}", code="bad_pattern") from exc


def expression(pattern: str) -> str:
    """Return a pattern as a regular expression for a whole path."""
    if not pattern or "\0" in pattern:
        raise UsageError("an empty pattern fits nothing", code="bad_pattern")
    pattern = pattern.removeprefix("./")
    head = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    if pattern.endswith("/"):
        pattern += "**"
    return head + _translated(pattern.removeprefix("/"))


def _translated(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif char == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            negated = inside.startswith(("!", "^"))
            out.append(f"[{'^/' if negated else ''}{inside[1:] if negated else inside}]")
            at = end + 1
        else:
            out.append("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char))
            at += 1
    return "".join(out)
