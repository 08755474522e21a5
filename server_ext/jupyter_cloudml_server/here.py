"""The kernels of this computer that are none of ours: which Python each runs on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel


def python_of(specs: Any) -> Callable[[str], str | None]:
    """Return what gives the Python of a kernelspec of `specs` (a KernelSpecManager): None where it is that of the server, or none."""

    def find(name: str) -> str | None:
        try:
            spec = specs.get_kernel_spec(name)
        except (NoSuchKernel, OSError, ValueError):
            return None
        ours = "kernel_provisioner" in (spec.metadata or {})
        program = spec.argv[0] if spec.argv and spec.language == "python" and not ours else ""
        return program if os.path.isabs(program) and os.access(program, os.X_OK) else None

    return find
