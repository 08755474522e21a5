"""What is wrong with the fields of a definition: each problem names its field, its cause and its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_cloudml.errors import JSON, UsageError


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


def type_name(value: object) -> str:
    """Return what a JSON value is, in words."""
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        type(None): "null",
    }
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def wrong(value: object, path: str, wanted: str, problems: Problems) -> None:
    """Note that a value is of another type than the field wants."""
    problems.append(Problem(path, f"is {type_name(value)}", f"make it {wanted}"))
