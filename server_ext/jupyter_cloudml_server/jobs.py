"""Jobs and their runs, called from the event loop: everything blocking is done by threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.errors import JSON, Busy, NotFound
from jupyter_cloudml.jobs.definition.model import kept_for, schema
from jupyter_cloudml.jobs.definition.triggers import Trigger
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.jobs.notebooks.notebook import parse
from jupyter_cloudml.jobs.notebooks.selection import select
from jupyter_cloudml.jobs.pools import pool_to_dict
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.machines.operations import Operation, Operations
from jupyter_cloudml.store import Store
from jupyter_cloudml_server.calls import CallPool

DAY_MS = 86_400_000
Json = dict[str, JSON]
T = TypeVar("T")


class JobCalls:
    """Every request about jobs and runs. `local` serves what the store and this computer know; `remote` what may send code to a machine.

    `asked` is called after something was asked for that a scheduler has to do, `watch` with a run, its file of records, and up to where somebody
    has read that.
    """

    def __init__(
        self,
        store: Store,
        desk: Desk,
        operations: Operations,
        asked: Callable[[], None],
        watch: Callable[[str, Callable[[], int], int], None],
        link_of: Callable[[str], Link],
        *,
        clock: Clock,
        local: CallPool,
        remote: CallPool,
    ) -> None:
        self._operations = operations
        self._store, self._desk, self._asked, self._clock = store, desk, asked, clock
        self._local, self._remote, self._watch = local, remote, watch
        self._lists, self._link_of = desk.lists, link_of

    # -- jobs -------------------------------------------------------------------------------------

    async def all(self, after: str, limit: int, text: str, only: str, counts: bool) -> Json:
        """Return a page of jobs."""
        return await self._local.run(
            self._lists.jobs, after=after, limit=limit, text=text, only=only, counts=counts
        )

    async def get(self, name: str) -> Json:
        """Return one job. Raises NotFound."""
        return await self._local.run(self._lists.job, name)

    async def apply(
        self,
        definition: Mapping[str, JSON],
        folder: Path,
        rev: int | None = None,
        *,
        author: str | None = None,
    ) -> tuple[Json, bool]:
        """Make or change a job, at revision `rev` if one is given, and tell whether it is new; notebooks without a whole path are in `folder`.
        `author` is who asks for it.

        Raises UsageError, NotFound, Conflict.
        """

        def work() -> tuple[Json, bool]:
            new = not self._is_there(str(definition.get("name")))
            record = self._desk.create(definition, folder, rev=rev, author=author)
            return self._lists.told([record])[0], new

        return await self._local.run(work)

    async def delete(self, name: str) -> None:
        """Take a job out; its runs end. Raises NotFound."""

        def work() -> None:
            self._desk.jobs.delete(name)
            self._asked()

        await self._local.run(work)

    async def pause(self, name: str, paused: bool) -> Json:
        """Have due times skipped, or not any more. Raises NotFound."""

        def work() -> Json:
            return self._lists.told([self._desk.jobs.pause(name, paused)])[0]

        return await self._local.run(work)

    async def preview(self, trigger: JSON, count: int) -> Json:
        """Say in words when a trigger fires, and when next. Raises UsageError."""

        def work() -> Json:
            found = self._desk.jobs.preview(Trigger.from_dict(trigger), count)
            return {"words": found.words, "next_ms": [*found.next_ms]}

        return await self._local.run(work)

    def schema(self) -> Json:
        """Return the JSON schema of a definition."""
        return schema()

    async def parameters(self, notebook: Path) -> Json:
        """Return what a notebook is to be given. Raises NotFound, UsageError."""
        return await self._local.run(self._desk.parameters, notebook)

    async def select(self, content: JSON, cells: Sequence[int]) -> Json:
        """Make a notebook of some cells of one, with those before them that they need. Raises UsageError."""

        def work() -> Json:
            return select(parse(json.dumps(content), "the notebook"), cells).to_dict()

        return await self._local.run(work)

    async def run(self, name: str, body: Mapping[str, JSON]) -> Json:
        """Run a job now. Raises NotFound, UsageError, and what a sync raises."""

        def work() -> Json:
            run = self._desk.jobs.run(
                name, _parameters(body), token=_text(body, "token"), sweep=body.get("sweep")
            )
            self._asked()
            return self._lists.runs_told([run])[0]

        return await self._remote.run(work)

    async def backfill(self, name: str, body: Mapping[str, JSON]) -> Json:
        """Make the runs of a range, or only tell how many that would be. Raises NotFound, UsageError."""
        range_ms = cast(int, body["from_ms"]), cast(int, body["until_ms"])
        key = _text(body, "trigger")

        def work() -> Json:
            jobs = self._desk.jobs
            if body.get("dry_run") is True:
                return {"runs": [], **jobs.filling(name, *range_ms, trigger_key=key).to_dict()}
            made = jobs.backfill(name, *range_ms, trigger_key=key)
            self._asked()
            return {"runs": [*self._lists.runs_told(made)]}

        return await self._local.run(work)

    # -- pools ------------------------------------------------------------------------------------

    async def pools(self) -> Json:
        """Return the pools."""

        def work() -> Json:
            return {"pools": [pool_to_dict(each) for each in self._desk.pools.all()]}

        return await self._local.run(work)

    async def set_pool(self, name: str, cap: int) -> Json:
        """Set the cap of a pool. Raises UsageError."""

        def work() -> Json:
            found = self._desk.pools.set(name, cap)
            self._asked()
            return pool_to_dict(found)

        return await self._local.run(work)

    async def remove_pool(self, name: str) -> None:
        """Take the cap of a pool away. Raises NotFound."""

        def work() -> None:
            self._desk.pools.remove(name)
            self._asked()

        await self._local.run(work)

    # -- webhooks ---------------------------------------------------------------------------------

    async def hook(self, name: str) -> bool:
        """Tell whether the webhook of a job has a token. Raises NotFound, UsageError."""
        return await self._local.run(self._desk.hooks.has_token, name)

    async def new_token(self, name: str, rotate: bool) -> str:
        """Return a new token for the webhook of a job. Raises NotFound, UsageError, Conflict."""
        return await self._local.run(self._desk.hooks.new_token, name, rotate=rotate)

    async def fire(self, name: str, token: str, params: Mapping[str, JSON], key: str) -> Json:
        """Run a job by its webhook. Raises Stranger, UsageError."""

        def work() -> Json:
            run = self._desk.hooks.fire(name, token, params, key)
            self._asked()
            return {"id": run.id, "state": run.state, "reason": run.reason or None}

        return await self._local.run(work)

    # -- runs -------------------------------------------------------------------------------------

    async def runs(
        self, job: str | None, states: Sequence[str], before: str | None, limit: int, counts: bool
    ) -> Json:
        """Return a page of runs. Raises NotFound for the job."""
        return await self._local.run(
            self._lists.runs, job=job, states=states, before=before, limit=limit, counts=counts
        )

    async def summary(self, since_ms: int | None) -> Json:
        """Return what goes on, what failed since a time (a day ago where none is given), and what is next."""
        since = self._clock.now_ms() - DAY_MS if since_ms is None else since_ms
        return await self._local.run(self._lists.summary, since)

    async def run_notebook(
        self, path: Path, body: Mapping[str, JSON], *, author: str | None = None
    ) -> Json:
        """Run a notebook now, or the `content` of the body in its place. Raises NotFound, UsageError, Conflict, and what a sync raises."""
        names = ("machine", "environment", "kernel", "code")
        given = {name: body[name] for name in names if body.get(name) is not None}

        def work() -> Json:
            content = body.get("content")
            run = self._desk.run_notebook(
                path,
                _parameters(body),
                given,
                name=_text(body, "name"),
                token=_text(body, "token"),
                sweep=body.get("sweep"),
                content=None if content is None else json.dumps(content).encode(),
                author=author,
            )
            self._asked()
            return self._lists.runs_told([run])[0]

        return await self._remote.run(work)

    def prune(self, *, dry_run: bool) -> Operation:
        """Begin to delete the runs that their jobs keep no more, or to look which these are."""

        def work(operation: Operation) -> JSON:
            keeper = self._desk.keeper
            done = keeper.look() if dry_run else keeper.clean(operation.cancelled.is_set)
            if done is None:
                raise Busy("A scheduler is at it just now.", hint="Try again later.")
            return done.to_dict()

        return self._operations.start("prune", "", work)

    async def look(self, run_id: str) -> Json:
        """Return all that is known of a run. Raises NotFound."""
        return await self._local.run(self._desk.results.look, run_id)

    async def cancel(self, run_id: str) -> Json:
        """Have a run end. Raises NotFound."""

        def work() -> Json:
            run = self._desk.jobs.cancel(run_id)
            self._asked()
            return self._lists.runs_told([run])[0]

        return await self._local.run(work)

    async def retry(self, run_id: str, body: Mapping[str, JSON]) -> Json:
        """Run again what a run that is over ran. Raises NotFound, Conflict, and what a sync raises."""

        def work() -> Json:
            on, from_failed = _text(body, "machine"), bool(body.get("from_failed"))
            run, how = self._desk.retry(
                run_id, on=on, from_failed=from_failed, link_of=self._link_of
            )
            self._asked()
            return {**self._lists.runs_told([run])[0], "how": how}

        return await self._remote.run(work)

    async def release(self, run_id: str) -> Json:
        """End the kernel that a failed run has left. Raises NotFound, LinkDown."""
        return {"released": await self._remote.run(self._desk.release, run_id, self._link_of)}

    async def keep_longer(self, run_id: str, text: str | None) -> Json:
        """Have the kernel that a failed run has left kept longer: for so long from now on. Raises NotFound, UsageError, LinkDown."""

        def work() -> Json:
            seconds = None if text is None else float(kept_for(text))
            return {"kept": self._desk.keep_longer(run_id, self._link_of, seconds).to_dict()}

        return await self._remote.run(work)

    async def records(self, run_id: str, attempt: int | None, offset: int, limit: int) -> Json:
        """Return what an attempt (None: the last one) has said from an offset on. Raises NotFound, UsageError."""
        return await self._local.run(self._records, run_id, attempt, offset, limit)

    async def sources(self, run_id: str, attempt: int | None) -> Json:
        """Return the notebook that an attempt (None: the last one) was given, without outputs. Raises NotFound."""

        def work() -> Json:
            n = len(self._store.runs.attempts(run_id)) if attempt is None else attempt
            return self._desk.results.given(run_id, n)

        return await self._local.run(work)

    async def notebook(self, run_id: str, attempt: int | None) -> Path:
        """Return the executed notebook of the last attempt (None) or an earlier one, made now where the run goes on. Raises NotFound."""
        return await self._local.run(self._desk.results.notebook, run_id, attempt)

    async def page(self, run_id: str) -> Path:
        """Return the page of a run. Raises NotFound, UsageError."""
        return await self._local.run(self._desk.results.page, run_id)

    async def file(self, run_id: str, name: str, attempt: int | None) -> Path:
        """Return a file that a run has written into its copy of the code. Raises NotFound."""
        return await self._local.run(lambda: self._desk.results.file(run_id, name, attempt))

    async def aside(self, work: Callable[[], T]) -> T:
        """Do on a thread what would hold up the server: reading a piece of a file, or a large body."""
        return await self._local.run(work)

    async def printed(self, run_id: str) -> Callable[[], bytes]:
        """Return what gives, piece by piece, what the cells of a run have printed; b"" at its end. Raises NotFound."""

        def work() -> Callable[[], bytes]:
            self._store.runs.get(run_id)
            attempts = self._store.runs.attempts(run_id)
            pieces = self._desk.results.log_of(run_id, len(attempts)).printed()
            return lambda: next(pieces, b"")

        return await self._local.run(work)

    def _is_there(self, name: str) -> bool:
        try:
            return self._store.jobs.get(name).name == name
        except NotFound:
            return False

    def _records(self, run_id: str, attempt: int | None, offset: int, limit: int) -> Json:
        run = self._store.runs.get(run_id)  # read before the file: what it ended with is in there
        last = len(self._store.runs.attempts(run_id))
        n = last if attempt is None else attempt
        log = self._desk.results.log_of(run_id, n)
        found, after = log.page(offset, limit)
        if run.ended_ms is None and n == last:
            self._watch(run_id, log.size, after)
        over = not found and (run.ended_ms is not None or n < last)
        return {
            "records": cast(JSON, found),
            "next": after,
            "over": over,
            "attempt": n,
        }


def _parameters(body: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return cast("Mapping[str, JSON]", body.get("parameters") or {})


def _text(body: Mapping[str, JSON], name: str) -> str | None:
    found = body.get(name)
    return found if isinstance(found, str) else None
