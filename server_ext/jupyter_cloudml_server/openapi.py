"""The OpenAPI document, and the checks of request bodies that follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from jupyter_cloudml.errors import JSON, ProtocolError, UsageError

SHOWN_NAME = 40  # characters of a client's own word that an error repeats


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document. Shared: do not change it."""
    text = files("jupyter_cloudml_server").joinpath("openapi.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def check(schema: str, value: JSON, name: str) -> None:
    """Raise UsageError, naming the field and the rule, when `value` does not fit `components.schemas.<schema>`."""
    error = best_match(_validator(schema).iter_errors(value))
    if error is not None:
        field = ".".join(str(part) for part in error.absolute_path) or name
        raise UsageError(
            f"{field}: {_explain(error)}",
            hint=f"See the schema {schema} in openapi.json.",
            field=field,
            rule=str(error.validator),
        )


def check_body(schema: str, body: JSON) -> dict[str, JSON]:
    """Return a request body that fits a schema of an object; raise UsageError."""
    check(schema, body, "body")
    if not isinstance(body, dict):
        raise TypeError(f"{schema} is not the schema of an object")
    return body


def check_foreign(schema: str, value: JSON, source: str) -> None:
    """Raise ProtocolError when what a machine sent does not fit `components.schemas.<schema>`; `source` names it."""
    error = best_match(_validator(schema).iter_errors(value))
    if error is not None:
        field = ".".join(str(part)[:SHOWN_NAME] for part in error.absolute_path)
        raise ProtocolError(
            f"{source} sent something that is no {schema}: {field or 'it'} {_explain(error)}.",
            hint="See that the agent there is the one that this server installs: remove the machine and add it again.",
        )


def add_machine_form(hosts: list[str]) -> dict[str, JSON]:
    """Return `{schema, uiSchema}` for a react-jsonschema-form that asks for the body of POST machines.

    hosts: what is offered for the field `host`. The schema stands alone, without references.
    """
    schemas = document()["components"]["schemas"]
    form = {key: value for key, value in schemas["AddMachine"].items() if key != "properties"}
    # Which provider it is and the confirmed fingerprint are the page's to fill in, not the person's.
    fields = {
        name: field
        for name, field in schemas["AddMachine"]["properties"].items()
        if name not in ("provider", "host_key")
    }
    for name, field in fields.items():
        reference = field.get("$ref")
        fields[name] = dict(schemas[reference.rpartition("/")[2]] if reference else field)
    fields["host"]["examples"] = hosts
    advanced = {"ui:options": {"advanced": True}}
    return {
        "schema": {**form, "properties": fields},
        "uiSchema": {
            "ui:order": ["host", "user", "port", "identity", "name", "python", "carrier"],
            "host": {"ui:autofocus": True, "ui:placeholder": "gpu-1.example.org"},
            "port": {"ui:placeholder": "22"},
            "name": {"ui:placeholder": "gpu-1"},
            "python": advanced,
            "carrier": advanced,
        },
    }


def _whole_pattern(
    validator: Validator, pattern: str, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Check `pattern` as JSON Schema means it: `$` is the end, not the place before a last newline as in Python."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"does not match {pattern}")


_BodyValidator: type[Validator] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _whole_pattern}
)


@cache
def _validator(schema: str) -> Validator:
    """Return the validator of one schema of the document."""
    return _BodyValidator(
        {"$ref": f"#/components/schemas/{schema}", "components": document()["components"]}
    )


def _explain(error: ValidationError) -> str:
    """Say what is wrong without repeating the value: a body can hold a secret, or a megabyte."""
    limit: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required":
            return "is missing " + ", ".join(name for name in limit if name not in instance)
        case "additionalProperties":
            odd = next(name for name in instance if name not in schema["properties"])
            return f"has no field called {odd[:SHOWN_NAME]!r}"
        case "type":
            return "must be " + (" or ".join(limit) if isinstance(limit, list) else str(limit))
        case "enum" | "const":
            return "must be " + " or ".join(
                str(value) for value in (limit if isinstance(limit, list) else [limit])
            )
        case "minLength" | "minItems" | "minProperties":
            return f"must not be shorter than {limit}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"must not be longer than {limit}"
        case "minimum" | "maximum":
            return f"must be at {'least' if error.validator == 'minimum' else 'most'} {limit}"
        case _:
            return f"does not fit {error.validator} {limit}"
