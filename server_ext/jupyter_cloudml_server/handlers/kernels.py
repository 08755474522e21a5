"""Kernels that run on a machine."""

from __future__ import annotations

from typing import ClassVar

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml_server.handlers.base import CloudMLHandler


class KernelHandlerBase(CloudMLHandler):
    """What may read a kernel through Jupyter Server may read it here: the resource is the same."""

    auth_resource: ClassVar[str] = "kernels"


class KernelsHandler(KernelHandlerBase):
    """``kernels``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the kernels."""
        self.answer({"kernels": await self.core.kernels.list()})


class KernelGaugesHandler(KernelHandlerBase):
    """``kernels/{id}/gauges``"""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """Return how busy the kernel is."""
        self.answer(await self.core.kernels.gauges(self.object_id(kernel_id)))


class CancelStartHandler(KernelHandlerBase):
    """``kernels/{id}/cancel-start``"""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Call off the start of the kernel."""
        kernel_id = self.object_id(kernel_id)
        self.no_body()
        self.core.kernels.cancel_start(kernel_id)
        self.done()


class KernelDriftHandler(KernelHandlerBase):
    """``kernels/{id}/drift``"""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """Return how the packages of the kernel compare with those of its notebook here."""
        self.answer(self.core.drift.of(self.object_id(kernel_id)))

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Say which kernel here the notebook has left for this one."""
        kernel_id = self.object_id(kernel_id)
        await self.core.drift.note_before(kernel_id, str(self.body("KernelBefore")["spec"]))
        self.done()


class DismissDriftHandler(KernelHandlerBase):
    """``kernels/{id}/drift/dismiss``"""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Wave aside what was found."""
        kernel_id = self.object_id(kernel_id)
        self.no_body()
        await self.core.drift.dismiss(kernel_id)
        self.done()
