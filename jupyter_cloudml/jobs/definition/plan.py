"""What applying a file of jobs would change, field by field and in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jupyter_cloudml.errors import JSON

CREATE, CHANGE, DELETE, SAME = "create", "change", "delete", "same"
SIGNS = {CREATE: "+", CHANGE: "~", DELETE: "-", SAME: " "}
_NONE = object()
Json = Mapping[str, JSON]


@dataclass(frozen=True)
class Field:
    """One field that differs; `old` or `new` is None where it is not there."""

    path: str
    old: JSON
    new: JSON

    def words(self) -> str:
        """Return it as people read it."""
        return f"{self.path}: {_short(self.old)} → {_short(self.new)}"


@dataclass(frozen=True)
class Change:
    """What becomes of one job."""

    kind: str
    name: str
    fields: tuple[Field, ...] = ()

    def to_dict(self) -> dict[str, JSON]:
        """Return it as JSON."""
        told = [{"field": each.path, "old": each.old, "new": each.new} for each in self.fields]
        return {"job": self.name, "change": self.kind, "fields": [*told]}


def plan(wanted: Sequence[Json], there: Mapping[str, Json], gone: Iterable[str]) -> list[Change]:
    """Return what becomes of each job: those wanted (definitions), those there (by name), and those to be deleted."""
    found = [_change(each, there.get(str(each["name"]))) for each in wanted]
    return found + [Change(DELETE, name) for name in sorted(gone)]


def differs(changes: Iterable[Change]) -> bool:
    """Tell whether anything would change."""
    return any(change.kind != SAME for change in changes)


def words(changes: Sequence[Change]) -> Iterator[str]:
    """Yield a plan in lines; jobs that stay as they are are only counted."""
    for change in changes:
        if change.kind == SAME:
            continue
        yield f"{SIGNS[change.kind]} {change.name}"
        if change.kind == CREATE:
            yield from (f"    {each.path}: {_short(each.new)}" for each in change.fields)
        else:
            yield from (f"    {each.words()}" for each in change.fields)
    counts = {kind: sum(change.kind == kind for change in changes) for kind in SIGNS}
    yield (
        f"{counts[CREATE]} to create, {counts[CHANGE]} to change, {counts[DELETE]} to delete,"
        f" {counts[SAME]} the same"
    )


def _change(wanted: Json, there: Json | None) -> Change:
    name = str(wanted["name"])
    rest = {key: value for key, value in wanted.items() if key != "name"}
    if there is None:
        return Change(CREATE, name, tuple(Field(key, None, value) for key, value in rest.items()))
    old = {key: value for key, value in there.items() if key != "name"}
    fields = tuple(_differences(old, rest, ""))
    return Change(CHANGE if fields else SAME, name, fields)


def _differences(old: JSON, new: JSON, path: str) -> Iterator[Field]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}.{key}" if path else str(key)
            yield from _pair(old.get(key, _NONE), new.get(key, _NONE), where)
    elif isinstance(old, list) and isinstance(new, list):
        for n in range(max(len(old), len(new))):
            pair = (old[n] if n < len(old) else _NONE, new[n] if n < len(new) else _NONE)
            yield from _pair(*pair, f"{path}[{n}]")
    elif old != new or type(old) is not type(new):
        yield Field(path, old, new)


def _pair(old: object, new: object, path: str) -> Iterator[Field]:
    if old is _NONE or new is _NONE:
        yield Field(path, None if old is _NONE else old, None if new is _NONE else new)  # type: ignore[arg-type]
    else:
        yield from _differences(old, new, path)  # type: ignore[arg-type]


def _short(value: JSON) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
