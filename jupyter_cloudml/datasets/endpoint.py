"""An S3 service as this user reaches it: whose credentials, where it is, what it answers. Nothing of it leaves this computer but signed addresses."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import Cancelled, ProtocolError
from .errors import DataError, refusal
from .signing import Credentials, Place, Signer

TRIES = 4
PAUSE_S = 0.2
CONNECT_S, READ_S = 10.0, 60.0
ASK_EXPIRES_S = 300  # of what is asked from here at once
MAX_ANSWER, ANSWER_S = 32 << 20, 300.0


@dataclass(frozen=True)
class Asked:
    """How the user named the service; what is None comes from the environment and ~/.aws, as for every tool of AWS."""

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the service said."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class Endpoint:
    """Signs for, and asks, one service. Thread-safe. `now_s` is the clock that signatures are dated by."""

    def __init__(self, asked: Asked, now_s: Callable[[], float] = time.time) -> None:
        self.asked, self.now_s = asked, now_s
        self._lock = threading.Lock()
        with _boto_errors(asked):
            self._open(asked)

    def _open(self, asked: Asked) -> None:
        import boto3  # here: half a second that nothing else needs
        from botocore.client import Config
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        session = boto3.Session(profile_name=asked.profile, region_name=asked.region)
        self._credentials = session.get_credentials()
        if self._credentials is None:
            raise DataError(
                "there are no credentials for S3 here",
                code="no_credentials",
                hint="run `aws configure`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a --profile",
            )
        client = session.client(
            "s3",
            endpoint_url=asked.endpoint_url,
            region_name=session.region_name or "us-east-1",
            config=Config(signature_version="s3v4"),
        )
        url = str(client.meta.endpoint_url)
        style = (client.meta.config.s3 or {}).get("addressing_style")
        self._virtual = style == "virtual" or (style != "path" and ".amazonaws.com" in url)
        self._place = Place(url, str(client.meta.region_name))
        verify: Any = session._session.get_config_variable("ca_bundle") or True
        self.ca = _authorities(verify) if isinstance(verify, str) else None
        self._http = URLLib3Session(
            verify=verify, proxies=get_environ_proxies(url), timeout=(CONNECT_S, READ_S)
        )

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._place.url

    def signer(self, bucket: str) -> Signer:
        """Return what signs for a bucket now; credentials that expire are renewed. Raises DataError."""
        with _boto_errors(self.asked):
            frozen = self._credentials.get_frozen_credentials()
        virtual = self._virtual and "." not in bucket
        return Signer(
            replace(self._place, virtual_host=virtual),
            Credentials(frozen.access_key, frozen.secret_key, frozen.token),
        )

    def ask(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: Mapping[str, str] = {},
        body: bytes = b"",
        *,
        cancelled: threading.Event | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> Answer:
        """Make one request, again where it may help. Raises DataError for any status that is not in `accept`, Cancelled."""
        what = f"{method} s3://{bucket}/{key}"
        cancelled = cancelled or threading.Event()
        redirected = False
        answer = self._once(method, bucket, key, query, body)
        for turn in range(TRIES):
            if answer.status in accept:
                return answer
            region = answer.headers.get("x-amz-bucket-region", "")
            if answer.status in (301, 307, 400) and region and not redirected:
                redirected = True
                self._move(region)
            elif answer.status < 500 and answer.status != 429:
                break
            elif cancelled.wait(PAUSE_S * 2**turn):
                raise Cancelled(f"{what} was called off")
            answer = self._once(method, bucket, key, query, body)
        raise self.refusal(what, answer)

    def refusal(self, what: str, answer: Answer) -> DataError:
        """Return the error for an answer."""
        code, message = said(answer.body)
        if not code and answer.status in (404, 403) and not answer.body:
            code = {404: "NotFound", 403: "AccessDenied"}[answer.status]
        elif not code and answer.status < 500:
            return self._odd(f"it answered {answer.status}, not as S3 does")
        date = answer.headers.get("date", "")
        return refusal(what, answer.status, code, message, date, self.now_s())

    def _move(self, region: str) -> None:
        with self._lock:
            url = self._place.url.replace(self._place.region, region)
            if url.startswith("https://s3.amazonaws.com"):
                url = f"https://s3.{region}.amazonaws.com"
            self._place = replace(self._place, region=region, url=url)

    def _once(
        self, method: str, bucket: str, key: str, query: Mapping[str, str], body: bytes
    ) -> Answer:
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        url = self.signer(bucket).url(
            method, bucket, key, query, now_s=self.now_s(), expires_s=ASK_EXPIRES_S
        )
        request = AWSRequest(
            method=method, url=url, data=body or None, headers={}, stream_output=True
        ).prepare()
        try:
            got = self._http.send(request)
            with closing(got.raw):
                said = _bounded(got.raw)
        except BotoCoreError as exc:
            raise self._odd(_why(exc)) from None  # its text may hold the address that was signed
        except (HTTPError, OSError) as exc:
            raise self._odd(f"the answer broke off ({type(exc).__name__})") from None
        if said is None:
            raise self._odd("its answer does not end")
        headers = {name.lower(): value for name, value in got.headers.items()}
        return Answer(got.status_code, headers, said)

    def _odd(self, why: str) -> DataError:
        return DataError(
            f"no S3 service at {self.url}: {why}",
            code="wrong_endpoint",
            hint="look at --endpoint-url, and at the network",
        )


def _bounded(raw: Any) -> bytes | None:
    """Read an answer; None where it is longer, or takes longer, than any that is one. A kernel may have named who gives it."""
    until = time.monotonic() + ANSWER_S
    pieces, size = [], 0
    while piece := raw.read1(1 << 16) if hasattr(raw, "read1") else raw.read(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER or time.monotonic() > until:
            return None
    raw.release_conn()
    return b"".join(pieces)


def profiles() -> list[str]:
    """Return the names of the profiles in the user's ~/.aws."""
    import boto3

    with _boto_errors(Asked()):
        return [str(name) for name in boto3.Session().available_profiles]


def tree(body: bytes) -> ElementTree.Element:
    """Parse an answer. Raises ProtocolError for what is no XML, or would make the parser work for it."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:  # NUL: in UTF-16 it hides
        raise ProtocolError("the S3 service answered with a document type")
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - see above
    except ElementTree.ParseError as exc:
        raise ProtocolError(f"the S3 service did not answer with XML: {exc}") from exc


def document(body: bytes) -> ElementTree.Element:
    """Parse a short answer; its tags are without their namespace then. Raises ProtocolError."""
    root = tree(body)
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    return root


def said(body: bytes) -> tuple[str, str]:
    """Return code and message of an error document; empty ones where it is none."""
    try:
        root = document(body)
    except ProtocolError:
        return "", ""
    if root.tag != "Error":
        return "", ""
    return root.findtext("Code") or "", root.findtext("Message") or ""


def _authorities(path: str) -> str:
    """Return the certificates that the user trusts instead of the system's. Raises DataError."""
    try:
        text = Path(path).read_text()
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError, ssl.SSLError) as exc:
        raise DataError(
            f"the authorities in {path} cannot be read: {getattr(exc, 'strerror', None) or exc}",
            code="bad_ca_bundle",
            hint="see AWS_CA_BUNDLE, and ca_bundle in ~/.aws/config",
        ) from exc
    return text


def _why(exc: Exception) -> str:
    """Name the cause of a failed request without the address."""
    text = str(getattr(exc, "kwargs", {}).get("error", "")) or type(exc).__name__
    for sign, cause in (
        ("resolve", "its name is not known"),
        ("refused", "it refuses connections"),
        ("not yet valid", "its certificate is not yet valid: is this computer's clock right?"),
        ("certificate has expired", "its certificate has expired: is this computer's clock right?"),
        ("CERTIFICATE", "its certificate is not one that is trusted here"),
        ("WRONG_VERSION", "it does not speak TLS"),
        ("unreachable", "there is no way to it"),
        ("timed out", "it does not answer"),
        ("Timeout", "it does not answer"),
    ):
        if sign in text or sign in type(exc).__name__:
            return cause
    return f"no connection ({type(exc).__name__})"


@contextmanager
def _boto_errors(asked: Asked) -> Iterator[None]:
    """Have what botocore raises about the user's settings as ours."""
    from botocore import exceptions as boto

    try:
        yield
    except boto.ProfileNotFound as exc:
        raise DataError(
            f"there is no profile {asked.profile!r} in ~/.aws",
            code="no_such_profile",
            hint="name one of `aws configure list-profiles`",
        ) from exc
    except (boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError) as e:
        raise DataError(
            f"the sign-in has expired: {e}",
            code="expired",
            hint="sign in again (`aws sso login`)",
        ) from e
    except (boto.CredentialRetrievalError, boto.PartialCredentialsError) as exc:
        raise DataError(
            f"the credentials cannot be had: {exc}", code="no_credentials", hint="see ~/.aws"
        ) from exc
    except ValueError as exc:
        raise DataError(
            f"{asked.endpoint_url!r} is no address of a service: {exc}",
            code="wrong_endpoint",
            hint="write it as https://HOST[:PORT]",
        ) from exc
    except boto.BotoCoreError as exc:
        raise DataError(f"the settings for S3 do not do: {exc}", code="s3_error") from exc
