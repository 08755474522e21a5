"""How much of a run's output is kept: all up to a limit, then the tail, and a sentence about what is missing."""

from __future__ import annotations

from collections import deque
from typing import Any

JSON = dict[str, Any]
TAIL = 1 << 20  # characters of printed text that are kept of a cell beyond its limit


def text_of(output: JSON) -> str:
    """The text of a stream output."""
    text = output.get("text", "")
    return text if isinstance(text, str) else "".join(text)


def size_of(output: JSON) -> int:
    """About how much an output is, in characters."""
    if output.get("output_type") == "stream":
        return len(text_of(output))
    data = output.get("data")
    if not isinstance(data, dict):
        return 1000 + sum(len(str(line)) for line in output.get("traceback") or ())
    return sum(len(value) if isinstance(value, str) else len(str(value)) for value in data.values())


def notice(text: str) -> JSON:
    """An output that says what was left out."""
    return {"output_type": "stream", "name": "stderr", "text": f"\n[{text}]\n"}


class Limits:
    """Lets outputs of one run pass, `of_cell` characters of each cell and `of_run` of all."""

    def __init__(self, of_run: int, of_cell: int) -> None:
        self.of_run, self.of_cell = of_run, of_cell
        self._run = self._cell = 0
        self._tail: deque[tuple[str, str]] = deque()
        self._tail_size = self._dropped = self._others = 0

    def passes(self, output: JSON) -> bool:
        """Say whether this output is to be told now; what is not is kept in the tail, or counted."""
        size = size_of(output)
        full = self._dropped or self._others or self._tail
        if not full and self._cell + size <= self.of_cell and self._run + size <= self.of_run:
            self._cell += size
            self._run += size
            return True
        if output.get("output_type") == "error" and size <= TAIL:
            return True
        if output.get("output_type") != "stream":
            self._others += 1
            return False
        self._keep(str(output.get("name")), text_of(output))
        return False

    def _keep(self, name: str, text: str) -> None:
        self._tail.append((name, text[-TAIL:]))
        self._dropped += max(0, len(text) - TAIL)
        self._tail_size += min(len(text), TAIL)
        while self._tail_size > TAIL and len(self._tail) > 1:
            old = len(self._tail.popleft()[1])
            self._tail_size -= old
            self._dropped += old

    def clear(self) -> None:
        """The cell's outputs so far are void."""
        self._tail.clear()
        self._cell = self._tail_size = self._dropped = self._others = 0

    def end_of_cell(self) -> list[JSON]:
        """What is still to be told of a cell: what was left out, and its tail."""
        left: list[JSON] = []
        if self._dropped or self._others:
            what = [f"{self._dropped / 1e6:.1f} MB of text"] if self._dropped else []
            what += [f"{self._others} other outputs"] if self._others else []
            left.append(notice(f"left out here: {' and '.join(what)}; this run printed too much"))
        left += [{"output_type": "stream", "name": n, "text": t} for n, t in self._tail]
        self.clear()
        return left
