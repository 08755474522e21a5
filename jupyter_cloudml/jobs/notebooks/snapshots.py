"""What a run had when it was asked for: the exact bytes of its notebook, kept once by their digest, and which code lay beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...clock import Clock, SystemClock
from ...errors import JSON, NotFound, UsageError
from ...link.link import Link
from ...machines.model import LOCAL
from ...paths import private_dir, unusable
from ...store import Store
from ...store.jobs.records import RunRecord
from ...store.jobs.results import Snapshot
from ...workspaces.base import Base
from ...workspaces.copies import Copies
from ...workspaces.git import Git
from ...workspaces.workspace import FILE, place_of, state_of
from ..definition.model import JobSpec
from .notebook import MAX_FILE, parse, without_outputs
from .parameters import check, find

SendCode = Callable[[Path, str], object]
"""Brings the code of a folder to a machine, as `Workspaces.sync`."""


class Snapshots:
    """Takes and reads snapshots. Notebooks are below `home/jobs/notebooks`."""

    def __init__(
        self,
        store: Store,
        home: Path,
        send_code: SendCode,
        clock: Clock | None = None,
        link_of: Callable[[str], Link] | None = None,
    ) -> None:
        """`link_of`: by it a machine gets the code of a run at once where other computers may start the run: only this one has it."""
        self._store, self._home, self._send_code = store, home, send_code
        self._link_of = link_of
        self._clock = clock or SystemClock()
        self._copies = Copies(home)

    def take(
        self,
        spec: JobSpec,
        params: Mapping[str, JSON],
        content: bytes | None = None,
        sets: Sequence[Mapping[str, JSON]] = (),
    ) -> Snapshot:
        """Keep what a run of this job would have now, or `content` as its notebook, and send its code; `sets` are the parameters of a sweep.

        Raises NotFound for a notebook that is not there, UsageError for one that cannot be run and for parameters that do not fit it, and
        what a sync raises.
        """
        path = Path(spec.notebook)
        data = read_notebook(path) if content is None else content
        notebook = parse(data, path.name)
        declared = find(notebook)
        for each in sets or ({},):
            check(declared, {**spec.parameters, **params, **each}, path.name)
        without_outputs(notebook, path.name)
        code = self._code(path.parent, spec)
        ref = self._keep(data)
        told = {"notebook": ref, "code": code}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return self._store.results.add_snapshot(
            Snapshot("", digest, ref, code, None, {}), self._clock.now_ms()
        )

    def of(self, snapshot_id: str) -> tuple[Snapshot, bytes]:
        """Return a snapshot and its notebook. Raises NotFound."""
        found = self._store.results.snapshot(snapshot_id)
        path = self._place(found.notebook_ref)
        try:
            return found, path.read_bytes()
        except FileNotFoundError as exc:
            shared = self._store.files
            data = None if shared is None else shared.notebook(found.notebook_ref)
            if data is not None:
                return found, data
            raise NotFound(
                f"the notebook of the run is not in {path.parent}",
                code="no_snapshot",
                hint="it was deleted there: run the job again, with its notebook of now",
            ) from exc
        except OSError as exc:
            raise unusable(path.parent, exc) from exc

    def keep(self, path: Path) -> str:
        """Keep the notebook of a job as it is now, for computers that share the database and have no such file: as the snapshot whose id it
        returns. Raises as `take`.
        """
        ref = self._keep(read_notebook(path))
        told = json.dumps({"notebook": ref, "code": {}}, sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()
        kept = self._store.results.add_snapshot(
            Snapshot("", digest, ref, {}, None, {}), self._clock.now_ms()
        )
        return kept.id

    def _place(self, ref: str) -> Path:
        return self._home / "jobs" / "notebooks" / f"{ref.removeprefix('sha256:')}.ipynb"

    def _keep(self, data: bytes) -> str:
        ref = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = self._place(ref)
        private_dir(private_dir(self._home / "jobs") / "notebooks")
        try:
            try:
                os.utime(path)  # taken now: whoever lets go of old ones leaves it
            except FileNotFoundError:
                write(path, data)
        except OSError as exc:
            raise unusable(path.parent, exc) from exc
        if self._store.files is not None:
            self._store.files.keep_notebook(ref, data, self._clock.now_ms())
        return ref

    def _code(self, folder: Path, spec: JobSpec) -> Mapping[str, JSON]:
        """Take the code that a notebook is part of, or send it where the run works in the folder itself, and say which it is; {} where it is
        part of none.
        """
        machine = spec.machine
        if spec.code == "copy" or (spec.code is None and self._copies.root(folder) is not None):
            taken = self._copies.take(folder, machine)
            if self._store.files is not None and machine != LOCAL and self._link_of is not None:
                self._copies.lend(taken, self._link_of(machine))
            return taken
        if machine == LOCAL:
            base = Base.of(folder)
            if base.commit is None:
                return {}
            status = Git(folder).ask("status", "--porcelain", "--untracked-files=no")
            return {
                "url": base.url,
                "branch": base.branch,
                "base_commit": base.commit,
                "tree": None,
                "dirty": None if status is None else bool(status),
                "copy": False,
            }
        self.bring_code(folder, machine)
        place = place_of(self._home, str(folder), machine)
        if place is None:
            return {}
        told: dict[str, JSON] = {**place.code, "copy": False}
        return told if self._store.files is None else {**told, "folder": place.folder}

    def bring_code_again(self, run: RunRecord, machine: str) -> None:
        """Have another machine have the code of a run that works in the folder itself; a copy of its code comes when it starts."""
        if run.snapshot_id is not None and self.of(run.snapshot_id)[0].code.get("copy"):
            return
        spec = self._store.jobs.revision(run.job_id, run.job_rev)
        self.bring_code(Path(str(spec["notebook"])).parent, machine)

    def bring_code(self, folder: Path, machine: str) -> None:
        """Have a machine have the code of a folder, where it is code. Raises what a sync raises."""
        if machine != LOCAL and self._is_code(folder):
            self._send_code(folder, machine)

    def _is_code(self, folder: Path) -> bool:
        """Whether a folder is in a repository, or in a workspace already."""
        if any((state_of(self._home, each) / FILE).exists() for each in (folder, *folder.parents)):
            return True
        return Git(folder).ask("rev-parse", "--show-toplevel") is not None


def write(path: Path, data: bytes) -> None:
    """Write a private file, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def read_notebook(path: Path) -> bytes:
    """Return the bytes of a notebook. Raises NotFound, UsageError for a file that cannot be read or that is too large."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise UsageError(
                f"{path} has {size / 1e6:.0f} MB: a notebook that is run has {MAX_FILE / 1e6:.0f} MB at most",
                code="too_large",
                hint="clear its outputs; large data belongs into files beside it",
            )
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise NotFound(
            f"there is no notebook {path}",
            code="no_notebook",
            hint="give the path of an .ipynb file",
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"the notebook {path} cannot be read: {exc.strerror}",
            code="bad_notebook",
            hint="see that it is a file that you may read",
        ) from exc
