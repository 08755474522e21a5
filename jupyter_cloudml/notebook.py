"""`dataset()` where this package is installed: the very function that kernels without it get from their agent.

A Python that no agent has started, such as Jupyter's own kernel, asks the agent of this computer.
"""

from __future__ import annotations

from jupyter_cloudml.agent import notebook, sockets
from jupyter_cloudml.agent.notebook import DatasetError, dataset
from jupyter_cloudml.paths import socket_dir

__all__ = ["DatasetError", "dataset"]


def _agent_here() -> str:
    return str(sockets.control(socket_dir("agent")))


notebook.agent_here = _agent_here
