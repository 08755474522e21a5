"""What lies under an S3 prefix, as one value: the hash of its manifest; and which objects are new or changed since the last look."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...datasets.address import Address, Object
from ...datasets.endpoint import Asked, Endpoint
from ...datasets.errors import DataError
from ...datasets.listing import found
from ...errors import JSON, Cancelled, NotFound
from ...paths import private_dir, unusable
from ...store.jobs.watches import Sight
from ..definition.triggers import Trigger
from .manifests import Written, bounded, changed, read, write

LOOK_S = 240.0  # the longest look


class S3Look:
    """Looks at prefixes with the user's credentials for S3. The manifest of each trigger's last look is in `home/jobs/manifests`."""

    def __init__(self, home: Path, now_s: Callable[[], float] = time.time) -> None:
        self._home, self._now_s = home, now_s
        self._endpoints: dict[Asked, Endpoint] = {}

    def __call__(
        self, trigger_id: str, trigger: Trigger, mark: str | None, cancelled: threading.Event
    ) -> Sight:
        """Return what lies there. Raises UsageError, DataError, ProtocolError, NoSpace, NoFolder, Cancelled."""
        address = Address.parse(trigger.s3 or "")
        asked = Asked(trigger.endpoint_url, trigger.profile, trigger.region)
        private_dir(private_dir(self._home / "jobs") / "manifests")
        new = self._file(trigger_id, f"{os.getpid()}.{threading.get_ident()}.new")
        try:
            written = write(new, self._objects(asked, address, cancelled))
            made = self._sight(trigger_id, trigger, new, written, mark)
            os.replace(new, self._file(trigger_id, written.key))
        except OSError as exc:
            raise unusable(new.parent, exc) from exc
        except DataError:
            self._endpoints.pop(asked, None)  # other credentials may do, or the same ones later
            raise
        finally:
            new.unlink(missing_ok=True)
        return made

    def settled(self, trigger_id: str, mark: str) -> None:
        """Keep the manifest of this mark alone: the mark is in the store."""
        keep = self._file(trigger_id, mark)
        for each in keep.parent.glob(f"{keep.name.partition('-')[0]}-*"):
            if each != keep and not each.name.endswith(".new"):
                each.unlink(missing_ok=True)

    def _file(self, trigger_id: str, mark: str) -> Path:
        name = hashlib.sha256(trigger_id.encode()).hexdigest()[:24]
        return self._home / "jobs" / "manifests" / f"{name}-{mark}"

    def _objects(
        self, asked: Asked, address: Address, cancelled: threading.Event
    ) -> Iterator[Object]:
        until = time.monotonic() + LOOK_S
        endpoint = self._endpoints.get(asked) or Endpoint(asked, self._now_s)
        self._endpoints[asked] = endpoint
        try:
            _, pages = found(endpoint, address, cancelled)
        except NotFound:
            return  # nothing yet
        for page in pages:
            if cancelled.is_set():
                raise Cancelled(f"the look at {address} was called off")
            if time.monotonic() > until:
                raise DataError(
                    f"listing {address} takes longer than {LOOK_S:.0f} s",
                    code="timeout",
                    hint="watch a prefix with fewer objects below it",
                )
            yield from page

    def _sight(
        self, trigger_id: str, trigger: Trigger, new: Path, written: Written, mark: str | None
    ) -> Sight:
        """Compare with the manifest of the last look."""
        cause: dict[str, JSON] = {"kind": "s3", "s3": trigger.s3, "manifest": written.key}
        cause["objects"] = written.objects
        if mark is None or mark == written.key:
            return Sight(written.key, cause=cause)
        try:
            known = read(self._file(trigger_id, mark)) if written.ordered else None
            keys, more = bounded(changed(known, read(new))) if known else ([], 1)
        except (FileNotFoundError, ValueError):  # kept by a server with another folder
            known, keys, more = None, [], 1
        cause |= {"changed": list(keys) if known else None, "more": more if known else None}
        return Sight(written.key, bool(keys or more), cause)
