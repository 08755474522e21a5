"""What is kept of one folder of code: its id, where it is on each machine, and what was decided about its large files.

`<home>/workspaces/<digest of the folder>/`: `workspace.json`, the snapshots, and what each machine has (`applied-<machine>.json`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import JSON, NotFound, UsageError
from .applied import Applied
from .git import Git
from .guard import Amount
from .snapshot import Snapshots

FILE = "workspace.json"


class Workspace:
    """What is kept of one folder; whoever writes has its lock."""

    def __init__(self, state: Path, root: Path, cancelled: threading.Event | None = None) -> None:
        self.state, self.root = state, root
        self.snapshots = Snapshots(state, root, cancelled)
        self._file = state / FILE
        try:
            kept: dict[str, Any] = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            kept = {"id": secrets.token_hex(8), "machines": {}, "large": {}}
        self.id, self.machines = str(kept["id"]), dict(kept["machines"])
        self._large: dict[str, bool] = kept["large"]  # by path, whether it is sent
        self.accepted = Amount(**kept["accepted"]) if kept.get("accepted") else None

    @property
    def send(self) -> list[str]:
        """The large files that are sent."""
        return [path for path, sent in self._large.items() if sent]

    @property
    def leave(self) -> list[str]:
        """The large files that stay here."""
        return [path for path, sent in self._large.items() if not sent]

    def decide(self, send: Collection[str], leave: Collection[str]) -> None:
        """Remember what is to become of large files."""
        if send or leave:
            self._large |= {**dict.fromkeys(leave, False), **dict.fromkeys(send, True)}
            self._keep()

    def accept(self, amount: Amount) -> None:
        """Remember that so much may be sent."""
        self.accepted = amount
        self._keep()

    def machine(self, name: str | None) -> str:
        """Return the machine that is meant. Raises NotFound where the folder is on none, UsageError where on several."""
        if name is not None:
            return name
        if not self.machines:
            raise nowhere(self.root)
        if len(self.machines) > 1:
            names = ", ".join(sorted(self.machines))
            raise UsageError(f"{self.root} is on {names}", hint="say which one with --on NAME")
        return str(next(iter(self.machines)))

    def place(self, machine: str, path: str | None) -> str:
        """Return the folder on a machine, and remember it."""
        place = path or self.machines.get(machine) or default_place(self.root)
        if self.machines.get(machine) != place:
            self.machines[machine] = place
            self._keep()
        return place

    def applied(self, machine: str) -> Applied:
        """Return what a machine had after the last sync."""
        return Applied.read(self.state, machine)

    def _keep(self) -> None:
        temporary = self._file.with_suffix(".new")
        kept = {
            "id": self.id,
            "folder": str(self.root),
            "machines": self.machines,
            "large": self._large,
            "accepted": self.accepted and asdict(self.accepted),
        }
        temporary.write_text(json.dumps(kept))
        temporary.replace(self._file)


@dataclass(frozen=True)
class Place:
    """A folder of this computer as a machine has it: its absolute path there, and which code it is (Applied.code)."""

    folder: str
    code: Mapping[str, JSON]


def place_of(home: Path, folder: str, machine: str) -> Place | None:
    """Return where a machine has a folder; None where that is in no workspace there. Starts no program and takes no lock."""
    for path in dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder))):
        for root in _upwards(Path(path)):
            state = state_of(home, root)
            if not (state / FILE).exists():
                continue
            applied = Applied.read(state, machine)
            if applied.tree is None:
                continue
            inside = Path(path).relative_to(root).parts
            return Place("/".join([applied.folder, *inside]), applied.code)
    return None


def state_of(home: Path, root: Path) -> Path:
    """Return where a folder's workspace is kept; it need not be there."""
    return home / "workspaces" / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def root_of(folder: Path) -> Path:
    """Return the top folder of the repository that a folder is in; the folder itself where there is none.

    Raises UsageError, with the code `not_code` for the home folder and what is above it.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    top = Git(folder).ask("rev-parse", "--show-toplevel")
    # A repository may name any folder as its own (core.worktree), such as one of keys.
    root = Path(top) if top and Path(top) in (real := folder.resolve(), *real.parents) else folder
    if root in (Path.home(), *Path.home().parents):
        raise UsageError(
            f"{root} holds more than code",
            code="not_code",
            hint="put the project into a folder of its own below your home folder",
        )
    return root


def default_place(root: Path) -> str:
    """Return where a folder goes on a machine: the same place under the home folder, else its own name there."""
    try:
        return "~/" + str(root.relative_to(Path.home()))
    except ValueError:
        return f"~/{root.name}"


def nowhere(root: Path) -> NotFound:
    """Return the error about a folder that no machine has."""
    return NotFound(f"{root} is on no machine", hint="send it: jupyter cloudml code sync --on NAME")


def _upwards(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents
