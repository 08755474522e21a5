"""The code of a run: taken here as a tree when the run is made, and kept on its machine, where each run works in a copy of its own.

What a machine has is kept there by its contents (onhost/shelf.py), for the runs of all trees: a tree that was there before is not sent again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import JSON, Cancelled, CloudMLError, LinkDown, NotFound, ProtocolError
from ..link.link import Link
from ..link.process import Ended, LinkChange, Output, RemoteProcess
from ..link.sent_program import SentProgram
from ..machines.model import LOCAL
from .applied import code_of
from .git import Git
from .guard import Amount, LargeFiles, LargeFolder
from .listing import ignored
from .onhost.tree import good_path
from .opening import opened
from .remote import MAX_ANSWER, PIECE, failure
from .snapshot import CODE, EMPTY, OPTIONS, Snapshots
from .workspace import FILE, place_of, root_of, state_of

NAMES = ("tree", "shelf", "lend")
PROGRAM = SentProgram(("onhost.folder", *(f"workspaces.onhost.{name}" for name in NAMES)))
LOOK_S = 0.2
SILENT_S = 120.0  # for a machine that says and takes nothing more
ORPHAN_S = 600.0
SWEEP_S = 60.0
LIVE_HINT = "or run it in the folder itself: --code live"


@dataclass(frozen=True)
class Lent:
    """What the runner makes a copy from: `place` and `tree` are of onhost/shelf.py, the copy is in `name`, and the notebook in `inside` of it.

    `links` [path, target] are to what is no code: it is beside the tree in `live`, the folder that people work in (None without links).
    """

    place: str
    tree: str
    name: str
    inside: str
    links: Sequence[tuple[str, str]] = ()
    live: str | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return what the runner is told."""
        return {**asdict(self), "links": [list(each) for each in self.links]}


class Copies:
    """The trees of runs. Thread-safe: a folder of code is worked on by one thread at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def root(self, folder: Path) -> Path | None:
        """Return the project that a folder is part of: its repository, or the workspace that it is in; None where it is in neither.

        A home folder, and what is above it, is no project.
        """
        try:
            if Git(folder).ask("rev-parse", "--show-toplevel") is not None:
                return root_of(folder)
            above = (folder, *folder.parents)
            found = (each for each in above if (state_of(self._home, each) / FILE).exists())
            return next((root_of(each) for each in found), None)
        except CloudMLError:  # no git, no folder, or more than code
            return None

    def take(self, folder: Path, machine: str) -> dict[str, JSON]:
        """Take the code that a folder is part of, as it is now, for runs on a machine; what has uncommitted changes as well.

        Returns {url, branch, base_commit, snapshot, tree, dirty, diffstat, copy, root, inside}. A large file that nobody has decided about
        stays beside the code on this computer. Raises GitError, LargeFiles, LargeFolder, UsageError (`not_code`), Busy, NoSpace.
        """
        root = self.root(folder) or root_of(folder)
        inside = os.path.relpath(os.path.realpath(folder), os.path.realpath(root))
        with opened(self._home, root) as workspace:
            most = Amount.from_environ(os.environ).grown(workspace.accepted)
            try:
                taken = workspace.snapshots.take(
                    send=workspace.send,
                    leave=workspace.leave,
                    undecided="leave" if machine == LOCAL else "ask",
                    most=most,
                )
            except LargeFiles as exc:
                how = f"jupyter cloudml code sync --on {machine} --send FILE, or --leave FILE"
                exc.hint = f"decide once, in {root}: {how}; {LIVE_HINT}"
                raise
            except LargeFolder as exc:
                exc.hint = f"have git ignore what is no code (.gitignore); {LIVE_HINT}"
                raise
            left = [each.name for each in workspace.snapshots.undecided]
        told: dict[str, JSON] = {"copy": True, "root": str(root), "inside": inside}
        return {**code_of(taken), **told, "left": [*left, *workspace.leave]}

    def lend(
        self,
        code: Mapping[str, Any],
        link: Link,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Lent:
        """Have a machine keep the tree that was taken, and say where; what it has of it is not sent again. Called off once it is not `wanted`.

        Raises NotFound (`no_code`) where it is not kept here any more, NoSpace, AgentError, ProtocolError, Cancelled, LinkDown.
        """
        root, tree = Path(str(code["root"])), str(code["tree"])
        place = str(root) if link.machine == LOCAL else self._place_of(root, link.machine)
        with _Lending(link, wanted) as lending:
            answer = lending.run(lambda: self._kept(root, tree), tree, place)
        links = self._links(root, code, answer)
        live = str(answer["live"]) if links else None
        return Lent(str(answer["place"]), tree, root.name, str(code["inside"]), links, live)

    def sweep(self, link: Link) -> None:
        """Have a machine delete the copies of runs that were killed. Raises AgentError, LinkDown."""
        argv = [str(link.info["python"]), "-I", "-S", "-c", PROGRAM.loader, "sweep"]
        link.run(argv, input=PROGRAM.source + b"{}\n", timeout=SWEEP_S)

    def _place_of(self, root: Path, machine: str) -> str | None:
        found = place_of(self._home, str(root), machine)
        return None if found is None else found.folder

    def _kept(self, root: Path, tree: str) -> Snapshots:
        kept = Snapshots(state_of(self._home, root), root)
        git = Git(self._home, kept.state / CODE, OPTIONS)
        kept.objects = type(kept.objects)(git)  # the folder itself may be gone by now
        if not (kept.state / CODE).is_dir() or not kept.objects.has(tree):
            raise NotFound(
                f"the code of the run, {tree[:12]} of {root}, is not kept here any more",
                code="no_code",
                hint="run the job anew: it takes the code as it is now",
            )
        return kept

    def _links(
        self, root: Path, code: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> list[tuple[str, str]]:
        """Return what a copy has of the folder beside the code: what git ignores there, and the large files that were left."""
        found = [path for path in answer["beside"] if good_path(str(path).removesuffix("/"))]
        if not found:
            return []
        empty = Git(root, state_of(self._home, root) / EMPTY, OPTIONS)
        try:
            wanted = ignored(root, found, empty)
        except CloudMLError:  # the folder is gone here
            wanted = set()
        wanted |= set(code.get("left") or ())
        live = str(answer["live"])
        names = [path.removesuffix("/") for path in found if path in wanted]
        return [(name, os.path.join(live, name)) for name in names]


class _Lending:
    """One call of onhost/lend.py."""

    def __init__(self, link: Link, wanted: Callable[[], bool]) -> None:
        self._link, self._wanted = link, wanted
        self._line = bytearray()
        self._complaint = b""
        self._process = RemoteProcess.start(
            link,
            [str(link.info["python"]), "-I", "-S", "-c", PROGRAM.loader, "lend"],
            stdin=True,
            labels={"purpose": "code"},
            orphan_s=ORPHAN_S,
        )

    def __enter__(self) -> _Lending:
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0] is not None:
            self._process.stop(1.0)
        self._process.forget()

    def run(self, read: Callable[[], Snapshots], tree: str, live: str | None) -> dict[str, Any]:
        """Answer what the program asks, and return what it says at its end. The tree is not read where the machine has it."""
        self._write(PROGRAM.source + json.dumps({"tree": tree, "live": live}).encode() + b"\n")
        rows: list[list[Any]] = []
        kept = None
        while "need" in (said := self._said()) or "waiting" in said:
            if "waiting" in said:
                continue
            kept = kept or read()
            if said["need"] == "files":
                rows = self._rows(kept, tree)
                self._write(json.dumps({"files": rows}).encode() + b"\n")
                continue
            blobs = [(str(rows[n][2]), int(rows[n][3])) for n in self._numbers(said, len(rows))]
            contents = kept.objects.deflated([b for b, _ in blobs], [s for _, s in blobs])
            self._send(contents)
        if "failed" in said:
            raise failure(self._link.machine, str(said["failed"]), str(said.get("message"))[:500])
        if not isinstance(said.get("beside"), list) or not isinstance(said.get("place"), str):
            raise ProtocolError(
                f"{self._link.machine} could not keep the code: it says {said!r:.200}"
            )
        return said

    @staticmethod
    def _rows(kept: Snapshots, tree: str) -> list[list[Any]]:
        files = kept.objects.listed(tree)
        sizes = kept.objects.sizes([file.blob for file in files.values()])
        return [
            [path, file.mode, file.blob, size]
            for (path, file), size in zip(files.items(), sizes, strict=True)
        ]

    def _numbers(self, said: Mapping[str, Any], count: int) -> list[int]:
        wanted = said["need"]
        if isinstance(wanted, list) and all(isinstance(n, int) and 0 <= n < count for n in wanted):
            return wanted
        raise ProtocolError(f"{self._link.machine} asks for code that there is not")

    def _send(self, contents: Any) -> None:
        waiting = bytearray()
        for _, data in contents:
            waiting += data
            if len(waiting) >= PIECE:
                self._write(bytes(waiting))
                waiting.clear()
        if waiting:
            self._write(bytes(waiting))

    def _write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            if not self._wanted():
                raise Cancelled(f"the copying of code to {self._link.machine} was called off")
            if not self._process.write(data[at : at + PIECE], SILENT_S):
                raise LinkDown(f"{self._link.machine} does not take the code")

    def _said(self) -> dict[str, Any]:
        """Return the next line that the program says."""
        deadline = time.monotonic() + SILENT_S
        while (end := self._line.find(b"\n")) < 0:
            got = self._process.read(LOOK_S)
            if isinstance(got, Ended):
                why = self._complaint.decode(errors="replace").strip() or f"status {got.status}"
                raise ProtocolError(f"{self._link.machine} could not keep the code: {why[-500:]}")
            if isinstance(got, Output) and got.stderr:
                self._complaint = (self._complaint + got.data)[-2000:]
            elif isinstance(got, Output):
                self._line += got.data
            if isinstance(got, Output | LinkChange):
                deadline = time.monotonic() + SILENT_S
            if not self._wanted() or len(self._line) > MAX_ANSWER:
                raise Cancelled(f"the copying of code to {self._link.machine} was called off")
            if time.monotonic() > deadline:
                raise LinkDown(f"{self._link.machine} does not answer while it is sent code")
        line, self._line = bytes(self._line[:end]), self._line[end + 1 :]
        with suppress(ValueError, RecursionError):
            said = json.loads(line)
            if isinstance(said, dict):
                return said
        raise ProtocolError(f"{self._link.machine} could not keep the code: it says {line[:100]!r}")
