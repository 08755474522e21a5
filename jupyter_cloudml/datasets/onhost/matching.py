"""Holds paths against patterns, all of them in one pass: what a path costs grows with its length, and not with what the patterns hold.

`*` and `?` stay within a name, `**` goes across; `[a-z]` as in a shell. A pattern without `/` is held against the file's name alone, one that ends with
`/` against folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

KEPT = 4096  # characters that were met


class Patterns:
    """Each bit of a number is a place in one of the patterns; those that are set are where a path may have got to."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError for what is no pattern."""
        self._begin = self._end = 0
        self._within = self._across = 0  # places with a `*`, and with a `**`: they may be stayed at
        self._folders = 0  # places with a `**/`: it may be left out
        self._any = 0
        self._exact: dict[str, int] = {}
        self._sets: list[tuple[int, str]] = []
        self._takes: dict[str, int] = {}
        place = 1
        for pattern in patterns:
            place = self._add(pattern, place)

    def _add(self, pattern: str, place: int) -> int:
        self._begin |= place
        before = ""
        for part in _parts(pattern):
            if part == "**/" and before != "**/":
                self._folders |= place
                self._across |= place << 1
                self._exact["/"] = self._exact.get("/", 0) | place << 1
                place <<= 2
            elif part == "**":
                self._across |= place
            elif part == "*":
                self._within |= place
            elif part != "**/":
                self._add_one(part, place)
                place <<= 1
            before = part
        self._end |= place
        return place << 1

    def _add_one(self, part: str, place: int) -> None:
        if part == "?":
            self._any |= place
        elif len(part) > 1:
            _is_in("a", part)  # is it a set?
            self._sets.append((place, part))
        else:
            self._exact[part] = self._exact.get(part, 0) | place

    def match(self, path: str) -> bool:
        """Whether a whole path fits any of the patterns."""
        takes, across, folders = self._takes, self._across, self._folders
        inside = self._within | across
        at = self._begin
        at |= (at & folders) << 1 | (at & folders) << 2
        for char in path:
            mask = takes.get(char)
            if mask is None:
                mask = self._learn(char)
            at = (at & mask) << 1 | at & (across if char == "/" else inside)
            if at & folders:
                at |= (at & folders) << 1 | (at & folders) << 2
            elif not at:
                return False
        return bool(at & self._end)

    def _learn(self, char: str) -> int:
        mask = self._exact.get(char, 0)
        if char != "/":
            mask |= self._any
        for place, text in self._sets:
            if _is_in(char, text):
                mask |= place
        if len(self._takes) >= KEPT:
            self._takes.clear()
        self._takes[char] = mask
        return mask


def _parts(pattern: str) -> Iterator[str]:
    """`**/`, `**`, `*`, `?`, `[…]`, or one character."""
    pattern = pattern.removeprefix("./")
    if "/" not in pattern.rstrip("/"):
        yield "**/"
    if pattern.endswith("/"):
        pattern += "**"
    pattern = pattern.removeprefix("/")
    at = 0
    while at < len(pattern):
        part = pattern[at]
        if pattern.startswith("**/", at):
            part = "**/"
        elif pattern.startswith("**", at):
            part = "**"
        elif part == "[" and (end := pattern.find("]", at + 2)) > 0:
            part = pattern[at : end + 1]
        yield part
        at += len(part)


def _is_in(char: str, text: str) -> bool:
    """Whether a character is one of `[…]`. Raises ValueError for a range that ends before it begins."""
    inside = text[1:-1]
    negated = inside[0] in "!^"
    inside = inside[negated:]
    at, found = 0, negated and char == "/"
    while at < len(inside):
        is_range = inside[at + 1 : at + 2] == "-" and at + 2 < len(inside)
        first, last = inside[at], inside[at + 2 if is_range else at]
        if first > last:
            raise ValueError(f"{first}-{last} is no range")
        found = found or first <= char <= last
        at += 3 if is_range else 1
    return found != negated
