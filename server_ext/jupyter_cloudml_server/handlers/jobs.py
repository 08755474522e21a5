"""Jobs: list, make, change, delete, pause, run, fill a range; the schema and the preview that forms are made with."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.errors import JSON
from jupyter_cloudml.jobs.notebooks.notebook import MAX_BYTES
from jupyter_cloudml_server.handlers.base import MAX_BODY
from jupyter_cloudml_server.handlers.workspaces import WorkspaceHandlerBase
from jupyter_cloudml_server.openapi import check

PAGE, MOST = 50, 200


class JobHandlerBase(WorkspaceHandlerBase):
    """A notebook is named by its path under the server's root folder, a job by its name."""

    def job_name(self, name: str) -> str:
        """Return the name or id of a job from a path or a query, if it is one that a job can have."""
        check("JobName", name, "name")
        return name

    def path_of(self, definition: JSON) -> str | None:
        """Return where a definition's notebook is under the root folder; None where it is elsewhere."""
        notebook = definition.get("notebook") if isinstance(definition, dict) else None
        path = Path(str(notebook))
        inside = path.is_relative_to(self.root_folder)
        return path.relative_to(self.root_folder).as_posix() if inside else None

    async def large_body(self, schema: str) -> dict[str, JSON]:
        """Return the JSON body as `body` does, of one that may be large: it is read on a thread."""
        return await self.core.jobs.aside(lambda: self.body(schema))

    def limit(self) -> int:
        """Return how many are asked for."""
        return self.number("limit", PAGE, 1, MOST)


class JobsHandler(JobHandlerBase):
    """``jobs``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the jobs by name."""
        after, text = self.get_query_argument("after", ""), self.get_query_argument("q", "")
        check("ShortText", after, "after")
        only = self.get_query_argument("only", "")
        check("ShortText", text, "q")
        check("JobKind", only, "only")
        jobs = self.core.jobs
        self.answer(await jobs.all(after, self.limit(), text, only, self.flag("counts")))

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make or change a job."""
        body = self.body("ApplyJob")
        definition = body["definition"]
        if not isinstance(definition, dict):
            raise TypeError("the schema lets only objects in")
        rev = cast("int | None", body.get("rev"))
        job, new = await self.core.jobs.apply(
            definition, self.root_folder, rev, author=self.user_name
        )
        self.answer(job, 201 if new else 200)


class JobSchemaHandler(JobHandlerBase):
    """``jobs/schema``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the JSON schema of a definition."""
        self.answer(self.core.jobs.schema())


class PreviewHandler(JobHandlerBase):
    """``jobs/preview``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Say when a trigger fires."""
        body = self.body("PreviewTrigger")
        count = body.get("count", 5)
        self.answer(await self.core.jobs.preview(body["trigger"], int(str(count))))


class ParametersHandler(JobHandlerBase):
    """``jobs/parameters``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the parameters of a notebook."""
        path = self.place_of(self.get_query_argument("path", strip=False))
        self.answer(await self.core.jobs.parameters(path))


class SelectionHandler(JobHandlerBase):
    """``jobs/selection``"""

    max_body: ClassVar[int] = MAX_BYTES + MAX_BODY  # it brings a notebook along

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Make a notebook of some cells of one, with those that they need."""
        body = await self.large_body("SelectCells")
        self.answer(await self.core.jobs.select(body["content"], cast("list[int]", body["cells"])))


class JobHandler(JobHandlerBase):
    """``jobs/{name}``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Return one job."""
        job = await self.core.jobs.get(self.job_name(name))
        self.answer({**job, "path": self.path_of(job["definition"])})

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Take a job out."""
        await self.core.jobs.delete(self.job_name(name))
        self.done()


class JobPauseHandler(JobHandlerBase):
    """``jobs/{name}/pause|resume``"""

    @web.authenticated
    @authorized
    async def post(self, name: str, action: str) -> None:
        """Pause or resume a job."""
        name = self.job_name(name)
        self.no_body()
        self.answer(await self.core.jobs.pause(name, action == "pause"))


class JobRunHandler(JobHandlerBase):
    """``jobs/{name}/run``"""

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Run a job now."""
        self.answer(await self.core.jobs.run(self.job_name(name), self.body("RunJob")), 201)


class BackfillHandler(JobHandlerBase):
    """``jobs/{name}/backfill``"""

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Run a job for each due time of a range."""
        self.answer(await self.core.jobs.backfill(self.job_name(name), self.body("Backfill")), 201)
