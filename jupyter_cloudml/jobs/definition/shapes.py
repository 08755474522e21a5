"""Lists and objects of fields: read from JSON into typed values, written back, and the JSON schema of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import cast

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.jobs.definition.fields import Kind, Text
from jupyter_cloudml.jobs.definition.problems import Problem, Problems, wrong

_MISSING = object()


@dataclass(frozen=True)
class ListOf:
    """A list; read as a tuple."""

    of: Kind
    most: int = 100

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the values as a tuple."""
        if not isinstance(value, list | tuple):
            wrong(value, path, "a list", problems)
            return ()
        if len(value) > self.most:
            problems.append(Problem(path, f"has more than {self.most} entries", "leave some out"))
            return ()
        return tuple(self.of.read(v, f"{path}[{n}]", problems) for n, v in enumerate(value))

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {"type": "array", "items": self.of.schema(), "maxItems": self.most}


@dataclass(frozen=True)
class MapOf:
    """An object whose names are free, within a pattern."""

    names: Text
    of: Kind
    most: int = 200

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the values by name."""
        if not isinstance(value, Mapping):
            wrong(value, path, "an object", problems)
            return {}
        if len(value) > self.most:
            problems.append(Problem(path, f"has more than {self.most} entries", "leave some out"))
            return {}
        found = {}
        for name, each in value.items():
            self.names.read(name, f"a name in {path}", problems)
            found[name] = self.of.read(each, f"{path}.{name}", problems)
        return found

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {
            "type": "object",
            "propertyNames": self.names.schema(),
            "additionalProperties": self.of.schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Member:
    """One field of an object: what it can hold, what it is when left out, and what it is for."""

    kind: Kind
    help: str
    default: JSON | object = _MISSING
    nullable: bool = False


@dataclass(frozen=True)
class Record:
    """An object with known fields; read as what `make` makes of them, or as None where there was a problem."""

    make: Callable[..., object]
    members: Mapping[str, Member]
    title: str = ""
    check: Callable[[Mapping[str, object], str, Problems], None] | None = None
    more: Mapping[str, JSON] = field(default_factory=dict)  # what the schema says besides

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the object."""
        if not isinstance(value, Mapping):
            wrong(value, path or "it", "an object", problems)
            return None
        before = len(problems)
        values: dict[str, object] = {}
        for name, member in self.members.items():
            where = f"{path}.{name}" if path else name
            given = value.get(name, _MISSING)
            if given is _MISSING or (given is None and member.nullable):
                if member.default is _MISSING:
                    problems.append(Problem(where, "is missing", f"add it: {member.help}"))
            else:
                values[name] = member.kind.read(given, where, problems)
        for name in value:
            if name not in self.members:
                where = f"{path}.{name}" if path else str(name)
                known = ", ".join(self.members)
                problems.append(Problem(where[:200], "is not known here", f"known are {known}"))
        if self.check is not None and len(problems) == before:
            self.check(values, path, problems)
        return self.make(**values) if len(problems) == before else None

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        properties: dict[str, JSON] = {}
        for name, member in self.members.items():
            found = member.kind.schema()
            if member.nullable:
                found = {"anyOf": [found, {"type": "null"}]}
            found["description"] = member.help
            if member.default is not _MISSING and member.default is not None:
                found["default"] = member.default  # type: ignore[assignment]
            properties[name] = found
        needed = [name for name, member in self.members.items() if member.default is _MISSING]
        found = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **self.more,
        }
        if needed:
            found["required"] = needed
        return found | ({"title": self.title} if self.title else {})


def plain(value: object) -> dict[str, JSON]:
    """Return what a Record has made as JSON, without what is left at its default."""
    found: dict[str, JSON] = {}
    for each in fields(value):  # type: ignore[arg-type]
        now = getattr(value, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if now != default:
            found[each.name] = _json(now)
    return found


def _json(value: object) -> JSON:
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    if is_dataclass(value):
        return plain(value)
    return cast(JSON, dict(value) if isinstance(value, Mapping) else value)
