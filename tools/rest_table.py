"""Write the table of routes in docs/rest.md from the OpenAPI document."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jupyter_cloudml_server.openapi import document

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rest.md"
BEGIN, END = "<!-- begin -->\n", "<!-- end -->\n"
VERBS = ("get", "post", "patch", "delete")


def table() -> str:
    """Return the routes as a Markdown table: verb and path, body, answer, what it is for."""
    rows = ["| route | body | answer | |", "|---|---|---|---|"]
    for path, item in document()["paths"].items():
        for verb in VERBS:
            if verb in item:
                operation = item[verb]
                query = "".join(f" `?{name}`" for name in _query(operation))
                cells = (
                    f"`{verb.upper()} {path.lstrip('/')}`{query}",
                    _body(operation),
                    _answer(operation),
                    operation["summary"],
                )
                rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """Return the page with the table as it is to be now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table()}{END}{tail}"


def _query(operation: dict[str, Any]) -> list[str]:
    parameters = [_resolve(each) for each in operation.get("parameters", [])]
    return [each["name"] for each in parameters if each["in"] == "query"]


def _body(operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    schema = _resolve(_resolve(operation["requestBody"])["content"]["application/json"]["schema"])
    required = schema.get("required", [])
    names = [name if name in required else f"{name}?" for name in schema.get("properties", {})]
    return f"`{{{', '.join(names)}}}`"


def _answer(operation: dict[str, Any]) -> str:
    status: str = next(status for status in operation["responses"] if status.startswith("2"))
    response = _resolve(operation["responses"][status])
    if "content" not in response:
        return status
    if "application/json" not in response["content"]:
        return f"{status} {', '.join(response['content'])}"
    schema = _resolve(response["content"]["application/json"]["schema"])
    if schema.get("properties"):
        return f"{status} `{{{', '.join(schema['properties'])}}}`"
    return f"{status} the document"


def _resolve(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
