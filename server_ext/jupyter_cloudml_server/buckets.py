"""What lies in the user's buckets, called from the event loop: it runs on threads of its own, for a service may not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from jupyter_cloudml.datasets.endpoint import Asked, profiles
from jupyter_cloudml.datasets.service import Datasets
from jupyter_cloudml.errors import JSON
from jupyter_cloudml_server.calls import CallPool


class BucketCalls:
    """Every request about buckets. No machine has a part in it."""

    def __init__(self, datasets: Datasets, pool: CallPool) -> None:
        self._datasets, self._pool = datasets, pool

    async def profiles(self) -> list[str]:
        """Return the user's profiles."""
        return await self._pool.run(profiles)

    async def listing(self, body: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return a page of names; without a bucket the buckets, all of them. Raises DataError."""
        bucket = cast("str | None", body.get("bucket"))
        if bucket is None:
            found = await self._pool.run(self._datasets.buckets, asked(body))
            return {"buckets": [vars(each) for each in found], "entries": [], "after": None}
        page = await self._pool.run(self._datasets.listing, asked(body), bucket, *_where(body))
        entries: list[JSON] = [entry.to_dict() for entry in page.entries]
        return {"buckets": [], "entries": entries, "after": page.after}

    async def measure(self, body: Mapping[str, JSON]) -> dict[str, JSON]:
        """Count what lies below a prefix, some thousands of objects further. Raises DataError."""
        bucket = str(body["bucket"])
        counted = await self._pool.run(self._datasets.measure, asked(body), bucket, *_where(body))
        return dict(vars(counted))


def asked(body: Mapping[str, JSON]) -> Asked:
    """Return how a request names the service."""
    return Asked(
        cast("str | None", body.get("endpoint_url")),
        cast("str | None", body.get("profile")),
        cast("str | None", body.get("region")),
    )


def _where(body: Mapping[str, JSON]) -> tuple[str, str | None]:
    return str(body.get("prefix") or ""), cast("str | None", body.get("after"))
