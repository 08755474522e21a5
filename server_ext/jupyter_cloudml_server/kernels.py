"""The kernels of this server that run on machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jupyter_cloudml.errors import JSON, Conflict, NotFound
from jupyter_cloudml_kernels import provisioner
from jupyter_cloudml_server.gauges import GaugesCache

NOTHING_KNOWN: Mapping[str, JSON] = {
    "cpu_percent": None,
    "memory_used": None,
    "gpu_memory_used": None,
}


class Sessions(Protocol):
    """What is needed of the server's session manager."""

    async def list_sessions(self) -> list[dict[str, Any]]:
        """Return the sessions as GET api/sessions does."""


class KernelCalls:
    """Every request about a kernel: what the provisioners know, joined with the notebooks that the sessions know."""

    def __init__(self, sessions: Sessions, gauges: GaugesCache) -> None:
        self._sessions = sessions
        self._gauges = gauges

    async def list(self) -> list[dict[str, JSON]]:
        """Return the kernels; the path is that of the session where there is one, as a notebook can be renamed."""
        paths = {
            session["kernel"]["id"]: session["path"]
            for session in await self._sessions.list_sessions()
        }
        rows = [view.to_dict() for view in provisioner.live()]
        return [{**row, "path": paths.get(row["id"], row["path"])} for row in rows]

    async def gauges(self, kernel_id: str) -> Mapping[str, JSON]:
        """Return how busy a kernel is; null is what is not known yet. Raises NotFound, LinkDown."""
        view = provisioner.find(kernel_id)
        if view is None:
            raise _unknown(kernel_id)
        if view.state == "ended":
            raise NotFound(
                f"The kernel {kernel_id} has ended: {view.cause}.", hint="Restart the kernel."
            )
        if view.process is None:
            return NOTHING_KNOWN
        processes = (await self._gauges.get(view.machine))["processes"]
        found = processes.get(view.process) if isinstance(processes, Mapping) else None
        return found if isinstance(found, Mapping) else NOTHING_KNOWN  # younger than the answer

    def cancel_start(self, kernel_id: str) -> None:
        """Call off the start of a kernel. Raises NotFound, and Conflict when it has started already."""
        if provisioner.find(kernel_id) is None:
            raise _unknown(kernel_id)
        if not provisioner.cancel_start(kernel_id):
            raise Conflict(
                f"The kernel {kernel_id} is not starting.",
                code="not_starting",
                hint="Shut it down instead.",
            )


def _unknown(kernel_id: str) -> NotFound:
    return NotFound(
        f"There is no kernel {kernel_id} of a machine here.", hint="GET kernels lists them."
    )
