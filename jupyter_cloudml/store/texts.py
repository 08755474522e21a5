"""Texts of strangers (what a notebook raised, what a server answered), made such that each database takes them."""

from __future__ import annotations

LONGEST = 2000


def storable(text: str) -> str:
    """Return a text without what PostgreSQL or UTF-8 refuse (NUL, halves of surrogate pairs), cut to 2,000 characters. Pure."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return cut.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
