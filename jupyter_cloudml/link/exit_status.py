"""What the end of a remote command says."""

from __future__ import annotations

from jupyter_cloudml.errors import JSON, AgentError, CloudMLError, Unreachable

from .carrier import SSHTarget

_TAIL = 2000  # characters of standard error in the details
SILENT_HINT = (
    "sign in by hand with ssh: the login shell, or a file that it reads, may end before the command"
)


def explain(target: SSHTarget, status: int, stderr: str) -> CloudMLError | None:
    """Return the error behind an exit status, None for 0; `details` has the status and the end of standard error."""
    if status == 0:
        return None
    text = stderr.strip()
    details: dict[str, JSON] = {"status": status, "stderr": text[-_TAIL:]}
    if status in (126, 127):
        return AgentError(
            f"{target} cannot run the command: {last_line(text)}",
            code="command_not_found",
            hint="check that the program is there and may be run",
            **details,
        )
    return AgentError(
        f"the command on {target} ended with {status}: {last_line(text)}",
        code="command_failed",
        hint="see what it wrote" if text else SILENT_HINT,
        **details,
    )


def lost(target: SSHTarget, *, silent: bool, stderr: str = "") -> Unreachable:
    """Return the error for a connection that ended under a running command."""
    if silent:
        code, what = "timeout", f"{target} does not answer any more"
    else:
        code, what = "closed", f"the connection to {target} was closed"
    return Unreachable(what, code=code, hint="it is tried again by itself", stderr=stderr[-_TAIL:])


def last_line(text: str) -> str:
    """Return the last line that says something, at most 300 characters of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
