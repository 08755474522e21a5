"""Datasets of a machine: list, sync, pin, evict, quota."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml_server.handlers.base import CloudMLHandler

MAX_NAME = 4096


class DatasetsHandler(CloudMLHandler):
    """``machines/{name}/datasets``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """List the datasets, and how full the cache is."""
        self.answer(await self.core.datasets.list(self.machine_name(name)))

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Begin a sync."""
        name = self.machine_name(name)
        self.accept(await self.core.datasets.sync(name, self.body("SyncDataset")))

    @web.authenticated
    @authorized
    async def patch(self, name: str) -> None:
        """Pin or unpin one, or set the quota of the cache."""
        name = self.machine_name(name)
        self.answer(await self.core.datasets.change(name, self.body("DatasetChange")))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Drop what is not pinned from the cache."""
        dataset = self.get_query_argument("dataset", "")
        if len(dataset) > MAX_NAME or "\0" in dataset:
            raise UsageError("dataset is no name of one.", field="dataset")
        self.answer(await self.core.datasets.evict(self.machine_name(name), dataset))
