"""Notebooks on any machine: the core library, free of Jupyter Server and of any front end."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_cloudml.client import Client
    from jupyter_cloudml.notebook import DatasetError, dataset

__all__ = ["Client", "DatasetError", "__version__", "dataset"]
__version__ = "0.1.0"
_FROM = {
    "Client": "jupyter_cloudml.client",
    "DatasetError": "jupyter_cloudml.notebook",
    "dataset": "jupyter_cloudml.notebook",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it first is: the package itself is imported by everything, and stays quick."""
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Bring `%%job`, for `%load_ext jupyter_cloudml`."""
    import_module("jupyter_cloudml.magic").register(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Name the built Lab extension to `jupyter labextension develop`."""
    return [{"src": "labextension", "dest": "jupyter-cloudml"}]
