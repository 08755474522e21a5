"""Environments on machines: list, build, remove, compare."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml.link.command import check_name
from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.handlers.workspaces import WorkspaceHandlerBase


class ImagesHandler(CloudMLHandler):
    """``images``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the environments that come with the project."""
        self.answer({"images": await self.core.environments.images()})


class SourcesHandler(WorkspaceHandlerBase):
    """``environments/sources``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the files beside a notebook, and above, that an environment can be built from."""
        folder = self.folder_of(self.get_query_argument("path", strip=False))
        root = self.folder_of("")
        self.answer({"sources": await self.core.environments.near(folder, root)})


class EnvironmentLogHandler(CloudMLHandler):
    """``machines/{name}/environments/{environment}/log``"""

    @web.authenticated
    @authorized
    async def get(self, name: str, environment: str) -> None:
        """Return what was said in its last build."""
        name = self.machine_name(name)
        check_name("environment", environment)
        self.answer({"log": await self.core.environments.log(name, environment)})


class EnvironmentsHandler(CloudMLHandler):
    """``machines/{name}/environments``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """List the environments of a machine."""
        found = await self.core.environments.all(self.machine_name(name))
        self.answer({"environments": found})

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Begin to build one."""
        name = self.machine_name(name)
        self.accept(await self.core.environments.build(name, self.body("BuildEnvironment")))


class EnvironmentHandler(CloudMLHandler):
    """``machines/{name}/environments/{environment}``"""

    @web.authenticated
    @authorized
    async def delete(self, name: str, environment: str) -> None:
        """Begin to delete one."""
        name = self.machine_name(name)
        check_name("environment", environment)
        self.accept(await self.core.environments.remove(name, environment))


class DriftHandler(CloudMLHandler):
    """``machines/{name}/drift``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Compare an environment with the Python of this server."""
        name = self.machine_name(name)
        environment = self.get_query_argument("environment", "") or None
        if environment is not None:
            check_name("environment", environment)
        self.answer(await self.core.environments.drift(name, environment))
