"""The one tree of errors that the project raises on purpose.

CloudMLError
    UsageError       400  the request itself is wrong (a bad name, a missing argument)
    NotFound         404  there is no such machine, kernel, operation
    Conflict         409  it exists already, or is in use
    HostKeyUnknown   409  first contact: a person has to confirm the fingerprint in `details`
    HostKeyChanged   502  the host is not the one that was confirmed: nothing was sent to it
    AuthRefused      502  the host does not accept this user's keys
    Unreachable      502  no connection: code is dns, no_route, refused, closed or unreachable; timeout is 504
    NoPython         422  the host has no Python that the agent can run on
    NoisyShell       422  the login shell of the host writes into the stream
    NoSpace          422  a disk or quota is full
    NoEnvironment    422  the host has no Python with ipykernel, and none could be made there
    NoFolder         503  a folder of ours on this computer cannot be used
    LinkDown         503  the link to a machine is down now; the processes there go on
    Busy             503  too much is under way already; nothing was begun
    AgentError       502  the agent on the machine answered with an error
    ProtocolError    502  what came from the other end is not the protocol
    Cancelled        409  somebody called it off

`message` names the object and the cause, `hint` says what to do next, `details` holds what a program needs. Both texts
are written to be read on in the middle of a line; where a hint stands alone, in a page, it gets its capital (`to_dict`).
The server maps `status`, the CLI prints `message` and `hint`; nobody else interprets an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


class CloudMLError(Exception):
    """An error that a person can act on.

    `code` is stable and snake_case; a class has its own, and the cause may narrow it (`Unreachable(..., code="dns")`).
    """

    code: str = "error"
    status: int = 500

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", **details: JSON
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, JSON] = details
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_dict(self) -> dict[str, JSON]:
        """Return the error as it goes over REST, into the database and into `--json`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": capitalized(self.hint),
            "details": self.details,
        }


def capitalized(hint: str) -> str:
    """Return a hint as it stands on a line of its own."""
    return hint[:1].upper() + hint[1:]


class UsageError(CloudMLError):
    """The request is wrong in itself; trying again changes nothing."""

    code = "usage"
    status = 400


class NotFound(CloudMLError):
    """There is no object of that name."""

    code = "not_found"
    status = 404


class Conflict(CloudMLError):
    """The object exists already (`exists`), is in use (`in_use`), or was changed by somebody else meanwhile (`changed`)."""

    code = "exists"
    status = 409


class HostKeyUnknown(CloudMLError):
    """The host has never been confirmed: show `details` (host, port, keytype, fingerprint) and ask."""

    code = "host_key_unknown"
    status = 409


class HostKeyChanged(CloudMLError):
    """The host shows another key than the confirmed one; refused before authentication."""

    code = "host_key_changed"
    status = 502


class AuthRefused(CloudMLError):
    """The host refused every key that was offered for this user."""

    code = "auth_refused"
    status = 502


class Unreachable(CloudMLError):
    """No connection came about, or it ended; the code says why (dns, no_route, refused, timeout, closed)."""

    code = "unreachable"
    status = 502

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", **details: JSON
    ) -> None:
        super().__init__(message, code=code, hint=hint, **details)
        if self.code == "timeout":
            self.status = 504


class NoPython(CloudMLError):
    """The host has no Python >= 3.9 under the names that were tried."""

    code = "no_python"
    status = 422


class NoisyShell(CloudMLError):
    """The login shell writes so much before the agent speaks that the stream cannot be found."""

    code = "noisy_shell"
    status = 422


class NoSpace(CloudMLError):
    """A write failed for lack of space; `details` names the path and the free bytes."""

    code = "no_space"
    status = 422


class NoEnvironment(CloudMLError):
    """The host has no Python with ipykernel (`no_ipykernel`), and none could be made (`environment_failed`, `no_wheels`)."""

    code = "environment_failed"
    status = 422


class NoFolder(CloudMLError):
    """A folder that the project keeps its files in cannot be used: `not_private`, `path_too_long`, or what the system says."""

    code = "folder_unusable"
    status = 503


class LinkDown(CloudMLError):
    """There is no link to the machine now; it is being re-opened and the processes there go on."""

    code = "link_down"
    status = 503


class Busy(CloudMLError):
    """Too much is under way already, and this was not begun."""

    code = "busy"
    status = 503


class AgentError(CloudMLError):
    """The agent on the machine could not do what it was asked to."""

    code = "agent_error"
    status = 502


class ProtocolError(CloudMLError):
    """The other end sent what the protocol does not allow; the link is closed."""

    code = "protocol"
    status = 502


class Cancelled(CloudMLError):
    """The operation was called off before it was done."""

    code = "cancelled"
    status = 409
