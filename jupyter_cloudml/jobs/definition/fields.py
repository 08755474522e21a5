"""Single values of a definition: read from JSON with their bounds, and the JSON schema of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jupyter_cloudml.errors import JSON, CloudMLError
from jupyter_cloudml.jobs.definition.problems import Problem, Problems, type_name, wrong


class Kind(Protocol):
    """What a field can hold."""

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the value as the program uses it; append to `problems` what is wrong."""

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""


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
            wrong(value, path, "a text", problems)
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
            wrong(value, path, "a number", problems)
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
            wrong(value, path, "true or false", problems)
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
            told = repr(value) if isinstance(value, str) else type_name(value)
            remedy = f"choose one of {', '.join(self.words)}"
            problems.append(Problem(path, f"cannot be {told[:100]}", remedy))
        return value

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        return {"enum": list(self.words)}


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
