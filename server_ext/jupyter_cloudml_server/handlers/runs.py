"""Runs: list, start, look at, cancel, retry; what they say while they go on, and their notebooks, pages and logs."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from jupyter_cloudml.jobs.notebooks.notebook import MAX_BYTES
from jupyter_cloudml_server.handlers.base import MAX_BODY, MAX_SEQUENCE
from jupyter_cloudml_server.handlers.jobs import JobHandlerBase
from jupyter_cloudml_server.openapi import check

PIECE = 1 << 20
_ODD = re.compile(r"[^A-Za-z0-9._-]")  # in a name that is offered for saving
RECORDS, MOST_RECORDS = 200, 2000


class RunsHandler(JobHandlerBase):
    """``runs``"""

    max_body: ClassVar[int] = MAX_BYTES + MAX_BODY  # it can bring a notebook along

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the runs, the newest first."""
        job = self.get_query_argument("job", None)
        before = self.get_query_argument("before", None)
        states = self.get_query_arguments("state")
        check("RunStates", [*states], "state")
        self.answer(
            await self.core.jobs.runs(
                None if job is None else self.job_name(job),
                states,
                None if before is None else self.object_id(before),
                self.limit(),
                self.flag("counts"),
            )
        )

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Run a notebook now."""
        body = await self.large_body("RunNotebook")
        path = self.place_of(str(body["path"]))
        self.answer(await self.core.jobs.run_notebook(path, body, author=self.user_name), 201)


class SummaryHandler(JobHandlerBase):
    """``runs/summary``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return what goes on, what has failed, and what is next."""
        since = self.number("since_ms", MAX_SEQUENCE)
        self.answer(await self.core.jobs.summary(None if since == MAX_SEQUENCE else since))


class PruneHandler(JobHandlerBase):
    """``runs/prune``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to delete the runs that are kept no more."""
        self.accept(self.core.jobs.prune(dry_run=self.body("PruneRuns").get("dry_run") is True))


class RunHandler(JobHandlerBase):
    """``runs/{id}``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return all that is known of a run."""
        self.answer(await self.core.jobs.look(self.object_id(run_id)))


class RunActionHandler(JobHandlerBase):
    """``runs/{id}/cancel|retry|release``"""

    @web.authenticated
    @authorized
    async def post(self, run_id: str, action: str) -> None:
        """Have a run end, run it again, or end the kernel that it has left."""
        run_id = self.object_id(run_id)
        if action == "retry":
            self.answer(await self.core.jobs.retry(run_id, self.optional_body("RetryRun")))
            return
        self.no_body()
        act = self.core.jobs.cancel if action == "cancel" else self.core.jobs.release
        self.answer(await act(run_id))


class RunKeepHandler(JobHandlerBase):
    """``runs/{id}/keep``"""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Have the kernel that a run has left kept longer."""
        wanted = self.optional_body("KeepKernel").get("for")
        run_id = self.object_id(run_id)
        self.answer(
            await self.core.jobs.keep_longer(run_id, None if wanted is None else str(wanted))
        )


class RunKernelHandler(JobHandlerBase):
    """``runs/{id}/kernel``"""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Open the kernel that a run has left: who may not start a kernel or write a notebook here may not do so either."""
        run_id = self.object_id(run_id)
        self.no_body()
        await self.must_be_allowed("write", "kernels")
        await self.must_be_allowed("write", "contents")
        self.answer(await self.core.debugging.open(run_id, self))


class RecordsHandler(JobHandlerBase):
    """``runs/{id}/records``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return what an attempt has said."""
        attempt = self.number("attempt", 0, 0, 10_000)
        limit = self.number("limit", RECORDS, 1, MOST_RECORDS)
        run_id = self.object_id(run_id)
        self.answer(await self.core.jobs.records(run_id, attempt or None, self.since(), limit))


class SourcesHandler(JobHandlerBase):
    """``runs/{id}/sources``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return the notebook that an attempt was given."""
        attempt = self.number("attempt", 0, 0, 10_000)
        self.answer(await self.core.jobs.sources(self.object_id(run_id), attempt or None))


class PieceHandler(JobHandlerBase):
    """The base of answers that are no JSON, sent piece by piece."""

    async def send(self, kind: str, name: str, read: Callable[[], bytes]) -> None:
        """Send what `read` gives until it gives nothing. A page of a run is never part of this server's site."""
        self.set_header("Content-Type", kind)
        self.set_header("Content-Security-Policy", "sandbox")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        with suppress(StreamClosedError):  # whoever asked has gone
            while piece := await self.core.jobs.aside(read):
                self.write(piece)
                await self.flush()
            self.finish(set_content_type=kind)


class NotebookHandler(PieceHandler):
    """``runs/{id}/notebook``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return the executed notebook."""
        attempt = self.number("attempt", 0, 0, 10_000)
        path = await self.core.jobs.notebook(self.object_id(run_id), attempt or None)
        with path.open("rb") as file:
            await self.send("application/x-ipynb+json", f"{run_id}.ipynb", lambda: file.read(PIECE))


class PageHandler(PieceHandler):
    """``runs/{id}/html``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return the run as a page on which no script runs."""
        path = await self.core.jobs.page(self.object_id(run_id))
        with path.open("rb") as file:
            await self.send("text/html; charset=UTF-8", f"{run_id}.html", lambda: file.read(PIECE))


class FileHandler(PieceHandler):
    """``runs/{id}/file``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return a file that a run has written into its copy of the code."""
        name = self.get_query_argument("path", strip=False)
        check("FileOfRun", name, "path")
        attempt = self.number("attempt", 0, 0, 10_000)
        path = await self.core.jobs.file(self.object_id(run_id), name, attempt or None)
        with path.open("rb") as file:
            called = _ODD.sub("_", path.name)
            await self.send("application/octet-stream", called, lambda: file.read(PIECE))


class LogHandler(PieceHandler):
    """``runs/{id}/log``"""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Return what the cells have printed."""
        read = await self.core.jobs.printed(self.object_id(run_id))
        await self.send("text/plain; charset=UTF-8", f"{run_id}.txt", read)
