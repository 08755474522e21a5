"""The extension itself: its status, its contract, and what it does not have."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.errors import NotFound
from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.openapi import document


class StatusHandler(CloudMLHandler):
    """``status``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the version and what is there."""
        self.answer(await self.core.status())


class OpenAPIHandler(CloudMLHandler):
    """``openapi.json``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the contract, with the address of this server."""
        self.answer({**document(), "servers": [{"url": f"{self.base_url}cloudml/api/v1"}]})


class UnknownPathHandler(CloudMLHandler):
    """Every other path under cloudml/api/v1, so that a typo gets JSON and not a page."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse strangers first: they learn nothing of which paths exist."""
        await super().prepare()
        if self.current_user is None:
            raise web.HTTPError(403)
        raise NotFound("There is nothing at this address.", hint="See openapi.json.")
