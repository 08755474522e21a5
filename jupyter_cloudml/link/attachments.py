"""The processes that a link is attached to, by id and by the number that the agent gave them. On the link's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..agent.loop import Loop
from ..agent.protocol import Record
from ..errors import CloudMLError
from .attachment import Attachment

IDLE_ACK = 1.0  # seconds after which what came is acknowledged although nothing is sent

Ask = Callable[[str, dict[str, Any], "Future[Any]"], None]


class Attachments:
    """``ask`` puts a question to the agent now, or as soon as there is a link."""

    def __init__(self, loop: Loop, ask: Ask) -> None:
        self._loop, self._ask = loop, ask
        self._by_id: dict[str, Attachment] = {}
        self._by_number: dict[int, Attachment] = {}
        self._asked: dict[Attachment, Future[Any]] = {}  # who waits to be attached
        self._touched: set[Attachment] = set()
        self._timer = False

    def add(self, attachment: Attachment, up: bool) -> None:
        """Attach; whoever was attached to the same process before hears no more of it."""
        before = self._by_id.get(attachment.process)
        if before is not None:
            self.drop(before)
        self._by_id[attachment.process] = attachment
        if up:
            self._ask_for(attachment)

    def up(self) -> None:
        """The link is up: attach to all of them again."""
        for attachment in list(self._by_id.values()):
            self._ask_for(attachment)

    def down(self) -> None:
        """The link is down."""
        self._by_number.clear()
        for attachment in list(self._by_id.values()):
            self._take_back(attachment)
            attachment.on_lost()

    def taken_over(self, process: str) -> None:
        """Another client has attached to this process."""
        attachment = self._by_id.get(process)
        if attachment is not None:
            self.drop(attachment)
            attachment.on_lost()

    def drop(self, attachment: Attachment) -> bool:
        """Forget one; False when it is not known."""
        if self._by_id.get(attachment.process) is not attachment:
            return False
        del self._by_id[attachment.process]
        if attachment.number is not None:
            self._by_number.pop(attachment.number, None)
        self._take_back(attachment)
        attachment.live = False
        return True

    def take(self, record: Record) -> bool:
        """Hand a record to its process; False when it belongs to none."""
        attachment = self._by_number.get(record.stream)
        if attachment is None:
            return False
        attachment.on_record(record)
        self._touched.add(attachment)
        return True

    def taken(self) -> None:
        """All records that came together have been handed over: acknowledge what is due."""
        if not self._touched:
            return
        for attachment in self._touched:
            attachment.ack_if_due()
        self._touched.clear()
        if not self._timer:
            self._timer = True
            self._loop.after(IDLE_ACK, self._ack_all)

    def _ack_all(self) -> None:
        self._timer = False
        for attachment in list(self._by_id.values()):
            attachment.ack_if_due(idle=True)

    def _ask_for(self, attachment: Attachment) -> None:
        future: Future[Any] = Future()
        self._asked[attachment] = future
        future.add_done_callback(lambda done: self._attached(attachment, done))
        self._ask("attach", {"id": attachment.process, "since": attachment.taken}, future)

    def _take_back(self, attachment: Attachment) -> None:
        """Do not have the question asked again after a cut: the agent would attach what nobody hears."""
        future = self._asked.pop(attachment, None)
        if future is not None:
            future.cancel()

    def _attached(self, attachment: Attachment, done: Future[Any]) -> None:
        if done.cancelled():
            return
        self._asked.pop(attachment, None)
        error = done.exception()
        if error is None and self._by_id.get(attachment.process) is attachment:
            info = done.result()
            self._by_number[int(info["number"])] = attachment
            attachment.on_attached(info)
        elif isinstance(error, CloudMLError) and error.code == "not_found":
            self.drop(attachment)
            attachment.ended = True
            attachment.sink.gone(None)
