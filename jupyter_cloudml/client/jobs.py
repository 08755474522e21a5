"""The jobs, as a program uses them: `client.jobs`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.jobs import scheduler
from jupyter_cloudml.jobs.attempts.bridge import Bridge
from jupyter_cloudml.jobs.attempts.data import DataOfRuns
from jupyter_cloudml.jobs.attempts.kept import Left
from jupyter_cloudml.jobs.desk import Desk, name_of
from jupyter_cloudml.jobs.files import JobFiles
from jupyter_cloudml.jobs.lists import job_to_dict
from jupyter_cloudml.jobs.notebooks.parameters import find, from_text
from jupyter_cloudml.jobs.notebooks.records import Record
from jupyter_cloudml.jobs.notebooks.snapshots import SendCode
from jupyter_cloudml.jobs.results import run_to_dict
from jupyter_cloudml.jobs.retention import Cleaned
from jupyter_cloudml.jobs.scheduler import Scheduler
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.records import JobRecord, RunRecord
from jupyter_cloudml_kernels.host_specs import parse_host_specs

LOOK_S = 0.1
Runs: TypeAlias = list[RunRecord]
JobRows: TypeAlias = list[JobRecord]


class JobVerbs:
    """`client.jobs`. A run is known by its id, a job by its name."""

    def __init__(self, store: Store, home: Path, core: Machines, send_code: SendCode) -> None:
        self._store, self._home, self._core = store, home, core
        self._desk = Desk(store, home, core.get, send_code, link_of=core.link)
        self._jobs, self._results = self._desk.jobs, self._desk.results
        self.pools = self._desk.pools
        self.files = JobFiles(store, self._jobs, core.get)

    # -- jobs -------------------------------------------------------------------------------------

    def create(self, definition: Mapping[str, JSON], *, file: Path | None = None) -> JobRecord:
        """Make or change the job of a definition (docs/jobs.md), which is from a `file` where one is given. Raises UsageError (`bad_job`), NotFound
        for a machine or notebook.
        """
        return self._desk.create(definition, file=file)

    def list(self, *, after: str = "", limit: int = 50) -> JobRows:
        """Return jobs by name, those after `after`."""
        return self._store.jobs.page(after=after, limit=limit)

    def get(self, name: str) -> JobRecord:
        """Return a job. Raises NotFound."""
        return self._store.jobs.get(name)

    def next_due_ms(self, job: JobRecord) -> int | None:
        """Return when a trigger by time is due next; None where none is."""
        times = [each.next_due_ms for each in self._store.jobs.triggers(job.id)]
        return min((time for time in times if time is not None), default=None)

    def pause(self, name: str) -> JobRecord:
        """Have the due times of a job skipped. Raises NotFound."""
        return self._jobs.pause(name)

    def resume(self, name: str) -> JobRecord:
        """Have a job run at its due times again. Raises NotFound."""
        return self._jobs.pause(name, False)

    def delete(self, name: str) -> None:
        """Delete a job; its runs end, their record stays. Raises NotFound."""
        self._jobs.delete(name)

    def going_on(self, name: str) -> int:
        """Return how many runs of a job are not over, up to 1,000. Raises NotFound."""
        job_id = self._store.jobs.get(name).id
        return len(self._store.runs.page(job_id=job_id, states=scheduler.OPEN, limit=1000))

    def prune(self, *, dry_run: bool = False) -> Cleaned | None:
        """Delete the runs that their jobs keep no more; None where another process is at it. Raises StoreError."""
        return self._desk.keeper.look() if dry_run else self._desk.keeper.clean()

    def backfill(self, name: str, from_ms: int, until_ms: int) -> Runs:
        """Make the runs of all due times of a range, both ends included, once each. Raises NotFound, UsageError."""
        return self._jobs.backfill(name, from_ms, until_ms)

    def hook_token(self, name: str, *, rotate: bool = False) -> str:
        """Return a new token for the webhook of a job; it is kept nowhere. Raises NotFound, UsageError (`no_webhook`), Conflict where there is one."""
        return self._desk.hooks.new_token(name, rotate=rotate)

    # -- runs -------------------------------------------------------------------------------------

    def run(
        self,
        what: str,
        *,
        on: str | None = None,
        params: Mapping[str, JSON] = {},
        kernel: str | None = None,
        environment: str | None = None,
        content: bytes | None = None,
        sweep: JSON = None,
        at_once: int | None = None,
        code: str | None = None,
    ) -> RunRecord:
        """Run a notebook (a path, or `content` in its place) on a machine, or a job (a name) now. Some scheduler has to do it: see `serving` and `hand_over`.

        `sweep` ({name: [values]}, or a list of sets of parameters) makes it a run of many, `at_once` of them at a time; `code` is copy or live, as
        in a definition. Raises NotFound for a
        notebook, job or machine that is not there, UsageError for parameters that do not fit, and what a sync raises.
        """
        more = {
            "machine": on,
            "kernel": kernel,
            "environment": environment,
            "max_running": at_once,
            "code": code,
        }
        given: dict[str, JSON] = {name: value for name, value in more.items() if value is not None}
        if not _is_path(what):
            if given:
                raise UsageError(
                    f"{what} is a job: it says itself where it runs", hint="change the job instead"
                )
            return self._jobs.run(what, params, sweep=sweep)
        path = Path(what).expanduser().absolute()
        return self._desk.run_notebook(path, params, given, content=content, sweep=sweep)

    def look(self, name: str) -> Runs:
        """Have the triggers of a job that look at a Git ref or at S3 look now; returns the runs that they make, or one that is skipped.

        Raises NotFound, UsageError (`nothing_to_watch`), and why a look fails.
        """
        return self._jobs.look(name)

    def about(self, name: str) -> dict[str, JSON]:
        """Return a job with its triggers and last runs. Raises NotFound."""
        return self._desk.lists.job(name)

    def typed_lists(self, what: str, texts: Sequence[str]) -> dict[str, JSON]:
        """Return the lists of `NAME=VALUE,VALUE`, or of `NAME=[…]` in JSON, as the notebook declares them. Raises UsageError, NotFound."""
        found: dict[str, JSON] = {}
        for text in texts:
            name, _, values = text.partition("=")
            if values.startswith("["):
                try:
                    found[name] = json.loads(values)
                except ValueError as exc:
                    raise UsageError(f"{text[:60]!r} is no JSON: {exc}", code="bad_sweep") from exc
            else:
                each = [self.typed(what, [f"{name}={value}"]) for value in values.split(",")]
                found[name] = [one[name] for one in each]
        return found

    def typed(self, what: str, texts: Sequence[str]) -> dict[str, JSON]:
        """Return the values of `NAME=VALUE`, as the notebook declares them. Raises UsageError, NotFound."""
        spec = None if _is_path(what) else self._store.jobs.get(what).spec
        path = Path(str(spec["notebook"]) if spec else what).expanduser().absolute()
        declared = {each.name: each for each in find(self._desk.notebook(path)) or ()}
        found: dict[str, JSON] = {}
        for text in texts:
            name, given, value = text.partition("=")
            if not given or not name.isidentifier():
                raise UsageError(
                    f"{text[:60]!r} sets no parameter", code="bad_parameter", hint="give NAME=VALUE"
                )
            found[name] = from_text(declared.get(name), value)
        return found

    def runs(self, name: str | None = None, *, before: str | None = None, limit: int = 50) -> Runs:
        """Return runs, of one job or of all, the newest first. Raises NotFound."""
        job_id = None if name is None else self._store.jobs.get(name).id
        return self._store.runs.page(job_id=job_id, before=before, limit=limit)

    def told(self, runs: Sequence[RunRecord]) -> Sequence[dict[str, JSON]]:
        """Return runs as they are listed, with the names of their jobs and machines."""
        return self._desk.lists.runs_told(runs)

    def find(self, run_id: str) -> RunRecord:
        """Return a run. Raises NotFound."""
        return self._store.runs.get(run_id)

    def show(self, run_id: str) -> dict[str, JSON]:
        """Return all that is known of a run, with the paths of its notebook and page, which are made now. Raises NotFound."""
        return self._results.show(run_id)

    def cancel(self, run_id: str) -> RunRecord:
        """Have a run end; it has once its state says so. The kernel that a failed one has left ends as well. Raises NotFound, LinkDown."""
        found = self._jobs.cancel(run_id)
        if found.ended_ms is not None:
            self.release(run_id)
        return found

    def retry(
        self, run_id: str, *, on: str | None = None, from_failed: bool = False
    ) -> tuple[RunRecord, str]:
        """Run again what a run that is over ran: notebook, parameters, definition; on another machine where one is given.

        `from_failed`: from the failed cell on, where its kernel was kept. Also returns from where it runs and why, in words. Raises NotFound,
        Conflict, and what a sync raises.
        """
        link_of = self._core.link
        return self._desk.retry(run_id, on=on, from_failed=from_failed, link_of=link_of)

    def release(self, run_id: str) -> bool:
        """End the kernel that a failed run has left; False where there is none. Raises NotFound, LinkDown."""
        return self._desk.release(run_id, self._core.link)

    def keep_longer(self, run_id: str, for_s: float | None = None) -> Left:
        """Have the kernel that a failed run has left kept for so many seconds from now on, never for less than now; None: as its definition says.

        Raises NotFound (`no_kernel`), LinkDown.
        """
        return self._desk.keep_longer(run_id, self._core.link, for_s)

    def kept(self, run_id: str) -> Left | None:
        """Return the kernel that a failed run has left. Raises NotFound."""
        return self._results.kernels.of(self.find(run_id))

    @contextmanager
    def opened(self, run_id: str) -> Iterator[tuple[Left, str]]:
        """Have the kernel that a failed run has left here, meanwhile; yields it and a connection file of this computer.

        Raises NotFound where it has left none, LinkDown.
        """
        left = self._results.kernels.must(self.find(run_id))
        with Bridge(self._core.link(left.machine), left.connection_file) as bridge:
            yield left, bridge.file

    def records(
        self, run_id: str, stop: Callable[[], bool] = lambda: False, *, follow: bool = True
    ) -> Iterator[Record]:
        """Yield what a run says, of its last attempt; with `follow` until it is over or `stop` says so. Raises NotFound."""
        shown, log = 0, None
        while True:
            over = self.find(run_id).ended_ms is not None
            n = len(self._store.runs.attempts(run_id))
            if n != shown:
                shown, log = n, self._results.log_of(run_id, n)
            if log is not None:
                yield from log.read_on()
            if over or not follow or stop():
                return
            threading.Event().wait(LOOK_S)

    def wait(self, run_id: str, stop: Callable[[], bool] = lambda: False) -> RunRecord:
        """Wait until a run is over, or `stop` says so; return it. Raises NotFound."""
        while (run := self.find(run_id)).ended_ms is None and not stop():
            threading.Event().wait(LOOK_S)
        return run

    # -- schedulers -------------------------------------------------------------------------------

    @contextmanager
    def serving(self, *, keep_ready: bool = False) -> Iterator[Scheduler]:
        """Run a scheduler in this process meanwhile, which also syncs what notebooks of runs ask for with `dataset(…)`.

        `keep_ready`: machines that it has used have a runner wait for the next run.
        """
        data = DataOfRuns(self._home, self._core, Config.from_environ().notebook_data)
        made = Scheduler(
            self._store,
            self._home,
            self._core.link,
            self._desk.snapshots,
            parse_host_specs,
            keep_ready=keep_ready,
            attend=data.attend,
        )
        try:
            made.start()
            yield made
        finally:
            made.close()
            data.close()

    def hand_over(self) -> bool:
        """Where runs wait or go on and no scheduler works, start one of its own that ends with them. Tells whether it was started."""
        return scheduler.hand_over(self._store, self._home)

    def is_idle(self) -> bool:
        """Tell whether no run waits or goes on."""
        return scheduler.is_idle(self._store)


def _is_path(what: str) -> bool:
    return what.endswith(".ipynb") or "/" in what


__all__ = ["JobVerbs", "job_to_dict", "name_of", "run_to_dict"]
