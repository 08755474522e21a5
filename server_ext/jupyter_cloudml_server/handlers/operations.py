"""Operations: slow work that somebody asked for."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml_server.handlers.base import CloudMLHandler


class OperationsHandler(CloudMLHandler):
    """``operations``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the operations, newest first."""
        newest_first = reversed(self.core.operations.list())
        self.answer({"operations": [operation.to_dict() for operation in newest_first]})


class OperationHandler(CloudMLHandler):
    """``operations/{id}``"""

    @web.authenticated
    @authorized
    async def get(self, identity: str) -> None:
        """Return one operation."""
        self.answer(self.core.operations.get(self.object_id(identity)).to_dict())

    @web.authenticated
    @authorized
    async def delete(self, identity: str) -> None:
        """Call the operation off."""
        self.answer(self.core.operations.cancel(self.object_id(identity)).to_dict(), 202)
