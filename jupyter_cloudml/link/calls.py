"""Questions to the agent that wait for their answers; they are asked again after a cut and answered once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from ..agent import protocol
from ..errors import AgentError, CloudMLError, Conflict, LinkDown, NoSpace, NotFound, ProtocolError

_CLASSES: dict[str, type[CloudMLError]] = {
    "not_found": NotFound,
    "no_space": NoSpace,
    "in_use": Conflict,
}


class Calls:
    """The open questions of one link. Used on the link's thread alone."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[dict[str, Any], Future[Any]]] = {}

    def ask(self, method: str, params: dict[str, Any], future: Future[Any]) -> list[bytes]:
        """The records of a new question."""
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": params}
        self._open[number] = (request, future)
        return protocol.pack_json(protocol.RPC, request)

    def again(self) -> Iterable[bytes]:
        """The records of all questions that still have no answer."""
        for number, (request, future) in list(self._open.items()):
            if future.done():  # nobody waits any more
                del self._open[number]
            else:
                yield from protocol.pack_json(protocol.RPC, request)

    def answer(self, message: dict[str, Any]) -> None:
        """Settle the question that this answers. Raises ProtocolError for an answer out of shape."""
        number, error = message.get("id"), message.get("error")
        if error is not None and not isinstance(error, dict):  # the question stays open
            raise ProtocolError(f"{self.machine} answered out of shape")
        request, future = (
            self._open.pop(number, (None, None)) if isinstance(number, int) else (None, None)
        )
        if future is None or request is None or not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(message.get("result"))
        else:
            future.set_exception(
                self._error(
                    request["method"], str(error.get("code")), str(error.get("message"))[:2000]
                )
            )

    def _error(self, method: str, code: str, text: str) -> CloudMLError:
        kind = _CLASSES.get(code, AgentError)
        return kind(
            f"{self.machine}: {text}", code=None if kind is not AgentError else code, method=method
        )

    def fail(self, error: CloudMLError | None) -> None:
        """Give up all open questions."""
        for _, future in self._open.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(error or LinkDown(f"the link to {self.machine} is closed"))
        self._open.clear()
