"""Reading JSON into typed values: every problem names its field, its cause and its remedy, and the same fields make the JSON schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jupyter_cloudml.errors import JSON, CloudMLError, UsageError

_MISSING = object()


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field, and what to do about it."""

    field: str
    cause: str
    remedy: str

    def to_dict(self) -> dict[str, JSON]:
        """Return the problem as it goes over REST."""
        return {"field": self.field, "cause": self.cause, "remedy": self.remedy}


Problems = list[Problem]


def refuse(problems: Sequence[Problem], what: str, code: str) -> None:
    """Raise UsageError with all problems, if there are any; the message names the first."""
    if not problems:
        return
    first = problems[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    raise UsageError(
        f"{what}: {first.field} {first.cause}{more}",
        code=code,
        hint=first.remedy,
        problems=[problem.to_dict() for problem in problems],
    )


class Kind(Protocol):
    """What a field can hold."""

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the value as the program uses it; append to `problems` what is wrong."""

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""


def _type_name(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        type(None): "null",
    }
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _wrong(value: object, path: str, wanted: str, problems: Problems) -> None:
    problems.append(Problem(path, f"is {_type_name(value)}", f"make it {wanted}"))


@dataclass(frozen=True)
class Text:
    """A text; `check` raises CloudMLError for one that cannot be."""

    pattern: str | None = None
    longest: int = 1000
    empty: bool = False
    example: str = ""
    check: Callable[[str], object] | None = None

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the text."""
        if not isinstance(value, str):
            _wrong(value, path, "a text", problems)
        elif not value and not self.empty:
            problems.append(Problem(path, "is empty", "give it a value, or leave it out"))
        elif len(value) > self.longest:
            problems.append(
                Problem(path, f"is longer than {self.longest} characters", "shorten it")
            )
        elif "\0" in value:
            problems.append(Problem(path, "has a null character in it", "take it out"))
        elif self.pattern is not None and not re.fullmatch(self.pattern, value):
            remedy = f"write it as in {self.example}"
            problems.append(Problem(path, f"cannot be {value[:100]!r}", remedy))
        elif self.check is not None:
            try:
                self.check(value)
            except CloudMLError as exc:
                problems.append(Problem(path, f"is refused: {exc.message}", exc.hint))
        return value

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        found: dict[str, JSON] = {"type": "string", "maxLength": self.longest}
        if not self.empty:
            found["minLength"] = 1
        if self.pattern is not None:
            found["pattern"] = f"^(?:{self.pattern})$"
        if self.example:
            found["examples"] = [self.example]
        return found


@dataclass(frozen=True)
class Number:
    """A number within bounds; a whole one unless `whole` is false."""

    low: float
    high: float
    whole: bool = True

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the number."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            _wrong(value, path, "a number", problems)
        elif self.whole and value != int(value):
            problems.append(Problem(path, f"is {value}", "make it a whole number"))
        elif not self.low <= value <= self.high:
            remedy = f"choose one from {self.low:g} to {self.high:g}"
            problems.append(Problem(path, f"is {value}", remedy))
        else:
            return int(value) if self.whole else float(value)
        return self.low

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        kind = "integer" if self.whole else "number"
        return {"type": kind, "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the value."""
        if not isinstance(value, bool):
            _wrong(value, path, "true or false", problems)
        return value

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the word."""
        if value not in self.words:
            told = repr(value) if isinstance(value, str) else _type_name(value)
            remedy = f"choose one of {', '.join(self.words)}"
            problems.append(Problem(path, f"cannot be {told[:100]}", remedy))
        return value

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ListOf:
    """A list; read as a tuple."""

    of: Kind
    most: int = 100

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the values as a tuple."""
        if not isinstance(value, list | tuple):
            _wrong(value, path, "a list", problems)
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
            _wrong(value, path, "an object", problems)
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
class Anything:
    """Any JSON, as long as it is not too large."""

    longest: int = 100_000

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the value."""
        try:
            size = len(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            problems.append(Problem(path, "is no JSON", "use texts, numbers, lists and objects"))
            return None
        if size > self.longest:
            problems.append(Problem(path, "is too long", "put it into a file and name that"))
        return value

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {}


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
            _wrong(value, path or "it", "an object", problems)
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
