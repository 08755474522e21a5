"""The code that goes with a notebook: how it compares with a machine's, sync, pull, settle, and its snapshots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.errors import NotFound, UsageError
from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.openapi import check

MAX_COUNT = 1000


class WorkspaceHandlerBase(CloudMLHandler):
    """A workspace is named by the path of a notebook or folder in it, under the server's root folder."""

    @property
    def root_folder(self) -> Path:
        """The root folder of the server."""
        kernels: Any = self.kernel_manager
        return Path(os.path.abspath(os.path.expanduser(kernels.root_dir)))

    def place_of(self, path: str) -> Path:
        """Return the place that a path means. Raises UsageError for one that leaves the root folder."""
        check("FolderPath", path, "path")
        if ".." in path.split("/"):
            raise UsageError("path is not in the folder of this server.", field="path")
        return self.root_folder / path.strip("/")

    def folder_of(self, path: str) -> Path:
        """Return the folder that a path means. Raises UsageError for one that leaves the root folder, NotFound where nothing is."""
        found = self.place_of(path)
        if not os.path.exists(found):
            raise NotFound("There is no such notebook or folder.", hint="Save it first.")
        return found if found.is_dir() else found.parent

    def asked(self) -> tuple[Path, str]:
        """Return folder and machine of a GET."""
        path = self.get_query_argument("path", strip=False)
        return self.folder_of(path), self.machine_name(self.get_query_argument("machine"))


class WorkspaceHandler(WorkspaceHandlerBase):
    """``workspaces``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Compare the code with what the machine was sent."""
        self.answer(await self.core.workspaces.status(*self.asked()))


class ChangesHandler(WorkspaceHandlerBase):
    """``workspaces/changes``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Ask the machine what was changed there."""
        self.answer(await self.core.workspaces.changes(*self.asked()))


class SnapshotsHandler(WorkspaceHandlerBase):
    """``workspaces/snapshots``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the snapshots."""
        folder = self.folder_of(self.get_query_argument("path", strip=False))
        text = self.get_query_argument("count", "20")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_COUNT):
            raise UsageError(f"count must be a number from 1 to {MAX_COUNT}.", field="count")
        self.answer({"snapshots": await self.core.workspaces.log(folder, int(text))})


class SyncHandler(WorkspaceHandlerBase):
    """``workspaces/sync``"""

    pull = False

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin a sync."""
        body = self.body("Sync")
        folder = self.folder_of(str(body["path"]))
        self.accept(await self.core.workspaces.sync(folder, body, pull=self.pull))


class PullHandler(SyncHandler):
    """``workspaces/pull``"""

    pull = True


class CloneHandler(WorkspaceHandlerBase):
    """``workspaces/clone``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to clone a Git URL."""
        body = self.body("Clone")
        self.accept(await self.core.workspaces.clone(self.folder_of(str(body["path"])), body))


class RefsHandler(WorkspaceHandlerBase):
    """``workspaces/refs``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Ask a Git URL what there is to choose from. A POST, as the URL may hold a password."""
        body = self.body("RefsQuery")
        folder = self.folder_of(str(body["path"]))
        self.answer(await self.core.workspaces.refs(folder, str(body["url"])))


class SettleHandler(WorkspaceHandlerBase):
    """``workspaces/settle``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to settle conflicts."""
        body = self.body("Settle")
        self.accept(await self.core.workspaces.settle(self.folder_of(str(body["path"])), body))
