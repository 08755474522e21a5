"""Machines: list, add, change, remove, start, stop, retry, check, gauges, processes."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.openapi import add_machine_form


class MachinesHandler(CloudMLHandler):
    """``machines``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the machines."""
        # Read first: the list holds at least what it counts.
        seq = await self.core.machines.last_seq()
        views = await self.core.machines.all()
        self.answer({"machines": [view.to_dict() for view in views], "seq": seq})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Add a machine over SSH."""
        operation = await self.core.machines.add(self.body("AddMachine"))
        self.accept(operation)


class SuggestionsHandler(CloudMLHandler):
    """``machines/suggestions``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the hosts of ~/.ssh/config."""
        self.answer({"suggestions": await self.core.machines.suggest()})


class AddFormHandler(CloudMLHandler):
    """``machines/schema``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Return the form that adds a machine."""
        suggestions = await self.core.machines.suggest()
        self.answer(add_machine_form([str(each["name"]) for each in suggestions]))


class HostKeyHandler(CloudMLHandler):
    """``machines/host-key``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Ask a host for its key."""
        self.answer(await self.core.machines.scan(self.body("HostKeyQuery")))


class MachineHandler(CloudMLHandler):
    """``machines/{name}``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Return one machine."""
        view = await self.core.machines.get(self.machine_name(name))
        self.answer(view.to_dict())

    @web.authenticated
    @authorized
    async def patch(self, name: str) -> None:
        """Change what may be changed."""
        name = self.machine_name(name)
        view = await self.core.machines.change(name, self.body("MachineChange"))
        self.answer(view.to_dict())

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Forget the machine."""
        name = self.machine_name(name)
        self.accept(
            await self.core.machines.remove(name, stop_processes=self.flag("stop_processes"))
        )


class MachineActionHandler(CloudMLHandler):
    """``machines/{name}/start|stop|retry|check``"""

    @web.authenticated
    @authorized
    async def post(self, name: str, action: str) -> None:
        """Begin the action."""
        name = self.machine_name(name)
        self.no_body()
        self.accept(await self.core.machines.act(name, action))


class MachineGaugesHandler(CloudMLHandler):
    """``machines/{name}/gauges``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Return how busy the machine is."""
        self.answer(await self.core.gauges.get(self.machine_name(name)))


class ProcessesHandler(CloudMLHandler):
    """``machines/{name}/processes``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """List the processes that the agent keeps."""
        self.answer({"processes": await self.core.machines.processes(self.machine_name(name))})
