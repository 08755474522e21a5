"""What becomes of a file that was changed here, on the machine, or on both: decisions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["nothing", "take", "delete", "merge", "conflict"]


@dataclass(frozen=True)
class File:
    """A file of a tree: its mode as git writes it, and its blob."""

    mode: str
    blob: str


def decide(base: File | None, here: File | None, there: File | None) -> Action:
    """Say what is to be done here so that the changes of both sides are kept; None is a file that is not there.

    "take" and "delete" follow the machine, "merge" is worth a try line by line; a "conflict" leaves both sides as they are.
    """
    if there in (base, here):
        return "nothing"
    if here == base:
        return "take" if there is not None else "delete"
    if base is None or here is None or there is None:
        return "conflict"
    regular = all(file.mode.startswith("100") for file in (base, here, there))
    return "merge" if regular else "conflict"


def merged_mode(base: File, here: File, there: File) -> str:
    """Return the mode of a file that both sides have changed: the one that is not as it was."""
    return there.mode if here.mode == base.mode else here.mode
