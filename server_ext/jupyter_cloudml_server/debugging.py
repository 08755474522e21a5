"""Kernels that failed runs have left, opened as kernels of this server: each once, with a copy of the executed notebook as its document."""

from __future__ import annotations

import asyncio
import logging
import posixpath
import uuid
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_async
from nbformat import from_dict

from jupyter_cloudml.errors import JSON, CloudMLError, NotFound
from jupyter_cloudml.jobs.debugging import Debugging, Opening, to_open
from jupyter_cloudml_kernels import provisioner, specs
from jupyter_cloudml_kernels.joining import Joins
from jupyter_cloudml_kernels.running import KernelView
from jupyter_cloudml_server.calls import CallPool

START_S = 60.0
Json = dict[str, JSON]
_log = logging.getLogger(__name__)


class Server(Protocol):
    """What a request handler has of Jupyter Server."""

    @property
    def kernel_manager(self) -> Any: ...
    @property
    def session_manager(self) -> Any: ...
    @property
    def contents_manager(self) -> Any: ...
    @property
    def root_folder(self) -> Path: ...


class DebugKernels:
    """Opens them, called from the event loop. Said twice, or by two pages at once, it is the same kernel."""

    def __init__(self, debugging: Debugging, *, local: CallPool, remote: CallPool) -> None:
        self._debugging, self._local, self._remote = debugging, local, remote
        # Each is there as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, run_id: str, server: Server) -> Json:
        """Return {kernel_id, path, until_ms, machine}. Raises NotFound (`no_kernel`, `no_kernelspec`) and why its machine cannot be reached."""
        lock = self._locks.setdefault(run_id, asyncio.Lock())
        async with lock:
            opening = await self._local.run(self._debugging.look, run_id)
            kernel_id = self._opened(run_id, opening.attempt, server)
            known = None if kernel_id is None else await self._document(kernel_id, server)
            if kernel_id is None:
                kernel_id, name = await self._start(run_id, opening, server)
            else:
                name = server.kernel_manager.get_kernel(kernel_id).kernel_name
            path = known or await self._save(run_id, kernel_id, name, opening, server)
        return {
            "kernel_id": kernel_id,
            "path": path,
            "until_ms": opening.left.until_ms,
            "machine": opening.left.machine,
        }

    async def changed(self, view: KernelView) -> None:
        """Note the end of such a kernel: nobody can go on in it any more."""
        if view.run is None or view.attempt is None or view.state != "ended":
            return
        try:
            await self._local.run(self._debugging.gone, view.run, view.attempt)
        except CloudMLError as error:
            _log.info("jupyter-cloudml: %s", error)

    @staticmethod
    def _opened(run_id: str, attempt: int, server: Server) -> str | None:
        for view in provisioner.live():
            same = (view.run, view.attempt) == (run_id, attempt) and view.state != "ended"
            if same and view.id in server.kernel_manager:
                return view.id
        return None

    @staticmethod
    async def _document(kernel_id: str, server: Server) -> str | None:
        """Return the notebook that is open with a kernel; None where there is none, or its file is gone."""
        for session in await server.session_manager.list_sessions():
            if session["kernel"]["id"] == kernel_id and session["type"] == "notebook":
                path = str(session["path"])
                if await ensure_async(server.contents_manager.file_exists(path)):
                    return path
        return None

    async def _start(self, run_id: str, opening: Opening, server: Server) -> tuple[str, str]:
        left = opening.left
        holder = await self._remote.run(self._debugging.holder, opening)
        name = await self._local.run(specs.named, left.machine, opening.spec)
        joins = Joins(holder, left.pid, left.connection_file, run_id, opening.attempt)
        manager, kernel_id = server.kernel_manager, str(uuid.uuid4())
        folder = _folder(opening.path, server.root_folder)
        file = posixpath.join(folder, f"debug-{opening.path.name}")
        try:
            if name is None:
                raise NoSuchKernel(opening.spec)
            await manager.start_kernel(
                kernel_id=kernel_id,
                kernel_name=name,
                path=await ensure_async(server.contents_manager.get_kernel_path(path=file)),
                env=server.session_manager.get_kernel_env(file, posixpath.basename(file)),
                joins=joins,
            )
            ready = _ready(manager.get_kernel(kernel_id))
            await asyncio.wait_for(asyncio.shield(ready), START_S)
        except NoSuchKernel as exc:
            raise NotFound(
                f"there is no kernelspec here for the kernel of the run on {left.machine}",
                code="no_kernelspec",
                hint=f"jupyter cloudml machine start {left.machine}",
            ) from exc
        except BaseException:
            provisioner.cancel_start(kernel_id)  # else it goes on, and its manager comes back
            if kernel_id in manager:
                manager.remove_kernel(kernel_id)
            raise
        return kernel_id, name

    async def _save(
        self, run_id: str, kernel_id: str, name: str, opening: Opening, server: Server
    ) -> str:
        """Write the notebook under a name that is free, and have it open with the kernel."""
        spec = server.kernel_manager.get_kernel(kernel_id).kernel_spec
        about = {"name": name, "display_name": spec.display_name, "language": spec.language}
        made = await self._local.run(to_open, opening.notebook, run_id, about)
        contents, folder = server.contents_manager, _folder(opening.path, server.root_folder)
        called = f"debug-{opening.path.name}"
        free = await ensure_async(contents.increment_filename(called, folder, insert="-"))
        path = posixpath.join(folder, free)
        model = {"type": "notebook", "format": "json", "content": from_dict(dict(made))}
        await ensure_async(contents.save(model, path))
        await server.session_manager.create_session(
            path=path, name=free, type="notebook", kernel_id=kernel_id
        )
        return path


def _folder(notebook: Path, root: Path) -> str:
    """Return the folder of a notebook as the server's contents have it; the root folder where it lies elsewhere."""
    inside = notebook.is_relative_to(root) and notebook.parent.is_dir()
    found = notebook.parent.relative_to(root).as_posix() if inside else ""
    return "" if found == "." else found


async def _ready(manager: Any) -> None:
    """Wait until a kernel has started. Raises why it has not."""
    ready = manager.ready
    await (ready if isinstance(ready, asyncio.Future) else asyncio.wrap_future(ready))
