"""Nobody gets in who should not: the routing table, verb by verb, against strangers, foreign pages and forged forms."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import pytest
from jupyter_server.auth import Authorizer, User
from jupyter_server.base.handlers import JupyterHandler
from liveserver import (
    API,
    BASE_URL,
    ProcessServer,
    ThreadServer,
    leave_nothing,
    places,
    start_server,
    thread_server,
)
from tornado.routing import Rule, RuleRouter

from jupyter_cloudml.store import StoreError
from jupyter_cloudml_server.handlers import routes
from jupyter_cloudml_server.handlers.base import MAX_BODY, SETTING, CloudMLHandler

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EVIL = "http://evil.example"
KEY = "SHA256:" + "A" * 43
BODIES: dict[str, object] = {
    "PUT pools/k": {"cap": 1},
    "machines": {"name": "box", "host": "127.0.0.9", "host_key": KEY},
    "machines/host-key": {"host": "127.0.0.9"},
    "machines/box": {"label": "Box"},
    "machines/box/datasets": {"source": "s3://bucket/a", "target": "a"},
    "PATCH machines/box/datasets": {"quota": 1},
    "POST kernels/k/drift": {"spec": "python3"},
    "kernels/k/executions/ack": {"msg_ids": ["m"]},
    "executions/ack": {"path": "a.ipynb", "msg_ids": ["m"]},
    "buckets/measure": {"bucket": "bucket"},
    "jobs": {"definition": {}},
    "jobs/preview": {"trigger": {}},
    "jobs/selection": {"content": {}, "cells": [0]},
    "jobs/k/backfill": {"from_ms": 0, "until_ms": 1},
    "runs": {"path": "a.ipynb"},
    "workspaces/sync": {"path": "", "machine": "box"},
    "workspaces/pull": {"path": "", "machine": "box"},
    "workspaces/clone": {"path": "", "machine": "box", "url": "https://h.example/b"},
    "workspaces/refs": {"path": "", "url": "https://h.example/b"},
    "workspaces/settle": {"path": "", "machine": "box", "take": ["a.py"]},
}

QUERIES = (
    "executions",
    "workspaces",
    "workspaces/changes",
    "workspaces/snapshots",
    "environments/sources",
    "jobs/parameters",
    "runs/k/file",
)


class Watched:
    """Stands in for the core: notes everything that is asked of it, and does nothing."""

    def __init__(self, asked: list[str], name: str = "core") -> None:
        self._asked, self._name = asked, name

    def __getattr__(self, name: str) -> Watched:
        return Watched(self._asked, f"{self._name}.{name}")

    def __call__(self, *args: object, **kwargs: object) -> Any:
        self._asked.append(self._name)
        raise TimeoutError(self._name)


class Door(NamedTuple):
    """A server whose core only listens, and what it heard."""

    server: ThreadServer
    asked: list[str]
    cookie: str
    xsrf: str

    def knock(self, verb: str, path: str, headers: dict[str, str | None]) -> tuple[int, list[str]]:
        """Send one request without our token, unless the headers bring it; return the status and what reached the core."""
        self.asked.clear()
        body = BODIES.get(f"{verb} {path}", BODIES.get(path))
        reply = self.server.api(verb, path, body, headers={"Authorization": None, **headers})
        assert reply.headers["Content-Type"].startswith("application/json"), (verb, path)
        if reply.status not in (200, 204):
            assert set(reply.json()) == {"code", "message", "hint", "details"}
        return reply.status, list(self.asked)

    @property
    def token(self) -> str:
        return f"token {self.server.token}"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    root = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in places(root).items():
            patch.setenv(name, value)
        with thread_server(root) as server:
            asked: list[str] = []
            patch.setitem(server.app.web_app.settings, SETTING, Watched(asked))
            cookie, xsrf = log_in(server)
            yield Door(server, asked, cookie, xsrf)


def log_in(server: ThreadServer) -> tuple[str, str]:
    """Return the Cookie header of a browser that has logged in, and its XSRF token."""
    jar = SimpleCookie()
    form = server.request("GET", "login", headers={"Authorization": None})
    login = server.request("GET", "api/status")
    for reply in (form, login):
        for header in reply.headers.get_all("Set-Cookie") or []:
            jar.load(header)
    assert "_xsrf" in jar and len(jar) == 2, jar
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
    return cookies, jar["_xsrf"].value


def rules(router: RuleRouter) -> Iterator[Rule]:
    for rule in router.rules:
        if isinstance(rule.target, RuleRouter):
            yield from rules(rule.target)
        else:
            yield rule


def spelled_out(path: str) -> list[str]:
    """The paths of a route that names several actions."""
    actions = re.search(r"\(([a-z]+(?:\|[a-z]+)+)\)", path)
    if actions is None:
        return [path]
    return [path.replace(actions[0], action) for action in actions[1].split("|")]


def walk(server: ThreadServer) -> list[tuple[str, str]]:
    """Return (verb, path) of everything that the running server routes to us, but for the webhooks, which have a door of their own."""
    found = []
    for rule in rules(server.app.web_app.default_router):
        pattern = rule.matcher.regex.pattern if hasattr(rule.matcher, "regex") else ""
        if "cloudml" not in pattern:
            continue
        handler = rule.target
        assert isinstance(handler, type) and issubclass(handler, CloudMLHandler), pattern
        path = pattern.rstrip("$").replace(r"\.", ".").partition(API.rstrip("/"))[2].lstrip("/")
        path = path.replace("(?:/.*)?", "no/such/path").replace("openapi.json", "openapi.json")
        for concrete in spelled_out(path):
            concrete = re.sub(r"^(machines)/\(\[\^/\]\+\)", r"\1/box", concrete)
            concrete = re.sub(r"^(kernels|operations)/\(\[\^/\]\+\)", r"\1/k", concrete)
            concrete = concrete.replace("([^/]+)", "k")
            if not concrete.startswith("hooks/"):
                found += [(verb, concrete) for verb in VERBS]
    return found


def allowed(verb: str, path: str) -> bool:
    """Say whether our table has this verb for this path."""
    handler = next(h for pattern, h in routes() if re.fullmatch(pattern, f"/{API}{path}"))
    return allowed_method(handler, verb)


def allowed_method(handler: type[CloudMLHandler], verb: str) -> bool:
    return getattr(handler, verb.lower()) is not getattr(CloudMLHandler, verb.lower())


def test_walk_sees_every_route(door: Door) -> None:
    seen = {path for _, path in walk(door.server)}
    routed = sum(len(spelled_out(path)) for path, _ in routes())
    assert len(seen) == routed - 1, "all but the webhooks"
    assert not [path for path in seen if "(" in path]


def test_owner_gets_in_everywhere(door: Door) -> None:
    """The control: without it the refusals below would prove nothing."""
    reached = 0
    for verb, path in walk(door.server):
        status, asked = door.knock(verb, path, {"Authorization": door.token})
        if path == "openapi.json" and verb == "GET":
            assert status == 200
        elif allowed(verb, path):
            query = verb == "GET" and path in QUERIES
            assert status == (400 if query else 504), (verb, path)
            assert asked or query, (verb, path)
            reached += bool(asked)
        else:
            assert status == (404 if path == "no/such/path" else 405), (verb, path)
            assert not asked
    assert reached >= 20


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "token wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic d3Jvbmc6d3Jvbmc="},
        {"Cookie": "username-127-0-0-1-8888=forged"},
    ],
    ids=["no token", "wrong token", "wrong bearer", "basic", "forged cookie"],
)
def test_stranger_is_refused_on_every_route_and_verb(
    door: Door, headers: dict[str, str | None]
) -> None:
    for verb, path in walk(door.server):
        status, asked = door.knock(verb, path, headers)
        assert status in (401, 403), (verb, path, status)
        assert not asked, (verb, path)


def test_wrong_token_in_the_address_is_refused(door: Door) -> None:
    for verb, path in walk(door.server):
        status, asked = door.knock(verb, f"{path}?token=wrong", {})
        assert status in (401, 403) and not asked, (verb, path, status)


def test_page_of_another_site_is_refused_even_with_the_token(door: Door) -> None:
    for origin in (EVIL, "null", f"{EVIL}:{door.server.port}", "http://127.0.0.1.evil.example"):
        for verb, path in walk(door.server):
            status, asked = door.knock(verb, path, {"Authorization": door.token, "Origin": origin})
            assert status == 403 and not asked, (verb, path, origin, status)


def test_page_of_another_site_is_refused_with_the_browsers_login(door: Door) -> None:
    for verb, path in walk(door.server):
        status, asked = door.knock(
            verb, path, {"Cookie": door.cookie, "X-XSRFToken": door.xsrf, "Origin": EVIL}
        )
        assert status == 403 and not asked, (verb, path, status)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("allow_origin", "http://friend.example"), ("allow_origin_pat", r"http://[a-z]+\.example$")],
)
def test_site_that_the_user_allows_gets_in(
    door: Door, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setitem(door.server.app.web_app.settings, setting, value)
    for origin, expected in (
        ("http://friend.example", 504),
        ("http://friend.example.evil", 403),
        ("https://friend.example", 403),
        ("http://x.friend.example", 403),
    ):
        headers: dict[str, str | None] = {"Authorization": door.token, "Origin": origin}
        status, asked = door.knock("DELETE", "machines/box", headers)
        assert status == expected, origin
        assert asked == (["core.machines.remove"] if expected == 504 else [])


def test_own_page_gets_in(door: Door) -> None:
    own = f"http://127.0.0.1:{door.server.port}"
    for headers in (
        {"Authorization": door.token, "Origin": own},
        {"Cookie": door.cookie, "X-XSRFToken": door.xsrf, "Origin": own},
    ):
        status, asked = door.knock("DELETE", "machines/box", dict(headers))
        assert status == 504 and asked == ["core.machines.remove"]


def test_write_without_the_xsrf_token_is_refused(door: Door) -> None:
    for verb, path in walk(door.server):
        if verb == "GET":
            continue
        for extra in ({}, {"X-XSRFToken": "wrong"}):
            status, asked = door.knock(verb, path, {"Cookie": door.cookie, **extra})
            assert status == 403 and not asked, (verb, path, status)


def test_form_of_another_page_is_refused(door: Door) -> None:
    """The types that a form, or fetch without a preflight, can send."""
    kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None]
    kinds += ["text/plain; charset=application/json", "application/json-patch+json"]
    for verb, path in walk(door.server):
        if verb not in ("POST", "PATCH") or not allowed(verb, path):
            continue
        for kind in kinds:
            for login in (
                {"Authorization": door.token},
                {"Cookie": door.cookie, "X-XSRFToken": door.xsrf},
            ):
                status, asked = door.knock(verb, path, {"Content-Type": kind, **login})
                assert status == 415 and not asked, (verb, path, kind, status)


def test_webhook_lets_nobody_further_than_to_the_look_at_its_token(door: Door) -> None:
    bearer = {"Authorization": "Bearer cml_x"}
    for headers, status in (
        ({}, 401),
        ({"Authorization": door.token}, 401),
        ({"Authorization": "Basic d3Jvbmc6d3Jvbmc="}, 401),
        ({"Cookie": door.cookie, "X-XSRFToken": door.xsrf}, 401),
        ({**bearer, "Origin": EVIL}, 403),
        ({**bearer, "Host": "evil.example"}, 403),
        ({**bearer, "Content-Type": "text/plain"}, 415),
        ({**bearer, "Idempotency-Key": "k" * 129}, 400),
        ({**bearer, "Content-Length": str(1 << 17)}, 413),
    ):
        assert door.knock("POST", "hooks/k", dict(headers)) == (status, []), headers
    assert door.knock("POST", "hooks/k", dict(bearer)) == (504, ["core.jobs.fire"])
    assert door.knock("POST", "hooks/k%20k", dict(bearer)) == (401, [])
    for verb in ("GET", "PUT", "PATCH", "DELETE"):
        status, asked = door.knock(verb, "hooks/k", dict(bearer))
        assert status in (401, 403, 405) and not asked, verb


def test_webhook_tells_a_stranger_nothing_of_a_broken_server(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = StoreError("the database /home/ada/secret.db cannot be used", hint="look at it")
    monkeypatch.setitem(door.server.app.web_app.settings, SETTING, broken)
    bearer = {"Authorization": "Bearer cml_x"}
    reply = door.server.api("POST", "hooks/k", headers=bearer)
    assert (reply.status, reply.code) == (503, "store_unavailable") and b"ada" not in reply.body


def test_another_name_for_this_server_is_refused(door: Door) -> None:
    """DNS rebinding: the evil page's own host name now points here."""
    for verb, path in walk(door.server):
        status, asked = door.knock(
            verb, path, {"Authorization": door.token, "Host": "evil.example"}
        )
        assert status == 403 and not asked, (verb, path, status)


def test_preflight_of_another_site_is_not_answered(door: Door) -> None:
    for _, path in walk(door.server):
        reply = door.server.api("OPTIONS", path, headers={"Origin": EVIL, "Authorization": None})
        assert reply.status == 403, path
        assert "Access-Control-Allow-Origin" not in reply.headers


def test_answers_are_kept_by_no_cache_and_run_nothing(door: Door) -> None:
    for path in ("openapi.json", "no/such/<script>", "machines/box"):
        reply = door.server.api("GET", path.replace("<", "%3C").replace(">", "%3E"))
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Content-Type"].startswith("application/json")
        assert b"<script>" not in reply.body


def test_long_body_is_refused_before_it_is_sent(door: Door) -> None:
    door.asked.clear()
    connection = http.client.HTTPConnection("127.0.0.1", door.server.port, timeout=10)
    connection.putrequest("POST", f"{BASE_URL}{API}machines")
    connection.putheader("Authorization", door.token)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    connection.endheaders()  # and not one byte of it
    response = connection.getresponse()
    assert (response.status, door.asked) == (413, [])
    connection.close()


def test_long_body_of_unknown_length_is_refused(door: Door) -> None:
    door.asked.clear()
    connection = http.client.HTTPConnection("127.0.0.1", door.server.port, timeout=10)
    chunks = (b'{"name": "' if number == 0 else b"x" * 65536 for number in range(64))
    connection.request(
        "POST",
        f"{BASE_URL}{API}machines",
        body=chunks,
        headers={"Authorization": door.token, "Content-Type": "application/json"},
        encode_chunked=True,
    )
    assert (connection.getresponse().status, door.asked) == (413, [])
    connection.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff\xfe",
        b'{"name": NaN, "host": "h"}',
        b'{"name": 1e999, "host": "h"}',
        b'{"name": "\\ud800", "host": "h"}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 5000 + b', "host": "h"}',
        b'"machines"',
        b"null",
        b"",
    ],
    ids=["cut", "utf16", "nan", "huge", "surrogate", "deep", "digits", "string", "null", "empty"],
)
def test_body_that_is_no_object_is_refused(door: Door, raw: bytes) -> None:
    door.asked.clear()
    reply = door.server.api("POST", "machines", raw=raw)
    assert (reply.status, door.asked) == (400, []), reply.body


@pytest.mark.parametrize(
    "name",
    [
        "-oProxyCommand=touch M",
        "$(touch M)",
        "`touch M`",
        ";touch M",
        "a b",
        "é",
        "..",
        "a/b",
        "\n touch M",
        "a\n",
        "x" * 100,
        "%00",
        "a\x00b",
        "<img src=x>",
        "schema;x",
    ],
)
def test_name_in_a_path_that_is_none_is_refused(door: Door, name: str) -> None:
    for path in ("", "/gauges", "/processes", "/start", "/stop", "/retry", "/check"):
        verb = "GET" if path in ("", "/gauges", "/processes") else "POST"
        door.asked.clear()
        reply = door.server.api(verb, f"machines/{quote(name, safe='')}{path}")
        assert (reply.status, door.asked) == (400, []), (name, path, reply.body)
    for path in ("operations/{}", "kernels/{}/gauges", "kernels/{}/executions"):
        reply = door.server.api("GET", path.format(quote(name + "\n", safe="")))
        assert (reply.status, door.asked) == (400, []), (name, path, reply.body)


def test_path_that_leaves_the_root_is_refused(door: Door) -> None:
    door.asked.clear()
    for path in ("../a.ipynb", "a/../../b.ipynb", "", "/", "x" * 5000):
        reply = door.server.api("GET", f"executions?path={quote(path, safe='')}")
        assert reply.status == 400, (path, reply.body)
        reply = door.server.api("POST", "executions/ack", {"path": path, "msg_ids": []})
        assert reply.status == 400, (path, reply.body)
    # In an address tornado itself takes control characters out.
    assert door.server.api("POST", "executions/ack", {"path": "a\n", "msg_ids": []}).status == 400
    assert door.asked == []


# -- a server of its own -----------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ProcessServer]:
    server = start_server(tmp_path, arguments=("--ServerApp.log_level=DEBUG",))
    try:
        yield server
    finally:
        server.stop()
        leave_nothing(tmp_path)


def test_every_verb_is_decorated(door: Door) -> None:
    """With JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS=0, and its warning an error in pytest, the server took our routes."""

    class Undecorated(CloudMLHandler):
        async def get(self) -> None:
            """Answer anybody."""

    app = door.server.app
    assert app.allow_unauthenticated_access is False
    judge = app.web_app._check_handler_auth
    assert judge("x", Undecorated) == ["- GET of Undecorated registered for x"]
    for pattern, handler in routes():
        assert judge(pattern, handler) == []


def test_every_verb_asks_the_authorizer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody(Authorizer):
        questions: ClassVar[list[tuple[str, str]]] = []

        def is_authorized(
            self, handler: JupyterHandler, user: User, action: str, resource: str
        ) -> bool:
            self.questions.append((action, resource))
            return False

    settings = door.server.app.web_app.settings
    nobody = Nobody(identity_provider=door.server.app.identity_provider)
    monkeypatch.setitem(settings, "authorizer", nobody)
    for verb, path in walk(door.server):
        if not allowed(verb, path):
            continue
        Nobody.questions.clear()
        status, asked = door.knock(verb, path, {"Authorization": door.token})
        assert (status, asked) == (403, []), (verb, path)
        resource = "kernels" if re.match("kernels|executions", path) else "cloudml"
        assert Nobody.questions == [("read" if verb == "GET" else "write", resource)], path


def test_server_process_does_not_warn_of_ours(process: ProcessServer) -> None:
    assert process.api("GET", "status").status == 200
    assert process.api("GET", "status", headers={"Authorization": None}).status == 403
    named = [line for line in process.log.read_text().splitlines() if "registered for" in line]
    assert not [line for line in named if "cloudml" in line]


def test_secrets_in_requests_reach_no_log(process: ProcessServer) -> None:
    canary = "canary-9f3c1e"
    fields = ("name", "host", "user", "host_key", "carrier", "password")
    for field in fields:
        body = {"name": "box", "host": "127.0.0.1", field: f"{canary} {field}"}
        reply = process.api("POST", "machines", body)
        assert reply.status == 400, (field, reply.body)
    assert process.api("POST", "machines", raw=f'{{"password": "{canary}"'.encode()).status == 400
    assert process.api("POST", "executions/ack", {"path": "a", "msg_ids": [[canary]]}).status == 400
    assert process.api("GET", f"status?token={canary}").status == 403
    process.stop()
    log = process.log.read_text()
    assert "cloudml/api/v1/machines" in log, "the log says nothing at all"
    assert canary not in log
    assert process.token not in log
