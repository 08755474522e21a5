"""Buckets: what is in them.

These are POSTs although they change nothing: they have the server send signed requests to an address of the page's choice, which a link or an image
on a foreign page must not, and what they name belongs in no log.
"""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_cloudml_server.handlers.base import CloudMLHandler


class ListingHandler(CloudMLHandler):
    """``buckets/list``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """List the buckets, or a page of the names below a prefix."""
        self.answer(await self.core.buckets.listing(self.body("BucketListing")))


class MeasureHandler(CloudMLHandler):
    """``buckets/measure``"""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Count objects and bytes below a prefix."""
        self.answer(await self.core.buckets.measure(self.body("BucketMeasure")))


class ProfilesHandler(CloudMLHandler):
    """``buckets/profiles``"""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the profiles."""
        names: list[str] = await self.core.buckets.profiles()
        self.answer({"profiles": [*names]})
