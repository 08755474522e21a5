"""The OpenAPI document is valid, is what the routing table says, and checks bodies as it promises."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from jupyter_cloudml.errors import ProtocolError, UsageError
from jupyter_cloudml.jobs.definition.model import RESERVED
from jupyter_cloudml_server.handlers import PATHS
from jupyter_cloudml_server.handlers.base import CloudMLHandler
from jupyter_cloudml_server.handlers.status import UnknownPathHandler
from jupyter_cloudml_server.openapi import (
    add_machine_form,
    check,
    check_body,
    check_foreign,
    document,
)

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("get", "post", "put", "patch", "delete")


def implemented(handler: type[CloudMLHandler]) -> set[str]:
    base = CloudMLHandler
    return {verb for verb in VERBS if getattr(handler, verb) is not getattr(base, verb)}


def spelled_out(path: str) -> list[str]:
    """The paths of a pattern that names several actions."""
    found = re.search(r"\(([a-z|]+)\)", path)
    return (
        [path]
        if found is None
        else [path.replace(found[0], action) for action in found[1].split("|")]
    )


def test_document_is_valid_openapi() -> None:
    validate(document())


def test_every_route_and_verb_is_documented_and_nothing_else() -> None:
    served = {
        (pattern.replace("([^/]+)", "{}"), verb)
        for pattern, handler in PATHS
        if handler is not UnknownPathHandler
        for verb in implemented(handler)
    }
    served_actions = {(each, verb) for path, verb in served for each in spelled_out(path)}
    documented = {
        (re.sub(r"\{\w+\}", "{}", path), verb)
        for path, item in document()["paths"].items()
        for verb in item
        if verb in VERBS
    }
    assert documented == served_actions


def test_no_job_has_the_name_of_another_thing_under_jobs() -> None:
    found = (re.fullmatch(r"/jobs/(\w+)", path) for path in document()["paths"])
    assert {match[1] for match in found if match} == set(RESERVED)


def test_every_documented_path_reaches_the_handler_of_its_own_route() -> None:
    for path, item in document()["paths"].items():
        concrete = re.sub(r"\{\w+\}", "x", path)
        pattern, handler = next(
            (pattern, handler) for pattern, handler in PATHS if re.fullmatch(pattern, concrete)
        )
        assert handler is not UnknownPathHandler, path
        assert {verb for verb in item if verb in VERBS} == implemented(handler), (path, pattern)


def test_every_write_declares_a_json_body_and_every_operation_its_errors() -> None:
    for path, item in document()["paths"].items():
        for verb in set(item) & set(VERBS):
            operation = item[verb]
            assert "default" in operation["responses"], (verb, path)
            if verb in ("post", "patch"):
                body = operation["requestBody"]
                if "$ref" in body:
                    body = document()["components"]["requestBodies"][
                        body["$ref"].rpartition("/")[2]
                    ]
                assert list(body["content"]) == ["application/json"], (verb, path)


GOOD = {"name": "gpu-1", "host": "10.0.0.1"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"provider": "ssh", "user": "ada", "port": 2222, "carrier": "paramiko"},
        {"identity": "~/.ssh/id_ed25519", "python": "/usr/bin/python3", "user": ""},
        {"host_key": "SHA256:" + "A" * 43},
        {"host_key": "SHA256:" + "A" * 43 + "="},
    ],
)
def test_good_machine_passes(more: dict[str, Any]) -> None:
    assert check_body("AddMachine", {**GOOD, **more}) == {**GOOD, **more}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (None, "body", "must be object"),
        ([], "body", "must be object"),
        ({"name": "gpu-1"}, "body", "is missing host"),
        ({**GOOD, "password": "hunter2-secret"}, "body", "no field called 'password'"),
        ({**GOOD, "x" * 1000: 1}, "body", "no field called 'xxxx"),
        ({**GOOD, "name": "gpu-1\n"}, "name", "does not fit pattern"),
        ({**GOOD, "name": ""}, "name", ""),
        ({**GOOD, "name": "-oProxyCommand=touch M"}, "name", "does not fit pattern"),
        ({**GOOD, "host": "h" * 256}, "host", "longer than 255"),
        ({**GOOD, "host": ["a"]}, "host", "must be string"),
        ({**GOOD, "port": 0}, "port", "at least 1"),
        ({**GOOD, "port": 65536}, "port", "at most 65535"),
        ({**GOOD, "port": True}, "port", "must be integer"),
        ({**GOOD, "port": "22"}, "port", "must be integer"),
        ({**GOOD, "carrier": "telnet"}, "carrier", "auto or openssh or paramiko"),
        ({**GOOD, "provider": "ec2"}, "provider", "must be ssh"),
        ({**GOOD, "host_key": "MD5:aa"}, "host_key", "does not fit pattern"),
        ({**GOOD, "identity": "a\0b"}, "identity", "does not fit pattern"),
        ({**GOOD, "identity": "key\n"}, "identity", "does not fit pattern"),
    ],
)
def test_bad_machine_is_refused_by_field_and_rule(body: Any, field: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_body("AddMachine", body)
    error = caught.value
    assert error.status == 400
    assert error.details["field"] == field
    assert says in error.message
    assert len(error.message) < 300


def test_refusal_never_repeats_a_value() -> None:
    secret = "hunter2-secret"
    for field in ("name", "host", "user", "identity", "python", "carrier", "host_key", "port"):
        with pytest.raises(UsageError) as caught:
            check_body("AddMachine", {**GOOD, field: secret + "\n" * 5000})
        assert secret not in str(caught.value.to_dict())


def test_change_needs_something_to_change() -> None:
    assert check_body("MachineChange", {"cull_idle_s": None}) == {"cull_idle_s": None}
    with pytest.raises(UsageError, match="shorter than 1"):
        check_body("MachineChange", {})
    with pytest.raises(UsageError, match="label"):
        check_body("MachineChange", {"label": "two\nlines"})


def test_path_of_a_document_has_no_control_characters() -> None:
    check("DocumentPath", "a b/é.ipynb", "path")
    with pytest.raises(UsageError, match="path"):
        check("DocumentPath", "a\x00.ipynb", "path")


def test_answer_of_a_machine_is_checked_and_cut() -> None:
    gauges: dict[str, Any] = {
        "machine": {"cpu_percent": 1.5, "memory_used": 1, "memory_total": 2, "gpus": []},
        "processes": {"p": {"cpu_percent": None, "memory_used": 1, "gpu_memory_used": None}},
    }
    check_foreign("MachineGauges", gauges, "The machine 'm'")
    with pytest.raises(ProtocolError, match="The machine 'm' sent") as caught:
        check_foreign(
            "MachineGauges",
            {**gauges, "processes": {"p" * 5000: {"cpu_percent": "<script>"}}},
            "The machine 'm'",
        )
    assert len(caught.value.message) < 300
    assert "<script>" not in caught.value.message


def test_form_stands_alone_and_offers_the_hosts() -> None:
    form = add_machine_form(["gpu-1", "box-2"])
    schema, ui = form["schema"], form["uiSchema"]
    assert isinstance(schema, dict) and isinstance(ui, dict)
    assert "$ref" not in str(schema)
    fields = schema["properties"]
    assert fields["host"]["examples"] == ["gpu-1", "box-2"]
    assert sorted(ui["ui:order"]) == sorted(fields)
    assert set(schema["required"]) <= set(fields)
    assert all(field["title"] and field["description"] for field in fields.values())
    assert set(fields) == {"host", "user", "port", "identity", "name", "python", "carrier"}
    # The shared document is not written to.
    assert "examples" not in document()["components"]["schemas"]["Host"]


def test_page_about_rest_has_the_table_of_today() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "rest_table.py"))
    text = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    assert text == tool["page"](text), "run: python tools/rest_table.py"
    assert text.count("| `GET ") + text.count("| `POST ") > 20
