"""What an S3 service says no with, as errors that a person can act on.

DataError, by code: `no_such_bucket`, `refused`, `expired`, `clock_skew`, `wrong_endpoint`, `wrong_region`, `no_credentials`, `no_such_profile`,
`unavailable` (it is overloaded or fails), `s3_error` (any other answer), `endpoint_unreachable` (from the machine), `transfer_failed` (a program on
the machine ended), `files_failed` (some files of a sync did not come; `details["failed"]` names them).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from ..errors import CloudMLError

SKEW_S = 300  # more than that and S3 refuses
# S3's code: ours, and what to do about it.
KNOWN = {
    "NoSuchBucket": ("no_such_bucket", "look at its name, and at --endpoint-url and --profile"),
    "AccessDenied": ("refused", "the credentials may not do this: see --profile"),
    "AllAccessDisabled": ("refused", "the bucket's owner has closed it"),
    "AccountProblem": ("refused", "the account has a problem: ask its owner"),
    "InvalidAccessKeyId": ("refused", "the service does not know this access key: see --profile"),
    "SignatureDoesNotMatch": ("refused", "the secret key is not the right one: see --profile"),
    "InvalidToken": ("refused", "the session token is not the right one: see --profile"),
    "ExpiredToken": ("expired", "sign in again, then repeat this"),
    "TokenRefreshRequired": ("expired", "sign in again, then repeat this"),
    "RequestExpired": ("expired", "repeat this"),
    "RequestTimeTooSkewed": ("clock_skew", "set this computer's clock"),
    "PermanentRedirect": ("wrong_region", "name the bucket's region with --region"),
    "AuthorizationHeaderMalformed": ("wrong_region", "name the bucket's region with --region"),
    "AuthorizationQueryParametersError": (
        "wrong_region",
        "name the bucket's region with --region",
    ),
    "SlowDown": ("unavailable", "the service is overloaded: try again later"),
    "ServiceUnavailable": ("unavailable", "try again later"),
    "InternalError": ("unavailable", "try again later"),
}
STATUS = {"no_such_bucket": 404, "no_credentials": 422, "no_such_profile": 422}


class DataError(CloudMLError):
    """An S3 service, or the way to it, does not do what was asked."""

    code = "s3_error"
    status = 502

    def __init__(self, message: str, *, code: str, hint: str = "", **details: object) -> None:
        super().__init__(message, code=code, hint=hint, **details)  # type: ignore[arg-type]
        self.status = STATUS.get(code, 502)

    @property
    def is_final(self) -> bool:
        """Whether another signed address will be refused as well."""
        return self.code in ("clock_skew", "wrong_region", "no_such_bucket") or self.details.get(
            "s3_code"
        ) in ("InvalidAccessKeyId", "SignatureDoesNotMatch")


def refusal(
    what: str, status: int, s3_code: str, message: str, date: str = "", now_s: float | None = None
) -> DataError:
    """Return the error for an S3 answer: `what` was asked, `s3_code` and `message` are the service's, `date` its clock."""
    skew = _skew(date, now_s)
    if status == 403 and "expired" in message.lower() and abs(skew) < SKEW_S:
        s3_code = "RequestExpired"
    elif status == 403 and abs(skew) >= SKEW_S:
        s3_code = "RequestTimeTooSkewed"
    code, hint = KNOWN.get(
        s3_code,
        ("unavailable", "try again later") if status >= 500 else ("s3_error", "see its message"),
    )
    if s3_code in KNOWN and code == "clock_skew":
        message = f"this computer's clock differs from the service's by {abs(skew) or SKEW_S:.0f} s"
    said = ": ".join(part for part in (s3_code or f"status {status}", message[:300]) if part)
    return DataError(f"{what}: {said}", code=code, hint=hint, s3_code=s3_code, s3_status=status)


def _skew(date: str, now_s: float | None) -> float:
    if not date or now_s is None:
        return 0.0
    try:
        return now_s - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return 0.0
