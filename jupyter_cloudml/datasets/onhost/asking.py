"""Asks for files by their addresses, and sees what the answer means: another address is needed, or the object is another one now."""

from __future__ import annotations

import os
import queue
import re

from ...onhost.folder import Failed
from .job import Job, Task
from .talk import Again, Talk
from .wire import Reply, Wire

RENEWALS = 5
CHANGES = 5


class Asking:
    """Thread-safe. `tasks` is what is left to be done."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def ask(self, job: Job, wire: Wire, extra: dict[str, str]) -> Reply | None:
        """Send a request for a file; None where it has to wait for another address or is no more what it was."""
        with job.lock:
            url, turn = job.url, job.round
        if job.etag:
            extra = {**extra, "If-Match": f'"{job.etag}"'}
        reply = wire.ask("GET", url, extra)
        if reply.status in (200, 206):
            with job.lock:
                if job.round == turn and job.is_same(reply.headers):
                    return reply
                if job.round == turn:
                    self._is_another(job)
            wire.close()
            return None
        text = reply.text()
        if reply.status >= 500 or reply.status == 429:
            raise Again(f"the service answers {reply.status}")
        with job.lock:
            if job.round != turn:
                return None
            if reply.status in (412, 404, 416):
                self._is_another(job)
                return None
            if job.url != url or job.asked:
                return None
            if reply.status == 403 and job.renewals < RENEWALS:
                job.renewals += 1
                job.asked = True
                self.talk.say(again=job.number, said=text[:2000])
                return None
        code = re.search(r"<Code>([^<]{1,100})</Code>", text)
        raise Failed("refused", f"the service answers {reply.status} {code[1] if code else ''}")

    def _is_another(self, job: Job) -> None:
        job.round += 1
        job.changes += 1
        if job.part:
            os.unlink(job.part)  # ranges that are under way write to what has no name any more
            os.unlink(job.part[:-5] + ".map")
        if job.changes > CHANGES:
            raise Failed("changing", "it changes faster than it can be fetched")
        self.talk.say(changed=job.number)

    def wait(self, job: Job, turn: int, number: int) -> None:
        """Have a range fetched when there is another address; at once if there is one by now."""
        with job.lock:
            if job.round != turn:
                return
            if job.asked:
                job.parked.append(number)
            else:
                self.tasks.put((job, turn, number))
