"""Pools of runs: list, cap, take the cap away."""

from __future__ import annotations

from typing import cast

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.openapi import check


class PoolsHandler(CloudMLHandler):
    """``pools``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the pools."""
        self.answer(await self.core.jobs.pools())


class PoolHandler(CloudMLHandler):
    """``pools/{name}``"""

    @web.authenticated
    @authorized
    async def put(self, name: str) -> None:
        """Set the cap of a pool."""
        check("PoolName", name, "name")
        cap = cast(int, self.body("SetPool")["cap"])
        self.answer(await self.core.jobs.set_pool(name, cap))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Take the cap of a pool away."""
        check("PoolName", name, "name")
        await self.core.jobs.remove_pool(name)
        self.done()
