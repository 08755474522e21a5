"""YAML as definitions are written in it: plain data, the line of each value, and bounds on what a text can ask for. Pure.

Words are read as YAML 1.2 has them (as editors do): `on`, `yes`, `no` and dates are texts, true and false alone are no texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from jupyter_cloudml.errors import JSON, UsageError

MOST_BYTES, MOST_VALUES, DEEPEST = 1 << 20, 50_000, 40
MERGE = "\0<<"  # no text has this: "<<" in quotes is a name like others
_STR = "tag:yaml.org,2002:str"
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,4})?")
_WORDS: dict[str, JSON] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "-") for word in ("inf", "Inf")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_STEP = re.compile(r"[^.\[\]]+")


@dataclass(frozen=True)
class Node:
    """A value, and in which line (from 1) it and what is in it begin. `size`: how many values that are, each as often as it is used; `depth`: levels."""

    value: JSON
    line: int
    size: int = 1
    depth: int = 1
    inside: dict[str, Node] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """Return the line of a path as in jobs[2].triggers[0].cron; that of what it would be in, where it is not there."""
        node = self
        for step in _STEP.findall(path):
            if step not in node.inside:
                break
            node = node.inside[step]
        return node.line


def read(text: str, name: str) -> Node:
    """Return what a text says. Raises UsageError (code "bad_file") that names the file, the line, the cause and the remedy."""
    if len(text) > MOST_BYTES:
        raise _bad(name, 1, "is longer than 1 MB", "split it")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Composer(name).compose(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        cause = exc.problem or exc.context or "it cannot be read"
        raise _bad(name, mark.line + 1 if mark else 1, f"is no YAML: {cause}") from exc
    except yaml.YAMLError as exc:
        raise _bad(name, 1, f"is no YAML: {str(exc).splitlines()[0]}") from exc


def write(value: JSON) -> str:
    """Return a value as a text that `read` reads back, and YAML 1.1 readers as well."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def meaning(text: str) -> JSON:
    """Return what a word without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _bad(name: str, line: int, cause: str, remedy: str = "correct it there") -> UsageError:
    return UsageError(f"{name}:{line}: {cause}", code="bad_file", hint=remedy, file=name, line=line)


@dataclass
class _Open:
    """A list or an object that is being read."""

    line: int
    is_map: bool
    anchor: str | None
    items: list[tuple[str, Node]] = field(default_factory=list)
    key: str | None = None


class _Composer:
    """Makes nodes of events, without recursion: how deep a text goes is bounded here and not by a stack."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._found: Node | None = None

    def compose(self, events: Iterator[yaml.Event]) -> Node:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.DocumentStartEvent) and self._found is not None:
                raise self._error(line, "has a second document", "make it one list of jobs")
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor or "", line)
            elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                self._open(event, line)
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self._close()
        return self._found or Node(None, 1)

    def _error(self, line: int, cause: str, remedy: str) -> UsageError:
        return _bad(self._name, line, cause, remedy)

    def _wants_name(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and top.is_map and top.key is None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        plain = event.tag is None and event.implicit[0]
        if event.tag not in (None, "!", _STR):
            raise self._error(line, f"has the tag {event.tag[:60]}", "take it out")
        if self._wants_name():
            self._stack[-1].key = MERGE if plain and event.value == "<<" else event.value
            return
        self._add(Node(meaning(event.value) if plain else event.value, line), event.anchor)

    def _alias(self, anchor: str, line: int) -> None:
        found = self._anchors.get(anchor)
        if self._wants_name():
            raise self._error(line, "has an alias as a name", "write it out here")
        if found is None:
            raise self._error(line, f"uses *{anchor} within or before it", "write it out here")
        self._add(found, None)

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if self._wants_name():
            raise self._error(line, "has a list or an object as a name", "use a text")
        if event.tag not in (None, "!"):
            raise self._error(line, f"has the tag {event.tag[:60]}", "take it out")
        if len(self._stack) >= DEEPEST:
            raise self._error(line, f"goes deeper than {DEEPEST} levels", "make it flatter")
        self._stack.append(_Open(line, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        size = 1 + sum(node.size for _, node in done.items)
        depth = 1 + max((node.depth for _, node in done.items), default=0)
        if not done.is_map:
            values = [node.value for _, node in done.items]
            self._add(Node(values, done.line, size, depth, dict(done.items)), done.anchor)
            return
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, node in done.items:
            if key == MERGE:
                merged = {**self._merged(node), **merged}
            elif key in own:
                raise self._error(node.line, f"has {key[:60]!r} twice", "take one out")
            else:
                own[key] = node
        inside = {**merged, **own}
        value = {key: node.value for key, node in inside.items()}
        self._add(Node(value, done.line, size, depth, inside), done.anchor)

    def _merged(self, node: Node) -> dict[str, Node]:
        found: dict[str, Node] = {}
        parts = [*node.inside.values()] if isinstance(node.value, list) else [node]
        for part in parts:
            if not isinstance(part.value, dict):
                raise self._error(node.line, "merges what is no object", "name an object after <<")
            found = {**part.inside, **found}
        return found

    def _add(self, node: Node, anchor: str | None) -> None:
        if node.size > MOST_VALUES:
            remedy = "split it, or use fewer aliases"
            raise self._error(node.line, f"has more than {MOST_VALUES} values", remedy)
        if node.depth > DEEPEST:
            raise self._error(node.line, f"goes deeper than {DEEPEST} levels", "make it flatter")
        if anchor is not None:
            self._anchors[anchor] = node
        top = self._stack[-1] if self._stack else None
        if top is None:
            self._found = node
        elif top.is_map:
            top.items.append((top.key or "", node))
            top.key = None
        else:
            top.items.append((str(len(top.items)), node))


class _Dumper(yaml.SafeDumper):
    """Quotes what would not be read back as a text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(meaning(text), str) else "'"
    return dumper.represent_scalar(_STR, text, style=style)


_Dumper.add_representer(str, _text)
