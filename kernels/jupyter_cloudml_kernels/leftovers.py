"""Kernels that are to end and whose machine cannot be asked now: they are ended when it can."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress

from jupyter_cloudml.errors import CloudMLError, LinkDown, NotFound

from . import machines
from .records import KernelRecord, Slot

PAUSE_S = 10.0
ANSWER_S = 30.0
_log = logging.getLogger(__name__)


class Leftovers:
    """One thread, there while something is left. Its work ends with the process: a record with the intent "stop" is for the next one."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._left: deque[tuple[KernelRecord, Slot | None]] = deque()
        self._thread: threading.Thread | None = None
        self._more = threading.Event()

    def end(self, record: KernelRecord, slot: Slot | None) -> None:
        """End the kernel, and forget its record in the slot, as soon as that can be done; returns at once."""
        with self._lock:
            self._left.append((record, slot))
            self._more.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cloudml-leftovers", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._more.clear()
                left, self._left = self._left, deque()
            again = [item for item in left if not self._try(*item)]
            with self._lock:
                self._left.extend(again)
                if not self._left:
                    self._thread = None
                    return
            self._more.wait(self._pause_s)

    def _try(self, record: KernelRecord, slot: Slot | None) -> bool:
        """Say whether this one needs no further try."""
        try:
            _end(record)
            if slot is not None:
                slot.forget(record.kernel_id)
        except LinkDown:
            return False
        except (CloudMLError, OSError) as exc:
            _log.info("kernel %s is not ended yet: %s", record.kernel_id, exc)
            return False
        except Exception:  # noqa: BLE001  the edge of this thread: others wait; the record stays for the next server
            _log.exception("kernel %s cannot be ended", record.kernel_id)
        return True


def _end(record: KernelRecord) -> None:
    """End every process that was started for this record."""
    try:
        link = machines.current().link(record.machine)
    except NotFound:
        return  # the machine was removed, and with it whatever ran there
    for row in link.call("list", ANSWER_S):
        if row["id"] == record.process or row["labels"].get("token") == record.token:
            with suppress(NotFound):  # it has ended meanwhile
                link.call("stop", ANSWER_S, id=row["id"], grace_s=0)


_shared = Leftovers()


def end(record: KernelRecord, slot: Slot | None) -> None:
    """End a kernel, and forget its record in the slot, as soon as that can be done; returns at once."""
    _shared.end(record, slot)
