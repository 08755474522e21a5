"""The Jupyter Server extension: REST, events and reattachment of kernels."""

from __future__ import annotations


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """Tell Jupyter Server where the application is."""
    # Not at import: the core is needed by servers alone.
    from jupyter_cloudml_server.app import CloudMLApp

    return [{"module": "jupyter_cloudml_server", "app": CloudMLApp}]
