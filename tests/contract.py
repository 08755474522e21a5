"""Holds what a live server answers against the OpenAPI document."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from jupyter_cloudml_server.openapi import document


def check_reply(method: str, path: str, status: int, body: bytes) -> None:
    """Fail unless the document says that this request can be answered so. `path` lies under the API's root."""
    item = _item(path.partition("?")[0])
    operation = item.get(method.lower()) if item else None
    if operation is None:
        assert status in (403, 404, 405, 413, 415), (
            f"{method} {path} is not in the document: {status}"
        )
        _fits("Error", {"$ref": "#/components/schemas/Error"}, json.loads(body))
        return
    if status < 400:
        assert str(status) in operation["responses"], f"{method} {path} must not answer {status}"
    response = _resolve(
        operation["responses"].get(str(status)) or operation["responses"]["default"]
    )
    if "content" not in response:
        assert body == b"", f"{method} {path} answers {status} with a body"
        return
    if "application/json" not in response["content"]:
        return
    _fits(
        f"{method} {path} {status}",
        response["content"]["application/json"]["schema"],
        json.loads(body),
    )


def _item(path: str) -> dict[str, Any] | None:
    """Return the document's path item; a fixed path comes before one with a name in it, as in the routing table."""
    paths: dict[str, dict[str, Any]] = document()["paths"]
    for template in sorted(paths, key=lambda each: "{" in each):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), f"/{path}"):
            return paths[template]
    return None


def _resolve(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})


def _fits(what: str, schema: dict[str, Any], value: object) -> None:
    errors = [
        f"{error.json_path}: {error.message[:300]}"
        for error in _validator(json.dumps(schema)).iter_errors(value)
    ]
    assert not errors, f"{what} does not fit the OpenAPI document: {errors[:3]}"
