"""Who a job tells of its runs: addresses of apprise, or where such an address is kept, and what of. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition.fields import Choice, Text
from jupyter_cloudml.jobs.definition.shapes import ListOf, Member, Record
from jupyter_cloudml.store.jobs.notices import FAILURE, RECOVERY, SUCCESS

REFERENCE = re.compile(r"(env|keyring|file):.+", re.DOTALL)
# Of these the address itself is no secret; of the others (chats, pagers) it has a token in it.
OPEN_SCHEMES = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "syslog")
OPEN_QUERY = ("to", "from", "cc", "bcc", "reply", "name", "format", "mode", "smtp", "subject")
_HINT = "put the address into a secret and name that: env:NAME, keyring:SERVICE/NAME or file:PATH"


@dataclass(frozen=True)
class Notify:
    """Tell `to` of these ends."""

    to: str
    on: tuple[str, ...] = (FAILURE, RECOVERY)


def check_address(text: str) -> None:
    """Raise UsageError for what is no address and no reference to one, and for an address with a secret in it. Nothing of it is repeated."""
    if REFERENCE.fullmatch(text):
        return
    try:
        parts = urlsplit(text)
        password, query = parts.password, parse_qsl(parts.query)
    except ValueError:
        parts, password, query = urlsplit(""), None, []
    if "://" not in text or not parts.scheme:
        raise UsageError(
            "it is no address of apprise", hint="write mailto://…, json://…; or " + _HINT
        )
    closed = [name for name, _ in query if name not in OPEN_QUERY]
    if password or closed or parts.scheme not in OPEN_SCHEMES:
        raise UsageError("it may hold a secret, and definitions are kept in clear", hint=_HINT)


NOTIFY = Record(
    Notify,
    {
        "to": Member(
            Text(longest=2000, example="env:MAIL_TO_ADA", check=check_address),
            "an address of apprise (mailto://…, json://…), or where one is: env:NAME, keyring:SERVICE/NAME, file:PATH",
        ),
        "on": Member(
            ListOf(Choice((FAILURE, RECOVERY, SUCCESS)), 3),
            "of which ends: failures, the success after a failure, successes",
            [FAILURE, RECOVERY],
        ),
    },
    title="Notification",
)
