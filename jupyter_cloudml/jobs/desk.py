"""Where people ask for jobs and runs: notebooks by their paths and machines are looked at before anything is written."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ..clock import Clock
from ..errors import JSON, CloudMLError, Conflict, NotFound
from ..events import Event
from ..link.link import Link
from ..machines.model import LOCAL
from ..store import Store
from ..store.jobs.records import JobRecord, RunRecord
from .attempts.attempt import Attempts
from .attempts.kept import Left, no_kernel
from .authors import author_of
from .definition.triggers import interval_s
from .hooks import Hooks
from .lists import Lists
from .notebooks.notebook import Notebook, parse
from .notebooks.parameters import find, language_of
from .notebooks.snapshots import SendCode, Snapshots, read_notebook
from .pools import Pools
from .results import Results
from .retention import Keeper
from .scheduler import runs_folder
from .service import Jobs
from .watching.watcher import Watcher

_log = logging.getLogger(__name__)
OF_A_RUN = (
    "machine",
    "environment",
    "kernel",
    "max_running",
    "code",
)  # a run by hand says these itself


class Desk:
    """Jobs of one home folder. `known` raises where there is no machine of a name."""

    def __init__(
        self,
        store: Store,
        home: Path,
        known: Callable[[str], object],
        send_code: SendCode,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        wake: Callable[[], None] = lambda: None,
        link_of: Callable[[str], Link] | None = None,
    ) -> None:
        self._store, self._known = store, known
        self.snapshots = Snapshots(store, home, send_code, clock, link_of)
        watcher = Watcher(store, home, clock=clock, on_event=on_event, wake=wake)
        self.jobs = Jobs(
            store,
            clock=clock,
            on_event=on_event,
            wake=wake,
            take=self.snapshots.take,
            look=watcher.look_now,
        )
        self.results = Results(store, runs_folder(home))
        self.lists = Lists(store)
        self.pools = Pools(store)
        self.keeper = Keeper(store, home, clock)
        self.hooks = Hooks(store, self.notebook, clock=clock, on_event=on_event, wake=wake)

    def create(
        self,
        definition: Mapping[str, JSON],
        folder: Path | None = None,
        *,
        rev: int | None = None,
        author: str | None = None,
        file: Path | None = None,
    ) -> JobRecord:
        """Make or change the job of a definition (docs/jobs.md); a notebook without a whole path is in `folder`, or in this process's.

        `rev` is the revision that it is to be the next of, 0 of a new job. On record are `author`, else the user of this process, and the commit of
        the `file` that has the definition, else of the notebook. Raises UsageError (`bad_job`), NotFound for a machine or notebook,
        Conflict (`changed`) where the job has another revision.
        """
        wanted, at, found = dict(definition), file, None
        notebook = wanted.get("notebook")
        if isinstance(notebook, str) and notebook and "\0" not in notebook:
            found = Path(os.path.abspath((folder or Path.cwd()) / os.path.expanduser(notebook)))
            if not os.path.isfile(found):
                raise no_notebook(found)
            wanted["notebook"] = str(found)
            at = at or found
        machine = wanted.get("machine")
        if isinstance(machine, str):
            self._known(machine)
        triggers = wanted.get("triggers")
        if isinstance(triggers, list):
            wanted["triggers"] = [_placed(each, folder or Path.cwd()) for each in triggers]
        shares = self._store.files is not None  # kept first: a job without it runs nowhere else
        kept = self.snapshots.keep(found) if shares and found is not None else None
        job = self.jobs.apply(wanted, author_of(at, author), rev=rev)
        if kept is not None:
            self._store.jobs.give_snapshot(job.id, kept)
        return job

    def run_notebook(
        self,
        path: Path,
        params: Mapping[str, JSON],
        given: Mapping[str, JSON] = {},
        *,
        name: str | None = None,
        token: str | None = None,
        content: bytes | None = None,
        sweep: JSON = None,
        author: str | None = None,
    ) -> RunRecord:
        """Run a notebook now, or `content` in its place, once with each of the parameters of a `sweep`. `given` may have machine, kernel,
        environment, code and max_running; `name` is that of the job. What else somebody has set in the job of such runs stays.

        Raises NotFound for a notebook or machine, UsageError for parameters that do not fit, Conflict where the name is another job's, and
        what a sync raises.
        """
        if not os.path.isfile(path) and not (content is not None and os.path.isdir(path.parent)):
            raise no_notebook(path)
        self._known(str(given.get("machine") or LOCAL))
        called = name or name_of(path)
        kept = self._kept(called, str(path))
        if given.get("max_running") is not None:
            kept["overlap"] = "allow"
        wanted = {**kept, "name": called, "notebook": str(path), **given}
        job = self.jobs.apply(wanted, author_of(None, author))
        return self.jobs.run_job(job, params, token=token, content=content, sweep=sweep)

    def retry(
        self,
        run_id: str,
        *,
        on: str | None = None,
        from_failed: bool = False,
        link_of: Callable[[str], Link] | None = None,
    ) -> tuple[RunRecord, str]:
        """Run again what a run that is over ran, on another machine where one is given; `from_failed`: from the failed cell on, where its kernel
        was kept; its machine is asked whether it is there still, by `link_of`. Also returns, in words, from where it runs and why. Raises NotFound, Conflict, and what a sync raises.
        """
        run = self._store.runs.get(run_id)
        if on is not None:
            self._known(on)
            self.snapshots.bring_code_again(run, on)
        if from_failed and link_of is not None:
            self._look_for_kernel(run, link_of)
        way = self.results.kernels.way(run, on, from_failed=from_failed)
        made = self.jobs.rerun(run_id, way.changes)
        if "resume" in way.changes:
            self.results.kernels.gone(run)
        return made, way.words

    def _look_for_kernel(self, run: RunRecord, link_of: Callable[[str], Link]) -> None:
        """Note where the kernel of a run is gone; a machine that does not answer says nothing of it."""
        left = self.results.kernels.of(run)
        try:
            if left is None or self.results.kernels.is_elsewhere(run, left):
                return
            if Attempts().holder(link_of(left.machine), left.name) is None:
                self.results.kernels.gone(run)
        except CloudMLError as exc:
            _log.info("whether %s has its kernel still is not known: %s", run.id, exc)

    def release(self, run_id: str, link_of: Callable[[str], Link]) -> bool:
        """End the kernel that a failed run has left; False where it has left none. Raises NotFound, Conflict (`other_computer`), LinkDown."""
        run = self._store.runs.get(run_id)
        if self.results.kernels.of(run) is None:
            return False
        left = self.results.kernels.must(run)
        ended = Attempts().release(link_of(left.machine), left.name)
        self.results.kernels.gone(run)
        return ended

    def keep_longer(
        self, run_id: str, link_of: Callable[[str], Link], seconds: float | None = None
    ) -> Left:
        """Have the kernel that a failed run has left kept for so many seconds from now on; None: for as long as its definition says.

        Raises NotFound (`no_kernel`), LinkDown.
        """
        run = self._store.runs.get(run_id)
        left = self.results.kernels.must(run)
        if seconds is None:
            spec = self._store.jobs.revision(run.job_id, run.job_rev)
            seconds = float(interval_s(str(spec.get("keep_on_failure") or "30m")))
        link = link_of(left.machine)
        until = Attempts().keep_longer(link, left.name, left.connection_file, seconds)
        if until is None:
            self.results.kernels.gone(run)
            raise no_kernel(run_id, "it is not there any more")
        return self.results.kernels.longer(run, max(until, left.until_ms))

    def parameters(self, path: Path) -> dict[str, JSON]:
        """Return what a form asks for before a notebook is run. Raises NotFound, UsageError (`bad_notebook`)."""
        notebook = self.notebook(path)
        spec = notebook["metadata"].get("kernelspec")
        return {
            "parameters": [each.to_dict() for each in find(notebook) or ()],
            "kernel": spec.get("name") if isinstance(spec, dict) else None,
            "language": language_of(notebook),
        }

    def notebook(self, path: Path) -> Notebook:
        """Return a notebook. Raises NotFound, UsageError (`bad_notebook`)."""
        if not os.path.isfile(path):  # also of a name that is too long
            raise no_notebook(path)
        return parse(read_notebook(path), path.name)

    def _kept(self, name: str, notebook: str) -> dict[str, JSON]:
        """Return what stays of the definition of the job of runs by hand; such a run never changes a job which somebody has made."""
        try:
            found = self._store.jobs.get(name)
        except NotFound:
            return {"overlap": "allow"}
        if found.spec.get("triggers") or found.spec.get("notebook") != notebook:
            raise Conflict(
                f"{name} is a job of its own",
                code="in_use",
                hint="run that job, or give this run another name",
            )
        return {field: value for field, value in found.spec.items() if field not in OF_A_RUN}


def _placed(trigger: JSON, folder: Path) -> JSON:
    """Return a trigger whose repository, where that is a folder, has its whole path: who looks there works elsewhere."""
    git = trigger.get("git") if isinstance(trigger, dict) else None
    if not isinstance(git, str):
        return trigger
    return {**trigger, "git": repository_in(git, folder)}  # type: ignore[dict-item]


def repository_in(git: str, folder: Path) -> str:
    """Return the whole path of a repository that is a folder, seen from another folder; a URL stays as it is."""
    if not git or "\0" in git or ":" in git:
        return git
    return os.path.abspath(folder / os.path.expanduser(git))


def name_of(path: Path) -> str:
    """Return the name of the job that stands for the runs of a notebook by hand."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:60] or "notebook"
    return f"{stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def no_notebook(path: Path) -> NotFound:
    """Return the error that names a notebook which is not there."""
    return NotFound(
        f"there is no notebook {path}", code="no_notebook", hint="give the path of an .ipynb file"
    )
