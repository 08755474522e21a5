"""Webhooks: a job that runs when somebody who knows its token says so, without being let in otherwise."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..clock import Clock, SystemClock
from ..errors import JSON, CloudMLError, Conflict, UsageError
from ..events import Event
from ..store import Store
from ..store.jobs.records import JobRecord, RunRecord
from .notebooks.notebook import Notebook
from .notebooks.parameters import check, find

PREFIX = "cml_"
_NOBODY = "0" * 64  # is the digest of no token


class Stranger(CloudMLError):
    """No such token fires such a job; which of the two is wrong is not told."""

    code = "unauthenticated"
    status = 401


class Hooks:
    """The webhooks of one store's jobs. `read` gives a notebook, or raises why it cannot."""

    def __init__(
        self,
        store: Store,
        read: Callable[[Path], Notebook],
        *,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._read, self._clock = store, read, clock or SystemClock()
        self._on_event, self._wake = on_event, wake

    def has_token(self, name: str) -> bool:
        """Tell whether somebody can fire a job. Raises NotFound, UsageError (`no_webhook`)."""
        job = self._store.jobs.get(name)
        found = self._store.hooks.find(job.name)
        if found is None:
            raise UsageError(
                f"the job {job.name} has no webhook",
                code="no_webhook",
                hint='give it the trigger {"webhook": true}',
            )
        return found[0].token_sha256 is not None

    def new_token(self, name: str, *, rotate: bool = False) -> str:
        """Return a token that fires a job from now on; it is kept nowhere, and the one before fires nothing any more.

        Raises NotFound, UsageError (`no_webhook`), and Conflict where there is one and `rotate` does not say to replace it.
        """
        job = self._store.jobs.get(name)
        there = self.has_token(job.name)
        token = PREFIX + secrets.token_urlsafe(32)
        found = self._store.hooks.find(job.name)
        if (there and not rotate) or not (
            found and self._store.hooks.set(found[0].id, _digest(token), rotate=rotate)
        ):
            raise Conflict(
                f"the webhook of {job.name} has a token already, and only its digest is kept",
                code="exists",
                hint="make another one in its place: --rotate; the one before ends then",
            )
        return token

    def fire(self, name: str, token: str, params: Mapping[str, JSON], key: str = "") -> RunRecord:
        """Make a run; said twice with one key, there is one run. Raises Stranger, and UsageError for parameters that are not declared."""
        found = self._store.hooks.find(name)
        kept = (found[0].token_sha256 if found else None) or _NOBODY
        if not hmac.compare_digest(kept, _digest(token)) or found is None:
            raise stranger()
        given = self._checked(found[1], params) if params else {}
        fire_key = f"key:{key}" if key else f"hook:{secrets.token_hex(8)}"
        made = self._store.hooks.fire(name, kept, fire_key, given, self._clock.now_ms())
        if made is None:  # rotated meanwhile
            raise stranger()
        run, told = made
        self._tell(told)
        self._wake()
        return run

    def _checked(self, job: JobRecord, params: Mapping[str, JSON]) -> dict[str, JSON]:
        path = Path(str(job.spec["notebook"]))
        declared = find(self._read(path))
        if not declared:
            raise UsageError(
                f"{path.name} declares no parameters",
                code="bad_parameter",
                hint="tag a cell with `parameters`, or send none",
            )
        return check(declared, params, path.name)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._on_event(event)


def stranger() -> Stranger:
    """Return the refusal that says nothing of what there is."""
    return Stranger(
        "No such webhook, or not with this token.",
        hint="Send the token as `Authorization: Bearer TOKEN`; its owner can make another one.",
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
