"""Answers what kernels ask of this computer: `dataset("s3://…")` in a notebook becomes a sync here, with the credentials that are here.

Each machine's agent is asked for questions by a call that stays open; Link asks it again after a cut. Kernels that ask for the same share one sync.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from ..clock import Clock
from ..errors import JSON, AgentError, Busy, Cancelled, CloudMLError
from ..link.link import Link
from ..machines.model import Step
from ..machines.operations import Operation, Operations
from ..machines.service import Machines
from .progress import Progress, text
from .requests import Request, answer, check_allowed, refusal
from .service import Datasets
from .sync import Done

_log = logging.getLogger(__name__)

STEP_S = 1.0  # between two events of one sync
TELL_S = 0.5  # between two words to a kernel, which are also the sign that somebody is here
SOON_S, IDLE_S, ODD_S = 0.02, 1.0, 10.0  # until an agent is asked again
WAIT_S = 1.0  # until a folder that somebody else syncs is tried again
MAX_NEW = 64
MAX_TEXT = 500


def stepped(operation: Operation, clock: Clock) -> Callable[[Progress], None]:
    """Return what shows how far a sync is as the steps of an operation, not too often."""
    told = [float("-inf")]

    def progress(now: Progress) -> None:
        if clock.monotonic() - told[0] >= STEP_S:
            told[0] = clock.monotonic()
            operation.progress(Step(now.percent, 100, text(now), clock.now_ms()))

    return progress


class Job:
    """One sync, and the questions that it answers."""

    def __init__(self, link: Link, request: Request, first: str) -> None:
        self.link, self.request = link, request
        self.questions: dict[str, Future[Any] | None] = {first: None}  # with what was told last
        self.operation: Operation | None = None
        self.text = "looking what is there"


class Answering:
    """Every question of every machine of this process. Thread-safe. `allowed`: what kernels may ask for, see check_allowed."""

    def __init__(
        self,
        machines: Machines,
        datasets: Datasets,
        operations: Operations,
        clock: Clock,
        allowed: Sequence[str],
    ) -> None:
        self._machines, self._datasets, self._operations = machines, datasets, operations
        self._clock, self._allowed = clock, allowed
        self._links: dict[str, Link] = {}
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._teller: threading.Thread | None = None

    def attend(self, machine: str) -> None:
        """Have a machine's questions answered from now on. Raises NotFound, Conflict for one that is not to run."""
        link = self._machines.link(machine, wait=False)
        with self._lock:
            if self._closed.is_set() or self._links.get(machine) is link:
                return
            self._links[machine] = link
        self._listen(link)

    def close(self) -> None:
        """Answer no more. The kernels wait for whoever comes next."""
        self._closed.set()

    # -- questions; on the link's thread ------------------------------------------------------------------------------------------------
    def _listen(self, link: Link) -> None:
        if not self._closed.is_set():
            with self._lock:
                known: list[JSON] = [
                    q for job in self._jobs if job.link is link for q in job.questions
                ]
            link.submit("questions", {"known": known}).add_done_callback(
                lambda future: self._heard(link, future)
            )

    def _heard(self, link: Link, future: Future[Any]) -> None:
        if self._closed.is_set():
            return
        try:
            said = future.result()
            new, gone = list(said["new"])[:MAX_NEW], list(said["gone"])[:MAX_NEW]
        except AgentError as exc:  # an agent of before, which is about to be replaced
            _log.info("%s takes no requests from notebooks: %s", link.machine, exc)
            link.loop.after(ODD_S, lambda: self._listen(link))
            return
        except (CloudMLError, CancelledError):
            self._forget(link)
            return
        except (KeyError, TypeError, ValueError):
            _log.warning("%s told of its notebooks' requests what cannot be read", link.machine)
            link.loop.after(ODD_S, lambda: self._listen(link))
            return
        for question in gone:
            self._leave(link, str(question))
        for what in new:
            if isinstance(what, dict) and isinstance(what.get("id"), str):
                self._begin(link, what["id"], what)
        link.loop.after(SOON_S if new or gone else IDLE_S, lambda: self._listen(link))

    def _forget(self, link: Link) -> None:
        with self._lock:
            if self._links.get(link.machine) is link:
                del self._links[link.machine]

    def _begin(self, link: Link, question: str, what: dict[str, Any]) -> None:
        try:
            request = Request.parse(what)
            check_allowed(request, self._allowed)
            with self._lock:
                for job in self._jobs:
                    if job.link is link and job.request == request:
                        job.questions.setdefault(question)
                        return
                job = Job(link, request, question)
                self._jobs.append(job)
            try:
                job.operation = self._operations.start(
                    "sync-dataset",
                    link.machine,
                    lambda operation: self._work(job, operation),
                    {"source": request.source, "target": request.folder or ""},
                )
            except CloudMLError:
                self._ended(job)
                raise
        except CloudMLError as error:
            link.submit("say", {"question": question, "what": {"error": refusal(error)}})
            return
        self._start_telling()

    def _leave(self, link: Link, question: str) -> None:
        """Nobody waits for this question any more; a sync that is for nobody else is called off."""
        with self._lock:
            for job in self._jobs:
                if job.link is not link or question not in job.questions:
                    continue
                del job.questions[question]
                if not job.questions and job.operation is not None:
                    job.operation.cancelled.set()

    # -- work; on the operation's thread --------------------------------------------------------------------------------------------------
    def _work(self, job: Job, operation: Operation) -> JSON:
        job.operation = operation
        what: dict[str, Any] = {}
        try:
            done, name = self._sync(job, operation)
            what = {"done": answer(done, name)}
            return done.to_dict()
        except CloudMLError as error:
            if not (isinstance(error, Cancelled) and self._closed.is_set()):
                what = {"error": refusal(error)}
            raise
        except BaseException:
            what = {"error": {"code": "internal", "message": "the sync failed: see the server's log", "hint": ""}}  # fmt: skip
            raise
        finally:
            for question in self._ended(job):
                if what:
                    job.link.submit("say", {"question": question, "what": what})

    def _sync(self, job: Job, operation: Operation) -> tuple[Done, str | None]:
        request, machine = job.request, job.link.machine
        step = stepped(operation, self._clock)

        def progress(now: Progress) -> None:
            job.text = text(now)
            step(now)

        folder, name = self._datasets.place(request.source, request.asked, operation.cancelled)
        operation.about = {"source": request.source, "target": request.folder or folder}
        while True:
            try:
                done = self._datasets.sync(
                    request.source,
                    request.folder or folder,
                    machine,
                    asked=request.asked,
                    options=request.options,
                    progress=progress,
                    cancelled=operation.cancelled,
                )
                return done, name
            except Busy as exc:
                job.text = f"waiting: {exc.message}"
                if operation.cancelled.wait(WAIT_S):
                    raise Cancelled(f"the sync of {request.source} was called off") from exc

    def _ended(self, job: Job) -> list[str]:
        with self._lock:
            self._jobs.remove(job)
            return list(job.questions)

    # -- telling; on a thread of its own --------------------------------------------------------------------------------------------------
    def _start_telling(self) -> None:
        with self._lock:
            if self._teller is None:
                self._teller = threading.Thread(
                    target=self._tell, name="cloudml-answering", daemon=True
                )
                self._teller.start()

    def _tell(self) -> None:
        """Tell the kernels how far it is, for as long as there is anything."""
        while not self._closed.wait(TELL_S):
            with self._lock:
                if not self._jobs:
                    self._teller = None
                    return
                jobs = [job for job in self._jobs if job.link.state.phase == "up"]
                due = [
                    (job, q)
                    for job in jobs
                    for q, last in job.questions.items()
                    if last is None or last.done()
                ]
            for job, question in due:
                self._say(job, question)

    def _say(self, job: Job, question: str) -> None:
        what = {"question": question, "what": {"progress": job.text[:MAX_TEXT]}}
        future = job.link.submit("say", what)
        with self._lock:
            if question in job.questions:
                job.questions[question] = future
        future.add_done_callback(lambda f: self._said(job, question, f))

    def _said(self, job: Job, question: str, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None and future.result() is False:
            self._leave(job.link, question)
