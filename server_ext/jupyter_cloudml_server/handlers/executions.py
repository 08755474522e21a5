"""What cells have said, until a saved document contains it."""

from __future__ import annotations

from typing import Any, cast

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml_server.handlers.kernels import KernelHandlerBase
from jupyter_cloudml_server.openapi import check


class KernelExecutionsHandler(KernelHandlerBase):
    """``kernels/{id}/executions``"""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """Return what the kernel's cells have said."""
        store = self.core.executions
        self.answer(await store.snapshot(self.object_id(kernel_id), self.since()))


class KernelAcknowledgementHandler(KernelHandlerBase):
    """``kernels/{id}/executions/ack``"""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Forget what a saved document contains."""
        kernel_id = self.object_id(kernel_id)
        message_ids = cast("list[str]", self.body("Acknowledgement")["msg_ids"])
        await self.core.executions.acknowledge(kernel_id, message_ids)
        self.done()


class DocumentHandlerBase(KernelHandlerBase):
    """Executions are found by notebook once the kernel is gone."""

    def file_of(self, path: str) -> str:
        """Return the absolute path that the kernel of a notebook was given when it started.

        Raises UsageError for a path that leaves the server's root folder.
        """
        check("DocumentPath", path, "path")
        folder, _, name = path.strip("/").rpartition("/")
        if not name or ".." in path.split("/"):
            raise UsageError("path is not that of a notebook of this server.", field="path")
        kernels: Any = self.kernel_manager
        return f"{kernels.cwd_for_path(folder)}/{name}"


class DocumentExecutionsHandler(DocumentHandlerBase):
    """``executions?path=``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return what the notebook's cells have said."""
        file = self.file_of(self.get_query_argument("path", strip=False))
        self.answer(await self.core.executions.snapshot_at(file, self.since()))


class DocumentAcknowledgementHandler(DocumentHandlerBase):
    """``executions/ack``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Forget what a saved document contains."""
        body = self.body("DocumentAcknowledgement")
        message_ids = cast("list[str]", body["msg_ids"])
        await self.core.executions.acknowledge_at(self.file_of(str(body["path"])), message_ids)
        self.done()
