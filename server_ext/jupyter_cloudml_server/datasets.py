"""The core's datasets, called from the event loop: a sync is an operation, the rest runs on threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.datasets.answering import stepped
from jupyter_cloudml.datasets.globs import Choice
from jupyter_cloudml.datasets.service import Datasets, directed
from jupyter_cloudml.datasets.sync import Options
from jupyter_cloudml.errors import JSON, UsageError
from jupyter_cloudml.machines.operations import Operation, Operations
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml_server.buckets import asked as service_of
from jupyter_cloudml_server.calls import CallPool


class DatasetCalls:
    """Every request about datasets."""

    def __init__(
        self,
        datasets: Datasets,
        machines: Machines,
        operations: Operations,
        *,
        clock: Clock,
        local: CallPool,
        remote: CallPool,
    ) -> None:
        self._datasets, self._machines, self._operations = datasets, machines, operations
        self._clock, self._local, self._remote = clock, local, remote

    async def list(self, machine: str) -> dict[str, JSON]:
        """Return a machine's datasets and how full its cache is. Raises NotFound."""
        await self._known(machine)
        return (await self._remote.run(self._datasets.list, machine)).to_dict()

    async def change(self, machine: str, body: Mapping[str, JSON]) -> dict[str, JSON]:
        """Pin or unpin a dataset, or set the quota. Raises NotFound, UsageError."""
        await self._known(machine)
        quota, dataset, pinned = body.get("quota"), body.get("dataset"), body.get("pinned")
        if isinstance(quota, int) and dataset is None and pinned is None:
            done = await self._remote.run(self._datasets.set_quota, machine, quota)
        elif isinstance(dataset, str) and isinstance(pinned, bool) and quota is None:
            done = await self._remote.run(self._datasets.pin, machine, dataset, pinned)
        else:
            raise UsageError("Give either quota, or dataset and pinned.")
        return done.to_dict()

    async def evict(self, machine: str, dataset: str) -> dict[str, JSON]:
        """Drop what is not pinned from the cache: of one dataset, or of all. Raises NotFound."""
        await self._known(machine)
        done = await self._remote.run(self._datasets.evict, machine, dataset or None)
        return done.to_dict()

    async def sync(self, machine: str, body: Mapping[str, JSON]) -> Operation:
        """Begin a sync. Raises NotFound for the machine, UsageError."""
        await self._known(machine)
        options = _options(body)
        asked = service_of(body)
        source, target = str(body["source"]), str(body["target"])
        directed(source, target)

        def work(operation: Operation) -> JSON:
            done = self._datasets.sync(
                source,
                target,
                machine,
                asked=asked,
                options=options,
                progress=stepped(operation, self._clock),
                cancelled=operation.cancelled,
            )
            return done.to_dict()

        about: dict[str, JSON] = {"source": source, "target": target}
        return self._operations.start("sync-dataset", machine, work, about)

    async def _known(self, machine: str) -> None:
        await self._local.run(self._machines.get, machine)


def _options(body: Mapping[str, JSON]) -> Options:
    choice = Choice(
        [str(each) for each in cast("Sequence[str]", body.get("include") or ())],
        [str(each) for each in cast("Sequence[str]", body.get("exclude") or ())],
    )
    choice.check()
    return Options(
        choice,
        str(body.get("compare") or "etag"),
        bool(body.get("delete")),
        bool(body.get("preview")),
        body.get("cache") is not False,
    )
