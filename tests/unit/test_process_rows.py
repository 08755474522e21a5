"""What a page may see of a machine's processes."""

from __future__ import annotations

from jupyter_cloudml.errors import JSON
from jupyter_cloudml_server.machines import without_secrets


def test_a_page_sees_neither_the_key_of_a_kernel_nor_the_token_of_its_start() -> None:
    row: dict[str, JSON] = {
        "id": "a1",
        "kind": "kernel",
        "connection": {"key": "signing-key"},
        "labels": {"path": "a.ipynb", "token": "start-token"},
    }
    assert without_secrets(row) == {"id": "a1", "kind": "kernel", "labels": {"path": "a.ipynb"}}
