"""Notebooks on any machine: the core library, free of Jupyter Server and of any front end."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_cloudml.client import Client

__all__ = ["Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the client when it is first asked for: the package itself is imported by everything, and stays quick."""
    if name == "Client":
        return import_module("jupyter_cloudml.client").Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Name the built Lab extension to `jupyter labextension develop`."""
    return [{"src": "labextension", "dest": "jupyter-cloudml"}]
