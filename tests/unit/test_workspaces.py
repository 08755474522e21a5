"""Where a machine has a folder, without asking anybody; and the steps of a sync."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from jupyter_cloudml.errors import Cancelled
from jupyter_cloudml.machines.model import Step
from jupyter_cloudml.workspaces.applied import Applied
from jupyter_cloudml.workspaces.clone import Target, choose
from jupyter_cloudml.workspaces.progress import Steps
from jupyter_cloudml.workspaces.refs import LISTED, arranged, parsed
from jupyter_cloudml.workspaces.workspace import FILE, Place, place_of, state_of


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


def synced(home: Path, root: Path, machine: str, there: str) -> None:
    state = state_of(home, root)
    state.mkdir(parents=True)
    (state / FILE).write_text(json.dumps({"id": "x", "machines": {machine: there}, "large": {}}))
    Applied("tree", there, 1, {}, {"tree": "tree"}).write(state, machine)


def test_a_folder_of_synced_code_is_found_from_anywhere_in_it(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "code"
    (root / "nb" / "deep").mkdir(parents=True)
    synced(home, root, "box", "/srv/code")
    code = {"tree": "tree"}
    assert place_of(home, str(root), "box") == Place("/srv/code", code)
    assert place_of(home, str(root / "nb/deep"), "box") == Place("/srv/code/nb/deep", code)
    assert place_of(home, str(tmp_path), "box") is None
    assert place_of(home, str(root / "nb"), "other") is None
    (tmp_path / "link").symlink_to(root / "nb")
    assert place_of(home, str(tmp_path / "link" / "deep"), "box") == Place(
        "/srv/code/nb/deep", code
    )


def test_the_nearest_project_counts(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "code"
    synced(home, root, "box", "/srv/outer")
    synced(home, root / "inner", "box", "/srv/inner")
    found = place_of(home, str(root / "inner" / "nb"), "box")
    assert found is not None and found.folder == "/srv/inner/nb"


def test_steps_are_counted_and_say_no_more_than_twice_a_second() -> None:
    told: list[Step] = []
    clock = ManualClock()
    steps = Steps(told.append, of=2, clock=clock)
    steps.next("looking")
    steps.next("sending 2 files")
    for _ in steps.counted("sending 2 files", 3 << 20, [(1 << 20, b"x")] * 3):
        clock.seconds += 0.3
    assert [str(step) for step in told] == [
        "1/2 looking",
        "2/2 sending 2 files",
        "2/2 sending 2 files: 2.0 of 3.0 MB",
    ]


def test_no_step_is_entered_once_it_was_called_off() -> None:
    cancelled = threading.Event()
    steps = Steps(cancelled=cancelled)
    steps.next("looking")
    cancelled.set()
    with pytest.raises(Cancelled):
        steps.next("sending")


HEADS = {
    "HEAD": "refs/heads/main",
    "refs/heads/main": "a",
    "refs/heads/v1": "b",
    "refs/tags/v1": "c",
    "refs/tags/v2": "d",
}


@pytest.mark.parametrize(
    ("ref", "target"),
    [
        (None, Target("refs/heads/main", "main")),
        ("v1", Target("refs/heads/v1", "v1")),
        ("v2", Target("refs/tags/v2")),
        ("a" * 40, Target("a" * 40)),
        ("beef", None),
    ],
)
def test_what_is_fetched_for_a_ref(ref: str | None, target: Target | None) -> None:
    assert choose(HEADS, ref) == target


def test_branches_and_tags_are_told_in_order() -> None:
    told = b"ref: refs/heads/main\tHEAD\na\tHEAD\na\trefs/heads/main\nb\trefs/heads/a/b\nc\trefs/tags/v1\nd\trefs/tags/v1^{}\ne\trefs/tags/v2\n"
    found = arranged(parsed(told))
    assert (found.branches, found.tags, found.more) == (["main", "a/b"], ["v2", "v1"], False)
    many = arranged({f"refs/heads/b{n}": "a" for n in range(LISTED + 1)})
    assert (len(many.branches), many.more) == (LISTED, True)
    assert arranged({}).branches == []


def test_a_remote_without_a_branch_in_front_gives_its_commit() -> None:
    assert choose({"HEAD": "a" * 40}, None) == Target("HEAD")
