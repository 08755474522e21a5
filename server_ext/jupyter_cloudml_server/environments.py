"""The core's environments, called from the event loop: a build and a removal are operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.environments import images, reference, sources
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.link.command import check_name
from jupyter_cloudml.machines.model import Step
from jupyter_cloudml.machines.operations import Operation, Operations
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml_server.calls import CallPool

if TYPE_CHECKING:
    from jupyter_cloudml.environments.sources import Source

STEPS = 4  # looking, resolving, installing, offering; more where packages are sent


class EnvironmentCalls:
    """Every request about environments. `local` serves what this computer answers, `remote` what a machine has to."""

    def __init__(
        self,
        machines: Machines,
        environments: Environments,
        operations: Operations,
        *,
        clock: Clock,
        local: CallPool,
        remote: CallPool,
        python_of: Callable[[str], str | None] = lambda spec: None,
    ) -> None:
        """`python_of` gives the Python of a kernelspec here."""
        self._machines, self._environments, self._python_of = machines, environments, python_of
        self._operations, self._clock = operations, clock
        self._local, self._remote = local, remote

    async def images(self) -> list[JSON]:
        """Return the environments that come with the project."""
        return await self._local.run(
            lambda: [{"name": name, "title": images.get(name).title} for name in images.names()]
        )

    async def near(self, folder: Path, root: Path) -> list[JSON]:
        """Return the files in a folder, and in those above it up to `root`, that an environment can be built from."""
        found = await self._local.run(sources.near, folder, root)
        return [{"source": each.text, "kind": each.kind.value, "name": each.name} for each in found]

    async def log(self, machine: str, name: str) -> str:
        """Return what was said in the last build under a name. Raises NotFound for the machine."""
        return await self._local.run(self._environments.log, machine, name)

    async def all(self, machine: str) -> list[JSON]:
        """Return the environments of a machine, the last used first. Raises why it cannot be reached."""
        found = await self._remote.run(self._environments.list, machine)
        return [each.to_dict() for each in found]

    async def drift(self, machine: str, name: str | None) -> Mapping[str, JSON]:
        """Compare an environment, or what kernels of a machine run on, with the Python of this server."""
        return (await self._remote.run(self._environments.check, machine, name)).to_dict()

    async def build(self, machine: str, body: Mapping[str, JSON]) -> Operation:
        """Begin to build an environment. Raises NotFound, UsageError for a source that is none."""
        await self._local.run(self._machines.get, machine)
        source = await self._local.run(self._source, body)
        name = body.get("name") or None
        if name is not None:
            check_name("environment", str(name))
        left_out = cast("list[str]", body.get("without") or [])

        def work(operation: Operation) -> JSON:
            built = self._environments.build(
                source,
                machine,
                name=None if name is None else str(name),
                python=str(body["python"]) if body.get("python") else None,
                leave_out=left_out,
                upgrade=body.get("upgrade") is True,
                progress=Steps(operation, self._clock).enter,
                log=operation.log,
                cancelled=operation.cancelled,
            )
            return built.to_dict()

        return self._operations.start("build", machine, work)

    async def remove(self, machine: str, name: str) -> Operation:
        """Begin to delete an environment. Raises NotFound for the machine."""
        await self._local.run(self._machines.get, machine)

        def work(operation: Operation) -> JSON:
            self._environments.remove(machine, name)
            return None

        return self._operations.start("remove-environment", machine, work)

    def _source(self, body: Mapping[str, JSON]) -> Source:
        text, same, image = body.get("source"), body.get("same") is True, body.get("image")
        if bool(text) + same + bool(image) != 1:
            raise UsageError("Give a source, an image, or same.", field="source")
        if image:
            return sources.container(str(image))
        if not same:
            return sources.find(str(text))
        spec = str(body.get("spec") or "")
        return sources.same(reference.of(self._python_of(spec) if spec else None, spec or None))


class Steps:
    """Counts the steps of a build as they come."""

    def __init__(self, operation: Operation, clock: Clock) -> None:
        self._operation, self._clock = operation, clock
        self._seen: list[str] = []

    def enter(self, text: str) -> None:
        """Enter a step, or say more of it. Raises Cancelled."""
        head = re.split(r":|\d", text, maxsplit=1)[0]
        if not self._seen or self._seen[-1] != head:
            self._seen.append(head)
        n = len(self._seen)
        self._operation.progress(Step(n, max(n, STEPS), text, self._clock.now_ms()))
