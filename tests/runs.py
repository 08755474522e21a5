"""Notebooks and runs of the tests."""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Sequence
from typing import Any

from jupyter_cloudml.jobs.attempts.attempt import Attempt, Attempts
from jupyter_cloudml.jobs.attempts.outcome import Outcome
from jupyter_cloudml.jobs.attempts.work import Work
from jupyter_cloudml.jobs.notebooks.notebook import executed, without_outputs
from jupyter_cloudml.jobs.notebooks.records import START, Cursor, Record
from jupyter_cloudml.link.link import Link


def kernel(python: str = sys.executable) -> dict[str, Any]:
    """The Python kernel of a machine."""
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return {"argv": argv, "env": {}, "interrupt_mode": "signal", "language": "python"}


def notebook(*sources: str, tags: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """A notebook of these cells."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{n}",
            "metadata": {"tags": list(tags[n])} if n < len(tags) else {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for n, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def work(*sources: str, python: str = sys.executable, **more: Any) -> Work:
    """What an attempt is to run."""
    nb = more.pop("notebook", None) or notebook(*sources, tags=more.pop("tags", ()))
    return Work(
        run=more.pop("run", secrets.token_hex(4)),
        attempt=more.pop("attempt", 1),
        fence=1,
        token=more.pop("token", secrets.token_hex(8)),
        notebook=without_outputs(nb, "the notebook"),
        kernel=more.pop("kernel", None) or kernel(python),
        **more,
    )


class Kept:
    """Keeps what an attempt says (a Sink), as a store would."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.cursor: Cursor = START
        self.changed = threading.Condition()
        self.cuts = 0

    def take(self, batch: Sequence[Record], cursor: Cursor) -> None:
        with self.changed:
            self.records += batch
            self.cursor = cursor
            self.changed.notify_all()

    def link(self, up: bool) -> None:
        self.cuts += not up

    def wait(self, what: str, seconds: float = 60.0, **fields: Any) -> Record:
        """The first record like this, once it is there."""

        def found() -> Record | None:
            like = {"record": what, **fields}
            return next((r for r in self.records if like.items() <= r.items()), None)

        with self.changed:
            self.changed.wait_for(lambda: found() is not None, seconds)
            there = found()
        assert there is not None, f"no {what} {fields} among {self.records}"
        return there

    def text(self, nb: dict[str, Any], index: int) -> str:
        """What a cell printed."""
        outputs = executed(nb, self.records)["cells"][index]["outputs"]
        return "".join(o["text"] for o in outputs if o["output_type"] == "stream")


class Following(threading.Thread):
    """Follows an attempt on a thread of its own."""

    def __init__(self, attempt: Attempt, kept: Kept | None = None) -> None:
        super().__init__(daemon=True)
        self.attempt, self.kept = attempt, kept or Kept()
        self.outcome: Outcome | None = None
        self.halt = threading.Event()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self.attempt.follow(self.kept, self.halt)
        except BaseException as exc:  # noqa: BLE001 - told by `result`
            self.error = exc

    def result(self, seconds: float = 90.0) -> Outcome:
        """How it ended."""
        self.join(seconds)
        assert not self.is_alive(), f"the run goes on: {self.kept.records[-3:]}"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


def run(link: Link, wanted: Work, attempts: Attempts | None = None) -> tuple[Outcome, Kept]:
    """Run to the end."""
    following = Following((attempts or Attempts()).start(link, wanted))
    outcome = following.result()
    following.attempt.forget()
    return outcome, following.kept
