"""Jobs that run after each other: a circle of them is refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_cloudml.errors import UsageError


def circle(edges: Iterable[tuple[str, str]]) -> list[str] | None:
    """Return the jobs of a circle in "runs after" pairs, the first one again at its end; None where there is none."""
    after: dict[str, set[str]] = {}
    for job, before in edges:
        after.setdefault(job, set()).add(before)
    done: set[str] = set()
    for start in sorted(after):
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in done:
                path.append(name)
                stack.append((name, True))
                stack += [(each, False) for each in sorted(after.get(name, ()))]
    return None


def refuse_circle(edges: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError (code "circle") where jobs run after each other in a circle."""
    found = circle(edges)
    if found is not None:
        raise UsageError(
            f"these jobs would run after each other for ever: {' after '.join(found)}",
            code="circle",
            hint="take one of these triggers out",
        )
