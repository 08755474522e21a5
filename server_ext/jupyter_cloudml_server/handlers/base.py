"""What every handler shares: who may come in, what a body may be, and how an error goes out."""

from __future__ import annotations

import json
import math
import re
import secrets
from contextlib import suppress
from http.client import responses
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, stream_request_body

from jupyter_cloudml.errors import JSON, CloudMLError, UsageError
from jupyter_cloudml.link.command import check_name
from jupyter_cloudml_server.openapi import check_body

if TYPE_CHECKING:
    from jupyter_cloudml.machines.operations import Operation
    from jupyter_cloudml_server.core import Core

SETTING = "cloudml_core"
MAX_BODY = 1 << 20
MAX_SEQUENCE = (1 << 53) - 1  # the largest integer that a browser counts exactly
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NOBODY = re.compile(r"[0-9a-f]{32}")  # what jupyter_server calls one who has only shown its token
_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def name_of(user: object) -> str | None:
    """Return the name of an authenticated user; None where the server's own token or password says no name: that is whoever runs it."""
    name = getattr(user, "username", None)
    if not isinstance(name, str) or not name or _NOBODY.fullmatch(name):
        return None
    return name[:200]


class Refused(CloudMLError):
    """The request did not reach the core, or got no answer from it; the status is the request's own."""

    def __init__(
        self, status: int, message: str, *, hint: str = "", code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code or _CODES[status])
        self.status = status


@stream_request_body  # a body over the limit is refused by its headers, before it is taken in
class CloudMLHandler(APIHandler):
    """The base of all routes under cloudml/api/v1."""

    auth_resource: ClassVar[str] = "cloudml"
    max_body: ClassVar[int] = MAX_BODY

    @property
    def core(self) -> Core:
        """Return the core; raise why there is none."""
        core: Core | CloudMLError = self.settings[SETTING]
        if isinstance(core, CloudMLError):
            # A new error each time, since a raised one keeps the frames of every request that it went through. And always
            # 503: what keeps the core from starting (its database's address, say) is nothing that this request can mend.
            raise Refused(503, core.message, hint=core.hint, code=core.code)
        return core

    # -- coming in --------------------------------------------------------------------------------

    def set_default_headers(self) -> None:
        """Keep answers out of every cache."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse foreign pages, then strangers, then bodies that are too long or not JSON."""
        self._body = bytearray()
        if self._is_foreign():
            self.current_user = self._jupyter_current_user = None
            raise Refused(
                403,
                f"A page of {self.get_origin()} must not use this server.",
                hint="Set ServerApp.allow_origin if it is yours.",
                code="foreign_origin",
            )
        await super().prepare()
        length = self.request.headers.get("Content-Length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise Refused(400, "Content-Length is not a number.")
        if int(length) > self.max_body:
            raise _too_large(self.max_body)
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.request.method in ("POST", "PUT", "PATCH") and media_type != "application/json":
            raise Refused(
                415,
                "A request that changes something must be JSON.",
                hint="Send Content-Type: application/json.",
            )

    def _is_foreign(self) -> bool:
        """Tell whether a page of another site asks.

        Stricter than jupyter_server, which lets any origin in that has the token: a token that leaked into a page would do.
        """
        origin = self.get_origin()
        if (
            origin is None
            or self.allow_origin == "*"
            or urlsplit(origin.lower()).netloc == self.request.host.lower()
        ):
            return False
        if self.allow_origin:
            return origin != self.allow_origin
        return not (self.allow_origin_pat and re.match(self.allow_origin_pat, origin))

    def data_received(self, chunk: bytes) -> None:
        """Keep the body up to one byte over the limit; a chunked one says its length only at its end."""
        self._body += chunk[: self.max_body + 1 - len(self._body)]

    async def must_be_allowed(self, action: str, resource: str) -> None:
        """Refuse a user who may not do this to another resource than that of the handler."""
        user: Any = self.current_user
        if not await ensure_async(self.authorizer.is_authorized(self, user, action, resource)):
            raise Refused(403, f"User is not authorized to {action} on resource: {resource}.")

    @property
    def user_name(self) -> str | None:
        """Return who asks, see name_of."""
        return name_of(self.current_user)

    def body(self, schema: str) -> dict[str, JSON]:
        """Return the JSON body, checked against a schema of the OpenAPI document."""
        return check_body(schema, self._json())

    def optional_body(self, schema: str) -> dict[str, JSON]:
        """Return the JSON body as `body` does, {} where there is none."""
        value = self._json()
        return check_body(schema, {} if value is None else value)

    def no_body(self) -> None:
        """Refuse a body that says something where nothing is asked."""
        if self._json() not in (None, {}):
            raise UsageError("This request takes no body.", hint="Send {} or nothing.")

    def _json(self) -> JSON:
        """Parse the body strictly: no NaN, no lone surrogates, no depth that overflows the parser's stack."""
        if len(self._body) > self.max_body:
            raise _too_large(self.max_body)
        if not self._body.strip():
            return None
        try:
            value: JSON = json.loads(self._body, parse_constant=_not_json, parse_float=_finite)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise UsageError(
                "The body is not JSON.", hint="Send one JSON object in UTF-8."
            ) from error
        return value

    def machine_name(self, name: str) -> str:
        """Return the name of a machine from a path, if it is one that a machine can have."""
        check_name("machine", name)
        return name

    def object_id(self, value: str) -> str:
        """Return the id of a kernel or an operation from a path, if it looks like one."""
        if not _ID.fullmatch(value):
            raise UsageError("The id in the address is not one.", code="bad_name")
        return value

    def since(self) -> int:
        """Return the sequence number that the client has, 0 when it has nothing."""
        return self.number("since", 0)

    def number(self, name: str, default: int, low: int = 0, high: int = MAX_SEQUENCE) -> int:
        """Return a query parameter that is a whole number."""
        text = self.get_query_argument(name, str(default))
        if not re.fullmatch(r"[0-9]{1,16}", text) or not low <= int(text) <= high:
            most = "or more" if high == MAX_SEQUENCE else f"to {high}"
            raise UsageError(f"{name} must be a whole number, {low} {most}.", field=name)
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a query parameter that is true or false (the default)."""
        text = self.get_query_argument(name, "false")
        if text not in ("true", "false"):
            raise UsageError(f"{name} must be true or false.", field=name)
        return text == "true"

    # -- going out --------------------------------------------------------------------------------

    def answer(self, value: JSON, status: int = 200) -> None:
        """End the request with a JSON document."""
        self.set_status(status)
        # The name of a file need not be UTF-8.
        self.finish(json.dumps(value, ensure_ascii=False).encode(errors="replace"))

    def accept(self, operation: Operation) -> None:
        """End the request with 202: the work has begun."""
        self.answer({"operation": operation.to_dict()}, 202)

    def done(self) -> None:
        """End the request with 204."""
        self.set_status(204)
        self.finish()

    def update_api_activity(self) -> None:
        """Count writes alone as activity: an open page polls, and must not keep an idle server awake."""
        if self.request.method not in ("GET", "HEAD", "OPTIONS"):
            # A query that does not decode: raised here it would leave the client without an answer.
            with suppress(HTTPError):
                super().update_api_activity()

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Log what nobody expected, with a reference that the client gets too; never a body."""
        request = f"{self.request.method} {self.request.path}"
        if isinstance(value, CloudMLError) and value.status >= 500:
            self.log.warning("%s: %s", request, value)
            return
        if isinstance(value, CloudMLError | HTTPError | TimeoutError):
            self.log.debug("%s: %s", request, type(value).__name__)  # what it says may be a body's
            return
        self._reference = secrets.token_hex(4)
        self.log.error(
            "%s failed, reference %s",
            request,
            self._reference,
            exc_info=(typ, value, tb) if typ and value else None,
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer every error in one shape: {code, message, hint, details}."""
        error = self._as_cloudml_error(
            status_code, (kwargs.get("exc_info") or (None, None, None))[1]
        )
        self.answer(error.to_dict(), error.status)

    def _as_cloudml_error(self, status_code: int, raised: BaseException | None) -> CloudMLError:
        """Map what was raised to an error with a status: the only place that does."""
        if isinstance(raised, CloudMLError):
            return raised
        if isinstance(raised, TimeoutError):
            return Refused(
                504,
                "No answer came in time.",
                hint="Try again; `check` tells where it hangs.",
                code="timeout",
            )
        if isinstance(raised, HTTPError):
            reason = responses.get(raised.status_code, "Error")
            message = raised.get_message() if raised.status_code < 500 else ""
            code = _CODES.get(raised.status_code, "http_error")
            return Refused(raised.status_code, message or f"{reason}.", code=code)
        reference = getattr(self, "_reference", "none")
        return CloudMLError(
            "The server failed to do this; it is a defect of jupyter-cloudml.",
            code="internal",
            hint=f"The server's log has the details under the reference {reference}.",
            reference=reference,
        )


def _too_large(limit: int) -> Refused:
    return Refused(413, f"The body is longer than {limit >> 10} KB.", hint="Send less at once.")


def _not_json(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large a number")
    return number
