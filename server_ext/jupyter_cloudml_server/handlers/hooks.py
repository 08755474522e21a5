"""Webhooks: the one route that needs no login. A token of its own runs one job, and nothing else can be learnt or done with it."""

from __future__ import annotations

import re
from typing import ClassVar

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from tornado import web

from jupyter_cloudml.errors import JSON, CloudMLError, UsageError
from jupyter_cloudml.jobs.hooks import stranger
from jupyter_cloudml_server.handlers.base import CloudMLHandler, Refused
from jupyter_cloudml_server.handlers.jobs import JobHandlerBase
from jupyter_cloudml_server.openapi import check_body

_BEARER = re.compile(r"Bearer +([A-Za-z0-9_.~+/=-]{1,256})", re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class HookHandler(CloudMLHandler):
    """``hooks/{job}``"""

    max_body: ClassVar[int] = 1 << 16

    def check_xsrf_cookie(self) -> None:
        """Ask for no cookie's token: a page of another site cannot send this one's header."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse who brings no token before anything is read."""
        if not self.request.headers.get("Content-Type") and not self._has_body():
            self.request.headers["Content-Type"] = "application/json"
        await super().prepare()
        self._token = self._brought()
        if self._token is None and self.request.method == "POST":
            raise stranger()

    @allow_unauthenticated  # the token of the job is asked for; nosemgrep: verb-without-authentication, verb-without-authorization
    async def post(self, name: str) -> None:
        """Run the job."""
        key = self.request.headers.get("Idempotency-Key", "")
        if key and not _KEY.fullmatch(key):
            raise UsageError("The Idempotency-Key has to be 1 to 128 letters, digits and signs.")
        sent = self._json()
        params: dict[str, JSON] = {}
        if isinstance(sent, dict) and "parameters" in sent:  # else it is a service's own message
            given = check_body("FireHook", {"parameters": sent["parameters"]})["parameters"]
            params = given if isinstance(given, dict) else {}
        if self._token is None or not _NAME.fullmatch(name):
            raise stranger()
        try:
            answer = await self.core.jobs.fire(name, self._token, params, key)
        except CloudMLError as error:
            if error.status != 503:
                raise
            self.log.warning("jupyter-cloudml: a webhook could not be answered: %s", error)
            raise Refused(  # a stranger is not told what the database is called, and where it lies
                503, "This server cannot do it now.", hint="Try again later.", code=error.code
            ) from error
        self.answer(answer, 202)

    def _brought(self) -> str | None:
        found = _BEARER.fullmatch(self.request.headers.get("Authorization", "").strip())
        return None if found is None else found[1]

    def _has_body(self) -> bool:
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


class JobHookHandler(JobHandlerBase):
    """``jobs/{name}/hook``"""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Tell where the webhook of a job is, and whether it has a token."""
        there = await self.core.jobs.hook(self.job_name(name))
        self.answer({"path": self._path(name), "has_token": there})

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Make a token, which is told here and nowhere else."""
        rotate = self.body("NewHookToken").get("rotate") is True
        token = await self.core.jobs.new_token(self.job_name(name), rotate)
        self.answer({"path": self._path(name), "token": token}, 201)

    def _path(self, name: str) -> str:
        return f"{self.base_url}cloudml/api/v1/hooks/{name}"
