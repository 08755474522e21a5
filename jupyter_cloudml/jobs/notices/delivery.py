"""Delivers one notice in a process of its own, which can be ended: an address and a text come on standard input, how it went leaves on standard output.

The address is in no argument and in no error: what apprise says is told without the parts of it.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

DELIVER_S = 60.0
_PROGRAM = "from jupyter_cloudml.jobs.notices.delivery import main; main()"
_PART = re.compile(r"[^/:@?&=,;]+")


def deliver(address: str, title: str, body: str, timeout: float = DELIVER_S) -> str | None:
    """Deliver, within a bound; return why it could not be, or None."""
    said = json.dumps({"address": address, "title": title, "body": body})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=said,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return f"it was not delivered within {timeout:.0f} s"
    except OSError as exc:
        return f"no process could be started: {exc.strerror}"
    try:
        error = json.loads(done.stdout)["error"]
    except (ValueError, KeyError, TypeError):
        return f"the process that was to deliver it ended with {done.returncode}"
    return None if error is None else str(error)


def main() -> None:
    """Deliver what standard input says."""
    said = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    out.write(json.dumps({"error": _deliver(said["address"], said["title"], said["body"])}))


def _deliver(address: str, title: str, body: str) -> str | None:
    try:
        import apprise
    except ImportError:
        return "apprise is not installed: pip install 'jupyter-cloudml[notify]'"
    heard = _Heard()
    logging.getLogger("apprise").addHandler(heard)
    to = apprise.Apprise()
    if not to.add(address):
        return "it is no address that apprise knows"
    if to.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
        return None
    return without(address, "; ".join(heard.lines)[-500:] or "it was refused")


def without(address: str, text: str) -> str:
    """Return a text in which no part of an address is left but its scheme and host. Pure."""
    parts = urlsplit(address)
    shown = {parts.scheme, (parts.hostname or "").lower()}
    found = {each for each in _PART.findall(address) if len(each) > 2}
    found |= {unquote(each) for each in found}
    for each in sorted(found, key=len, reverse=True):
        if each.lower() not in shown:
            text = text.replace(each, "…")
    return text


class _Heard(logging.Handler):
    """Keeps what apprise warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines = [*self.lines[-20:], record.getMessage()[:500]]
