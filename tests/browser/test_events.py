"""What the page holds after events and snapshots that cross: the newest wins, nothing stale comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

LIB = Path(__file__).parents[2] / "labextension" / "lib"

CALL = """async ([source, name, args]) => {
  const module = await import(source);
  return module[name](...args);
}"""


class Module:
    """A module of the extension as it was compiled, apart from Lab."""

    def __init__(self, page: Page, name: str) -> None:
        path = LIB / f"{name}.js"
        if not path.exists():
            pytest.fail("The extension is not compiled: make assets")
        self._page = page
        self._source = "data:text/javascript," + quote(path.read_text())

    def __call__(self, function: str, *args: object) -> Any:
        return self._page.evaluate(CALL, [self._source, function, list(args)])


@pytest.fixture
def events(page: Page) -> Module:
    return Module(page, "events")


def machine(version: int, state: str = "running", **more: object) -> dict[str, object]:
    row = {"name": "box", "state": state, "version": version, "since_ms": 100, "label": "box"}
    return {**row, "step": None, "cause": None, **more}


def event(version: int, state: str, **more: object) -> dict[str, object]:
    return {"name": "box", "state": state, "version": version, **more}


def test_newer_event_changes_state_and_keeps_what_it_does_not_say(events: Module) -> None:
    news = event(8, "unreachable", cause="no route")
    (after,) = events("applyMachineEvent", [machine(7)], news, 500)
    assert after == machine(8, "unreachable", cause="no route", since_ms=500)


def test_step_within_a_state_keeps_its_beginning(events: Module) -> None:
    step = {"n": 2, "of": 4, "text": "signing in", "since_ms": 300}
    (after,) = events(
        "applyMachineEvent", [machine(7, "starting")], event(8, "starting", step=step), 500
    )
    assert after == machine(8, "starting", step=step, since_ms=100)


@pytest.mark.parametrize("version", [6, 7])
def test_stale_event_is_dropped(events: Module, version: int) -> None:
    assert events("applyMachineEvent", [machine(7)], event(version, "stopped"), 500) is None


def test_event_about_an_unknown_machine_is_left_to_the_next_snapshot(events: Module) -> None:
    assert events("applyMachineEvent", [], event(1, "running"), 500) is None


def test_removed_machine_leaves(events: Module) -> None:
    assert events("applyMachineEvent", [machine(7)], event(8, "gone", removed=True), 500) == []


def test_snapshot_does_not_undo_what_an_event_said_meanwhile(events: Module) -> None:
    assert events("mergeMachines", [machine(7)], [machine(9, "stopped")]) == [machine(9, "stopped")]


def test_snapshot_replaces_a_machine_added_anew_under_the_same_name(events: Module) -> None:
    # Its versions begin again; nothing touched it while the snapshot was on its way.
    assert events("mergeMachines", [machine(1)], []) == [machine(1)]


def test_kernel_event_changes_the_kernel_that_it_names(events: Module) -> None:
    held = {"id": "k", "machine": "box", "state": "connected", "since_ms": 1, "cause": None}
    news = {"id": "k", "machine": "box", "state": "reconnecting", "cause": "no route"}
    (after,) = events("applyKernelEvent", [held], news, 500)
    assert after == {**held, "state": "reconnecting", "since_ms": 500, "cause": "no route"}
    assert events("applyKernelEvent", [], news, 500) is None
