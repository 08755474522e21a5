"""The parameters of a sweep as a definition has them: lists of values, each with each, or a list of sets. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.jobs.definition.fields import Anything, Text
from jupyter_cloudml.jobs.definition.problems import Problem, Problems, wrong
from jupyter_cloudml.store.jobs.sweeps import MOST

PARAMETER = Text(r"[^\W\d]\w*", 200, example="alpha")
_REMEDY = 'give {"alpha": [1, 2]}, or a list of sets of parameters'


class Sweep:
    """What a job is run with, again and again: {name: [values]} or [{name: value}], at most 1,000 runs."""

    def read(self, value: object, path: str, problems: Problems) -> object:
        """Return the sweep as it is."""
        if isinstance(value, Mapping):
            self._grid(value, path, problems)
        elif isinstance(value, list | tuple):
            self._sets(list(value), path, problems)
        else:
            wrong(value, path, "an object of lists, or a list of objects", problems)
        return Anything(longest=1_000_000).read(value, path, problems)

    def _grid(self, value: Mapping[str, object], path: str, problems: Problems) -> None:
        for name, values in value.items():
            PARAMETER.read(name, f"a name in {path}", problems)
            if not isinstance(values, list | tuple) or not values:
                remedy = "give a list of one value or more"
                problems.append(Problem(f"{path}.{name}"[:200], "is no list of values", remedy))
                return
        lengths = [len(values) for values in value.values() if isinstance(values, list | tuple)]
        _count(math.prod(lengths) if lengths else 0, path, problems)

    def _sets(self, value: list[object], path: str, problems: Problems) -> None:
        _count(len(value), path, problems)
        for n, each in enumerate(value[:MOST]):
            if not isinstance(each, Mapping) or not each:
                problems.append(Problem(f"{path}[{n}]", "is no set of parameters", _REMEDY))
                return
            for name in each:
                PARAMETER.read(name, f"a name in {path}[{n}]", problems)

    def schema(self) -> dict[str, JSON]:
        """Return the JSON schema."""
        names = PARAMETER.schema()
        grid: JSON = {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": {"type": "array", "minItems": 1, "maxItems": MOST},
            "minProperties": 1,
        }
        each: JSON = {"type": "object", "propertyNames": names, "minProperties": 1}
        return {"anyOf": [grid, {"type": "array", "items": each, "minItems": 1, "maxItems": MOST}]}


def _count(count: int, path: str, problems: Problems) -> None:
    if not count:
        problems.append(Problem(path, "has no run", _REMEDY))
    elif count > MOST:
        problems.append(Problem(path, f"has {count:,} runs", f"leave some out: {MOST:,} at most"))
