"""What an update of a clone changes: decisions alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from .lfs import MAX_POINTER, Content
from .merge import Action, File, decide


@dataclass(frozen=True)
class Versions:
    """The files of two commits, where a pointer of LFS and its content count as the same. `known` has the content's blob of each pointer."""

    before: Mapping[str, File]
    after: Mapping[str, File]
    known: Mapping[str, str]
    contents: Mapping[str, Content]

    @cached_property
    def old(self) -> dict[str, File]:
        """What was put, with contents for pointers."""
        return {path: self._meant(file) for path, file in self.before.items()}

    @cached_property
    def new(self) -> dict[str, File]:
        """What is to be put, with contents for pointers."""
        return {path: self._meant(file) for path, file in self.after.items()}

    def changed(self, size: Callable[[str], int | None]) -> Iterator[str]:
        """Yield the paths that are to be looked at; those too where a pointer may be here and its content can be."""
        for path in {**self.old, **self.new}:
            if self.old.get(path) != self.new.get(path):
                yield path
            elif self.after[path].blob in self.contents:
                here = size(path)
                if here is not None and here <= MAX_POINTER:
                    yield path

    def decide(self, path: str, here: File | None) -> Action:
        """Say what becomes of a file that is here as `here`."""
        meant, there = here and self._meant(here), self.new.get(path)
        action = decide(self.old.get(path), meant, there)
        if action == "nothing" and meant == there and meant != here:
            return "take" if self.after[path].blob in self.contents else "nothing"
        if action == "merge" and any(
            side[path].blob in self.known for side in (self.before, self.after)
        ):
            return "conflict"
        return action

    def _meant(self, file: File) -> File:
        return File(file.mode, self.known.get(file.blob, file.blob))
