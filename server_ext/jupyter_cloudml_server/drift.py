"""Compares what a kernel on a machine runs on with the Python that its notebook had here, beside the kernel's start."""

from __future__ import annotations

import asyncio
import logging
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jupyter_cloudml.environments import reference
from jupyter_cloudml.environments.comparison import Checked
from jupyter_cloudml.environments.remembered import Remembered
from jupyter_cloudml.environments.service import Environments
from jupyter_cloudml.errors import JSON, CloudMLError, NotFound
from jupyter_cloudml.machines.model import LOCAL
from jupyter_cloudml_kernels import provisioner
from jupyter_cloudml_kernels.running import KernelView
from jupyter_cloudml_server.calls import CallPool
from jupyter_cloudml_server.kernels import Sessions

LATER_S = 2.0  # after a kernel is connected: it has its first seconds to itself
SESSION_S = 15.0  # a page gives a kernel its session once it has answered; one that has none by then belongs to no notebook
SESSION_EVERY_S = 0.5
MAX_KEPT = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What is known of one kernel. `state` is comparing, done, failed, or none where there is no Python to be compared."""

    kernel_id: str
    machine: str
    process: str
    state: str = "comparing"
    notebook: str = ""
    checked: Checked | None = None
    error: CloudMLError | None = None
    dismissed: bool = False

    def to_dict(self) -> dict[str, JSON]:
        """Return the answer of `GET kernels/{id}/drift`."""
        checked = self.checked
        return {
            "kernel_id": self.kernel_id,
            "machine": self.machine,
            "state": self.state,
            "error": self.error.to_dict() if self.error is not None else None,
            "dismissed": self.dismissed,
            "key": checked.key if checked else None,
            "found": checked.to_dict() if checked else None,
            "notes": [each.to_dict() for each in checked.notes] if checked else [],
        }

    def event(self) -> dict[str, JSON]:
        """Return what pages are told."""
        checked = self.checked
        return {
            "kernel_id": self.kernel_id,
            "machine": self.machine,
            "state": self.state,
            "errors": checked.errors if checked else 0,
            "notes": len(checked.notes) if checked else 0,
            "dismissed": self.dismissed,
        }


class DriftWatch:
    """Looks once at each kernel that has started. Used on the event loop's thread alone, but for `look`.

    `python_of` gives the Python of a kernelspec here, None where it has none of its own.
    """

    def __init__(
        self,
        environments: Environments,
        remembered: Remembered,
        sessions: Sessions,
        root: str,
        python_of: Callable[[str], str | None],
        emit: Callable[[str, Mapping[str, JSON]], None],
        *,
        remote: CallPool,
        later_s: float = LATER_S,
        session_s: float = SESSION_S,
    ) -> None:
        self._environments, self._remembered = environments, remembered
        self._sessions, self._root, self._python_of = sessions, root, python_of
        self._emit, self._remote = emit, remote
        self._later_s, self._session_s = later_s, session_s
        self._found: dict[str, Found] = {}
        self._before: dict[str, str] = {}

    async def started(self, view: KernelView) -> None:
        """A kernel is connected: compare it after a while, unless that was done. Never raises."""
        known = self._found.get(view.id)
        if view.process is None or (known is not None and known.process == view.process):
            return
        found = Found(view.id, view.machine, view.process)
        self._keep(found)
        await asyncio.sleep(self._later_s)
        await self._session(found)
        if self._found.get(view.id) is found:
            await self._compare(found)

    def ended(self, kernel_id: str) -> None:
        """Forget a kernel."""
        self._found.pop(kernel_id, None)
        self._before.pop(kernel_id, None)

    def of(self, kernel_id: str) -> dict[str, JSON]:
        """Return what is known of a kernel. Raises NotFound."""
        return self._get(kernel_id).to_dict()

    async def note_before(self, kernel_id: str, spec: str) -> None:
        """Compare with the Python of a kernelspec here: the one that the notebook has left for this kernel. Raises NotFound."""
        if provisioner.find(kernel_id) is None:
            raise _unknown(kernel_id)
        if self._before.get(kernel_id) == spec:
            return
        self._before[kernel_id] = spec
        found = self._found.get(kernel_id)
        if found is not None and found.state != "comparing":
            await self._compare(found)

    async def dismiss(self, kernel_id: str) -> None:
        """Wave aside what was found, for this notebook on this machine, until something else is wrong. Raises NotFound."""
        found = self._get(kernel_id)
        if found.checked is not None:
            if found.notebook:
                await asyncio.to_thread(self._remembered.dismiss, found.notebook, found.checked.key)
            self._tell(replace(found, dismissed=True))

    async def _compare(self, found: Found) -> None:
        notebook = await self._notebook(found.kernel_id)
        before = self._before.get(found.kernel_id)
        try:
            done = await self._remote.run(self._look, replace(found, notebook=notebook), before)
        except CloudMLError as error:
            _log.info("the packages of kernel %s were not compared: %s", found.kernel_id, error)
            done = replace(found, state="failed", error=error)
        known = self._found.get(found.kernel_id)
        if known is None or known.process != found.process:
            return  # it has ended, or started anew
        if self._before.get(found.kernel_id) != before:  # said while the machine was asked
            await self._compare(found)
        else:
            self._tell(done)

    def _look(self, found: Found, before: str | None) -> Found:
        """Ask the machine. On a thread."""
        if before is not None and found.notebook:
            self._remembered.note_before(found.notebook, before)
        spec = before or (self._remembered.before(found.notebook) if found.notebook else None)
        python = self._environments.python_of(found.machine, found.process)
        if python is None:
            return replace(found, state="none")
        against = reference.of(self._python_of(spec) if spec else None, spec)
        if found.machine == LOCAL and python == against.python:
            return replace(found, state="none")
        checked = self._environments.compare(found.machine, python, against=against)
        dismissed = self._remembered.is_dismissed(found.notebook, checked.key)
        return replace(found, state="done", checked=checked, error=None, dismissed=dismissed)

    async def _session(self, found: Found) -> None:
        """Wait until a kernel has a session: without its notebook it would be compared with another Python than that one had."""
        deadline = asyncio.get_running_loop().time() + self._session_s
        while self._found.get(found.kernel_id) is found:
            rows: list[dict[str, Any]] = await self._sessions.list_sessions()
            given = any(row["kernel"]["id"] == found.kernel_id for row in rows)
            if given or asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(SESSION_EVERY_S)

    async def _notebook(self, kernel_id: str) -> str:
        """Return the notebook of a kernel: an absolute path, as the root folders of two servers differ. Empty where it has none."""
        rows: list[dict[str, Any]] = await self._sessions.list_sessions()
        for row in rows:
            if row["kernel"]["id"] == kernel_id and row["type"] == "notebook":
                return posixpath.join(self._root, row["path"])
        return ""

    def _get(self, kernel_id: str) -> Found:
        found = self._found.get(kernel_id)
        if found is not None:
            return found
        view = provisioner.find(kernel_id)
        if view is None:
            raise _unknown(kernel_id)
        return Found(view.id, view.machine, view.process or "")

    def _keep(self, found: Found) -> None:
        self._found.pop(found.kernel_id, None)
        self._found[found.kernel_id] = found
        while len(self._found) > MAX_KEPT:
            self._found.pop(next(iter(self._found)))

    def _tell(self, found: Found) -> None:
        self._keep(found)
        self._emit("drift", found.event())


def _unknown(kernel_id: str) -> NotFound:
    return NotFound(
        f"There is no kernel {kernel_id} of a machine here.", hint="GET kernels lists them."
    )
