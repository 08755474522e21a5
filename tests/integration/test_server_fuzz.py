"""Whatever a client with the token sends, the server answers as the OpenAPI document promises, and never with 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from liveserver import ThreadServer, places, thread_server

from jupyter_cloudml_server.openapi import document

# Names that reach nothing: the fuzzer must not sign in anywhere, nor stop this computer's agent a thousand times.
NAMES = ["nobody", "schema", "suggestions", "host-key", "..", "-x", "%2e%2e", "a/b", "ＮＦＫＣ"]
# A service that nobody runs, and credentials that are nobody's, so that none are looked for.
NO_S3 = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_EC2_METADATA_DISABLED": "true",
}
ROUTES = [
    (verb, path)
    for path, item in document()["paths"].items()
    for verb in item
    if verb in ("get", "post", "patch", "delete")
]
SCHEMAS = document()["components"]["schemas"]
FIELDS = sorted({name for schema in SCHEMAS.values() for name in schema.get("properties", {})})

CODES = ("refused", "link_down", "timeout", "wrong_endpoint")  # of what lies beyond the server

text = st.text(max_size=80)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | text, inner, max_size=6)
    ),
    max_leaves=12,
)
good = st.sampled_from(
    [
        {"name": "fuzz", "host": "127.0.0.1", "port": 1, "host_key": "SHA256:" + "A" * 43},
        {"host": "127.0.0.1", "port": 1},
        {"label": "Fuzz"},
        {"cull_idle_s": None, "prewarm": 0},
        {"msg_ids": ["m1", "m2"]},
        {"path": "a/b.ipynb", "msg_ids": ["m1"]},
        {"bucket": "fuzz", "prefix": "a/", "after": "b"},
        {},
    ]
)


def spoilt(body: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    # An address that the fuzzer makes up could be somebody's.
    address = field in ("host", "endpoint_url")
    return {**body, field: f"-{value}" if address else value}


bodies = (
    st.builds(spoilt, good, st.sampled_from(FIELDS), values).map(json.dumps)
    | values.map(json.dumps)
    | good.map(json.dumps)
).map(str.encode) | st.binary(max_size=200)
segments = st.sampled_from(NAMES).map(str.encode) | text.map(str.encode) | st.binary(max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes | None]:
    verb, template = draw(st.sampled_from(ROUTES))
    path = template.lstrip("/")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + quote_from_bytes(draw(segments), safe="") + rest.partition("}")[2]
    query = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["since", "path", "stop_processes", "no_track_activity", "x"]),
                st.integers().map(lambda n: str(n).encode())
                | text.map(str.encode)
                | st.binary(max_size=9),
            ),
            max_size=3,
        )
    )
    if query:
        path += "?" + "&".join(
            f"{name}={quote_from_bytes(value, safe='')}" for name, value in query
        )
    return verb.upper(), path, draw(bodies) if verb in ("post", "patch", "delete") else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadServer]:
    root = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**places(root), **NO_S3}.items():
            patch.setenv(name, value)
        with thread_server(root) as made:
            yield made
            made.operation(made.api("POST", "machines/local/stop"), 90)


@settings(
    max_examples=500,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(request=requests())
def test_no_request_fails_the_server(
    server: ThreadServer, request: tuple[str, str, bytes | None]
) -> None:
    verb, path, raw = request
    reply = server.api(verb, path, raw=raw, timeout=20)  # holds the answer against the document
    assert reply.status != 500, (verb, path, raw, reply.body)
    assert reply.status < 500 or reply.code in CODES, reply.body
    assert not reply.body or reply.headers["Content-Type"].startswith("application/json")


def test_server_is_well_after_all_that(server: ThreadServer) -> None:
    assert [machine["name"] for machine in server.get("machines")["machines"]] == ["local"]
    assert server.request("GET", "api/status").status == 200
